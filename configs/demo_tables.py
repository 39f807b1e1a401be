"""The paper's tables on the built-in data set; narrower still.

    fedn reproduce table3 --data demo/data --out tables
    fedn reproduce table2 --data frames --out tables

Table 2 needs data that keep frames (docs/training.md).

Expected result of Table 2: docs/benchmarks.md, "Table 2 in small"; of the
others none is recorded for this version.
"""

from fedn_jax.core import config as fedn_config

ROWS = fedn_config.PAPER_ROWS | fedn_config.CASCADE_ROWS


def get_config(row: str = ""):
    """The configuration of one row.

    Args:
      row: key of ``ROWS``; "" for FEDN itself.

    Returns:
      A locked ConfigDict.
    """
    config = fedn_config.default()
    config.data.standardize = "video"
    config.window.train_hop = 64
    config.model.update(width=48, head_width=32, heads=4, groups=8)
    config.cascade.grid = 24
    config.train.update(epochs=12, batch_size=8, learning_rate=1e-3)
    return fedn_config.with_row(config, ROWS, row)
