"""Options of the optimiser that are off by default: by hand, against optax, in every way to run epochs."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy_task
from quick import run_as_users_compile
from safetensors.numpy import load_file
from toys import pictures, quiet, toy_config

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import TrainState
from fedn_jax.data.problem import make_problem
from fedn_jax.engine import fit, parameters, train_step, trainer

ON = {"train.clip_norm": 0.5, "train.warmup_steps": 5, "train.ema_decay": 0.9, "train.schedule": "cosine"}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.setattr(models, "TASKS", models.TASKS | toy_task.MODELS)


def with_options(**changes):
    config = toy_config()
    config.update_from_flattened_dict({"train.epochs": 3} | changes)
    return config


def run(configurations, folds, devices, epochs, state=None):
    """State of the folds of each configuration, after some epochs."""
    maker = trainer.make_trainer(configurations[0], make_problem(configurations[0], pictures()))
    shares = [(index, folds) for index in range(len(configurations))]
    _, program = trainer.make_program(maker, configurations, shares, devices)
    for _, _, get_state in maker.driver.run(program, epochs, state):
        final = get_state()
    return final


def test_off_there_is_nothing_of_them():
    hyper = configs.to_hyper(configs.default())
    assert hyper.clip_norm is None and hyper.ema_decay is None
    assert train_step.make_factor("constant", 0, 10) is None
    task = SimpleNamespace(init=lambda key: {"params": jnp.zeros(2)})
    fold = train_step.Fold(np.uint32(0), *[np.zeros(1, np.int32)] * 2, np.ones(3, np.float32))
    assert train_step.init_state(task, fold, hyper).mean is None


def test_a_gradient_is_clipped_before_l2_is_added():
    hyper = configs.to_hyper(configs.default())._replace(weight_decay=0.5, clip_norm=jnp.float32(1))
    optimizer, param = train_step.make_optimizer(hyper), {"a": jnp.array(2.0), "b": jnp.array(0.0)}
    for gradient, clipped in (((3.0, 4.0), (0.6, 0.8)), ((0.3, 0.4), (0.3, 0.4))):  # of norm 5, and 0.5
        _, state = optimizer.update(
            dict(zip("ab", map(jnp.array, gradient), strict=True)), optimizer.init(param), param
        )
        (adam,) = [one for one in state if isinstance(one, optax.ScaleByAdamState)]
        np.testing.assert_allclose(
            [adam.mu["a"], adam.mu["b"]], 0.1 * (np.array(clipped) + [0.5 * 2.0, 0.0]), rtol=1e-6
        )


def test_the_rate_rises_in_even_steps():
    rate = train_step.make_factor("constant", 4, 10)
    np.testing.assert_allclose([rate(jnp.int32(step)) for step in range(6)], [0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-6)
    both, cosine = (train_step.make_factor("cosine", steps, 10) for steps in (4, 0))
    expected = [float(cosine(jnp.int32(step)) * rate(jnp.int32(step))) for step in range(12)]
    np.testing.assert_allclose([both(jnp.int32(step)) for step in range(12)], expected, rtol=1e-6)
    assert train_step.make_factor("constant", 1, 10) is None  # the first update has the whole rate


def test_the_mean_is_that_of_optax():
    values, ema = np.random.default_rng(0).normal(size=30).astype(np.float32), optax.ema(0.9)
    state, oracle = TrainState(7.0, {}, (), jnp.int32(0), (7.0, {})), ema.init(jnp.float32(0))
    for step, value in enumerate(values):
        mean = train_step._running_mean(state, value, {}, jnp.float32(0.9))
        state = state._replace(mean=mean, step=jnp.int32(step + 1))
        expected, oracle = ema.update(value, oracle)
        np.testing.assert_allclose(mean[0], expected, rtol=1e-4, atol=1e-6)
    two = train_step._running_mean(TrainState(0, {}, (), jnp.int32(1), (1.0, {})), 2.0, {}, jnp.float32(0.5))
    np.testing.assert_allclose(two[0], (0.5 * 1 + 1 * 2) / 1.5, rtol=1e-6)


def test_both_drivers_give_the_same_bits():
    run_as_users_compile(__file__, "compare_drivers")


def compare_drivers():
    models.TASKS |= toy_task.MODELS
    scanned, stepped = (
        run([with_options(**ON, task=task)], [0], jax.devices()[:1], range(3)) for task in ("toy", "toy_by_steps")
    )
    jax.tree.map(np.testing.assert_array_equal, scanned, stepped)


def test_any_devices_and_a_stop_in_between_change_nothing():
    scanned = run([with_options(**ON)], [0], jax.devices()[:1], range(3))
    several = [with_options(**ON), with_options(**ON | {"train.clip_norm": 5.0, "train.ema_decay": 0.5})]
    together = run(several, [0, 1], jax.devices()[:2], range(3))
    half = run(several, [0, 1], jax.devices()[:2], range(1))
    jax.tree.map(np.testing.assert_array_equal, together, run(several, [0, 1], jax.devices()[:2], range(1, 3), half))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b[0], atol=2e-5), scanned, together)
    params, mean = (jax.tree.leaves(tree) for tree in (together.params, together.mean[0]))
    assert max(np.abs(a[0] - b[0]).max() for a, b in zip(mean, params, strict=True)) > 1e-3  # the mean lags
    assert max(np.abs(a[0] - a[2]).max() for a in params) > 1e-3  # other numbers, another network


def test_the_network_of_a_run_is_the_mean_also_from_a_checkpoint_on(tmp_path):
    for epochs in (2, 3):
        config = with_options(**ON | {"train.schedule": "constant", "train.keep_state": True, "train.epochs": epochs})
        fit.fit([fit.Run(tmp_path, config)], pictures(), quiet, ["s0"])
    expected = parameters.variables_of(*train_step.trained(run([config], [0], jax.devices()[:1], range(3))), 0)
    found = load_file(parameters.path_of(tmp_path, "s0"))
    for name, value in parameters._flat(expected).items():
        np.testing.assert_array_equal(found[name], value)


def test_what_is_on_belongs_to_the_structure_and_how_much_does_not():
    of = lambda name, value: configs.structure(with_options(**{f"train.{name}": value}))
    for name in ("clip_norm", "ema_decay"):
        assert of(name, 0.0) != of(name, 0.5) == of(name, 0.9)
    for name, value, said in (("ema_decay", 1.0, "at least 0 and at most 0.999999"), ("clip_norm", -1.0, "at least 0"),
                              ("warmup_steps", -1, "at least 0")):  # fmt: skip
        with pytest.raises(UserError, match=f"train.{name} must .*{said}"):
            configs.validate(with_options(**{f"train.{name}": value}))
