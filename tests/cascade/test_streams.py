"""STR's streams: which pairs are near an expression, by hand; that they learn to spot; and what is frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cascades import flow_of, spotter_of, toy_cascade
from toys import quiet

from fedn_jax.cascade import recognise, streams
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Events
from fedn_jax.engine import fit, output_files, parameters, predict, run_dir
from fedn_jax.models import strnet


def config_of(toy, grid=5):
    config = recognise.training_config(toy.config, "str")
    config.cascade.grid = grid
    return config


def test_the_next_expression_by_hand():
    interval = np.array([[10, 20], [30, 34]], np.float32)
    got = streams.next_expression(interval, np.array([0, 12, 19, 20, 33, 34]))
    assert got.interval[:, 0].tolist() == [[10, 20], [-2, 8], [-9, 1], [10, 14], [-3, 1], [0, 0]]
    assert got.valid[:, 0].tolist() == [True] * 5 + [False]
    assert not streams.next_expression(np.zeros((0, 2), np.float32), np.array([0, 5])).valid.any()


def test_a_fold_counts_half_the_mean_length_of_its_own_training_expressions():
    none = np.zeros(2, np.float32)
    videos = [Events(np.array([[0, a], [50, 50 + b]], np.float32), none, none, none, none) for a, b in
              ((10, 20), (30, 40), (50, 60))]  # fmt: skip
    assert streams.reaches(videos, [(0,), (1, 2)]).tolist() == [0.5 * 45, 0.5 * 15]


def test_they_do_not_depend_on_the_spotter(tmp_path):
    """Nothing of a spotter but the seed, the folds and the kind of expressions is in their configuration."""
    toy = toy_cascade(tmp_path)
    behind = lambda **changes: streams.training_config(recognise.training_config(changed(toy.config, changes), "str"))

    def changed(config, changes):
        config = config.copy_and_resolve_references()
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
        return config

    plain = behind().to_dict()
    assert plain == behind(data__recognition=False, model__width=32, loss__beta=3.0, train__epochs=7).to_dict()
    assert plain["train"]["epochs"] == 10 and plain["train"]["negatives"] == 5
    for other in ({"seed": 1}, {"folds__scheme": "kfold"}, {"data__kind": "all"}, {"cascade__grid": 3}):
        assert plain != behind(**other).to_dict()


def test_pairs_near_an_expression_and_away(tmp_path):
    """Of every fold, frame by frame; neither a pair without two faces nor one of a test subject is in its lists."""
    toy = toy_cascade(tmp_path)
    valid = toy.dataset.store.valid.copy()
    valid[203] = False  # of the second video; the pair that begins at its frame 0 ends there
    toy = toy._replace(dataset=toy.dataset._replace(store=toy.dataset.store._replace(valid=valid)))
    asked = []
    flow = lambda pairs: asked.extend(pairs.tolist()) or np.zeros((len(pairs), *strnet.SAMPLE), np.float16)
    problem = streams.make_problem(spotter_of(toy, flow), toy.named, config_of(toy))
    metas, folds = toy.dataset.metas, problem.folds
    assert asked[:2] == [[0, 3], [5, 8]] and len(asked) == len(metas) * 40 == len(problem.windows.row)
    assert [meta.num_rows for meta in problem.metas] == [40] * len(metas)
    for k, name in enumerate(folds.name):
        others = [video for video, meta in enumerate(metas) if meta.subject != name]
        lengths = np.concatenate([np.diff(toy.named.events[video].interval).ravel() for video in others])
        reach, near, away = lengths.mean() / 2, [], []
        for video in others:
            for number, first in enumerate(range(0, 197, 5)):
                if video == 1 and first == 0:
                    continue
                ahead = [a - first for a, b in toy.named.events[video].interval if b > first]
                (near if ahead and min(ahead) < reach else away).append(40 * video + number)
        assert folds.positive[k][folds.positive[k] >= 0].tolist() == near and near
        assert folds.negative[k][folds.negative[k] >= 0].tolist() == away and away
        assert folds.census[k, 0] == pytest.approx(reach)
    with pytest.raises(UserError, match="lower cascade.grid"):
        streams.make_problem(spotter_of(toy, flow), toy.named, config_of(toy, 199))


def test_they_learn_to_spot_and_stay_as_they_are(tmp_path, monkeypatch):
    """What spots on videos of a subject who was left out; then a recogniser is trained, and not a bit of them moves."""
    for name, value in {"train.epochs": 2, "train.batch_size": 16, "train.learning_rate": 1e-2}.items():
        monkeypatch.setitem(streams.TRAINING, name, value)
    toy = toy_cascade(tmp_path)
    config, spotter = config_of(toy, 10), spotter_of(toy, flow_of(toy))
    streams.train(spotter, toy.named, config, fit.facts_of(toy.named, toy.dataset), quiet)
    where = spotter.training / streams.DIRECTORY
    problem = streams.make_problem(spotter, toy.named, config)
    row = jax.ShapeDtypeStruct(strnet.SAMPLE, np.float16)
    shapes = predict.shapes_of_outputs(problem.task, problem.geometry, row)
    above = []
    for fold, test, reach in zip(problem.folds.name, problem.folds.test, problem.folds.census[:, 0], strict=True):
        for video in test:
            starts = np.arange(20, dtype=np.int32)
            got = output_files.load(run_dir.outputs_path(where, fold, problem.metas[video]), starts, shapes)
            rows = slice(20 * video, 20 * video + 20)
            near = problem.windows.events.valid[rows, 0] & (problem.windows.events.interval[rows, 0, 0] < reach)
            score = np.asarray(got["spotted"])
            above.append((score[near][:, None] > score[~near][None]).mean())
    assert np.mean(above) > 0.65  # by chance 0.5
    paths = {fold: parameters.path_of(where, fold) for fold in problem.folds.name}
    before = {fold: path.read_bytes() for fold, path in paths.items()}
    sample = streams.onset_to_apex(spotter, "s1")(0, np.array([[20, 40]]), np.array([30]))
    direct = strnet.Streams().apply(
        streams._load(spotter.training, "s1"), flow_of(toy)(np.array([[20, 30]])), False, jnp.ones(1, bool)
    )
    np.testing.assert_allclose(sample, direct, atol=2e-3, rtol=2e-3)
    assert sample.shape == (1, 14, 14, 14) and sample.dtype == np.float16
    assert before == {fold: path.read_bytes() for fold, path in paths.items()}
