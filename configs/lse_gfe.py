"""LSE_GFE: questions and negations of 14 people who sign, from OpenFace's tables.

    fedn prepare features --features openface --annotations annotations.csv \\
        --columns 'AU*_r,AU*_c,pose_R*' --out data
    fedn train --config lse_gfe --data data --out run
    fedn evaluate run --data data

Tables and labels: github mporta-gtm/GrammaticalFacialExpressions (MIT licence;
Porta-Lorenzo et al., Sensors 2022, 22(10), 3839). A video holds about one
expression near its middle, so look at the position prior first.

Expected result, seeds 0 to 4: spotting F1 61.1 ± 1.0 % (position prior 58.7 %),
recognition 81.3 ± 1.9 %; see docs/benchmarks.md.
"""

from fedn_jax.core import config as fedn_config

I3D = "table3/i3d"  # its clips do not fit the stride below, and there are none of these videos
ROWS = {name: row for name, row in fedn_config.PAPER_ROWS.items() if name != I3D}
ROWS |= {"shuffled": {"data.shuffle_labels": True}}


def get_config(row: str = ""):
    """The configuration of one row.

    Args:
      row: key of ``ROWS``; "" for the values below.

    Returns:
      A locked ConfigDict.
    """
    config = fedn_config.default()
    config.data.kind = "all"
    config.data.standardize = "subject"
    config.window.stride = 4  # most videos last 3 to 5 s: a window sees all of one
    config.anchors.reaches = [[0, 20], [16, 64], [32, 128], [64, 256]]
    config.model.width = 48
    config.model.head_width = 32
    config.model.heads = 2
    config.model.groups = 8
    config.model.dropout = 0.5
    config.train.epochs = 10
    config.train.batch_size = 16
    config.train.learning_rate = 1e-3
    return fedn_config.with_row(config, ROWS, row)
