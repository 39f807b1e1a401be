"""FESNet in small on the built-in data, four folds by video.

fedn demo --config demo_fesnet --out fesnet
"""

from fedn_jax.core import config as fedn_config
from fedn_jax.core import presets

ROWS = presets.FESNET_ROWS


def get_config(row: str = ""):
    """The configuration of one row.

    Args:
      row: key of ``ROWS``; "" for the demo itself.

    Returns:
      A locked ConfigDict.
    """
    config = presets.fesnet()
    config.data.side = 48
    config.window.train_hop = 32
    config.fesnet.update(stem_width=8, stem_kernel=5, widths=[16, 24, 24, 32, 32], depth=1, heads=4, mlp=2.0)
    config.fesnet.update(temporal_width=32, refine_width=32)
    config.loss.weight_power = 0.5
    config.train.update(epochs=20, learning_rate=2e-3, schedule="cosine", flip=True)
    config.folds.k = 4
    return fedn_config.with_row(config, ROWS, row)
