"""SAMM Long Videos at 30 frames per second; spotting only.

    fedn train --config samm --data DIR --out RUN

Expected result: not run (the data set is licensed, and FEDN does not report
it). The release has no emotions.
"""

from fedn_jax.core import config as fedn_config

ROWS = {"micro": {"data.kind": "micro"}, "all": {"data.kind": "all"}}


def get_config(row: str = ""):
    """The configuration of one row.

    Args:
      row: key of ``ROWS``; "" for macro-expressions.

    Returns:
      A locked ConfigDict.
    """
    config = fedn_config.default()
    config.data.recognition = False
    return fedn_config.with_row(config, ROWS, row)
