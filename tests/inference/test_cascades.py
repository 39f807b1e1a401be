"""A cascade on a new video: its spotter's intervals, named by the recognisers of the folds that vote."""

import csv
import json
import shutil

import jax
import media
import numpy as np
import pytest
from cascades import draw_networks, made_problem, spotter_of, toy_cascade
from toys import outputs_of, quiet

from data_prep.faces import decode, flow
from data_prep.faces.decode import Options
from data_prep.media.sources import Source
from data_prep.shards import extract
from fedn_jax.cascade import recognise, samplers
from fedn_jax.cli import detect
from fedn_jax.cli.main import main
from fedn_jax.core.types import Store, VideoMeta
from fedn_jax.inference import cascades, new_video


@pytest.fixture
def cascade(small_cascade):
    return small_cascade / "run", small_cascade / "named"


def found_in(out, path):
    return json.loads((out / f"{path.stem}.json").read_text())


def test_a_new_video_is_spotted_and_named(small_demo, cascade, tmp_path):
    """What one fold says of a video that it has not seen is what `recognise` wrote of it; the ensemble votes."""
    spotter, named = cascade
    path = sorted((small_demo / "source" / "videos").glob("s01*.mp4"))[0]
    for run, out in ((spotter, "spotted"), (named, "named")):
        words = ["detect", path, "--run", run, "--out", tmp_path / out, "--fold", "s01", "--threshold", "0.02"]
        assert main([*map(str, words), "--no-video"]) == 0
    spotted, got = (found_in(tmp_path / out, path) for out in ("spotted", "named"))
    edges = lambda found: [(one["onset"], one["apex"], one["offset"], one["score"]) for one in found["expressions"]]
    assert edges(spotted) == edges(got) and len(edges(got)) > 1
    assert "frozen-features, behind the spotter" in got["about"]["emotions"]
    with (named / "candidates.csv").open() as file:
        rows = {
            (row["onset"], row["offset"]): row["emotion"] for row in csv.DictReader(file) if row["subject"] == "s01"
        }
    own = [(rows.get((str(one["onset"]), str(one["offset"]))), one["emotion"]) for one in got["expressions"]]
    assert sum(written is not None for written, _ in own) > 1
    assert all(written == emotion for written, emotion in own if written is not None)
    assert main(["detect", str(path), "--run", str(named), "--out", str(tmp_path / "all"), "--threshold", "0.02"]) == 0
    assert {one["emotion"] for one in found_in(tmp_path / "all", path)["expressions"]} <= set(got["classes"])


def test_a_spotter_that_is_gone_or_another_is_one_line(cascade, tmp_path, capsys):
    spotter, named = cascade
    both = tmp_path / "moved"
    shutil.copytree(spotter.parent, both)
    words = ["detect", "x.mp4", "--out", str(tmp_path / "found"), "--run"]

    def line(run):
        assert main([*words, str(run)]) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "x.mp4" in line(both / "named")  # moved together they are found, and only the video is missing
    first = sorted((both / "run" / "parameters").glob("*.safetensors"))
    shutil.copyfile(first[1], first[0])
    assert f"{both / 'run'} are not those whose intervals it names" in line(both / "named")
    (both / "run").rename(both / "other")
    assert f"its spotter is not at {both / 'run'} any more" in line(both / "named")


def test_the_folds_that_vote_are_averaged(tmp_path):
    toy = toy_cascade(tmp_path, width=32)
    draw_networks(toy)
    training = recognise.training_config(toy.config, "ceflnet")
    problem = made_problem(toy, "ceflnet", training)
    folds = {f"s{i}": jax.device_get(jax.jit(problem.task.init)(jax.random.key(i))) for i in range(3)}
    rng = np.random.default_rng(0)
    inputs = rng.normal(0, 3, (90, 32)).astype(np.float16)
    valid, meta = np.ones(90, bool), VideoMeta("", "", 90, 0.0, 0, 0, 90)
    store = Store(inputs, valid)
    spotter = spotter_of(toy)._replace(metas=[meta], store=store, standardized=store)
    interval = np.stack([np.arange(0, 40.0), np.arange(40.0, 80)], 1)
    parts = (tmp_path, "ceflnet", ["a", "b"], problem.task)
    name = lambda chosen: cascades.make_namer(cascades.Cascade(*parts, chosen), 16)(spotter, interval)
    alone = [name({fold: folds[fold]}) for fold in folds]
    voted = name(folds)
    shown = samplers.embeddings(spotter, "")(0, interval.astype(int), None)[:, None]
    logits = [outputs_of(problem.task, one, shown, segments=1)["logits"].reshape(-1, 2) for one in folds.values()]
    assert voted.tolist() == np.mean([jax.nn.softmax(one) for one in logits], 0).argmax(-1).tolist()
    assert all((voted != one).any() for one in [*alone, np.sum(alone, 0) > 1])  # neither one fold nor the majority
    assert name(folds).tolist() == cascades.make_namer(cascades.Cascade(*parts, folds), 7)(spotter, interval).tolist()
    assert len(cascades.make_namer(cascades.Cascade(*parts, folds), 7)(spotter, interval[:0])) == 0


def test_curves_show_what_is_reported(small_demo, cascade):
    model = new_video.load(cascade[1], "s01")
    rng = np.random.default_rng(0)
    width = model.recorded["input_shape"][0]
    inputs = rng.normal(size=(180, width)).astype(np.float16)
    got = new_video.make_detector(model, 0.02)(inputs, np.ones(180, bool))
    assert got.frames.shape == (len(model.classes), 180) and len(got.detections.score)
    for interval, score, emotion in zip(*got.detections[:3], strict=True):
        inside = got.frames[emotion, int(np.ceil(interval[0] + 0.5)) : int(interval[1] - 0.5)]
        assert (inside == score).all()  # detections of one video do not overlap


def test_flow_of_a_new_video_is_that_of_its_frames(tmp_path, monkeypatch):
    """Decoded once more, when a recogniser asks, and once for all folds."""
    path, options = media.write_video(tmp_path / "video.mp4", media.face_frames(1, 12)), Options("cascade", 48, 30.0)
    facts, _ = decode.decode(Source(path), options, 1, tmp_path / "frames.raw", tmp_path / "preview.mp4")
    frames = np.fromfile(tmp_path / "frames.raw", np.uint8).reshape(len(facts.valid), 48, 48, 3)
    pairs = np.array([[0, 5], [2, 9]])
    samples = detect._flow(Source(path), options, None, quiet)
    expected = flow.make_samples(frames, "cascade", None, quiet)(pairs)
    assert np.array_equal(samples(pairs), expected) and expected.std() > 0
    monkeypatch.setattr(extract, "pictures", None)
    assert np.array_equal(samples(pairs.copy()), expected)
