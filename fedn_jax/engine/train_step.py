"""Training as one pure function of one fold: no files, no clock, no other fold (FEDN section 4.2)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedn_jax.core.keys import fold_name
from fedn_jax.core.types import Array, Context, Events, Hyper, Store, Task, TrainState, Tree, Windows
from fedn_jax.ops import windows as windowing


class Fold(NamedTuple):
    """One fold, as ``Folds`` without its K axis."""

    key: Array  # [] uint32, crc32 of the fold's name
    positive: Array  # [P] int32, -1 pads
    negative: Array  # [Q] int32, -1 pads
    census: Array  # [C] float32


def make_optimizer(hyper: Hyper) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient before the moments, as ``torch.optim.Adam(weight_decay=...)``; not AdamW.

    Args:
      hyper: learning rate, weight decay and, if any, the largest norm of a gradient (may be traced).

    Returns:
      The optimiser.
    """
    clip = () if hyper.clip_norm is None else (optax.clip_by_global_norm(hyper.clip_norm),)
    return optax.chain(
        *clip,
        optax.add_decayed_weights(hyper.weight_decay),
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
        optax.scale_by_learning_rate(hyper.learning_rate),
    )


def fold_key(hyper: Hyper, fold: Fold) -> Array:
    """The key of a fold: the same whether it runs alone or among others.

    Args:
      hyper: holds the seed.
      fold: holds the checksum of the fold's name.

    Returns:
      A typed PRNG key.
    """
    return jax.random.fold_in(jax.random.key(hyper.seed), fold.key)


def epoch_keys(hyper: Hyper, fold: Fold, number: Array) -> tuple[Array, Array]:
    """The keys of an epoch.

    Args:
      hyper: holds the seed.
      fold: one fold.
      number: [] int32, of the epoch.

    Returns:
      (for ``draw``, to be folded with the number of a step), typed PRNG keys.
    """
    key = jax.random.fold_in(fold_name(fold_key(hyper, fold), "epochs"), number)
    return fold_name(key, "draw"), fold_name(key, "steps")


def shift(hyper: Hyper, fold: Fold, number: Array, shifts: int) -> Array:
    """By how much the windows of an epoch begin later than planned.

    Args:
      hyper: holds the seed.
      fold: one fold.
      number: [] int32, of the epoch.
      shifts: how many places there are; 1: windows stay.

    Returns:
      [] int32, segments.
    """
    if shifts == 1:
        return jnp.int32(0)
    key = jax.random.fold_in(fold_name(fold_key(hyper, fold), "phase"), number)
    return jax.random.randint(key, (), 0, shifts)


def init_state(task: Task, fold: Fold, hyper: Hyper) -> TrainState:
    """The state before the first step.

    Args:
      task: the model.
      fold: one fold.
      hyper: its numbers.

    Returns:
      TrainState of one fold.
    """
    variables = dict(task.init(fold_name(fold_key(hyper, fold), "init")))
    params = variables.pop("params")
    mean = None if hyper.ema_decay is None else (params, variables)
    return TrainState(params, variables, make_optimizer(hyper).init(params), jnp.int32(0), mean)


def trained(state: TrainState) -> tuple[Tree, Tree]:
    """What prediction takes of a training state.

    Args:
      state: of one fold or of many.

    Returns:
      (params, extra): their running means, if there are any, else those of the last update.
    """
    return (state.params, state.extra) if state.mean is None else state.mean


def _running_mean(state: TrainState, params: Tree, extra: Tree, decay: Array) -> tuple[Tree, Tree]:
    """The mean of the state, one update later: that of all parameters so far, weighted by decay^(their age).

    It is what ``optax.ema`` gives with its correction for the zeros that it starts from, without these zeros.
    """
    share = (1 - decay) / (1 - decay ** (state.step + 1))
    return optax.incremental_update((params, extra), state.mean, share)


