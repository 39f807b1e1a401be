import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import tiny_config, toy_data

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.core.types import Hyper, Store, TrainState, VideoMeta
from fedn_jax.data import splits
from fedn_jax.engine import parallel, steps, train_step
from fedn_jax.ops import windows

GEOMETRY = windows.Geometry(32, 8, 2)


def quickly_compiled():
    """One level without attention: what is tested is how folds are mapped, which is the same for every network."""
    config = tiny_config()
    config.anchors.reaches = [[0, 64]]
    config.model.update(segment_fusion="mean", window_attention="none", head="coupled")
    return config


def planned():
    store, metas, events = toy_data()
    return store, metas, windows.plan(metas, events, GEOMETRY, 16, 0.9)


def test_loso_tests_every_video_once_and_never_trains_on_its_subject():
    _, metas, plan = planned()
    got = splits.plan_loso(metas, plan, 0.25)
    outer = [k for k, name in enumerate(got.name) if not name.endswith(splits.INNER)]
    assert [got.name[k] for k in outer] == ["s0", "s1", "s2", "s3"]
    assert sorted(video for k in outer for video in got.test[k]) == list(range(len(metas)))
    for k, name in enumerate(got.name):
        subject = name.removesuffix(splits.INNER)
        trained = {metas[plan.video[w]].subject for w in (*got.positive[k], *got.negative[k]) if w >= 0}
        tested = {metas[video].subject for video in got.test[k]}
        assert subject not in trained and not trained & tested
        if name.endswith(splits.INNER):
            assert subject not in tested and len(tested) == 1  # a quarter of three subjects
        else:
            assert tested == {subject} and len(trained) == 3


def test_a_data_set_is_left_out_with_all_its_subjects():
    _, metas, plan = planned()
    names = {"s0": "a/s0", "s1": "a/s1", "s2": "b/s0", "s3": "c/s0"}
    merged = [meta._replace(subject=names[meta.subject]) for meta in metas]
    got = splits.plan_datasets(merged, plan, 0.5)
    assert got.name == ("a", "a/inner", "b", "b/inner", "c", "c/inner")
    for k, name in enumerate(got.name):
        trained = {merged[plan.video[w]].subject for w in (*got.positive[k], *got.negative[k]) if w >= 0}
        tested = {merged[video].subject for video in got.test[k]}
        own = {subject for subject in names.values() if subject.split("/")[0] == name.split("/")[0]}
        assert not trained & own and not trained & tested
        if name.endswith(splits.INNER):  # by subject, of the other data sets
            assert tested and trained | tested == set(names.values()) - own
        else:
            assert tested == own and trained == set(names.values()) - own
    with pytest.raises(ValueError, match=r"needs the data of `fedn merge`.*; got subject 's0'"):
        splits.plan_datasets(metas, plan, 0.5)
    alone = [meta._replace(subject=f"a/{meta.subject}") for meta in metas]
    with pytest.raises(ValueError, match="got one data set, a"):
        splits.plan_datasets(alone, plan, 0.5)
    with pytest.raises(ValueError, match="ends as inner folds do"):
        splits.plan_loso([meta._replace(subject=f"{meta.subject}/inner") for meta in metas], plan, 0.5)


def test_windows_are_positive_or_negative():
    _, metas, plan = planned()
    got = splits.plan_loso(metas, plan, 0.25)
    for k in range(len(got.name)):
        assert plan.events.valid[got.positive[k][got.positive[k] >= 0]].any(1).all()
        assert not plan.events.valid[got.negative[k][got.negative[k] >= 0]].any()


def test_kfold_by_video():
    _, metas, plan = planned()
    got = splits.plan_kfold(metas, plan, 0.25, 3)
    outer = [k for k, name in enumerate(got.name) if not name.endswith(splits.INNER)]
    assert len(outer) == 3
    assert sorted(video for k in outer for video in got.test[k]) == list(range(len(metas)))
    with pytest.raises(ValueError, match="folds.k must lie between 2 and"):
        splits.plan_kfold(metas, plan, 0.25, 99)


