"""FESNet: sizes, masks, losses by hand, and that it learns; against PyTorch see tests/torch_parity."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import quiet

from fedn_jax import models
from fedn_jax.cli import config_files
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Context, Events, Hyper, Store, VideoMeta
from fedn_jax.data import shards
from fedn_jax.engine import fit
from fedn_jax.evaluation import frame_views, run_evaluation
from fedn_jax.inference import new_video
from fedn_jax.models import layers
from fedn_jax.models.fesnet import losses, presets
from fedn_jax.models.fesnet.network import Mtam
from fedn_jax.ops import windows
from fedn_jax.reports import fesnet_figures

SIDE, LENGTH, BATCH = 16, 12, 3
CENSUS = np.float32([90, 9, 1])  # frames of each label in a training set


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def task_of(config, side, length=32):
    models.validate(config)
    return models.make_task(config, windows.Geometry(length, 1, 1), 2, (side, side, 3))


def small(**changes):
    config = presets.fesnet()
    config.fesnet.update(stem_width=4, stem_kernel=3, widths=[4, 6, 6, 8, 8], depth=1, heads=2, mlp=2.0)
    config.fesnet.update(temporal_width=6, refine_width=6)
    config.window.update(segments=LENGTH, train_hop=6, test_hop=6)
    config.update_from_flattened_dict(changes)
    return config


def test_shapes_and_counts_at_the_papers_size():
    task = task_of(presets.fesnet(), 112)
    variables = jax.eval_shape(task.init, jax.random.key(0))
    counts = {name: size(tree) for name, tree in variables["params"].items()}
    assert counts == {"lsdm": 4_056_387, "mtam": 248_353} and size(variables["params"]) == 4_304_740
    assert size(variables["batch_stats"]) == 6_400
    lsdm, mtam = variables["params"]["lsdm"], variables["params"]["mtam"]
    assert size(lsdm["positions"]) == 196 * 128 and size(lsdm["encoder_0"]) == 198_272
    assert [size(lsdm[f"ResidualBlock_{i}"]) for i in range(5)] == [78_208, 230_144, 295_424, 919_040, 1_180_672]
    assert size(lsdm["deconvolution"]) + size(lsdm["deconvolution_norm"]) == 524_544
    assert [size(mtam[f"block_{i}"]) for i in range(2)] == [52_111, 51_535]
    got = windows.Gathered(*(jax.ShapeDtypeStruct((2, 32, *shape), kind) for shape, kind in (
        ((112, 112, 3), np.uint8), ((), bool), ((), bool))))  # fmt: skip
    out = jax.eval_shape(lambda v, g: task.apply(v, g, jnp.ones(2), True, jax.random.key(0))[0], variables, got)
    shapes = {name: value.shape[2:] for name, value in out.items()}
    assert shapes["x"] == (14, 14, 128) and shapes["v"] == shapes["init"] == (128,)
    assert out["proposals"].shape == (2, 2, 5, 32, 3)
    assert shapes["spatial"] == shapes["temporal"] == shapes["final"] == (3,)


def test_counts_of_variants_and_of_the_demo():
    config = config_files.load("demo_fesnet", [])
    params = jax.eval_shape(task_of(config, 48).init, jax.random.key(0))["params"]
    assert size(params) == 122_348
    literal = jax.eval_shape(task_of(config_files.load("fesnet:literal", []), 112).init, jax.random.key(0))
    assert sum(size(literal["params"]["mtam"][f"block_{i}"]) for i in range(2)) == 375
    without = jax.eval_shape(task_of(config_files.load("fesnet:table3/no_mtam", []), 112).init, jax.random.key(0))
    assert set(without["params"]) == {"lsdm"}


@pytest.mark.parametrize("side", [112, 96, 64, 48])
def test_sides_that_fit(side):
    task_of(presets.fesnet(), side)


def test_a_side_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"frames of 56 pixels .* sides that do: 57, 58"):
        task_of(presets.fesnet(), 56)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fesnet.widths": [4, 4]}, "fesnet.widths must be a list of 5"),
        ({"fesnet.heads": 5}, "fesnet.heads must divide"), ({"fesnet.stem_kernel": 4}, "must be odd"),
        ({"fesnet.strides": [2, 2, 1, 1, 1]}, "must halve the map"), ({"loss.lsdm_form": "x"}, "loss.lsdm_form"),
        ({"window.stride": 2, "window.train_hop": 2, "window.test_hop": 2}, "reads single frames"),
        ({"window.test_hop": 30}, "window.test_hop must be at most"), ({"fesnet.refinement": "x"}, "fesnet.refinement"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        models.validate(small(**changes))


# ---- The network ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    """(task, variables that are not initial ones, a compiled step's loss and gradients, inputs)."""
    task = task_of(small(**{"fesnet.refine_layers": 2}), SIDE, LENGTH)
    rng = np.random.default_rng(0)
    draw = lambda leaf: (0.4 * rng.normal(size=leaf.shape) + (leaf.ndim < 2)).astype(np.float32)
    variables = jax.tree.map(draw, jax.eval_shape(task.init, jax.random.key(0)))
    variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])
    frames = rng.integers(0, 256, (BATCH, LENGTH, SIDE, SIDE, 3), dtype=np.uint8)
    label = rng.integers(0, 3, (BATCH, LENGTH)).astype(np.int32)
    one = np.float32(1)
    numbers = Hyper(one, one, np.uint32(0), {"gamma": one, "lsdm": one, "weight_power": one})

    @jax.jit
    def compiled(variables, frames, inside, weight, label, census):
        def objective(params):
            got = windows.Gathered(frames, inside, inside)
            out, others = task.apply({**variables, "params": params}, got, weight, True, jax.random.key(0))
            context = Context(weight, inside, inside, census)
            loss, parts = task.loss(out, label, context, numbers)
            return loss, (out, others, parts)

        return jax.value_and_grad(objective, has_aux=True)(variables["params"])

    def step(*given, census=CENSUS):  # always six arguments: one program
        return compiled(*given, census)

    return task, variables, step, frames, label


