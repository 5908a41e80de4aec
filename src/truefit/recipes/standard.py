"""The default: good accuracy in ten epochs on images of any size."""

from truefit.recipes.recipe import LossConfig, OptimizerConfig, Recipe, ScheduleConfig

RECIPE = Recipe(
    name="standard",
    epochs=10,
    batch_size=64,
    optimizer=OptimizerConfig(name="adamw", lr=4e-3),
    schedule=ScheduleConfig(name="one-cycle", warmup=0.2),
    loss=LossConfig(label_smoothing=0.1),
)
