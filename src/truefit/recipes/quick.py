"""The shortest way to a useful classifier: one epoch over images made smaller, the first half of it smaller still."""

from truefit.recipes.recipe import AugmentConfig, LossConfig, OptimizerConfig, Recipe

RECIPE = Recipe(
    name="quick",
    epochs=1,
    batch_size=128,
    optimizer=OptimizerConfig(name="muon", lr=0.06, momentum=0.9, weight_decay=0.01),
    loss=LossConfig(label_smoothing=0.1),
    augment=AugmentConfig(shift=0.0625, shrink=0.875, start_shrink=0.75),
)