def test_padding_moves_nothing(network):
    _, variables, step, frames, label = network
    inside, weight = np.ones((BATCH, LENGTH), bool), np.array([1, 1, 0], np.float32)
    one = step(variables, frames, inside, weight, label)
    other, mirrored = frames.copy(), label.copy()
    other[2], mirrored[2] = 255 - other[2], mirrored[2, ::-1]
    (loss, (_, others, parts)), gradient = step(variables, other, inside, weight, mirrored)
    (expected, (_, before, same)), true = one
    jax.tree.map(np.testing.assert_array_equal, (loss, others, parts, gradient), (expected, before, same, true))
    assert np.isfinite(loss) and any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))
    (loss, (_, others, _)), gradient = step(variables, frames, inside, np.zeros(BATCH, np.float32), label)
    assert loss == 0 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    jax.tree.map(np.testing.assert_array_equal, others["batch_stats"], variables["batch_stats"])


def test_a_gap_may_hold_anything(network):
    _, variables, step, frames, label = network
    inside, weight = np.ones((BATCH, LENGTH), bool), np.ones(BATCH, np.float32)
    inside[0, 4:6], inside[1, 0] = False, False  # within, and where the base frame would be
    other, marked = frames.copy(), label.copy()
    other[~inside], marked[~inside] = 7, 2
    (loss, (out, others, _)), gradient = step(variables, frames, inside, weight, label)
    (again, (same, before, _)), true = step(variables, other, inside, weight, marked)
    jax.tree.map(np.testing.assert_array_equal, (loss, others, gradient), (again, before, true))
    np.testing.assert_array_equal(out["final"][inside], same["final"][inside])


