"""For a GPU: few epochs in large batches, for `--model speednet` on images of 32 x 32. Untested on one, no claims."""

from truefit.recipes.recipe import AugmentConfig, EmaConfig, LossConfig, OptimizerConfig, Recipe

RECIPE = Recipe(
    name="speedrun",
    epochs=10,
    batch_size=1024,
    optimizer=OptimizerConfig(name="muon", lr=0.1, momentum=0.9, weight_decay=0.01),
    loss=LossConfig(label_smoothing=0.2),
    augment=AugmentConfig(shift=0.0625),
    ema=EmaConfig(decay=0.95, every=5),
)