def draw(key: Array, fold: Fold, num_windows: int, negatives: int, size: int) -> Array:
    """The windows of one epoch, in order: all positive ones and up to ``negatives`` times as many negative ones.

    Every window gets its random numbers by its index in the data set, so the order does not depend on how far the
    lists of the fold are padded.

    Args:
      key: of ``epoch_keys``.
      fold: one fold.
      num_windows: windows of the data set, W.
      negatives: negative windows per positive one.
      size: length of the result.

    Returns:
      [size] int32, windows; -1 pads, at the end.
    """
    fold = jax.tree.map(jnp.asarray, fold)
    lot, rank = jax.random.uniform(key, (2, num_windows))
    lots = jnp.where(fold.negative >= 0, lot[fold.negative], jnp.inf)
    order = jnp.argsort(lots, stable=True)
    taken = jnp.arange(order.size) < negatives * (fold.positive >= 0).sum()
    chosen = jnp.concatenate([fold.positive, jnp.where(taken, fold.negative[order], -1)])
    ranks = jnp.where(chosen >= 0, rank[chosen], jnp.inf)
    chosen = chosen[jnp.argsort(ranks, stable=True)]
    return jnp.pad(chosen, (0, max(0, size - chosen.size)), constant_values=-1)[:size].astype(jnp.int32)


# Factor of the learning rate, given the share of the training that is done, in [0, 1].
SCHEDULES: dict[str, Callable[[Array], Array] | None] = {
    "constant": None,
    "cosine": lambda done: 0.5 * (1 + jnp.cos(jnp.pi * done)),
    # CEFLNet's code: of 120 epochs 10 to warm up, and three quarters of a cosine that would end at 160.
    "warm_cosine": lambda done: 0.5 * (1 + jnp.cos(0.75 * jnp.pi * done)) * jnp.minimum(1, 0.1 + 12 * done),
}


Factor = Callable[[Array], Array]  # (updates done [] int32) -> factor of the learning rate


def make_factor(schedule: str, warmup: int, updates_in_all: int) -> Factor | None:
    """How the learning rate changes with the updates.

    Args:
      schedule: entry of ``SCHEDULES``.
      warmup: updates during which the rate rises to its value in even steps, beside what the schedule does.
      updates_in_all: of the whole training.

    Returns:
      The factor; None: it does not change.
    """
    shape = SCHEDULES[schedule]
    falls = shape and (lambda step: shape(jnp.minimum(step / updates_in_all, 1)))
    if warmup < 2:  # the first update has the whole rate
        return falls
    rises = optax.linear_schedule(1 / warmup, 1.0, warmup - 1)
    return (lambda step: falls(step) * rises(step)) if falls else rises