def test_too_few_subjects_are_refused():
    _, metas, plan = planned()
    one = [VideoMeta("s0", *meta[1:]) for meta in metas]
    with pytest.raises(ValueError, match="at least 2 subjects, 3 with inner folds; got s0; set folds.scheme=kfold"):
        splits.plan_loso(one, plan, 0.25)
    two = [VideoMeta(f"s{i % 2}", *meta[1:]) for i, meta in enumerate(metas)]
    with pytest.raises(ValueError, match="set folds.inner=0"):
        splits.plan_loso(two, plan, 0.25)


def test_without_inner_folds():
    _, metas, plan = planned()
    two = [VideoMeta(f"s{i % 2}", *meta[1:]) for i, meta in enumerate(metas)]
    assert splits.plan_loso(two, plan, 0.0).name == ("s0", "s1")
    assert splits.plan_kfold(metas, plan, 0.0, 2).name == ("fold1of2", "fold2of2")


@pytest.mark.parametrize("count", [1, 3, 5, 8, 22])
@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_slots_hold_every_fold(count, num_devices):
    slots = parallel.make_slots(count, jax.devices()[:num_devices])
    assert set(slots.fold.ravel()) == set(range(count))
    used, per_device = slots.fold.shape
    assert per_device == math.ceil(count / num_devices) and used == math.ceil(count / per_device)  # none to spare
    tree = {"a": np.arange(count) * 10.0, "b": np.arange(count * 2).reshape(count, 2)}
    back = parallel.collect(parallel.scatter(tree, slots), slots)
    np.testing.assert_array_equal(back["a"], tree["a"])
    np.testing.assert_array_equal(back["b"], tree["b"])


