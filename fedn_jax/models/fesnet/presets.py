"""FESNet as a configuration, as differences from ``config.default()``, and the rows of its paper."""

from typing import Any

from ml_collections import ConfigDict

from fedn_jax.core import config as configs

GAMMAS = {f"table4/gamma_{gamma:.2f}": {"loss.gamma": gamma} for gamma in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)}
FESNET_ROWS: dict[str, dict[str, Any]] = GAMMAS | {  # of FESNet's Tables 3 and 4, then other readings of its text
    "table3/no_lsdm_loss": {"loss.lsdm": 0.0},
    "table3/no_mtam": {"fesnet.mtam": False},
    "loso": {"folds.scheme": "loso"},
    "literal": {
        "fesnet.refinement": "literal", "loss.supervise": "final", "loss.lsdm_form": "norm", "window.train_hop": 32,
        "window.test_hop": 32,
    },
    "compact": {"loss.lsdm_form": "compact"},
    "norm": {"loss.lsdm_form": "norm"},
    "unweighted": {"loss.weight_power": 0.0},
    "log_smooth": {"loss.smooth": "log_probabilities"},
}  # fmt: skip


def fesnet() -> ConfigDict:
    """FESNet at the paper's size: what differs from ``default()``.

    Returns:
      A locked ConfigDict.
    """
    config = configs.default()
    config.task = "fesnet"
    config.data.update(kind="all", label="kind")
    # Intervals of 32 frames (section 3.1); open: hops, and all that an interval cuts counts.
    config.window.update(segments=32, segment_frames=1, stride=1, train_hop=16, test_hop=8, inside=0.0)
    # Open, but for the folds: the settings that MS-TCN publishes, from which the paper takes losses and measures.
    config.train.update(epochs=50, batch_size=8, negatives=1000, learning_rate=5e-4, weight_decay=0.0)
    config.folds.update(scheme="kfold", k=5, inner=0.0)
    config.evaluate.threshold = 0.0
    config.predict.update(max_detections=400, chunk=8)
    return config
