"""For a few hundred photos: a pretrained network, frozen, and a new layer of classes fitted to its features.

With --epochs the network is then trained on, from the head backwards, earlier stages more slowly.
"""

from truefit.recipes.recipe import AugmentConfig, OptimizerConfig, Recipe, TransferConfig

MODEL = "timm:tf_efficientnet_lite0"
WEIGHTS = "pretrained"

RECIPE = Recipe(
    name="transfer",
    epochs=0,
    batch_size=32,
    optimizer=OptimizerConfig(name="adamw", lr=3e-4, weight_decay=0.05),
    augment=AugmentConfig(shift=0.05),
    averaging="none",
    transfer=TransferConfig(probe=True),
)
