"""The built-in data set on a laptop: FEDN with narrow layers.

    fedn demo

Expected result: ``EXPECTED``.
"""

from fedn_jax.core import config as fedn_config

ROWS = fedn_config.PAPER_ROWS | {"shuffled": {"data.shuffle_labels": True}}
EXPECTED = {  # mean and standard deviation of seeds 0, 1 and 2, in percent; 2 cores of an AMD EPYC, JAX 0.10.2
    "spotting F1": (82.0, 3.0),
    "recognition": (98.8, 1.1),
    "mAP spotting": (54.1, 1.9),
    "mAP detection": (56.0, 2.1),
}


def get_config(row: str = ""):
    """The configuration of one row.

    Args:
      row: key of ``ROWS``; "" for the demo itself.

    Returns:
      A locked ConfigDict.
    """
    config = fedn_config.default()
    config.data.standardize = "video"
    config.model.width = 96
    config.model.head_width = 64
    config.model.heads = 4
    config.model.groups = 8
    config.train.epochs = 14
    config.train.batch_size = 16
    config.train.learning_rate = 1e-3
    return fedn_config.with_row(config, ROWS, row)
