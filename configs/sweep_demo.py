"""A search on the built-in data set: 16 trials, 8 inner folds each.

    fedn sweep --config sweep_demo --data demo/data --out sweep

Expected result: not recorded for this version; see docs/training.md.
"""

from fedn_jax.core import config as fedn_config
from fedn_jax.experiments import search_space

ROWS = fedn_config.PAPER_ROWS
SPACE = {
    "train.learning_rate": search_space.Float(3e-4, 3e-3, log=True),
    "train.weight_decay": search_space.Float(1e-6, 1e-3, log=True),
    "loss.alpha": search_space.Float(0.5, 4.0, log=True),
    "loss.beta": search_space.Float(0.5, 4.0, log=True),
}
SWEEP = search_space.Settings(trials=16, batch=8, rungs=(4,))


def get_config(row: str = ""):
    """The configuration that trials change.

    Args:
      row: key of ``ROWS``; "" for FEDN itself.

    Returns:
      A locked ConfigDict.
    """
    config = fedn_config.default()
    config.data.standardize = "video"
    config.window.train_hop = 64
    config.model.update(width=48, head_width=32, heads=4, groups=8)
    config.train.update(epochs=10, batch_size=8, learning_rate=1e-3)
    return fedn_config.with_row(config, ROWS, row)
