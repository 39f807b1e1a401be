"""Every row of every configuration: it loads, it fits its data, and its loss can be built."""

import functools

import jax
import numpy as np
import pytest
from toys import toy_data

from fedn_jax import models
from fedn_jax.cli import config_files
from fedn_jax.core import config as configs
from fedn_jax.core.types import Context
from fedn_jax.data import shards
from fedn_jax.data.problem import make_problem
from fedn_jax.ops import windows

SMALL = {"model.width": 16, "model.head_width": 16, "model.heads": 2, "model.groups": 4, "model.head_depth": 1}
SPECS = [f"{name}:{row}" if row else name for name in config_files.names() for row in ["", *config_files.rows(name)]]
BUILT = {
    spec for spec in SPECS if spec.partition(":")[0] in ("casme2", "fesnet")
}  # the same rows as elsewhere, at other sizes
SEEN = []  # what was traced already


@functools.cache
def toy_dataset(frames_per_row, frames=False):
    store, metas, events = toy_data()
    if frames:
        store = store._replace(inputs=np.zeros((len(store.valid), 112, 112, 3), np.uint8))
    frames = [meta._replace(num_frames=meta.num_frames * frames_per_row) for meta in metas]
    metadata = {"signature": "toy", "classes": ["a", "b"], "frames_per_row": frames_per_row}
    return shards.Dataset(store, frames, events, np.zeros((len(store.valid), 12, 2), np.float16), metadata)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_row(spec):
    overrides = [f"--config.{key}={value}" for key, value in SMALL.items()]
    overrides += [] if "fesnet" in spec else ["--config.data.kind=macro"]
    config = config_files.load(spec, overrides)
    assert config.is_locked
    frames = models.TASKS[config.task].frames
    dataset = toy_dataset(2 if config.model.segment_fusion == "none" else 1, frames)
    problem = make_problem(config, dataset)
    sections = {name: config[name].to_dict() for name in ("data", "window", "anchors", "model", "fesnet", "loss")}
    if spec in BUILT and sections not in SEEN:  # rows that differ in their training only have one loss
        assert jax.eval_shape(functools.partial(loss, problem, config)).shape == ()
        SEEN.append(sections)


def loss(problem, config):
    """The loss of the first window."""
    task, chosen = problem.task, jax.tree.map(lambda column: column[:1], problem.windows)
    gather = jax.vmap(windows.gather, in_axes=(None, 0, 0, 0, 0, None))
    got = gather(problem.store, chosen.row, chosen.num_rows, chosen.start, chosen.num_segments, problem.geometry)
    variables = task.init(jax.random.key(0))
    outputs, _ = task.apply(variables, got, np.ones(1), True, jax.random.key(1))
    targets = jax.vmap(task.targets)(chosen.events)
    context = Context(np.ones(1), got.valid, got.inside, np.ones(3))
    return task.loss(outputs, targets, context, configs.to_hyper(config))[0]


def test_the_rows_of_the_paper_are_in_every_configuration_of_its_data():
    for name in ("casme2", "casme3", "demo", "demo_tables"):
        assert set(configs.PAPER_ROWS) <= set(config_files.rows(name))
