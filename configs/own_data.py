"""Your own videos: FEDN's values, and what you should think about.

    fedn prepare folder --videos DIR --annotations CSV --fps 30 --out data
    fedn verify data        how many expressions of each emotion there are
    fedn train --config own_data --data data --out run

Copy this file, change the copy, and give its path: --config mine.py

- Frame rate: all lengths are in frames, and the paper's are for 30 per second.
  Resample with --fps 30, or scale them. A window is 64 segments x 2 frames =
  128 frames, 4.3 s: a longer expression cannot be found whole.
- Emotions: the words of the column "emotion", in the order of --classes, else
  sorted. Each needs examples from several people; merge rare ones ("others").
  Without emotions: data.recognition = False, spotting only.
- Kind: macro, micro or all are trained on. Without a column "kind" in the
  sheet, what lasts over 0.5 s is macro.
- Folds: leave one subject out needs 3 subjects (2 with folds.inner = 0); with
  few of them the numbers say little. kfold splits by video instead: faces are
  then in training and test alike, and the numbers are too good.
- Reaches: the frames of the longer side of an expression, seen from a frame
  inside it, that each level finds; they should overlap and end at the length of
  a window.

Expected result: not run; it depends on your data.
"""

from fedn_jax.core import config as fedn_config

ROWS = fedn_config.PAPER_ROWS


def get_config(row: str = ""):
    """The configuration of one row.

    Args:
      row: key of ``ROWS``; "" for the values below.

    Returns:
      A locked ConfigDict.
    """
    config = fedn_config.default()
    config.data.kind = "macro"  # macro, micro or all
    config.data.recognition = True  # False: no emotions
    config.window.stride = 2  # frames between segments
    config.anchors.reaches = [[0, 10], [8, 32], [16, 64], [64, 128]]  # frames, one pair per level
    config.folds.scheme = "loso"  # or kfold, or leave-one-dataset-out for merged data
    config.train.epochs = 30
    config.train.batch_size = 64
    return fedn_config.with_row(config, ROWS, row)
