"""Cross-validation as data, and the one program that trains all folds on all devices.

A fold is two lists of training windows and a list of test videos. ``run`` maps the training of one fold over folds,
``vmap`` on a device and ``pmap`` over devices; nothing is shared between folds, so nothing of a test subject can leak
into its fold.
"""

import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array, Folds, Hyper, Store, TrainState, Tree, VideoMeta, Windows
from fedn_jax.train import Fold

INNER = "/inner"  # ending of the name of an inner fold
STATE_COPIES = 2.5  # memory of a fold in units of its state: old and new state, gradients; activations come on top


def _fold(name: str, test: set[int], train: set[int], windows: Windows) -> tuple:
    """(name, positive windows, negative windows, test videos) of one fold."""
    mine = np.isin(windows.video, sorted(train))
    some = windows.events.valid.any(1)
    return name, np.flatnonzero(mine & some), np.flatnonzero(mine & ~some), tuple(sorted(test))


def _with_inner(name: str, test: set[int], units: dict[str, set[int]], share: float, windows: Windows) -> list[tuple]:
    """A fold and, unless ``share`` is 0, its inner fold, which holds out part of the training units."""
    names = sorted(unit for unit, videos in units.items() if not videos & test)
    train = set().union(*(units[unit] for unit in names))
    if share == 0:
        return [_fold(name, test, train, windows)]
    if len(names) < 2:
        raise UserError(
            f"fold {name!r} has {len(names)} subject or video to train on, and its inner fold needs 2; set "
            "folds.inner=0 to do without inner folds, with the threshold of evaluate.threshold"
        )
    count = min(len(names) - 1, max(1, round(share * len(names))))
    first = zlib.crc32(name.encode()) % len(names)
    held = set().union(*(units[names[(first + step) % len(names)]] for step in range(count)))
    return [_fold(name, test, train, windows), _fold(name + INNER, held, train - held, windows)]


def _stack(folds: Sequence[tuple]) -> Folds:
    """Pads the window lists to one length."""

    def pad(lists: list[np.ndarray]) -> np.ndarray:
        size = max(1, max(len(one) for one in lists))
        return np.stack([np.pad(one, (0, size - len(one)), constant_values=-1) for one in lists]).astype(np.int32)

    names, positive, negative, test = zip(*folds, strict=True)
    for name, windows in zip(names, positive, strict=True):
        if not len(windows):
            raise UserError(f"fold {name!r} has no training window with an expression: nothing to learn from")
    keys = np.array([zlib.crc32(name.encode()) for name in names], np.uint32)
    return Folds(tuple(names), keys, pad(positive), pad(negative), tuple(test))


def plan_loso(metas: Sequence[VideoMeta], windows: Windows, inner: float, k: int = 0) -> Folds:
    """Leave one subject out (FEDN section 4.2): every subject is the test subject of one fold.

    Args:
      metas: V videos.
      windows: all training windows.
      inner: share of the training subjects that the inner fold holds out.
      k: unused.

    Returns:
      Each subject's fold and, unless ``inner`` is 0, right after it the inner one of its training subjects.

    Raises:
      UserError: too few subjects, or a fold without an expression to learn from.
    """
    del k
    subjects: dict[str, set[int]] = {}
    for index, meta in enumerate(metas):
        subjects.setdefault(meta.subject, set()).add(index)
    if len(subjects) < 2:
        raise UserError(
            f"leave-one-subject-out needs at least 2 subjects, 3 with inner folds; got {', '.join(subjects)}; "
            "set folds.scheme=kfold to split by video"
        )
    folds = [_with_inner(name, subjects[name], subjects, inner, windows) for name in sorted(subjects)]
    return _stack([fold for pair in folds for fold in pair])


