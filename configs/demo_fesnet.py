"""FESNet in small on the built-in data, four folds by video.

    fedn demo --config demo_fesnet --out fesnet

Three seeds: overall F1 21.3 +- 3.5 (macro 24.2, micro 0), frames right 68.9 %;
an answer that finds nothing has 69.8 %, the flow baseline an F1 of 38.3, the
position prior 8.3. FEDN with data.kind=all and data.label=kind on the same
folds: 78.8 (macro 87.2, micro 48.6); its backbone was pretrained, FESNet
begins with random weights. Training: 412 to 544 seconds of the processor.
"""

from fedn_jax.core import config as fedn_config
from fedn_jax.models.fesnet import presets

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
    config.train.update(epochs=20, learning_rate=2e-3, schedule="cosine", flip=True, phase=True)
    config.folds.k = 4
    return fedn_config.with_row(config, ROWS, row)