def test_a_still_face_has_no_discrepancy(network):
    """Equal frames: x'' is the same for all, nothing deviates, and the gradient is finite there."""
    _, variables, step, frames, label = network
    still = np.repeat(frames[:, :1], LENGTH, 1)
    (loss, (out, _, parts)), gradient = step(
        variables, still, np.ones((BATCH, LENGTH), bool), np.ones(BATCH, np.float32), label
    )
    np.testing.assert_allclose(out["x"], np.repeat(out["x"][:, :1], LENGTH, 1), atol=1e-5)
    assert parts["deviation"] < 2e-4 and np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_the_base_frame_is_the_first_with_a_face(network):
    task, variables, _, frames, _ = network
    shift = np.roll(frames, 1, 1)  # the second frame is now the old first one
    inside = np.ones((BATCH, LENGTH), bool)
    apply = jax.jit(lambda g: task.apply(variables, g, jnp.ones(BATCH), False, jax.random.key(0))[0]["v"])
    late = inside.copy()
    late[:, 0] = False
    one, two = apply(windows.Gathered(frames, inside, inside)), apply(windows.Gathered(shift, late, late))
    np.testing.assert_allclose(one[:, :-1], two[:, 1:], atol=1e-5)
    assert np.abs(one[:, :-1] - apply(windows.Gathered(shift, inside, inside))[:, 1:]).max() > 1e-2


def test_the_field_of_aggregation_is_33_frames():
    module, length = Mtam(4, 4, 1, 5, 3), 80
    v, spatial, mask = np.zeros((1, length, 3), np.float32), np.zeros((1, length, 3), np.float32), np.ones((1, length))
    mask = mask > 0
    shapes = jax.eval_shape(lambda key: layers.init(module, key, v, spatial, mask, mask, False), jax.random.key(0))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32), shapes)
    moved = v.copy()
    moved[0, 40] = 1
    temporal = jax.jit(lambda x: module.apply(variables, x, spatial, mask, mask, False)["temporal"])
    one, two = temporal(v), temporal(moved)
    changed = np.flatnonzero(np.abs(one - two).max((0, 2)) > 0)
    assert set(changed) <= {40 + k * 2**layer for layer in range(5) for k in (-1, 0, 1)}
    assert (changed.min(), changed.max()) == (24, 56)


# ---- Losses ---------------------------------------------------------------------------------------------------------


def test_class_weights_are_inverse_shares():
    np.testing.assert_allclose(losses.class_weights(np.float32([90, 9, 1]), 1.0), [1 / 0.9, 1 / 0.09, 100], rtol=1e-6)
    np.testing.assert_allclose(losses.class_weights(np.float32([90, 10, 0]), 0.5), [0.9**-0.5, 0.1**-0.5, 0], rtol=1e-6)
    np.testing.assert_array_equal(losses.class_weights(np.float32([9, 1, 0]), 0.0), [1, 1, 0])


def test_label_loss_by_hand():
    logits = np.log(np.float32([[[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]]]))
    found = losses.label_loss(logits, np.array([[0, 2, 1]]), np.float32([1, 2, 10]), np.float32([[1, 1, 0]]))
    assert found == pytest.approx((1 * math.log(2) + 10 * -math.log(0.6)) / 11, rel=1e-6)
    assert losses.label_loss(logits, np.array([[0, 2, 1]]), np.float32([1, 2, 10]), np.zeros((1, 3), np.float32)) == 0


def test_smooth_loss_by_hand():
    probabilities = np.float32([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.5, 0.5]])
    proposals = np.log(np.broadcast_to(probabilities, (1, 2, 3, 4, 2)))  # S = 2 blocks of 3 layers
    counted = np.float32([[1, 1, 1, 0]])
    expected = 3 * (0 + (0.5**2 + 0.5**2)) / 2  # three layers, the mean of two pairs
    assert losses.smooth_loss(proposals, counted, "probabilities") == pytest.approx(expected, rel=1e-5)
    steps = np.diff(np.log(probabilities), axis=0)[:2] ** 2
    assert losses.smooth_loss(proposals, counted, "log_probabilities") == pytest.approx(3 * steps.mean(1).mean(), 1e-5)
    gradient = jax.grad(lambda x: losses.smooth_loss(x, counted, "log_probabilities"))(proposals)
    assert np.abs(gradient[..., 0, :]).max() == 0  # none into the earlier frame
    constant = np.zeros((1, 2, 3, 4, 2), np.float32)
    assert all(losses.smooth_loss(constant, counted, form) == 0 for form in losses.SMOOTHINGS)


