"""Preparation on a Dask scheduler with two workers, one of which is killed at work."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import media
import numpy as np
import pytest

from data_prep.backbones import embed
from data_prep.media.sources import Source
from data_prep.shards import beam, builders, video_cache, videos
from data_prep.shards.video_cache import Job
from data_prep.sheets import annotations
from fedn_jax.core import schema
from fedn_jax.core.errors import UserError

pytest.importorskip("apache_beam", reason="the extra `dask` is not installed")
pytest.importorskip("distributed", reason="the extra `dask` is not installed")

FRAMES = {"a": 9, "b": 5, "c": 7, "d": 6}
STUCK = """
import os, pathlib, time
from data_prep.shards import video_cache

def stuck(job, *_):
    assert job.raw.stat().st_size
    pathlib.Path(os.environ["STUCK"]).touch()
    time.sleep(600)

video_cache.embed_raw = stuck
"""


@pytest.fixture
def cluster(tmp_path):
    """A scheduler's address, and its first worker, which will stand still in the middle of its first video."""
    (tmp_path / "stuck.py").write_text(STUCK)
    env = {**os.environ, "STUCK": str(tmp_path / "stuck"), "XLA_FLAGS": ""}
    env["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"  # as in this process
    env["PYTHONPATH"] = os.pathsep.join([str(Path(videos.__file__).parents[2]), env.get("PYTHONPATH", "")])
    running = []

    def start(name, *words):
        with (tmp_path / f"{name}.log").open("w") as file:
            command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *map(str, words[1:])]
            running.append(subprocess.Popen(command, env=env, cwd=tmp_path.parent, stdout=file, stderr=file))
        return running[-1]

    def worker(name, *words):
        return start(
            name, "worker", "--scheduler-file", tmp_path / "dask.json", "--no-nanny", "--nthreads", 1,
            "--no-dashboard", "--local-directory", tmp_path / name, *words,
        )  # fmt: skip

    try:
        start(
            "scheduler", "scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard",
            "--scheduler-file", tmp_path / "dask.json",
        )  # fmt: skip
        first = worker("first", "--preload", tmp_path / "stuck.py")
        worker("second")
        wait_for(lambda: sum("Registered to" in (tmp_path / f"{x}.log").read_text() for x in ("first", "second")) == 2)
        yield json.loads((tmp_path / "dask.json").read_text())["address"], first
    finally:
        for process in running[::-1]:
            process.kill()
            process.wait()


def wait_for(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


class Bar:
    """A progress bar that kills a worker, which stands still, when it moves for the first time."""

    format_dict = {"elapsed": 1}

    def __init__(self, worker, stuck):
        self.worker, self.stuck, self.moved = worker, stuck, []

    def __call__(self, **_):
        return self

    def update(self):
        self.moved.append(self.worker.poll() is None)
        wait_for(self.stuck.exists)
        self.worker.kill()

    def set_postfix_str(self, _):
        pass

    close = set_postfix = lambda self: None


def test_a_killed_worker_changes_nothing(cluster, tmp_path, monkeypatch):
    address, worker = cluster
    lines = ["subject,video,onset,offset,emotion"]
    for name, count in FRAMES.items():
        media.write_video(tmp_path / "videos" / f"{name}.mp4", media.numbered(count), options={})
        lines.append(f"s{count % 2},{name},2,4,sad")
    (tmp_path / "sheet.csv").write_text("\n".join(lines))
    backbone = embed.load_backbone("random")
    monkeypatch.chdir(tmp_path)  # not where the workers are

    def prepare(out, **more):
        sheet = annotations.read_folder(Path("sheet.csv"), Path("videos"))
        options = videos.Options("none", 32)
        return videos.prepare(sheet.items, out, sheet.classes, backbone, options, workers=1, **more)

    bar = Bar(worker, tmp_path / "stuck")
    monkeypatch.setattr(beam, "POLL", 0.1)
    runner = beam.make_runner("DaskRunner", [f"dask_client_address={address}"])
    there, _ = prepare(Path("there"), runner=runner, progress=bar)
    assert worker.wait(10) == -signal.SIGKILL
    assert len(bar.moved) == 4 and bar.moved[0]  # before the worker was killed, so before the end
    here, _ = prepare(Path("here"))
    assert there == here
    (meta, ours), (same, theirs) = (builders.read(schema.find(Path(name))) for name in ("here", "there"))
    assert meta == same
    for (split, one), (other, two) in zip(ours, theirs, strict=True):
        assert split == other and one.keys() == two.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    assert not [path.name for path in (tmp_path / "there" / "cache").iterdir() if path.suffix != ".npz"]


def test_errors_say_what_is_missing(tmp_path, monkeypatch):
    job = Job(Source(tmp_path / "a.mp4"), videos.DEFAULT, 1, *[tmp_path / "a.npz"] * 3)
    runner = beam.make_runner("dask", ["dask_client_address=tcp://127.0.0.1:9", "dask_connection_timeout=1"])
    with pytest.raises(UserError, match="no scheduler can be reached .*start a scheduler with `dask scheduler"):
        runner({0: job}, 1, None)
    for option, message in {
        "dask_scheduler_file=nowhere.json": "nowhere.json: no such file; start a scheduler",
        "dask_address=tcp://127.0.0.1:9": "has no such option; it has dask_client_address",
        "dask_npartitions=some": "dask_npartitions: invalid int value: 'some'",
    }.items():
        with pytest.raises(UserError, match=message):
            beam.make_runner("DaskRunner", [option])
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"Dask, which is not installed: pip install 'fedn_jax\[dask\]'"):
        beam.make_runner("DaskRunner", [])


def test_files_that_do_not_arrive_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(beam, "POLL", 0.01)
    monkeypatch.setattr(beam, "LATE", 0.02)
    jobs = {
        number: Job(Source(tmp_path / "a.mp4"), videos.DEFAULT, 1, tmp_path / f"{number}.npz", *[tmp_path] * 2)
        for number in range(2)
    }
    told = []
    jobs[0].cache.touch()  # of before, without its preview
    with pytest.raises(UserError, match="1 of 2 videos are done but not here; --out must be on storage that"):
        with beam._watching(jobs, lambda *words: told.append(words)):
            jobs[1].cache.touch()
    assert told == [(1, None)]


def test_a_machine_at_fault_is_named(tmp_path, monkeypatch):
    def full(job):
        job.raw.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(job.raw))

    monkeypatch.setattr(video_cache, "decode_job", full)
    job = Job(Source(tmp_path / "a.mp4"), videos.DEFAULT, 1, *[tmp_path / "a.npz"] * 3)
    with pytest.raises(UserError, match=rf"on {socket.gethostname()}: .*a\.\w+\.raw: no space left"):
        beam.make(job)
    assert not list(tmp_path.iterdir())
