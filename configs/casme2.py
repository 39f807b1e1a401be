"""CAS(ME)^2 with FEDN's values (section 4.2).

    fedn train --config casme2 --data DIR --out RUN
    fedn train --config casme2:table4/coupled --data DIR --out RUN

Expected result: not run (the data set is licensed). The paper reports spotting
F1 51.1 and detection mAP 51.6e-3 with annotated labels (Table 2).
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
    return fedn_config.with_row(fedn_config.default(), ROWS, row)
