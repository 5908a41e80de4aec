"""The shortest way to a useful classifier: one epoch over the images at three quarters of their size."""

from truefit.recipes.recipe import AugmentConfig, LossConfig, OptimizerConfig, Recipe, ScheduleConfig

RECIPE = Recipe(
    name="quick",
    epochs=1,
    batch_size=160,
    least_steps=40,
    optimizer=OptimizerConfig(name="muon", lr=0.12, momentum=0.8, weight_decay=0.08, betas=(0.9, 0.95), adam_share=0.4),
    schedule=ScheduleConfig(name="one-cycle", warmup=0.1),
    loss=LossConfig(label_smoothing=0.1),
    augment=AugmentConfig(shrink=0.75, shift=0.0),
    precision="fastest",
    zero_head=True,
)
