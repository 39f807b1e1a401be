"""Training step by step: the host gathers the next batch from the disk while the devices work.

For inputs that do not fit a device, such as frames, and for convolutions, which XLA compiles badly inside loops and
mapped over folds. A device holds one fold at a time in work and the states of its others. Folds, draws, keys and
checkpoints are those of ``parallel``; nothing is shared between folds.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core.types import Array, Folds, Hyper, Store, Task, TrainState, Tree, Windows
from fedn_jax.engine import compiled, parallel, train_step
from fedn_jax.engine.parallel import Slots
from fedn_jax.engine.train_step import Fold
from fedn_jax.ops import windows as windowing


class Epoch(NamedTuple):
    """What an epoch of one fold is made of."""

    draw: Callable[..., tuple[Array, Array]]  # (fold, hyper, number, windows of the data) -> [steps, B] int32, shift []
    step: Callable[..., Any]  # (state, number, index, got, events, weight, fold, hyper) -> (state, means, sums)
    geometry: windowing.Geometry


def make_epoch(
    task: Task, geometry: windowing.Geometry, batch_size: int, negatives: int, steps: int,
    factor: train_step.Factor | None = None, shifts: int = 1,
) -> Epoch:  # fmt: skip
    """The parts of an epoch, see ``train_step.make_train_epoch``, which has the same draws and keys.

    Args:
      task: the model.
      geometry: how windows are cut.
      batch_size: windows per step, B.
      negatives: negative windows per positive one.
      steps: steps of an epoch, enough for the largest fold.
      factor: of ``train_step.make_factor``.
      shifts: places that the windows of an epoch may begin at, see ``windows.plan``.

    Returns:
      The parts.
    """
    update = train_step.make_update(task, factor)

    def draw(fold: Fold, hyper: Hyper, number: Array, num_windows: int) -> tuple[Array, Array]:
        key, _ = train_step.epoch_keys(hyper, fold, number)
        drawn = train_step.draw(key, fold, num_windows, negatives, steps * batch_size)
        return drawn.reshape(steps, batch_size), train_step.shift(hyper, fold, number, shifts)

    def step(state: TrainState, number: Array, index: Array, got: Any, events: Any, weight: Array, fold: Fold, hyper):
        _, key = train_step.epoch_keys(hyper, fold, number)
        return update(state, jax.random.fold_in(key, index), got, events, weight, fold, hyper)

    return Epoch(draw, step, geometry)


class Program(NamedTuple):
    """The training of some folds, and where it runs; made by ``make_program``."""

    init: Callable[[Fold, Hyper], TrainState]
    epoch: Epoch
    slots: Slots
    fold: Fold  # [D, L, ...], NumPy
    hyper: Hyper  # [D, L], NumPy
    store: Store  # on the host
    windows: Windows  # on the host


def make_program(
    init: Callable[[Fold, Hyper], TrainState],
    epoch: Epoch,
    folds: Folds,
    hyper: Hyper,
    store: Store,
    windows: Windows,
    devices: Sequence[jax.Device],
) -> Program:
    """The training of folds as one program; nothing is compiled or copied yet.

    Args:
      init: (fold, hyper) -> state of one fold.
      epoch: of ``make_epoch``.
      folds: K folds.
      hyper: scalars, shared by all folds, or [K].
      store: all inputs; may be mapped from a file.
      windows: all training windows.
      devices: the devices to use.

    Returns:
      The program.
    """
    slots = parallel.make_slots(len(folds.name), devices)
    return Program(init, epoch, slots, *parallel.in_slots(folds, hyper, slots), store, windows)


@functools.lru_cache(maxsize=8)
def _mapped(init: Callable, epoch: Epoch, devices: tuple[jax.Device, ...], num_windows: int) -> tuple[Callable, ...]:
    """(start, draw, step), over devices and one fold of each, [D, 1, ...]: so a step has the bits of one in a scan."""
    axes = (0, None, None, 0, 0, 0, 0, 0)
    options = {"axis_name": "device", "devices": devices}
    draw = functools.partial(epoch.draw, num_windows=num_windows)
    return (
        jax.pmap(jax.vmap(init), **options),
        jax.pmap(jax.vmap(draw, in_axes=(0, 0, None)), in_axes=(0, 0, None), **options),
        jax.pmap(jax.vmap(epoch.step, in_axes=axes), in_axes=axes, donate_argnums=0, **options),
    )


def _functions(program: Program) -> tuple[Callable, ...]:
    return _mapped(program.init, program.epoch, program.slots.devices, len(program.windows.start))


def _column(tree: Tree, index: int) -> Tree:
    """Leaves [D, L, ...] -> [D, 1, ...], those of the devices' folds number ``index``."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:, index : index + 1], tree)


