"""For a GPU: few epochs in large batches, for `--model speednet` on images of 32 x 32."""

from truefit.recipes.recipe import AugmentConfig, LossConfig, OptimizerConfig, Recipe, ScheduleConfig

RECIPE = Recipe(
    name="speedrun",
    epochs=8,
    batch_size=2000,
    optimizer=OptimizerConfig(name="muon", lr=0.24, momentum=0.6, weight_decay=0.0, fixed_norm=True, iterations=3),
    schedule=ScheduleConfig(name="one-cycle", warmup=0.0),
    loss=LossConfig(label_smoothing=0.1),
    augment=AugmentConfig(shift=0.0625),
    averaging="auto-crops",
    precision="bfloat16",
    execution="compile",
)
