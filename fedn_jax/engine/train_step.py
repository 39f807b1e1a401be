"""Training as one pure function of one fold: no files, no clock, no other fold (FEDN section 4.2)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedn_jax.core.keys import fold_name
from fedn_jax.core.types import Array, Hyper, Store, Task, TrainState, Windows
from fedn_jax.ops import windows as windowing


class Fold(NamedTuple):
    """One fold, as ``Folds`` without its K axis."""

    key: Array  # [] uint32, crc32 of the fold's name
    positive: Array  # [P] int32, -1 pads
    negative: Array  # [Q] int32, -1 pads


def make_optimizer(hyper: Hyper) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient before the moments, as ``torch.optim.Adam(weight_decay=...)``; not AdamW.

    Args:
      hyper: learning rate and weight decay (may be traced).

    Returns:
      The optimiser.
    """
    return optax.chain(
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
    return TrainState(params, variables, make_optimizer(hyper).init(params), jnp.int32(0))


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


def make_train_step(task: Task, geometry: windowing.Geometry) -> Callable:
    """One update on one batch.

    Args:
      task: the model.
      geometry: how windows are cut.

    Returns:
      step(state, key, batch [B] int32 with -1 for padding, store, windows, hyper) -> (state, metrics). A batch that
      is all padding leaves the state as it was: Adam with weight decay would move it.
    """

    def step(state: TrainState, key: Array, batch: Array, store: Store, windows: Windows, hyper: Hyper):
        store, windows = jax.tree.map(jnp.asarray, (store, windows))
        weight = (batch >= 0).astype(float)
        chosen = jax.tree.map(lambda column: column[jnp.maximum(batch, 0)], windows)
        gather = jax.vmap(windowing.gather, in_axes=(None, 0, 0, 0, 0, None))
        got = gather(store, chosen.row, chosen.num_rows, chosen.start, chosen.num_segments, geometry)
        targets = jax.vmap(task.targets)(chosen.events)

        def objective(params):
            variables = {"params": params, **state.extra}
            features = task.features(variables, got.inputs, got.valid)
            outputs, extra = task.outputs(variables, features, got.inside, True, key)
            loss, parts = task.loss(outputs, targets, weight, hyper)
            return loss, (extra, parts)

        (loss, (extra, parts)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = make_optimizer(hyper).update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new = TrainState(params, extra, opt_state, state.step + 1)
        some = weight.sum() > 0
        new = jax.tree.map(lambda after, before: jax.lax.select(some, after, before), new, state)
        metrics = {"loss": loss, **parts} | {
            "positives": (targets.positive.sum((1, 2)) * weight).sum(),
            "missed": (targets.missed * weight).sum(),
            "windows": weight.sum(),
        }
        return new, metrics

    return step


def make_train_epoch(
    task: Task, geometry: windowing.Geometry, batch_size: int, negatives: int, steps: int
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """One epoch of one fold as one call.

    Args:
      task: the model.
      geometry: how windows are cut.
      batch_size: windows per step, B.
      negatives: negative windows per positive one.
      steps: steps of an epoch, enough for the largest fold; those that a fold does not need change nothing.

    Returns:
      epoch(state, fold, hyper, number, store, windows) -> (state, metrics): losses are means over steps with data,
      ``positives``, ``missed`` and ``windows`` are sums over the epoch.
    """
    step = make_train_step(task, geometry)

    def epoch(state: TrainState, fold: Fold, hyper: Hyper, number: Array, store: Store, windows: Windows):
        draw_key, step_key = epoch_keys(hyper, fold, number)
        drawn = draw(draw_key, fold, windows.start.shape[0], negatives, steps * batch_size)
        batches = drawn.reshape(steps, batch_size)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(step_key, jnp.arange(steps))
        state, metrics = jax.lax.scan(
            lambda state, xs: step(state, xs[0], xs[1], store, windows, hyper), state, (keys, batches)
        )
        used = (metrics["windows"] > 0).astype(float)
        sums = ("positives", "missed", "windows")
        means = {
            name: (value * used).sum() / jnp.maximum(used.sum(), 1)
            for name, value in metrics.items()
            if name not in sums
        }
        return state, means | {name: metrics[name].sum() for name in sums}

    return epoch
