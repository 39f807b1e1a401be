"""The one program that trains all folds on all devices.

``run`` maps the training of one fold over folds, ``vmap`` on a device and ``pmap`` over devices; nothing is shared
between folds, so nothing of a test subject can leak into its fold.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fedn_jax.core import errors
from fedn_jax.core.types import Array, Folds, Hyper, Store, TrainState, Tree, Windows
from fedn_jax.engine import compiled
from fedn_jax.engine.train_step import Fold


def join_pod(environment: Mapping[str, str]) -> bool:
    """On the hosts of a TPU pod, tells JAX of one another, without which it does not start there.

    Each process still uses its own devices only, and nothing is communicated between them. To be called first.

    Args:
      environment: of the process; Cloud TPU names the hosts of a pod in TPU_WORKER_HOSTNAMES.

    Returns:
      Whether this is a pod of several hosts.
    """
    several = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
    pod = several and environment.get("JAX_PLATFORMS", "tpu") in ("", "tpu")
    if pod:
        jax.distributed.initialize()
    return pod


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


def place(tree: Tree, devices: tuple[jax.Device, ...]) -> Tree:
    """Puts one row of every leaf on each device; nothing is copied twice.

    Args:
      tree: leaves [D, ...] on the host.
      devices: D.

    Returns:
      Leaves [D, ...], on the devices.
    """
    sharding = NamedSharding(Mesh(np.array(devices), "device"), PartitionSpec("device"))
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)


def _on_every_device(tree: Tree, count: int) -> Tree:
    """Leaves [...] -> [D, ...], views."""
    return jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), (count, *np.shape(leaf))), tree)


@functools.lru_cache(maxsize=8)
def _mapped(init: Callable, epoch: Callable, devices: tuple[jax.Device, ...]) -> tuple[Callable, Callable]:
    """(start, one epoch), mapped over slots."""
    options = {"axis_name": "device", "devices": devices}
    over_folds = jax.vmap(epoch, in_axes=(0, 0, 0, None, None, None))
    step = jax.pmap(
        lambda state, fold, hyper, number, data: over_folds(state, fold, hyper, number, *data),
        in_axes=(0, 0, 0, None, 0),
        donate_argnums=0,
        **options,
    )
    start = jax.pmap(lambda fold, hyper: jax.lax.map(lambda one: init(*one), (fold, hyper)), **options)
    return start, step  # fold by fold: drawn at once, the weights of many folds need more memory than a step


# ---- One program -----------------------------------------------------------------------------------------------------


class Program(NamedTuple):
    """The training of some folds, and where it runs; made by ``make_program``."""

    init: Callable[[Fold, Hyper], TrainState]
    epoch: Callable[..., tuple[TrainState, dict[str, Array]]]
    slots: Slots
    fold: Fold  # [D, L, ...], NumPy
    hyper: Hyper  # [D, L], NumPy
    data: tuple[Store, Windows]  # [D, ...], views


def make_program(
    init: Callable[[Fold, Hyper], TrainState],
    epoch: Callable[..., tuple[TrainState, dict[str, Array]]],
    folds: Folds,
    hyper: Hyper,
    store: Store,
    windows: Windows,
    devices: Sequence[jax.Device],
) -> Program:
    """The training of folds as one program; nothing is compiled or copied yet.

    Args:
      init: (fold, hyper) -> state of one fold.
      epoch: (state, fold, hyper, number, store, windows) -> (state, metrics) of one fold.
      folds: K folds.
      hyper: scalars, shared by all folds, or [K].
      store: all inputs.
      windows: all training windows.
      devices: the devices to use; for ``lower`` also those of a topology that is not here.

    Returns:
      The program.
    """
    slots = make_slots(len(folds.name), devices)
    own = in_slots(folds, hyper, slots)
    return Program(init, epoch, slots, *own, _on_every_device((store, windows), len(slots.devices)))


def in_slots(folds: Folds, hyper: Hyper, slots: Slots) -> tuple[Fold, Hyper]:
    """What differs between folds, where they run.

    Args:
      folds: K folds.
      hyper: scalars, shared by all folds, or [K].
      slots: where folds run.

    Returns:
      Leaves [D, L, ...], NumPy.
    """
    fold = scatter(Fold(folds.key, folds.positive, folds.negative, folds.census), slots)
    return fold, scatter(jax.tree.map(lambda value: np.broadcast_to(value, (slots.num_folds,)), hyper), slots)


def lower(program: Program) -> Any:
    """One epoch of a program, traced and not compiled yet.

    Args:
      program: of ``make_program``.

    Returns:
      ``jax.stages.Lowered``.
    """
    return _lower(program.init, program.epoch, program.slots.devices, _shapes(program))


def _shapes(program: Program) -> tuple:
    """What the arguments of an epoch are, beside the state and its number; can be a key."""
    return compiled.shapes_of((program.fold, program.hyper, program.data))


def _lower(init: Callable, epoch: Callable, devices: tuple[jax.Device, ...], shapes: tuple) -> Any:
    start, step = _mapped(init, epoch, devices)
    fold, hyper, data = jax.tree.unflatten(*shapes)
    return step.lower(jax.eval_shape(start, fold, hyper), fold, hyper, jax.ShapeDtypeStruct((), np.int32), data)


@functools.lru_cache(maxsize=8)
def _compile(init: Callable, epoch: Callable, devices: tuple[jax.Device, ...], shapes: tuple, modes: tuple) -> Any:
    """(start, one epoch), compiled for arguments of these shapes under these settings; equal ones compile once."""
    del modes
    fold, hyper, _ = jax.tree.unflatten(*shapes)
    start, _ = _mapped(init, epoch, devices)
    return start.lower(fold, hyper).compile(), _lower(init, epoch, devices, shapes).compile()


def _compiled(program: Program) -> Any:
    return _compile(program.init, program.epoch, program.slots.devices, _shapes(program), compiled.modes())


def memory_needed(program: Program) -> tuple[int, int]:
    """Memory of a program, as its compiler says; what is compiled is kept for ``run``.

    Args:
      program: of ``make_program``.

    Returns:
      (bytes of one device, those of the data, which do not grow with the folds).
    """
    fixed = sum(leaf.nbytes for leaf in jax.tree.leaves(program.data)) // len(program.slots.devices)
    start, step = map(compiled.bytes_of, _compiled(program))
    return max(start + fixed, step), fixed


def run(
    program: Program, epochs: range, state: TrainState | None = None
) -> Iterator[tuple[int, dict[str, np.ndarray], Callable[..., Tree]]]:
    """Trains all folds of a program, epoch by epoch.

    Args:
      program: of ``make_program``.
      epochs: numbers of the epochs to run.
      state: leaves [K, ...], to go on from; None starts afresh.

    Yields:
      (epoch number, metrics [K], a function that copies the state, leaves [K, ...], to the host; given a function of
      the state it copies only what that returns).
    """
    (start, step), slots = _compiled(program), program.slots
    fold, hyper, data = (place(tree, slots.devices) for tree in (program.fold, program.hyper, program.data))
    current = start(fold, hyper) if state is None else place(scatter(state, slots), slots.devices)
    del state
    for number in epochs:
        current, metrics = step(current, fold, hyper, jnp.int32(number), data)
        yield number, collect(metrics, slots), lambda part=lambda whole: whole: collect(part(current), slots)  # noqa: B023
