"""Small valid files of every kind that a command reads; all are made here, by script."""

import csv
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from abuse import commands, sandbox

SUBJECTS, FRAMES = ("s1", "s2", "s3"), 64
CLASSES = ("happy", "sad")
OPTIONS = {
    "model.width": 16,
    "model.head_width": 16,
    "model.heads": 2,
    "model.groups": 4,
    "model.head_depth": 1,
    "model.window_attention": "none",
    "train.epochs": 6,
    "train.checkpoint_minutes": 0,
    "train.batch_size": 8,
    "window.segments": 16,
    "window.train_hop": 16,
    "anchors.reaches": [[0, 64]],
    "folds.inner": 0,
}
OWN = """
from fedn_jax.engine import train_step

train_step.SCHEDULES["mine"] = None
"""
FUSION = {"of_features": "none", "of_videos": "mean"}
CONFIG = '''"""A small configuration."""

from fedn_jax.core import config as fedn_config
from fedn_jax.experiments import search_space as space

ROWS = {{}}
SPACE = {{"train.learning_rate": space.Float(1e-3, 1e-2, log=True)}}
SWEEP = space.Settings(trials=4, batch=2, rungs=(1,))


def get_config(row=""):
    config = fedn_config.default()
    config.update_from_flattened_dict({options})
    return fedn_config.with_row(config, ROWS, row)
'''
CONTAINERS = {  # suffix -> encoder, options
    "mp4": ("libx264", {"preset": "ultrafast", "bf": "2"}),
    "mkv": ("libx264", {"preset": "ultrafast"}),
    "avi": ("mpeg4", {}),
    "mov": ("mjpeg", {}),
    "ts": ("mpeg2video", {}),
    "webm": ("libvpx", {"deadline": "realtime"}),
    "gif": ("gif", {}),
}


def make(directory: Path) -> Path:
    """Makes all of them, or takes what an earlier call finished.

    Args:
      directory: for the files.

    Returns:
      The directory.
    """
    if (directory / "whole").exists():
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for one in (tables, features, videos, pictures, openface, sheets, weights, configs, faces):
        one(directory)
    _commands(directory)
    (directory / "whole").touch()
    return directory


