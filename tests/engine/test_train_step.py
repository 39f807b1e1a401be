import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import tiny_config

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.data import splits
from fedn_jax.engine import train_step
from fedn_jax.engine.train_step import Fold
from fedn_jax.ops import windows

NONE = np.zeros(0, np.float32)  # nothing is counted


@pytest.fixture(scope="module")
def setting():
    from toys import toy_data

    store, metas, events = toy_data()
    config = tiny_config()
    geometry = windows.Geometry(32, 8, 2)
    plan = windows.plan(metas, events, geometry, 16, 0.9)
    task = models.make_task(config, geometry, 2, (8,))
    fold_plan = splits.plan_loso(metas, plan, 0.25)
    fold = Fold(fold_plan.key[0], fold_plan.positive[0], fold_plan.negative[0], fold_plan.census[0])
    return config, geometry, store, plan, task, fold, configs.to_hyper(config)


@pytest.fixture(scope="module")
def programs(setting):
    """(start, step, epoch of 12 steps), compiled once for the tests in float64."""
    config, geometry, store, plan, task, fold, hyper = setting
    start = jax.jit(lambda fold, hyper: train_step.init_state(task, fold, hyper))
    return (
        start,
        jax.jit(train_step.make_train_step(task, geometry)),
        jax.jit(train_step.make_train_epoch(task, geometry, 8, 3, 12)),
    )


def test_adam_adds_l2_to_the_gradient():
    """Three steps by hand, as torch.optim.Adam computes them."""
    hyper = configs.to_hyper(configs.default())._replace(learning_rate=0.1, weight_decay=0.5)
    optimizer = train_step.make_optimizer(hyper)
    w, m, v = 2.0, 0.0, 0.0
    param = jnp.array(w)
    state = optimizer.init(param)
    for step in range(1, 4):
        gradient = 3.0 * w  # of 1.5 w^2
        updates, state = optimizer.update(3.0 * param, state, param)
        param = param + updates
        g = gradient + 0.5 * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(param, w, rtol=1e-5)


def test_draw_takes_all_positives_and_some_negatives():
    fold = Fold(np.uint32(1), np.array([0, 2, -1], np.int32), np.array([1, 3, 4, 5, 6, 7, 8, -1], np.int32), NONE)
    seen = set()
    for epoch in range(20):
        drawn = np.asarray(train_step.draw(jax.random.key(epoch), fold, 10, 2, 12))
        real = drawn[drawn >= 0]
        assert len(real) == len(set(real)) == 6 and {0, 2} <= set(real)
        assert (drawn[6:] == -1).all()
        seen |= set(real.tolist())
    assert seen == set(range(9))  # negatives are redrawn


def test_draw_does_not_depend_on_padding():
    key = jax.random.key(3)
    short = Fold(np.uint32(1), np.array([0, 2], np.int32), np.array([1, 3, 4], np.int32), NONE)
    long = Fold(
        short.key,
        np.pad(short.positive, (0, 5), constant_values=-1),
        np.pad(short.negative, (0, 9), constant_values=-1),
        NONE,
    )
    np.testing.assert_array_equal(train_step.draw(key, short, 10, 1, 20), train_step.draw(key, long, 10, 1, 20))


def test_a_batch_of_padding_leaves_the_state_untouched(setting, programs):
    config, geometry, store, plan, task, fold, hyper = setting
    start, step, _ = programs
    with jax.enable_x64(True):
        state, *_ = step(start(fold, hyper), jax.random.key(0), np.arange(8, dtype=np.int32), fold, hyper, store, plan)
        after, means, sums = step(state, jax.random.key(1), np.full(8, -1, np.int32), fold, hyper, store, plan)
    for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(one, two)
    assert float(sums["windows"]) == 0 and np.isfinite(float(means["loss"]))


def test_padding_of_a_batch_changes_nothing(setting, programs):
    config, geometry, store, plan, task, fold, hyper = setting
    start, step, _ = programs
    with jax.enable_x64(True):
        state = start(fold, hyper)
        batch = np.arange(5, dtype=np.int32)
        one, *_ = step(state, jax.random.key(0), batch, fold, hyper, store, plan)
        two, *_ = step(state, jax.random.key(0), np.pad(batch, (0, 3), constant_values=-1), fold, hyper, store, plan)
        assert worst_difference(one.params, two.params) < 1e-9


def worst_difference(one, two):
    return max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True))


def test_an_epoch_is_its_steps(setting, programs):
    config, geometry, store, plan, task, fold, hyper = setting
    start, step, epoch = programs
    with jax.enable_x64(True):
        state = start(fold, hyper)
        got, metrics = epoch(state, fold, hyper, 4, store, plan)
        draw_key, step_key = train_step.epoch_keys(hyper, fold, 4)
        batches = train_step.draw(draw_key, fold, len(plan.start), 3, 96).reshape(12, 8)
        for index, batch in enumerate(batches):
            state, *_ = step(state, jax.random.fold_in(step_key, index), batch, fold, hyper, store, plan)
        assert got.step == state.step == (np.asarray(batches).max(1) >= 0).sum()
        assert worst_difference(got.params, state.params) < 1e-9
        assert metrics["windows"] == (batches >= 0).sum()


def test_it_solves_the_toy(setting, programs):
    config, geometry, store, plan, task, fold, hyper = setting
    start, _, epoch = programs
    with jax.enable_x64(True):
        state, losses = start(fold, hyper), []
        for number in range(12):
            state, metrics = epoch(state, fold, hyper, number, store, plan)
            losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.3 * losses[0]