@pytest.mark.parametrize(("form", "sign"), [("diverse", -1), ("compact", 1), ("norm", 1)])
def test_every_reading_of_eq_3_is_finite_and_monotone(form, sign):
    d = np.geomspace(1e-4, 1e6, 200)
    loss, _ = losses.LSDM_FORMS[form](jnp.float32(d**2), jnp.ones(200))
    assert np.isfinite(loss).all() and (sign * np.diff(loss) > -1e-6).all() and sign * (loss[-1] - loss[0]) > 0.5
    x = jnp.ones((2, 3, 2, 2, 4))  # nothing deviates
    mask = np.ones((2, 3), bool)
    gradient = jax.grad(lambda x: losses.lsdm_loss(x, mask, form, "time")[0])(x)
    assert np.isfinite(gradient).all()


def test_lsdm_loss_by_hand():
    x = np.zeros((2, 3, 1, 1, 2), np.float32)
    x[0, :, 0, 0, 0] = [1, 3, 50]  # the third frame does not count; mean 2, deviations 1, 1 of 4 numbers
    mask = np.array([[1, 1, 0], [1, 0, 0]], bool)  # the second interval has one frame: it has no deviation
    loss, d = losses.lsdm_loss(x, mask, "diverse", "time")
    assert d == pytest.approx(math.sqrt(2 / 4), rel=1e-5) and loss == pytest.approx(math.log(1 + math.sqrt(2)), 1e-5)
    for mean, squares in (("space", 0), ("all", 2)):  # one place: its mean is itself
        found, number = losses.deviation(x, mask, mean)
        assert number.tolist() == [4, 2] and found[0] == pytest.approx(squares)
    assert losses.lsdm_loss(x, np.zeros((2, 3), bool), "diverse", "time") == (0, 0)


# ---- It learns ------------------------------------------------------------------------------------------------------


def brightening(videos=4, frames=72, seed=0):
    """Noise in which a square brightens: red and long for macro-expressions, blue and brief for micro-expressions."""
    rng = np.random.default_rng(seed)
    inputs, metas, events = [], [], []
    for number in range(videos):
        x = rng.integers(90, 110, (frames, SIDE, SIDE, 3)).astype(np.uint8)
        onset = np.array([8, 44]) + rng.integers(-3, 4, 2)
        kind = rng.permutation(2).astype(np.int32)
        offset = onset + np.where(kind == 0, 16, 9)
        for a, b, k in zip(onset, offset, kind, strict=True):
            x[a:b, 4:12, 4:12, 2 * k] += 120
        metas.append(VideoMeta(f"s{number}", f"v{number}", frames, 30.0, 1, number * frames, frames))
        inputs.append(x)
        interval = np.stack([onset, offset], -1).astype(np.float32)
        events.append(Events(interval, interval.mean(-1), np.full(2, -1, np.int32), kind, np.ones(2, bool)))
    store = Store(np.concatenate(inputs), np.ones(videos * frames, bool))
    metadata = {"signature": "toy", "classes": [], "frames_per_row": 1, "dataset": "toy", "backbone": "none"}
    return shards.Dataset(store, metas, events, np.zeros((len(store.valid), 12, 2), np.float16), metadata)


def test_a_square_that_brightens_is_labelled(network):
    """One batch: the network can learn what moves when."""
    task, _, step, _, _ = network
    frames = np.random.default_rng(0).integers(90, 110, (BATCH, LENGTH, SIDE, SIDE, 3)).astype(np.uint8)
    label = np.zeros((BATCH, LENGTH), np.int32)
    for window, (a, b, kind) in enumerate([(4, 10, 0), (3, 7, 1)]):
        frames[window, a:b, 4:12, 4:12, 2 * kind] += 120
        label[window, a:b] = 1 + kind
    inside, weight = np.ones((BATCH, LENGTH), bool), np.ones(BATCH, np.float32)
    census = np.bincount(label.reshape(-1), minlength=3).astype(np.float32)
    variables = jax.jit(task.init)(jax.random.key(0))
    optimiser = optax.adam(3e-2)
    state, right = optimiser.init(variables["params"]), []
    for _ in range(40):
        (_, (out, others, _)), gradient = step(variables, frames, inside, weight, label, census=census)
        updates, state = optimiser.update(gradient, state)
        variables = {"params": optax.apply_updates(variables["params"], updates), **others}
        right.append((out["final"].argmax(-1) == label).mean())
    assert right[-1] > 0.9 > right[0]