def plan_kfold(metas: Sequence[VideoMeta], windows: Windows, inner: float, k: int = 5) -> Folds:
    """k folds by video; a subject may be in training and test (FESNet's scheme), so scores are optimistic.

    Args:
      metas: V videos.
      windows: all training windows.
      inner: share of the training videos that the inner fold holds out.
      k: number of folds.

    Returns:
      Each fold and, unless ``inner`` is 0, right after it its inner one.

    Raises:
      UserError: k outside [2, V], or a fold without an expression to learn from.
    """
    if not 2 <= k <= len(metas):
        raise UserError(f"folds.k must lie between 2 and the number of videos ({len(metas)}); got {k}")
    units = {f"{meta.subject}/{meta.video}": {index} for index, meta in enumerate(metas)}
    order = sorted(units, key=lambda name: (zlib.crc32(name.encode()), name))
    folds = []
    for number in range(k):
        test = set().union(*(units[name] for name in order[number::k]))
        folds.extend(_with_inner(f"fold{number + 1}of{k}", test, units, inner, windows))
    return _stack(folds)


SCHEMES: dict[str, Callable[..., Folds]] = {"loso": plan_loso, "kfold": plan_kfold}


def take(folds: Folds, chosen: Sequence[int]) -> Folds:
    """Some of the folds.

    Args:
      folds: K folds.
      chosen: their indices.

    Returns:
      The chosen folds, padded as before.
    """
    index = list(chosen)
    pick = lambda entries: tuple(entries[i] for i in index)  # noqa: E731
    return Folds(pick(folds.name), folds.key[index], folds.positive[index], folds.negative[index], pick(folds.test))


def steps_per_epoch(folds: Folds, batch_size: int, negatives: int) -> int:
    """Steps that the largest fold needs.

    Args:
      folds: K folds.
      batch_size: windows per step.
      negatives: negative windows per positive one.

    Returns:
      Steps, at least 1.
    """
    positive, negative = (folds.positive >= 0).sum(1), (folds.negative >= 0).sum(1)
    most = int((positive + np.minimum(negative, negatives * positive)).max())
    return max(1, -(-most // batch_size))


def memory_of(devices: Sequence[jax.Device], limit_gb: float) -> float:
    """Memory that folds may fill on one device.

    Args:
      devices: the devices that will run.
      limit_gb: the user's limit; 0 asks the device; where it does not tell (a CPU), all devices share 4 GB.

    Returns:
      Bytes.
    """
    if limit_gb > 0:
        return limit_gb * 1e9
    stats = [device.memory_stats() or {} for device in devices]
    return min(0.8 * one["bytes_limit"] if "bytes_limit" in one else 4e9 / len(devices) for one in stats)


def group(num_folds: int, state_bytes: int, memory: float, num_devices: int) -> list[range]:
    """Splits folds into equal groups that fit the devices' memory.

    Args:
      num_folds: K.
      state_bytes: size of one fold's training state.
      memory: bytes of one device that folds may fill.
      num_devices: D.

    Returns:
      Ranges of folds, as few as fit and as equal as can be.

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


def place(tree: Tree, slots: Slots) -> Tree:
    """Arrays of all folds -> slots.

    Args:
      tree: leaves [K, ...], NumPy.
      slots: where folds run.

    Returns:
      Leaves [D, L, ...], NumPy.
    """
    return jax.tree.map(lambda leaf: np.asarray(leaf)[slots.fold], tree)


def collect(tree: Tree, slots: Slots) -> Tree:
    """The inverse of ``place``: slots -> arrays of all folds, without padding.

    Args:
      tree: leaves [D, L, ...].
      slots: where folds run.

    Returns:
      Leaves [K, ...], NumPy.
    """
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:])[: slots.num_folds], tree)


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
    fold = place(Fold(folds.key, folds.positive, folds.negative), slots)
    hyper = place(Hyper(*(np.broadcast_to(value, (slots.num_folds,)) for value in hyper)), slots)
    share, start, go_on, step = _programs(init, epoch, slots.devices)
    data = share(np.arange(len(slots.devices)), (store, windows))
    current = start(fold, hyper) if state is None else go_on(place(state, slots))
    for number in epochs:
        current, metrics = step(current, fold, hyper, jnp.int32(number), data)
        yield number, collect(metrics, slots), lambda: collect(current, slots)  # noqa: B023