def _batch(
    program: Program, index: int, batch: np.ndarray, shift: np.ndarray
) -> tuple[windowing.Gathered, Any, np.ndarray]:
    """(inputs, events, weight) of a batch [D, 1, B] of the devices' folds number ``index``, moved by [D, 1]; NumPy."""
    own = program.fold.positive[:, index : index + 1, 0]  # see train_step.rows_of
    rows = np.where(batch >= 0, batch, own[..., None])
    chosen = jax.tree.map(lambda column: np.asarray(column)[rows], program.windows)
    chosen = windowing.shifted(chosen, shift[..., None], program.epoch.geometry)
    got = windowing.gather_host(program.store, chosen, program.epoch.geometry)
    return got, chosen.events, (batch >= 0).astype(np.float32)


def memory_needed(program: Program) -> tuple[int, int]:
    """Memory of a program, as its compiler says: a start or a step, and the states of folds that wait.

    Args:
      program: of ``make_program``.

    Returns:
      (bytes of one device, those that do not grow with the folds).
    """
    start, step = map(compiled.bytes_of, _compiled(program))
    first = jax.eval_shape(_functions(program)[0], _column(program.fold, 0), _column(program.hyper, 0))
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(first)) // len(program.slots.devices)
    return max(start, step) + (program.slots.fold.shape[1] - 1) * state, step - state


def _compiled(program: Program) -> Any:
    """(start, one step) of a fold on each device, compiled; kept, so that equal ones compile once."""
    start, draw, _ = _functions(program)
    fold, hyper = _column(program.fold, 0), _column(program.hyper, 0)
    batches, shift = jax.eval_shape(draw, fold, hyper, jnp.int32(0))
    none = np.zeros((batches.shape[0], 1, batches.shape[3]), np.int32)
    given = _batch(program, 0, none, np.zeros(shift.shape, np.int32))
    scalar = jax.ShapeDtypeStruct((), np.int32)
    arguments = (jax.eval_shape(start, fold, hyper), scalar, scalar, *given, fold, hyper)
    shapes, windows = compiled.shapes_of(arguments), len(program.windows.start)
    return _compile(program.init, program.epoch, program.slots.devices, windows, shapes, compiled.modes())


@functools.lru_cache(maxsize=8)
def _compile(
    init: Callable, epoch: Epoch, devices: tuple[jax.Device, ...], num_windows: int, shapes: tuple, modes: tuple
) -> Any:
    del modes
    start, _, step = _mapped(init, epoch, devices, num_windows)
    arguments = jax.tree.unflatten(*shapes)
    return start.lower(*arguments[-2:]).compile(), step.lower(*arguments).compile()


def run(
    program: Program, epochs: range, state: TrainState | None = None
) -> Iterator[tuple[int, dict[str, np.ndarray], Callable[..., Tree]]]:
    """Trains all folds of a program, epoch by epoch, one fold of a device after another.

    Args:
      program: of ``make_program``.
      epochs: numbers of the epochs to run.
      state: leaves [K, ...], to go on from; None starts afresh.

    Yields:
      As ``parallel.run``.
    """
    slots, (start, step) = program.slots, _compiled(program)
    draw = _functions(program)[1]
    place = functools.partial(parallel.place, devices=slots.devices)
    indices = range(slots.fold.shape[1])
    given = [(place(_column(program.fold, i)), place(_column(program.hyper, i))) for i in indices]
    if state is None:
        states = [start(*one) for one in given]
    else:
        whole = parallel.scatter(state, slots)
        states = [place(_column(whole, i)) for i in indices]
        del whole
    del state

    def copied(part: Callable[[TrainState], Tree] = lambda whole: whole) -> Tree:
        columns = [jax.device_get(part(one)) for one in states]
        return parallel.collect(jax.tree.map(lambda *leaves: np.concatenate(leaves, 1), *columns), slots)

    with ThreadPoolExecutor(1) as thread:  # gathers ahead
        for number in epochs:
            metrics = []
            for i in indices:
                batches, shift = jax.device_get(draw(*given[i], jnp.int32(number)))  # [D, 1, steps, B], [D, 1]
                used = max(1, int((batches >= 0).any((0, 1, 3)).sum()))  # padding is at the end
                fetch = lambda index, i=i, batches=batches, shift=shift: place(
                    _batch(program, i, batches[:, :, index], shift)
                )
                ahead, numbers = thread.submit(fetch, 0), []
                for index in range(used):
                    batch = ahead.result()
                    if index + 1 < used:
                        ahead = thread.submit(fetch, index + 1)
                    states[i], *parts = step(states[i], jnp.int32(number), jnp.int32(index), *batch, *given[i])
                    numbers.append(parts)
                stacked = jax.tree.map(lambda *steps: np.stack(steps, 2), *jax.device_get(numbers))
                metrics.append(jax.device_get(jax.vmap(jax.vmap(train_step.total))(*stacked)))
            yield number, parallel.collect(jax.tree.map(lambda *m: np.concatenate(m, 1), *metrics), slots), copied