def _write_rows(path: Path, rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _workbook(path: Path, sheets: dict[str, list[list]]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def _expressions() -> list[list]:
    rows = []
    for number, subject in enumerate(SUBJECTS):
        rows.append([subject, f"{subject}_v1", 5 + number, 20 + number, CLASSES[number % 2]])
        rows.append([subject, f"{subject}_v1", 40, 55 - number, CLASSES[1 - number % 2]])
    return rows


HEADER = ["subject", "video", "onset", "offset", "emotion"]


def tables(directory: Path) -> None:
    """Annotations and predictions, as CSV and as workbook."""
    rows = _expressions()
    found = [
        [*row[:2], row[2] + 1, row[3] + 2, row[4], f"{0.9 - number / 10:.2f}", "macro"]
        for number, row in enumerate(rows)
    ]
    _write_rows(directory / "annotations" / "sheet.csv", [HEADER, *rows])
    _workbook(directory / "workbook" / "sheet.xlsx", {"expressions": [HEADER, *rows], "notes": [["by", "hand"]]})
    _write_rows(directory / "predictions" / "truth.csv", [HEADER, *rows])
    _write_rows(directory / "predictions" / "found.csv", [[*HEADER, "score", "kind"], *found])


def features(directory: Path) -> None:
    """Clip features as others give them."""
    rng = np.random.default_rng(0)
    for subject in SUBJECTS:
        path = directory / "features" / f"{subject}_v1.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez(path, feature=rng.normal(size=(1, FRAMES // 2, 8)).astype(np.float32), frame_cnt=np.int32(FRAMES))


def images(number: int, count: int = FRAMES, side: int = 48) -> list[np.ndarray]:
    """Pictures in which something moves: ``count`` of [side, side, 3] uint8.

    Args:
      number: of the video.
      count: pictures.
      side: in pixels.

    Returns:
      The pictures.
    """
    y, x = np.mgrid[:side, :side]
    shapes = [
        128 + 100 * np.sin((x + y * (number + 1)) / 7 + 0.3 * t) * np.cos(y / 5 - 0.1 * t * number)
        for t in range(count)
    ]
    return [np.stack([one, one[::-1], one.T], -1).astype(np.uint8) for one in shapes]


def write_video(path: Path, frames: Sequence[np.ndarray], codec: str, options: dict[str, str], rate: int = 30) -> None:
    """Encodes a video.

    Args:
      path: the file; its ending says the container.
      frames: pictures [H, W, 3] uint8.
      codec: of FFmpeg.
      options: of the encoder.
      rate: frames per second.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        stream.codec_context.thread_count = 1
        for image in frames:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=stream.pix_fmt))
            )
        container.mux(stream.encode(None))


def videos(directory: Path) -> None:
    """Three videos with a table, and one in every container."""
    for number, subject in enumerate(SUBJECTS):
        write_video(directory / "videos" / f"{subject}_v1.mp4", images(number), *CONTAINERS["mp4"])
    for suffix, (codec, options) in CONTAINERS.items():
        write_video(directory / "containers" / f"in_{suffix}.{suffix}", images(1, 20), codec, options)


def pictures(directory: Path) -> None:
    """Folders of numbered pictures, in three formats."""
    import cv2

    for (number, subject), suffix in zip(enumerate(SUBJECTS), ("png", "jpg", "bmp"), strict=True):
        folder = directory / "pictures" / f"{subject}_v1"
        folder.mkdir(parents=True)
        for k, image in enumerate(images(number, 60, commands.SIDE), 1):
            cv2.imwrite(str(folder / f"img{k:03d}.{suffix}"), image)


def openface(directory: Path) -> None:
    """What OpenFace 2 writes for three videos."""
    import cv2

    for number, subject in enumerate(SUBJECTS):
        folder = directory / "openface" / f"{subject}_v1_aligned"
        folder.mkdir(parents=True)
        rows = [["frame", "face_id", "timestamp", "confidence", "success", "AU01_r"]]
        for k, image in enumerate(images(number, 60, commands.SIDE), 1):
            cv2.imwrite(str(folder / f"frame_det_00_{k:06d}.bmp"), image)
            rows.append([k, 0, f"{(k - 1) / 30:.3f}", 0.98, 1, 0.0])
        _write_rows(folder.with_name(f"{subject}_v1.csv"), rows)


def sheets(directory: Path) -> None:
    """The sheets of released data sets, a few rows of each."""
    rows = [
        [1, "disgust1_1", 5, 9, 20, "4", "negative", "macro-expression", "disgust"],
        [1, "disgust1_2", 22, 26, 0, "4", "negative", "macro-expression", "disgust"],
        [2, "anger1_1", 2, 4, 12, "4", "surprise", "macro-expression", "sympathy"],
    ]
    rules = {
        "naming rule1": [[15, "s15", 1], [16, "s16", 2]],
        "naming rule2": [["0101", "disgust1"], ["0401", "anger1"]],
    }
    _workbook(directory / "casme2" / "sheet.xlsx", {"CASFEcode_final": rows, **rules})
    header = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Expression type", "Objective class"]
    rows = [
        ["spNO.1", "a", "9", "12", "20", "4", "Macro-expression", "VII"],
        ["spNO.11", "J", "10", "15", "30", "4", "Micro-expression", "I"],
    ]
    _workbook(directory / "casme3" / "sheet.xlsx", {"AU+Emotion": [header, *rows]})
    header = [
        "Subject",
        "Filename",
        "Inducement Code",
        "Onset",
        "Apex",
        "Offset",
        "Duration",
        "Type",
        "Action Units",
        "Notes",
    ]
    rows = [
        ["006", "006_1_1", 1, 10.4, 40.6, 113.2, 104, "Macro", "4", None],
        ["011", "011_6_2", 6, 0, 50, 101, 102, "Micro - 1/2", "12", None],
    ]
    _workbook(directory / "samm" / "sheet.xlsx", {"FACS": [["SAMM Long Videos Dataset"], [], header, *rows]})


def state(widths: Sequence[int] = (3, 4, 5, 6)) -> dict[str, np.ndarray]:
    """A ResNet18 with few channels, in torchvision's names.

    Args:
      widths: channels of its stages.

    Returns:
      name -> array.
    """
    rng = np.random.default_rng(0)
    units = [("conv1", "bn1", (widths[0], 3, 7, 7))]
    for stage, width in enumerate(widths):
        for block in range(2):
            before, base = width if block else widths[max(stage - 1, 0)], f"layer{stage + 1}.{block}"
            units += [
                (f"{base}.conv1", f"{base}.bn1", (width, before, 3, 3)),
                (f"{base}.conv2", f"{base}.bn2", (width, width, 3, 3)),
            ]
            if stage and not block:
                units.append((f"{base}.downsample.0", f"{base}.downsample.1", (width, before, 1, 1)))
    found = {}
    for convolution, norm, shape in units:
        found[f"{convolution}.weight"] = rng.uniform(0.1, 1, shape).astype(np.float32)
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{norm}.{part}"] = rng.uniform(0.1, 1, shape[:1]).astype(np.float32)
    return found


def weights(directory: Path) -> None:
    """A checkpoint as safetensors and, where PyTorch is installed, as .pth."""
    from safetensors.numpy import save_file

    (directory / "weights").mkdir()
    save_file(state(), directory / "weights" / "net.safetensors")
    try:
        import torch
    except ImportError:
        return
    (directory / "checkpoint").mkdir()
    values = {name: torch.from_numpy(array) for name, array in state().items()}
    torch.save({"state_dict": values, "epoch": 3}, directory / "checkpoint" / "net.pth")


def configs(directory: Path) -> None:
    """Configurations: of features, of videos, and one with code of its own."""
    (directory / "configs").mkdir()
    for name, fusion in FUSION.items():
        (directory / "configs" / f"{name}.py").write_text(
            CONFIG.format(options=OPTIONS | {"model.segment_fusion": fusion})
        )
    options = OPTIONS | {"model.segment_fusion": "none", "train.epochs": 1, "train.schedule": "mine"}
    (directory / "configs" / "own.py").write_text(CONFIG.format(options=options) + OWN)


def faces(directory: Path) -> None:
    """Labelled pictures of two persons, as folders and as a table."""
    import cv2

    rows: list[list[str]] = [["path", "label", "person"]]
    for number, (label, person) in enumerate((label, person) for label in CLASSES for person in SUBJECTS[:2]):
        folder = directory / "faces" / "all" / label / person
        folder.mkdir(parents=True)
        for k, image in enumerate(images(number, 2, commands.SIDE)):
            cv2.imwrite(str(folder / f"{k}.png"), image)
            rows.append([f"all/{label}/{person}/{k}.png", label, person])
    _write_rows(directory / "faces" / "table.csv", rows)


def _commands(directory: Path) -> None:
    """What commands make of the above: tables in other formats, shards, trained and evaluated runs."""
    found, truth = "predictions/found.csv", "predictions/truth.csv"
    for name, ending in (("activitynet", "json"), ("strs", "csv"), ("megc", "csv")):
        commands.run(directory, "convert", found, f"{name}/found.{ending}", "--to", name, "--fps", 30)
    for name, ending in (("elan", ".eaf"), ("srt", ".srt"), ("vtt", ".vtt"), ("bids", "_events.tsv")):
        commands.run(directory, "convert", truth, f"{name}/all", "--to", name, "--fps", 30)
        first = min((directory / name / "all").glob(f"*{ending}"))
        shutil.copy(first, directory / name / f"one{ending}")
    commands.run(
        directory, "convert", truth, "database/truth.json", "--to", "activitynet", "--fps", 30, "--ground-truth"
    )
    commands.run(directory, *commands.prepare_features("features", "annotations/sheet.csv", "of_features/data"))
    shutil.copytree(directory / "of_features" / "data", directory / "shards" / "data")
    commands.run(directory, *commands.prepare_videos("videos", "annotations/sheet.csv", "of_videos/data"))
    shutil.copytree(directory / "of_videos" / "data" / "shards", directory / "shards_of_videos")
    for name in ("of_features", "of_videos"):
        commands.run(
            directory, "train", "--config", f"configs/{name}.py", "--data", f"{name}/data", "--out", f"{name}/run"
        )
        commands.run(directory, "evaluate", f"{name}/run", "--data", f"{name}/data")
    words = ["train", "--data", "of_features/data"]
    commands.run(directory, *words, "--config", "configs/own.py", "--out", "own/run")
    kept = ["--config.train.epochs=1", "--config.train.keep_state=True"]
    commands.run(directory, *words, "--config", "configs/of_features.py", "--out", "kept/run", *kept)
    _cut(directory)


def _cut(directory: Path) -> None:
    """A training that was killed when it had saved its state."""
    words = ["train", "--config", "configs/of_features.py", "--data", "of_features/data", "--out", "cut/run"]
    for _ in range(20):
        shutil.rmtree(directory / "cut", ignore_errors=True)
        started = sandbox.start(sandbox.command(words), directory, directory / ".records", sandbox.Limits(seconds=120))
        while not started.ended() and not list(directory.glob("cut/run/checkpoints/*/[2-5]")):
            time.sleep(0.01)
        started.kill(signal.SIGKILL)
        started.wait()
        if list(directory.glob("cut/run/checkpoints/*/[2-5]")):
            return
    raise RuntimeError("a training could not be killed between its checkpoints")
