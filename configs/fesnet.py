"""FESNet at the paper's size, five folds by video (Zhang et al. 2024).

    fedn prepare casme2 --videos DIR --annotations FILE --frames \\
          --size 112 --out data
    fedn prepare samm --videos DIR --annotations FILE --frames \\
          --size 112 --fps 60 --out data
    fedn train --config fesnet --data data --out run
    fedn evaluate run --data data

Expected: not known; nothing of this was trained on real data. The paper leaves
its widths, its optimiser and its folds open: see docs/decisions.md, 85 to 98.
"""

from fedn_jax.core import config as fedn_config
from fedn_jax.models.fesnet import presets

ROWS = presets.FESNET_ROWS


def get_config(row: str = ""):
    """The configuration of one row.

    Args:
      row: key of ``ROWS``; "" for FESNet itself.

    Returns:
      A locked ConfigDict.
    """
    return fedn_config.with_row(presets.fesnet(), ROWS, row)