def test_from_frames_to_files(tmp_path):
    """An epoch of two folds, by kinds: what is saved, written and counted."""
    config = small(**{"folds.k": 2, "train.epochs": 1, "train.flip": True, "train.schedule": "cosine"})
    config.update_from_flattened_dict({"train.keep_every": 1, "window.test_hop": LENGTH})
    config.fesnet.update(refine_stages=1, refine_layers=1)  # compiles in half the time
    dataset, run = brightening(), tmp_path / "run"
    fit.fit([fit.Run(run, config)], dataset, quiet)
    found = run_evaluation.evaluate_run(run, config, dataset, quiet)
    run_evaluation.write(found, run)
    kinds = found.metrics["kinds"]
    assert set(kinds["per_fold"]["folds"]) == {"fold1of2", "fold2of2"}
    assert kinds["by_kind"]["all"]["gt"] == 8 and 0 < kinds["labels"]["all_neutral"] < 1
    assert found.problem.classes == ["macro", "micro"]
    assert "backbone" in dataset.metadata and "backbone" not in found.metrics["data"]
    assert (run / "detections.csv").read_text().splitlines()[0].endswith("score,emotion,kind")
    with np.load(next((run / "outputs").rglob("*.npz"))) as saved:
        assert {name: saved[name].shape[1:] for name in saved} == {
            "spatial": (LENGTH, 3), "temporal": (LENGTH, 3), "final": (LENGTH, 3), "inside": (LENGTH,), "starts": (),
        }  # fmt: skip
    # Views of frames: each agrees with what the evaluation found another way.
    (last,) = frame_views.history(run, config, dataset, quiet)
    assert last.pop("epoch") == 1 and last == kinds  # windows do not overlap here either
    videos = {one.meta.video: one.labels for one in frame_views.labelled(run, config, dataset, ("spatial", "final"))}
    assert len(videos) == len(dataset.metas)
    for meta, expected in zip(dataset.metas, found.detections, strict=True):
        spans = fesnet_figures.segments(videos[meta.video]["final"])
        shown = sorted((*span, kind) for kind, several in spans.items() for span in several)
        named = zip(expected.interval[expected.valid], expected.emotion[expected.valid], strict=True)
        assert shown == sorted((int(a), int(b), found.problem.classes[kind]) for (a, b), kind in named)
        annotated = fesnet_figures.segments(videos[meta.video]["annotated"])
        assert {kind: len(spans) for kind, spans in annotated.items()} == {"macro": 1, "micro": 1} or meta.video != "v0"
    seen = frame_views.features(run, config, dataset, ("init", "v"), most=60)
    assert seen.fold == "fold1of2" and len(seen.label) <= 60 and np.bincount(seen.label).max() <= 20
    assert set(seen.subject) <= {found.problem.metas[video].subject for video in found.problem.folds.test[0]}
    assert all(column.shape == (len(seen.label), 6) for column in seen.features.values())

    # A detection in a video of one fold is what its evaluation found.
    model = new_video.load(run, "fold1of2")
    video = found.problem.folds.test[0][0]
    meta, expected = dataset.metas[video], found.detections[video]
    rows = slice(meta.row, meta.row + meta.num_rows)
    again = new_video.make_detector(model, 0.0)(dataset.store.inputs[rows], dataset.store.valid[rows])
    order = np.argsort(expected.interval[expected.valid][:, 0])
    assert len(order)
    np.testing.assert_array_equal(again.detections.interval, expected.interval[expected.valid][order])
    np.testing.assert_array_equal(again.detections.emotion, expected.emotion[expected.valid][order])