def make_update(task: Task, factor: Factor | None = None) -> Callable:
    """One update on the inputs of one batch.

    Args:
      task: the model.
      factor: of ``make_factor``.

    Returns:
      update(state, key, got [B, ...], events [B, E], weight [B], fold, hyper) -> (state, means, sums): numbers to be
      averaged over steps, and to be added up. A batch that is all padding leaves the state as it was: Adam with
      weight decay would move it.
    """

    def update(
        state: TrainState, key: Array, got: windowing.Gathered, events: Events, weight: Array, fold: Fold, hyper: Hyper
    ):
        targets = jax.vmap(task.targets)(events)
        context = Context(weight, got.valid, got.inside, jnp.asarray(fold.census))

        def objective(params):
            outputs, extra = task.apply({"params": params, **state.extra}, got, weight, True, key)
            loss, parts = task.loss(outputs, targets, context, hyper)
            return loss, (extra, parts)

        (loss, (extra, parts)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = make_optimizer(hyper).update(grads, state.opt_state, state.params)
        if factor is not None:
            scale = factor(state.step)
            updates = jax.tree.map(lambda change: scale * change, updates)
        params = optax.apply_updates(state.params, updates)
        mean = None if hyper.ema_decay is None else _running_mean(state, params, extra, hyper.ema_decay)
        new = TrainState(params, extra, opt_state, state.step + 1, mean)
        some = weight.sum() > 0
        new = jax.tree.map(lambda after, before: jax.lax.select(some, after, before), new, state)
        sums = {name: (values * weight).sum() for name, values in task.tally(targets).items()}
        return new, {"loss": loss, **parts}, sums | {"windows": weight.sum()}

    return update


def make_train_step(
    task: Task, geometry: windowing.Geometry, factor: Factor | None = None, shifts: int = 1
) -> Callable:
    """One update on one batch, gathered from the store on the device.

    Args:
      task: the model.
      geometry: how windows are cut.
      factor: of ``make_factor``.
      shifts: places that windows may begin at, see ``windows.plan``; above 1 the step takes one of them.

    Returns:
      step(state, key, batch [B] int32 with -1 for padding, fold, hyper, store, windows, later=0) -> (state, means,
      sums), as ``make_update``; later [] int32, of ``shift``.
    """
    update = make_update(task, factor)

    def step(
        state: TrainState, key: Array, batch: Array, fold: Fold, hyper: Hyper, store: Store, windows: Windows,
        later: Array | int = 0,
    ):  # fmt: skip
        store, windows = jax.tree.map(jnp.asarray, (store, windows))
        row, weight = rows_of(batch, fold)
        chosen = jax.tree.map(lambda column: column[row], windows)
        if shifts > 1:
            chosen = windowing.shifted(chosen, later, geometry)
        gather = jax.vmap(windowing.gather, in_axes=(None, 0, 0, 0, 0, None))
        got = gather(store, chosen.row, chosen.num_rows, chosen.start, chosen.num_segments, geometry)
        return update(state, key, got, chosen.events, weight, fold, hyper)

    return step


def rows_of(batch: Array, fold: Fold) -> tuple[Array, Array]:
    """The windows that a batch gathers: padding shows one of the fold's own, never another fold's test subject.

    Args:
      batch: [B] int32, -1 pads.
      fold: one fold, whose first training window exists.

    Returns:
      (windows [B] int32, weight [B] float, 0 for padding).
    """
    real = batch >= 0
    return jnp.where(real, batch, jnp.asarray(fold.positive)[0]), real.astype(float)


def total(means: dict[str, Array], sums: dict[str, Array]) -> dict[str, Array]:
    """Numbers of the steps of an epoch as those of the epoch.

    Args:
      means: name -> [steps], to be averaged over steps with data.
      sums: name -> [steps], to be added up; "windows" tells which steps have data.

    Returns:
      name -> [].
    """
    used = (sums["windows"] > 0).astype(float)
    averages = {name: (value * used).sum() / jnp.maximum(used.sum(), 1) for name, value in means.items()}
    return averages | {name: value.sum() for name, value in sums.items()}


def make_train_epoch(
    task: Task, geometry: windowing.Geometry, batch_size: int, negatives: int, steps: int,
    factor: Factor | None = None, shifts: int = 1,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:  # fmt: skip
    """One epoch of one fold as one call.

    Args:
      task: the model.
      geometry: how windows are cut.
      batch_size: windows per step, B.
      negatives: negative windows per positive one.
      steps: steps of an epoch, enough for the largest fold; those that a fold does not need change nothing.
      factor: of ``make_factor``.
      shifts: places that the windows of an epoch may begin at, see ``windows.plan``.

    Returns:
      epoch(state, fold, hyper, number, store, windows) -> (state, metrics), as ``total``.
    """
    step = make_train_step(task, geometry, factor, shifts)

    def epoch(state: TrainState, fold: Fold, hyper: Hyper, number: Array, store: Store, windows: Windows):
        draw_key, step_key = epoch_keys(hyper, fold, number)
        later = shift(hyper, fold, number, shifts)
        drawn = draw(draw_key, fold, windows.start.shape[0], negatives, steps * batch_size)
        batches = drawn.reshape(steps, batch_size)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, jnp.arange(steps))

        def one(state: TrainState, xs: tuple[Array, Array]):
            state, *numbers = step(state, *xs, fold, hyper, store, windows, later)
            return state, numbers

        state, numbers = jax.lax.scan(one, state, (keys, batches))
        return state, total(*numbers)

    return epoch
