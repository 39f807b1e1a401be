"""All levels of the comparison, in the order of the computation."""

import contextlib
from collections.abc import Iterator

from fedn_jax.data import shards
from fedn_jax.torch_parity import cases, detections, fesnet, fold, layers, network, recognisers, targets, training
from fedn_jax.torch_parity.measure import Level

BOTH, ONE = ("float32", "float64"), ("float32",)
FEW = ("fedn", "table4/coupled")  # variants of a quick comparison


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: these sizes are small, and threads that wait for one another cost more than they give.

    Returns:
      A context.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(dataset: shards.Dataset | None, quick: bool = False) -> Iterator[Level]:
    """Runs the levels.

    Args:
      dataset: videos for the fold; None leaves it out.
      quick: two variants, one precision, no fold.

    Yields:
      One line per level, case and precision.
    """
    precisions = ONE if quick else BOTH
    variants = {name: cases.VARIANTS[name] for name in FEW} if quick else cases.VARIANTS
    with one_thread():
        yield from layers.run(precisions)
        yield from targets.run(precisions)
        yield from network.run(precisions, variants, not quick)
        yield from recognisers.run(precisions)
        yield from training.adam()
        yield from training.steps(precisions)
        yield from detections.run(precisions)
        yield from fesnet.run(precisions)
        if dataset is not None and not quick:
            yield from fold.run(dataset)
