"""The PyTorch reference by itself: numbers made by hand, every variant, gaps, and a toy set that it must learn."""

import math

import pytest

torch = pytest.importorskip("torch")

from fedn_jax.torch_parity.reference import detection, losses, model, targets, training  # noqa: E402

FULL = model.Settings()
SMALL = model.Settings(  # 16 frames; positions at 4 and 12 (stride 8) and at 8 (stride 16)
    segments=8, width=16, head_width=8, heads=2, groups=4, reaches=((0, 10), (8, 32))
)
INPUTS, CLASSES, ROWS = 6, 3, 22
VARIANTS = {
    "fedn": {},
    "spotting_only": {},
    "i3d": {"segment_fusion": "none"},
    "no_segment_attention": {"segment_fusion": "mean"},
    "no_window_attention": {"window_attention": "none"},
    "no_attention": {"segment_fusion": "mean", "window_attention": "none"},
    "confidence": {"scoring": "confidence"},
    "coupled": {"head": "coupled"},
    "iou": {"interval_loss": "iou"},
    "giou": {"interval_loss": "giou"},
    "literal": {"window_attention": "literal"},
    "scores_per_channel": {"window_attention_channels": 0},
    "literal_sum": {"normalize": False},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def inputs_of(settings, batch=2, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = settings.segments if settings.segment_fusion == "none" else ROWS
    frames = torch.randn(batch, rows, INPUTS, generator=generator, dtype=dtype)
    valid = torch.ones(batch, rows, dtype=torch.bool)
    return frames, valid, torch.ones(batch, settings.segments, dtype=torch.bool)


def network(settings=SMALL, classes=CLASSES, seed=0):
    torch.manual_seed(seed)
    return model.Fedn(INPUTS, classes, settings)


def events(*rows):
    """Intervals, emotions and validity of (onset, offset, emotion) rows."""
    interval = torch.tensor([row[:2] for row in rows], dtype=torch.float32).reshape(-1, 2)
    return interval, torch.tensor([row[2] for row in rows]), torch.ones(len(rows), dtype=torch.bool)


# ---- Targets --------------------------------------------------------------------------------------------------------


def test_the_grid_of_the_paper():
    grid = targets.grid(FULL)
    assert [sum(position.level == level for position in grid) for level in range(4)] == [16, 8, 4, 2]
    assert [position.centre for position in grid[:3]] == [4, 12, 20]
    assert [position.centre for position in grid[-2:]] == [32, 96]
    assert grid[0].widths == (4, 6, 8, 12, 16) and grid[-1].widths == (32, 48, 64, 96, 128)


def test_assignment_by_hand():
    found = targets.assign(*events((0, 8, 1)), FULL, CLASSES)
    # Around 4 the anchors of 4, 6, 8, 12 and 16 frames have IoU 1/2, 3/4, 1, 2/3 and 1/2.
    assert found["positive"][0].tolist() == [True, False, True, True, True, False]
    assert found["counted"][0].tolist() == [True, False, True, True, True, False]
    # Around 8 those of 8, 12, 16, 24 and 32 frames have 1/3, 3/7, 1/2, 1/3 and 1/4.
    assert found["counted"][16].tolist() == [True, True, False, False, True, True]
    assert found["positive"].sum() == 4 and found["counted"].sum() == 180 - 4
    assert found["interval"][0, 0].tolist() == [0, 8] and found["interval"][0, 1].tolist() == [0, 0]
    assert found["label"][0, 2].tolist() == [0, 1, 0] and found["label"].sum() == 4


def test_reaches_are_half_open_and_the_shortest_expression_wins():
    def around(interval, level):
        (position,) = [p for p in targets.grid(SMALL) if p.level == level and p.centre == (4 if level == 0 else 8)]
        return targets.match_position(position, [(*interval, 0)], SMALL) is not None

    assert around((0, 13), 0) and not around((0, 14), 0)  # longer sides of 9 and of 10
    assert around((4, 9), 0) and not around((0, 4), 0)  # an expression has its first frame and not its last one
    assert around((0, 9), 1) and not around((1, 9), 1)  # sides of 8 and of 7
    found = targets.assign(*events((0, 12, 0), (2, 8, 1), (1, 7, 2)), SMALL, CLASSES)
    assert found["label"][0, 0].tolist() == [0, 1, 0]  # of two of 6 frames the earlier one


def test_padding_and_no_expression():
    interval, emotion, valid = events((0, 8, 1))
    found = targets.assign(interval, emotion, ~valid, SMALL, CLASSES)
    assert not found["positive"].any() and found["counted"].all()


def test_decoding_by_hand():
    offsets, free = torch.zeros(30, 5, 2), torch.ones(30, 2)
    offsets[0, 2] = torch.tensor([0.5, math.log(2.0)])
    free[0] = torch.tensor([0.5, 2.0])
    interval = targets.decode(offsets, free, FULL)
    assert interval[0, 0].tolist() == [0, 20]
    assert torch.allclose(interval[0, 3], torch.tensor([0.0, 16.0]), atol=1e-5)
    assert interval[29].tolist() == [[32, 160], [80, 112], [72, 120], [64, 128], [48, 144], [32, 160]]
    assert torch.isfinite(targets.decode(torch.full((30, 5, 2), 1e4), free, FULL)).all()


# ---- Losses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, disjoint, overlap", [("iou", 1, 2 / 3), ("giou", 1.2, 2 / 3), ("diou", 1.36, 7 / 9)])
def test_interval_losses_by_hand(kind, disjoint, overlap):
    predicted = torch.tensor([[0.0, 4.0], [0.0, 4.0], [3.0, 5.0]], dtype=torch.float64)
    target = torch.tensor([[6.0, 10.0], [2.0, 6.0], [3.0, 5.0]], dtype=torch.float64)
    expected = torch.tensor([disjoint, overlap, 0], dtype=torch.float64)
    assert torch.allclose(losses.interval_distance(predicted, target, kind), expected, atol=1e-12)


def flat_outputs(batch, channels):
    positions = torch.ones(batch, 3, dtype=torch.bool)
    offsets, free = torch.zeros(batch, 3, 5, 2), torch.ones(batch, 3, 2)
    return {"offsets": offsets, "free": free, "logits": torch.zeros(batch, 3, 6, channels), "positions": positions}


def stacked(*each):
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def test_the_loss_of_a_window_by_hand():
    target = stacked(targets.assign(*events((0, 8, 1)), SMALL, 2))
    # Anchor-free: 1 of 3 is positive, [-4, 12) for [0, 8). Anchor-based: 3 of 11 are (IoU 3/4, 1, 2/3).
    free, anchored = 0.5, 1 / 4 + 1 / 3
    loss, parts = losses.total(flat_outputs(1, 2), target, torch.ones(1), SMALL._replace(normalize=False))
    assert parts["interval_loss"] == pytest.approx(free + anchored)
    assert parts["class_loss"] == pytest.approx((3 + 11) * 2 * math.log(2))
    assert loss == pytest.approx(free + anchored + 2 * 28 * math.log(2))
    loss, parts = losses.total(flat_outputs(1, 2), target, torch.ones(1), SMALL)
    assert parts["interval_loss"] == pytest.approx(free / 2 + anchored / 4)
    assert parts["class_loss"] == pytest.approx((6 / 2 + 22 / 4) * math.log(2))
    assert loss == pytest.approx(free / 2 + anchored / 4 + 2 * 8.5 * math.log(2))


def test_the_loss_of_the_confidence_branch_by_hand():
    target = stacked(targets.assign(*events((0, 8, 1)), SMALL, 2))
    settings = SMALL._replace(scoring="confidence", normalize=False)
    _, parts = losses.total(flat_outputs(1, 3), target, torch.ones(1), settings)
    assert parts["class_loss"] == pytest.approx((14 + 4) * math.log(2))  # 14 confidences, 4 choices of two


def test_padding_and_positions_past_the_end_do_not_count():
    with_event = targets.assign(*events((0, 8, 1)), SMALL, 2)
    without = targets.assign(*events((0, 8, 1)), SMALL, 2)
    alone, _ = losses.total(flat_outputs(1, 2), stacked(with_event), torch.ones(1), SMALL)
    padded, _ = losses.total(flat_outputs(2, 2), stacked(with_event, without), torch.tensor([1.0, 0.0]), SMALL)
    assert padded == pytest.approx(float(alone))
    outputs = flat_outputs(1, 2)
    outputs["positions"][0, 0] = False
    _, parts = losses.total(outputs, stacked(with_event), torch.ones(1), SMALL._replace(normalize=False))
    assert parts["interval_loss"] == 0
    assert parts["class_loss"] == pytest.approx((2 + 8) * 2 * math.log(2))


# ---- Detection ------------------------------------------------------------------------------------------------------


def test_suppression_by_hand():
    interval = torch.tensor([[20.0, 30.0], [0.0, 10.0], [0.0, 10.0], [8.0, 20.0], [30.0, 40.0]])
    score = torch.tensor([0.8, 0.9, 0.9, 0.95, 0.8])
    emotion = torch.tensor([0, 0, 1, 1, 0])
    assert detection.nms(interval, score, emotion, 0.01, 9, False) == [3, 0, 4]
    assert detection.nms(interval, score, emotion, 0.1, 9, False) == [3, 1, 0, 4]  # IoU 1/10 is not more than 1/10
    assert detection.nms(interval, score, emotion, 0.01, 9, True) == [3, 1, 0, 4]
    assert detection.nms(interval, score, emotion, 0.01, 2, False) == [3, 0]


def test_detections_are_in_frames_of_the_video():
    outputs = flat_outputs(2, 2)
    outputs["logits"][:] = -9.0
    outputs["logits"][0, 0, 0, 1] = 2.0  # [-4, 12) of the window at 0
    outputs["logits"][1, 2, 3, 0] = 1.0  # [0, 16) of the window at 14
    interval, score, emotion = detection.detect(outputs, [0, 14], 25, SMALL, nms_iou=0.0, max_detections=2)
    assert interval.tolist() == [[0, 12], [14, 25]]
    assert torch.allclose(score, torch.sigmoid(torch.tensor([2.0, 1.0]))) and emotion.tolist() == [1, 0]
    outputs["positions"][0, 0] = False
    interval, _, _ = detection.detect(outputs, [0, 14], 25, SMALL, max_detections=1)
    assert interval.tolist() == [[14, 25]]


def test_the_confidence_ranks_and_the_classes_choose():
    score, emotion = detection.scores_of(torch.tensor([[0.0, 5.0, 7.0], [1.0, 9.0, 9.0]]), "confidence")
    assert torch.allclose(score, torch.sigmoid(torch.tensor([0.0, 1.0]))) and emotion.tolist() == [1, 0]


# ---- Network --------------------------------------------------------------------------------------------------------


def test_group_normalisation_sees_valid_positions_only():
    torch.manual_seed(0)
    ours, theirs = model.GroupNorm(2, 4), torch.nn.GroupNorm(2, 4)
    x = torch.randn(1, 6, 4)
    valid = torch.tensor([[True, True, False, True, False, False]])
    expected = theirs(x[:, [0, 1, 3]].transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(ours(x, valid)[:, [0, 1, 3]], expected, atol=1e-6)


def test_a_frame_without_a_face_takes_no_part_in_its_segment():
    torch.manual_seed(0)
    fusion = model.AttentionFusion(4, 2)
    x = torch.randn(2, 3, 4)
    valid = torch.tensor([[True, False, True], [True, True, True]])
    assert torch.allclose(fusion(x, valid)[:1], fusion(x[:1, [0, 2]], valid[:1, [0, 2]]), atol=1e-6)
    assert torch.allclose(fusion(x, valid)[1:], fusion(x[1:], valid[1:]), atol=1e-6)


@pytest.mark.parametrize("name", ["fedn", "no_segment_attention", "i3d", "scores_per_channel"])
def test_what_is_masked_changes_nothing(name):
    settings = SMALL._replace(**VARIANTS[name])
    frames, valid, inside = inputs_of(settings)
    valid[0, 3:5], valid[1, :], inside[0, 6:] = False, False, False
    end = 12 if settings.segment_fusion != "none" else 6
    seen = valid.clone()
    seen[0, end + 6 :] = False  # frames of masked segments only
    net = network(settings)
    one = net(frames, valid, inside)
    other = net(torch.where(seen[:, :, None], frames, torch.full_like(frames, 7.0)), valid, inside)
    for key in one:
        assert torch.allclose(one[key].double(), other[key].double(), atol=1e-5), key
        assert torch.isfinite(one[key]).all(), key
    assert one["positions"].tolist() == [[True, True, True], [False, False, False]]
    assert not one["segments"][0, 6:].any() and not one["level_1"][1].any()


def test_a_position_is_valid_if_half_of_its_time_is():
    valid = torch.tensor([[True, False, False, False, False, True]])
    assert model.coarser(valid).tolist() == [[True, False, True]]


def test_the_scores_of_a_window():
    frames, valid, inside = inputs_of(SMALL)
    inside[0, 5:] = False
    scaled = network()
    scores = scaled(frames, valid, inside)["window_scores"]
    assert scores.shape == (2, 8, 1) and not scores[0, 5:].any()
    assert torch.allclose(scores.sum(dim=1), torch.ones(2, 1), atol=1e-5)


def test_scaling_undoes_a_softmax_over_equal_scores():
    frames, valid, inside = inputs_of(SMALL)
    inside[0, 5:] = False
    found = {}
    for kind in ("scaled", "literal", "none"):
        net = network(SMALL._replace(window_attention=kind)).double()
        net.load_state_dict(network(SMALL._replace(window_attention="none")).state_dict(), strict=False)
        if kind != "none":
            torch.nn.init.zeros_(net.window_scores.weight)
        found[kind] = net(frames.double(), valid, inside)["block_0"]
    assert torch.allclose(found["scaled"], found["none"], atol=1e-12)
    assert not torch.allclose(found["literal"], found["none"], atol=1e-2)


def test_an_untrained_network_is_at_its_prior():
    net = network()
    for branch in (*net.free, *net.anchored):
        torch.nn.init.zeros_(branch.class_output.weight)
    logits = net(*inputs_of(SMALL))["logits"]
    assert torch.allclose(torch.sigmoid(logits), torch.full_like(logits, 0.02), atol=1e-6)


def test_shapes_at_the_papers_size():
    net = model.Fedn(512, 4, FULL)
    assert sum(parameter.numel() for parameter in net.parameters()) == pytest.approx(23.4e6, rel=0.01)
    with torch.no_grad():
        outputs = net(torch.randn(1, 134, 512), torch.ones(1, 134) > 0, torch.ones(1, 64) > 0)
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == {
        "segments": (64, 512), "window_scores": (64, 1), "block_0": (32, 512), "block_1": (16, 512),
        "level_0": (16, 512), "level_1": (8, 512), "level_2": (4, 512), "level_3": (2, 512),
        "positions": (30,), "free": (30, 2), "offsets": (30, 5, 2), "logits": (30, 6, 4),
    }  # fmt: skip
    assert (outputs["free"] >= 0).all()


# ---- Training -------------------------------------------------------------------------------------------------------


def batch_of(settings, classes=CLASSES, dtype=torch.float32):
    frames, valid, inside = inputs_of(settings, batch=3, dtype=dtype)
    valid[0, 4:7], valid[2, :], inside[1, 6:] = False, False, False
    rows = [targets.assign(*events((1, 9, classes - 1)), settings, classes) for _ in range(3)]
    named = {"frames": frames, "frames_valid": valid, "segments_inside": inside}
    return {**named, "targets": stacked(*rows), "weight": torch.ones(3)}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_every_variant_trains(name, dtype):
    settings, classes = SMALL._replace(**VARIANTS[name]), 1 if name == "spotting_only" else CLASSES
    net = network(settings, classes).to(dtype)
    batch = batch_of(settings, classes, dtype)
    outputs = net(batch["frames"], batch["frames_valid"], batch["segments_inside"])
    channels = classes + (settings.scoring == "confidence")
    assert outputs["logits"].shape == (3, 3, 6, channels) and outputs["logits"].dtype == dtype
    assert ("window_scores" in outputs) == (settings.window_attention != "none")
    optimizer = training.make_optimizer(net, 1e-2, 1e-4)
    first = training.step(net, optimizer, batch, settings)
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())
    assert training.step(net, optimizer, batch, settings) < first


def test_weight_decay_is_in_the_gradient_and_padding_moves_nothing():
    net = network()
    batch = batch_of(SMALL)
    batch["weight"] = torch.zeros(3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    training.step(net, training.make_optimizer(net, 1e-2, 0.1), batch, SMALL)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    batch["weight"] = torch.ones(3)
    training.step(net, training.make_optimizer(net, 1e-2, 0.1), batch, SMALL)
    weight = before["fusion.score.weight"][0, INPUTS:]  # no gradient but the decay: Adam's first step is its sign
    assert torch.allclose(net.state_dict()["fusion.score.weight"][0, INPUTS:], weight - 0.01 * weight.sign(), atol=1e-5)


def test_gradients_that_are_cleared_are_zero():
    net = network().double()
    batch = batch_of(SMALL, dtype=torch.float64)
    outputs = net(batch["frames"], batch["frames_valid"], batch["segments_inside"])
    losses.total(outputs, batch["targets"], batch["weight"], SMALL)[0].backward()
    before = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    training.clear_noise(net)
    for name, parameter in net.named_parameters():
        assert torch.allclose(parameter.grad, before[name], atol=1e-14), name


def test_windows_by_hand():
    rows = torch.arange(33.0)[:, None]
    found = training.windows(rows, torch.ones(33, dtype=torch.bool), 33, 8, SMALL)
    assert found["starts"].tolist() == [0, 8, 16, 18]  # 17 segments, the last one at frame 32
    assert found["frames"].shape == (4, 22, 1) and found["segments_inside"].all()
    assert found["frames"][0, -1] == 21 and found["frames"][3, :, 0].tolist() == [*range(18, 33), *[32] * 7]
    cut = training.windows(rows, torch.ones(33, dtype=torch.bool), 33, 8, SMALL._replace(context="window"))
    assert cut["frames"][0, -7:, 0].tolist() == [15] * 7
    short = training.windows(rows[:5], torch.ones(5, dtype=torch.bool), 5, 8, SMALL)
    assert short["starts"].tolist() == [0] and short["segments_inside"].sum() == 3
    clips = SMALL._replace(segment_fusion="none")  # 14 rows of 8 frames with hop 2, and 3 segments more
    found = training.windows(rows[:14], torch.ones(14, dtype=torch.bool), 34, 8, clips)
    assert found["starts"].tolist() == [0, 8, 16, 18]
    assert found["frames"][3, :, 0].tolist() == [9, 10, 11, 12, 13, 13, 13, 13]


def test_events_of_a_window_by_hand():
    interval = torch.tensor([[10.0, 20.0], [9.0, 19.0], [20.0, 40.0], [30.0, 50.0]])
    clipped, belongs = training.events_of_window(interval, 10, SMALL._replace(segments=16))
    assert belongs.tolist() == [True, False, True, False]  # 9 of 10 frames are not more than 0.9
    assert clipped[0].tolist() == [0, 10] and clipped[2].tolist() == [10, 30]


def test_learns_a_toy_set():
    settings = SMALL._replace(head_width=16, groups=2)  # the one position of level 1 needs more than 2 channels a group
    torch.manual_seed(0)
    intervals, emotions = torch.tensor([[6.0, 15.0], [40.0, 50.0]]), torch.tensor([0, 2])
    rows = 0.1 * torch.randn(64, INPUTS)
    rows[6:15, 0], rows[40:50, 2] = 2.0, 2.0
    found = training.windows(rows, torch.ones(64, dtype=torch.bool), 64, 4, settings)
    windows = list(range(len(found["starts"])))
    batch = training.make_batch(found, windows, intervals, emotions, settings, CLASSES)
    net = network(settings)
    means = training.train(net, training.make_optimizer(net, 1e-2), [[batch]] * 60, settings)
    assert means[-1] < 0.1 * means[0]
    with torch.no_grad():
        outputs = net(found["frames"], found["frames_valid"], found["segments_inside"])
    interval, score, emotion = detection.detect(outputs, found["starts"], 64, settings, max_detections=2)
    order = interval[:, 0].argsort()
    assert emotion[order].tolist() == [0, 2] and (score > 0.5).all()
    assert (interval[order] - intervals).abs().max() < 2
