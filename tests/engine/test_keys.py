"""Every random key is either sampled from, once, or folded into others: read off the traced programs."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from toys import tiny_config, toy_data

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.data import splits
from fedn_jax.engine import train_step
from fedn_jax.ops import windows

SAMPLES, DERIVES = {"random_bits"}, {"random_fold_in", "random_split"}


def uses_of_keys(jaxpr, keys, counts):
    """Counts how often each key is sampled and derived from; returns the keys that come out."""
    known = dict(zip(jaxpr.invars, keys, strict=True))
    fresh = lambda var: object() if jax.dtypes.issubdtype(var.aval.dtype, jax.dtypes.prng_key) else None  # noqa: E731
    for equation in jaxpr.eqns:
        given = [None if hasattr(var, "val") else known.get(var) for var in equation.invars]
        name = equation.primitive.name
        if name in SAMPLES | DERIVES:
            counts["sampled" if name in SAMPLES else "derived", given[0]] += 1
        inner = next((equation.params[key] for key in ("jaxpr", "call_jaxpr") if key in equation.params), None)
        if inner is not None and name != "scan":
            out = uses_of_keys(getattr(inner, "jaxpr", inner), given, counts)
        else:
            if inner is not None:  # of an array of keys every turn is given its own
                turns = zip(given, equation.invars, inner.jaxpr.invars, strict=True)
                taken = [key and (key if var.aval.shape == turn.aval.shape else object()) for key, var, turn in turns]
                uses_of_keys(inner.jaxpr, taken, counts)
            moved = name in ("squeeze", "reshape", "broadcast_in_dim", "convert_element_type")
            out = [given[0]] if moved else [fresh(var) for var in equation.outvars]
        known |= dict(zip(equation.outvars, out, strict=True))
    return [None if hasattr(var, "val") else known.get(var) for var in jaxpr.outvars]


def reused(function, *args):
    closed, counts = jax.make_jaxpr(function)(*args), Counter()
    keys = [object() if jax.dtypes.issubdtype(v.aval.dtype, jax.dtypes.prng_key) else None for v in closed.jaxpr.invars]
    uses_of_keys(closed.jaxpr, keys, counts)
    sampled = {key: number for (use, key), number in counts.items() if use == "sampled"}
    assert sampled and None not in sampled
    return [key for key, number in sampled.items() if number > 1 or counts["derived", key]]


def test_training_uses_every_key_once():
    config = tiny_config()
    config.model.dropout = 0.1
    geometry = windows.Geometry(config.window.segments, 8, 2)
    store, metas, events = toy_data()
    plan = windows.plan(metas, events, geometry, 16, 0.9)
    folds = splits.plan_loso(metas, plan, 0.0)
    task = models.make_task(config, geometry, 2, (8,))
    fold = train_step.Fold(folds.key[0], folds.positive[0], folds.negative[0], folds.census[0])
    hyper = configs.to_hyper(config)
    assert reused(lambda fold: train_step.init_state(task, fold, hyper), fold) == []
    state = jax.eval_shape(lambda: train_step.init_state(task, fold, hyper))
    epoch = train_step.make_train_epoch(task, geometry, 8, 3, 2)
    assert reused(lambda state: epoch(state, fold, hyper, jnp.int32(1), store, plan), state) == []


def test_the_check_can_fail():
    key = jax.random.key(0)
    assert len(reused(lambda key: jax.random.uniform(key, ()) + jax.random.uniform(key, ()), key)) == 1
    assert len(reused(lambda k: jax.random.uniform(k, ()) + jax.random.uniform(jax.random.fold_in(k, 1), ()), key)) == 1
    assert reused(lambda k: [jax.random.uniform(jax.random.fold_in(k, i), ()) for i in np.arange(2)], key) == []
