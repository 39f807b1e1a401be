"""The one program that trains all folds on all devices.

``run`` maps the training of one fold over folds, ``vmap`` on a device and ``pmap`` over devices; nothing is shared
between folds, so nothing of a test subject can leak into its fold.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array, Folds, Hyper, Store, TrainState, Tree, Windows
from fedn_jax.engine.train_step import Fold

STATE_COPIES = 2.5  # memory of a fold in units of its state: old and new state, gradients; activations come on top


def memory_of(devices: Sequence[jax.Device], limit_gb: float) -> float:
    """Memory that folds may fill on one device.

    Args:
      devices: the devices that will run.
      limit_gb: the user's limit; 0 asks the device; where it does not say (a CPU), all devices share 4 GB.

    Returns:
      Bytes.
    """
    if limit_gb > 0:
        return limit_gb * 1e9
    stats = [device.memory_stats() or {} for device in devices]
    return min(0.8 * known["bytes_limit"] if "bytes_limit" in known else 4e9 / len(devices) for known in stats)


def split(num_folds: int, state_bytes: int, memory: float, num_devices: int) -> list[range]:
    """Splits folds among as few programs as fit the devices' memory.

    Args:
      num_folds: K.
      state_bytes: size of one fold's training state.
      memory: bytes of one device that folds may fill.
      num_devices: D.

    Returns:
      Ranges of folds, one per program, as equal as can be.

    Raises:
      UserError: not even one fold fits.
    """
    fit = int(memory // (STATE_COPIES * state_bytes))
    if fit < 1:
        raise UserError(
            f"one fold needs about {STATE_COPIES * state_bytes / 1e9:.2f} GB of device memory; {memory / 1e9:.2f} GB "
            "are allowed: raise folds.memory_gb, or make the model narrower"
        )
    count = -(-num_folds // (fit * num_devices))
    edges = np.linspace(0, num_folds, count + 1).round().astype(int)
    return [range(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


# ---- Slots: K folds on D devices ------------------------------------------------------------------------------------


class Slots(NamedTuple):
    """Where folds run: [D, L] slots; slots beyond the folds repeat some, and are dropped on the way out."""

    fold: np.ndarray  # [D, L] int, which fold a slot runs
    devices: tuple[jax.Device, ...]  # D
    num_folds: int  # K


def make_slots(num_folds: int, devices: Sequence[jax.Device]) -> Slots:
    """Spreads folds over devices.

    Args:
      num_folds: K.
      devices: the devices to use; no more than K are.

    Returns:
      The slots.
    """
    errors.at_least("number of folds", num_folds, 1)
    used = tuple(devices)[:num_folds]
    per_device = -(-num_folds // len(used))
    used = used[: -(-num_folds // per_device)]
    return Slots((np.arange(len(used) * per_device) % num_folds).reshape(len(used), per_device), used, num_folds)


def scatter(tree: Tree, slots: Slots) -> Tree:
    """Arrays of all folds -> slots.

    Args:
      tree: leaves [K, ...], NumPy.
      slots: where folds run.

    Returns:
      Leaves [D, L, ...], NumPy.
    """
    return jax.tree.map(lambda leaf: np.asarray(leaf)[slots.fold], tree)


def collect(tree: Tree, slots: Slots) -> Tree:
    """The inverse of ``scatter``: slots -> arrays of all folds, without padding.

    Args:
      tree: leaves [D, L, ...].
      slots: where folds run.

    Returns:
      Leaves [K, ...], NumPy.
    """
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: slots.num_folds], jax.device_get(tree))


@functools.lru_cache(maxsize=8)
def _programs(init: Callable, epoch: Callable, devices: tuple[jax.Device, ...]) -> tuple[Callable, ...]:
    """(copy to devices, start, go on, one epoch), mapped over slots; kept, so that equal sizes compile once."""
    options = {"axis_name": "device", "devices": devices}
    over_folds = jax.vmap(epoch, in_axes=(0, 0, 0, None, None, None))
    step = jax.pmap(
        lambda state, fold, hyper, number, data: over_folds(state, fold, hyper, number, *data),
        in_axes=(0, 0, 0, None, 0),
        donate_argnums=0,
        **options,
    )
    share = jax.pmap(lambda _, tree: tree, in_axes=(0, None), **options)  # one copy per device, made once
    return share, jax.pmap(jax.vmap(init), **options), jax.pmap(lambda tree: tree, **options), step


def run(
    init: Callable[[Fold, Hyper], TrainState],
    epoch: Callable[..., tuple[TrainState, dict[str, Array]]],
    folds: Folds,
    hyper: Hyper,
    store: Store,
    windows: Windows,
    epochs: range,
    devices: Sequence[jax.Device],
    state: TrainState | None = None,
) -> Iterator[tuple[int, dict[str, np.ndarray], Callable[[], TrainState]]]:
    """Trains all folds, epoch by epoch, as one program.

    Args:
      init: (fold, hyper) -> state of one fold.
      epoch: (state, fold, hyper, number, store, windows) -> (state, metrics) of one fold.
      folds: K folds.
      hyper: scalars, shared by all folds, or [K].
      store: all inputs.
      windows: all training windows.
      epochs: numbers of the epochs to run.
      devices: the devices to use.
      state: leaves [K, ...], to go on from; None starts afresh.

    Yields:
      (epoch number, metrics [K], a function that copies the state, leaves [K, ...], to the host).
    """
    slots = make_slots(len(folds.name), devices)
    fold = scatter(Fold(folds.key, folds.positive, folds.negative), slots)
    hyper = scatter(Hyper(*(np.broadcast_to(value, (slots.num_folds,)) for value in hyper)), slots)
    share, start, go_on, step = _programs(init, epoch, slots.devices)
    data = share(np.arange(len(slots.devices)), (store, windows))
    current = start(fold, hyper) if state is None else go_on(scatter(state, slots))
    for number in epochs:
        current, metrics = step(current, fold, hyper, jnp.int32(number), data)
        yield number, collect(metrics, slots), lambda: collect(current, slots)  # noqa: B023
