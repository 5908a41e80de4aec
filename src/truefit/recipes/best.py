"""More accuracy for four times the time of `standard`: longer, with parts cut out and the weights averaged."""

from truefit.recipes.recipe import AugmentConfig, EmaConfig, LossConfig, OptimizerConfig, Recipe

RECIPE = Recipe(
    name="best",
    epochs=40,
    batch_size=64,
    optimizer=OptimizerConfig(name="muon", lr=0.03, momentum=0.9, weight_decay=0.01),
    loss=LossConfig(label_smoothing=0.1),
    augment=AugmentConfig(cutout=0.25),
    ema=EmaConfig(decay=0.999),
)
