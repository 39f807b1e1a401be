"""Files of the built-in data set, and single pictures for training a backbone."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.synthetic.faces import render
from data_prep.synthetic.people import ACTIONS, INDEX, identity
from data_prep.synthetic.scripts import CLASSES, distract, expression, movement, script
from fedn_jax.core import files, processes
from fedn_jax.core.errors import UserError, at_least
from fedn_jax.core.text import progress_bar

COLUMNS = ("subject", "video", "onset", "apex", "offset", "kind", "emotion")
FIRST_STILL = 10_000  # people for stills count from here, so that no subject of a data set is among them
VERSION = 2  # of the drawing; files of another version are not reused


def stills(
    seed: int, first_identity: int = FIRST_STILL, num_identities: int = 64, per_identity: int = 32
) -> Iterator[tuple[np.ndarray, int, float]]:
    """Single frames of many people, for training a backbone before it sees any video.

    Args:
      seed: seed of the people and of what they do.
      first_identity: number of the first person; from ``FIRST_STILL`` on nobody is a subject of a data set.
      num_identities: how many people.
      per_identity: frames of each; about three in ten show no expression, but often speech or a blink.

    Yields:
      Frame [SIZE, SIZE, 3] uint8 RGB, class index or -1 for no expression, strength in [0, 1].
    """
    for number in range(first_identity, first_identity + num_identities):
        who = identity(seed, number)
        rng = np.random.default_rng([seed, 31, number])
        for index in range(per_identity):
            label = -1 if rng.random() < 0.3 else int(rng.integers(len(CLASSES)))
            strength = float(rng.uniform(0.3, 1.0)) if label >= 0 else 0.0
            # A moment of a longer piece: the distractors of a second, of which one frame is kept.
            moment = np.zeros((30, len(ACTIONS)), np.float32)
            if rng.random() < 0.7:
                distract(rng, moment, np.full(30, float(label >= 0)), 30)
            action = moment[int(rng.integers(30))]
            if label < 0 and rng.random() < 0.2:
                action[INDEX["blink"]] = rng.uniform(0.3, 1)
            if label >= 0:
                shown = strength * expression(rng, label)
                gaze = [INDEX["gaze_x"], INDEX["gaze_y"]]
                shown[gaze] = action[gaze]
                action = np.maximum(action, shown)
            pose, light = movement(rng, 30, 30)
            yield render(who, action, pose[15], light[15], index), label, strength


def _stem(subject: int, video: int) -> tuple[str, str]:
    return f"s{subject + 1:02d}", f"s{subject + 1:02d}_v{video + 1}"


def _write_video(path: str, seed: int, subject: int, video: int, num_frames: int, fps: int) -> str:
    """Draws and encodes one video; the file appears only when it is complete."""
    import av
    import cv2

    cv2.setNumThreads(1)
    who, plan = identity(seed, subject), script(seed, subject, video, num_frames, fps)
    with files.replacing(Path(path)) as part, av.open(str(part), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "20"})
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for t in range(num_frames):
            image = render(who, plan.actions[t], plan.pose[t], plan.light[t], video * num_frames + t)
            if t == 0:
                stream.height, stream.width = image.shape[:2]
            planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
            for packet in stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def _rows(seed: int, subject: int, video: int, num_frames: int, fps: int) -> list[tuple[Any, ...]]:
    """Rows of ``annotations.csv`` of one video: inclusive frames that count from 1."""
    names = _stem(subject, video)
    events = script(seed, subject, video, num_frames, fps).events
    rows = [(*names, e.onset + 1, e.apex + 1, e.offset + 1, e.kind, e.emotion) for e in events]
    return rows or [(*names, "", "", "", "", "")]


def _settle(out: Path, settings: dict[str, Any]) -> None:
    """Makes the folder this data set's own, or finds that it already is.

    Raises:
      UserError: the folder holds a data set with other settings.
    """
    path = out / "synthetic.json"
    (out / "videos").mkdir(parents=True, exist_ok=True)
    if path.exists():
        try:
            found = json.loads(files.read_bytes(path, 2**20))
        except (ValueError, RecursionError):
            found = {}
        if found != settings:
            differ = [name for name in settings if not isinstance(found, dict) or found.get(name) != settings[name]]
            raise UserError(
                f"{path} is of a data set with other settings ({', '.join(differ)}); choose another folder, "
                f"or delete {out} to write it anew"
            )
    files.write_text(path, json.dumps(settings, indent=2) + "\n")


def write(
    out: Path,
    num_subjects: int = 8,
    videos_per_subject: int = 2,
    seconds: float = 20.0,
    fps: int = 30,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Writes the data set: ``videos/*.mp4``, ``annotations.csv`` and its settings in ``synthetic.json``.

    A call that was stopped goes on where it was: complete videos of the same settings are kept.

    Args:
      out: folder to write to; it is made if it does not exist.
      num_subjects: number of people.
      videos_per_subject: videos of each.
      seconds: length of a video.
      fps: frames per second.
      seed: seed of everything; a subject does not depend on how many there are.
      workers: processes; default: one per core. The result does not depend on it.
      progress: whether to show a progress bar.

    Raises:
      UserError: the folder holds a data set with other settings.
      ValueError: a size is not positive.
    """
    from concurrent.futures import as_completed

    for name, got in (
        ("num_subjects", num_subjects),
        ("videos_per_subject", videos_per_subject),
        ("fps", fps),
    ):
        at_least(name, got, 1)
    num_frames = round(seconds * fps)
    at_least("seconds * fps", num_frames, 1)
    out = Path(out)
    settings = {"version": VERSION, "num_subjects": num_subjects, "videos_per_subject": videos_per_subject}
    _settle(out, settings | {"seconds": float(seconds), "fps": fps, "seed": seed})
    videos = [(s, v) for s in range(num_subjects) for v in range(videos_per_subject)]
    with files.replacing(out / "annotations.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(row for s, v in videos for row in _rows(seed, s, v, num_frames, fps))
    paths = [(str(out / "videos" / f"{_stem(s, v)[1]}.mp4"), seed, s, v, num_frames, fps) for s, v in videos]
    todo = [job for job in paths if not os.path.exists(job[0])]
    there = len(paths) - len(todo)
    bar = progress_bar()(total=len(paths), initial=there, desc="drawing", unit="video", disable=not progress)
    workers = min(workers or os.cpu_count() or 1, max(len(todo), 1))
    with bar:

        def done(count: int) -> None:
            bar.update(1)
            elapsed = max(bar.format_dict["elapsed"], 1e-9)
            bar.set_postfix_str(f"{count * num_frames / elapsed:.0f} frames/s")

        if workers == 1:
            for count, job in enumerate(todo, 1):
                _write_video(*job)
                done(count)
            return
        with processes.pool(workers) as pool:
            futures = [pool.submit(_write_video, *job) for job in todo]
            for count, future in enumerate(as_completed(futures), 1):
                future.result()
                done(count)
