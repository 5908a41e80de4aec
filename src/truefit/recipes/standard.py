"""Good accuracy in ten epochs on images of any size; the usual one where photos have no pretrained network."""

from truefit.recipes.recipe import EmaConfig, LossConfig, OptimizerConfig, Recipe

RECIPE = Recipe(
    name="standard",
    epochs=10,
    batch_size=96,
    optimizer=OptimizerConfig(name="muon", lr=0.037, momentum=0.9, weight_decay=0.01),
    loss=LossConfig(label_smoothing=0.1),
    ema=EmaConfig(decay=0.997),
    precision="fastest",
    zero_head=True,
)
