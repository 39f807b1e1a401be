"""CAS(ME)^3 part A; longer expressions, so the levels reach further.

    fedn train --config casme3 --data DIR --out RUN

The reaches are LGSNet's values.

Expected result: not run (the data set is licensed). The paper reports spotting
F1 35.0 and detection mAP 5.4e-3 (Table 2). A quarter of the expressions are
longer than a window and cannot be found whole.
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
    config.anchors.reaches = [[0, 16], [8, 32], [12, 64], [32, 128]]
    return fedn_config.with_row(config, ROWS, row)
