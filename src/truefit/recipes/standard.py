"""Good accuracy in ten epochs on images of any size; the usual one where photos have no pretrained network."""

from truefit.recipes.recipe import EmaConfig, LossConfig, OptimizerConfig, Recipe, ScheduleConfig

RECIPE = Recipe(
    name="standard",
    epochs=10,
    batch_size=160,
    least_steps=40,
    optimizer=OptimizerConfig(
        name="muon", lr=0.075, momentum=0.8, weight_decay=0.03, betas=(0.9, 0.95), adam_share=0.4
    ),
    schedule=ScheduleConfig(name="one-cycle", warmup=0.1),
    loss=LossConfig(label_smoothing=0.1),
    ema=EmaConfig(decay=0.995),
    precision="fastest",
    zero_head=True,
)
