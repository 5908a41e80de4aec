"""The shortest way to a useful classifier: one epoch over crops of the images."""

from truefit.recipes.recipe import AugmentConfig, LossConfig, OptimizerConfig, Recipe

RECIPE = Recipe(
    name="quick",
    epochs=1,
    batch_size=64,
    optimizer=OptimizerConfig(name="muon", lr=0.05, momentum=0.9, weight_decay=0.01),
    loss=LossConfig(label_smoothing=0.1),
    augment=AugmentConfig(crop=0.875, shift=0.0),
    precision="fastest",
)
