"""The recognisers: what each is shown of an interval, its network, and how it is trained."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from fedn_jax import models
from fedn_jax.cascade import samplers, streams
from fedn_jax.cascade.samplers import Sampler, Spotter
from fedn_jax.core.types import Array, Config, Task, Tree
from fedn_jax.models import recognition, strnet
from fedn_jax.models.ceflnet import CeflNet


class Recogniser(NamedTuple):
    """Something that names the emotion of an interval."""

    sampler: Callable[[Spotter, str], Sampler]  # what is shown of an interval, given the name of a fold
    of_fold: bool  # what is shown is different for every fold
    network: Callable[[int], nn.Module]  # number of classes -> (samples [B, ...], train, counted) -> logits [B, C]
    training: dict[str, Any]  # options of the section train
    penalty: Callable[[Tree], Array] = recognition.no_penalty  # parameters -> what is added to the loss
    frames: bool = False  # needs the aligned frames
    first: Callable[..., None] | None = None  # what is trained before, see ``streams.train``


STR = {
    "train.epochs": 100, "train.batch_size": 32, "train.learning_rate": 5e-4, "train.weight_decay": 0.0,
    "train.schedule": "constant",
}  # fmt: skip
RECOGNISERS = {
    # Batches, rate and epochs of its public code, which keeps the epoch that is best on its test set; here the last.
    "ceflnet": Recogniser(samplers.embeddings, False, CeflNet, {
        "train.epochs": 120, "train.batch_size": 8, "train.learning_rate": 1e-4, "train.weight_decay": 1e-4,
        "train.schedule": "warm_cosine",
    }),
    "frozen-features": Recogniser(samplers.segment_features, True, recognition.Probe, {
        "train.epochs": 60, "train.batch_size": 32, "train.learning_rate": 1e-2, "train.weight_decay": 1e-4,
        "train.schedule": "cosine",
    }),
    # Batches, rates, epochs, penalties of its public code, which trains the streams on spotting first.
    "str": Recogniser(
        streams.onset_to_apex, True, strnet.Top, STR, strnet.top_penalty, frames=True, first=streams.train
    ),
    "str-joint": Recogniser(samplers.onset_to_apex, False, strnet.StrNet, STR, strnet.penalty, frames=True),
}  # fmt: skip


def make_task(name: str, config: Config, num_classes: int, sample_shape: tuple[int, ...]) -> Task:
    """A recogniser as the trainer sees it.

    Args:
      name: entry of ``RECOGNISERS``.
      config: of its training.
      num_classes: C.
      sample_shape: of a sample.

    Returns:
      The task.
    """
    recogniser = RECOGNISERS[name]
    task = recognition.make_task(recogniser.network(num_classes), sample_shape, recogniser.penalty)
    return models.with_precision(task, config.train.precision)