@pytest.mark.parametrize(
    ("environment", "pod"),
    [
        ({}, False), ({"TPU_WORKER_HOSTNAMES": "localhost"}, False), ({"TPU_WORKER_HOSTNAMES": "t0,t1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "t0,t1", "JAX_PLATFORMS": "cpu"}, False),
    ],
)  # fmt: skip
def test_the_hosts_of_a_pod_are_joined(monkeypatch, environment, pod):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda: calls.append(1))
    assert parallel.join_pod(environment) == pod == bool(calls)


def test_memory_needed_holds_state_data_and_work():
    _, metas, plan = planned()
    every = splits.plan_loso(metas, plan, 0.25)
    inputs = np.zeros((1000, 100), np.float32)

    def epoch(state, fold, hyper, number, store, windows):
        products = jnp.sort(store.inputs @ store.inputs.T)  # [1000, 1000] on the way
        return state._replace(params=state.params + products.sum()), {"loss": products.sum()}

    init = lambda fold, hyper: TrainState(jnp.zeros(250_000) * hyper.loss["alpha"], {}, {}, jnp.int32(0))
    hyper = Hyper(np.float32(1), np.float32(1), np.uint32(0), {"alpha": np.float32(1)})
    program = lambda folds: parallel.make_program(init, epoch, folds, hyper, store, plan, jax.devices()[:1])
    ask = lambda folds: parallel.memory_needed(program(folds))
    store = Store(inputs, np.ones(1000, bool))
    one, two = (ask(splits.take(every, range(count))) for count in (1, 2))
    assert one[1] == two[1] >= inputs.nbytes
    assert two[0] - one[0] >= 1e6 and one[0] >= inputs.nbytes + 1e6 + 4e6  # 250,000 numbers of state; the products


def nothing_learned(fold, hyper, number, num_windows):
    return jnp.zeros((1, 2), jnp.int32), jnp.int32(0)


EPOCHS = {  # driver -> an epoch that needs next to no memory
    parallel: lambda state, fold, hyper, number, store, windows: (state, {"loss": state.params.sum()}),
    steps: steps.Epoch(nothing_learned, lambda state, *given: (state, {"loss": state.params.sum()}, {}), GEOMETRY),
}


@pytest.mark.parametrize("driver", EPOCHS, ids=["scan", "steps"])
def test_memory_of_the_start_is_counted_and_does_not_grow_with_the_folds(driver):
    store, metas, plan = planned()
    every = splits.plan_loso(metas, plan, 0.25)

    def init(fold, hyper):
        drawn = jax.random.normal(train_step.fold_key(hyper, fold), (1000, 1000))
        return TrainState((drawn @ drawn).sum(0), {}, {}, jnp.int32(0))

    hyper = Hyper(np.float32(1), np.float32(1), np.uint32(0), {})
    make = lambda folds: driver.make_program(init, EPOCHS[driver], folds, hyper, store, plan, jax.devices()[:1])
    two, six = (driver.memory_needed(make(splits.take(every, range(count))))[0] for count in (2, 6))
    assert two > 4e6 and six - two < 1e6  # drawn for one fold after another: of each only its state stays


def train_folds(chosen, num_devices, epochs=2):
    """Final parameters, by fold name."""
    store, metas, plan = planned()
    config = quickly_compiled()
    task = models.make_task(config, GEOMETRY, 2, (8,))
    every = splits.plan_loso(metas, plan, 0.25)
    some = every if chosen is None else splits.take(every, chosen)
    number = splits.steps_per_epoch(some, 8, 3)
    epoch = train_step.make_train_epoch(task, GEOMETRY, 8, 3, number)
    init = lambda fold, hyper: train_step.init_state(task, fold, hyper)
    devices = jax.devices()[:num_devices]
    program = parallel.make_program(init, epoch, some, configs.to_hyper(config), store, plan, devices)
    for _, _, get_state in parallel.run(program, range(epochs)):
        state = get_state()
    return {name: jax.tree.map(lambda leaf: leaf[k], state.params) for k, name in enumerate(some.name)}  # noqa: B023


def worst_difference(one, two):
    return max(float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True))


def test_a_fold_alone_equals_the_fold_among_all_on_any_number_of_devices():
    with jax.enable_x64(True):
        alone = train_folds([2], 1)["s1"]
        shorter = train_folds([2, 5, 7], 2)["s1"]  # another number of padded steps and slots
        assert worst_difference(alone, shorter) <= 1e-6
        among = {count: train_folds(None, count) for count in (1, 4)}
        for params in among.values():
            assert worst_difference(alone, params["s1"]) <= 1e-6
        assert worst_difference(among[1], among[4]) <= 1e-6
        assert worst_difference(among[1]["s1"], among[1]["s2"]) > 1e-3  # folds do differ


def test_gradients_are_not_summed_over_devices():
    """Four folds whose gradients are 1, 2, 3 and 4 must keep them."""
    _, metas, plan = planned()
    every = splits.take(splits.plan_loso(metas, plan, 0.25), range(4))

    def epoch(state, fold, hyper, number, store, windows):
        gradient = jax.grad(lambda bias: bias * hyper.loss["alpha"])(state.params)
        return state._replace(params=state.params - gradient), {"g": gradient}

    alpha = np.arange(1, 5, dtype=np.float32)
    init = lambda fold, hyper: TrainState(np.float32(0) * hyper.loss["alpha"], {}, {}, np.int32(0))
    store = Store(np.zeros((1, 1), np.float32), np.ones(1, bool))
    hyper = Hyper(0 * alpha, 0 * alpha, np.zeros(4, np.uint32), {"alpha": alpha})
    program = parallel.make_program(init, epoch, every, hyper, store, plan, jax.devices())
    for _, metrics, get_state in parallel.run(program, range(1)):
        np.testing.assert_array_equal(metrics["g"], alpha)
        np.testing.assert_array_equal(get_state().params, -alpha)
