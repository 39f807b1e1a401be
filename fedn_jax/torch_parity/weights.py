"""Somebody's own PyTorch FEDN: its weights in both networks."""

from collections.abc import Iterator, Mapping

import jax
import numpy as np

from fedn_jax import models
from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Config
from fedn_jax.models import torch_weights
from fedn_jax.ops import windows
from fedn_jax.torch_parity import cases, measure
from fedn_jax.torch_parity import network as networks
from fedn_jax.torch_parity.measure import Level

LEVEL = "2 forward"


def fit(state: Mapping[str, np.ndarray], config: Config) -> tuple[Config, int, int]:
    """A configuration for weights, as far as their shapes tell.

    Args:
      state: name -> array, under the names of ``fedn_jax.torch_parity.reference``.
      config: says what shapes do not tell: heads, groups, windows, anchors, the meaning of the class outputs.

    Returns:
      (the configuration with widths, depths and variants of the weights, classes, width of the inputs).

    Raises:
      UserError: numbers of levels, anchors or heads that do not fit.
    """
    found = torch_weights.options(state)
    for name, got, option in (
        ("pyramid levels", len(config.anchors.reaches), "levels"),
        ("anchor widths", len(config.anchors.widths), "anchors"),
    ):
        if got != found[option]:
            key = "reaches" if option == "levels" else "widths"
            raise UserError(
                f"the weights have {found[option]} {name}, the configuration {got}; set --config.anchors.{key}=[...]"
            )
    options = dict(found["options"])
    if config.model.window_attention == "literal" and options["model.window_attention"] == "scaled":
        del options["model.window_attention"]  # the two have the same weights: the configuration says which
    config.update_from_flattened_dict(options)
    extra = config.model.scoring == "confidence"
    errors.at_least("classes of the weights", found["classes"] - extra, 1)
    return config, found["classes"] - extra, found["inputs"]


def compare(state: Mapping[str, np.ndarray], config: Config) -> Iterator[Level]:
    """Forward pass of both networks with given weights, on random videos.

    Args:
      state: name -> array, under the names of ``fedn_jax.torch_parity.reference``.
      config: of FEDN.

    Yields:
      One line per precision.

    Raises:
      UserError: weights that do not fit; lists all of them.
    """
    config, classes, width = fit(state, config)
    config.data.recognition = True  # the classes are those of the weights
    geometry = windows.Geometry(config.window.segments, config.window.segment_frames, config.window.stride)
    task = models.make_task(config, geometry, classes, (width,))
    like = jax.eval_shape(task.init, jax.random.key(0))["params"]
    params = torch_weights.from_torch({name: np.float32(array) for name, array in state.items()}, like)
    pair = cases.make(config, classes, width, params=params)
    data = cases.toy((2 * geometry.frames + 21,), width, min(classes, width))
    for dtype in ("float32", "float64"):
        found = networks.forward(pair, cases.batch(pair, data, [0, 1, 3], dtype), dtype)
        yield measure.judge(LEVEL, "given weights", dtype, networks.TOLERANCES[LEVEL][dtype], found)
