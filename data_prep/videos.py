"""Videos to records: decode, align, embed; every finished video is kept, so a stopped preparation goes on.

Worker processes decode and align (no JAX in them, so an accelerator is opened once); this process embeds.
"""

import functools
import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep import annotations, builders
from data_prep.annotations import VideoItem
from data_prep.decode import DEFAULT, Decoded, Options, decode
from data_prep.embed import Backbone
from fedn_jax import files
from fedn_jax.checks import UserError, one_of

PIPELINE = 1  # raise when decoding, alignment or embedding change what they give for the same video
_EDGE = 1 << 20  # bytes at the start and the end of a file that identify it, beside its size


class Summary(NamedTuple):
    """One prepared video, for the table at the end."""

    subject: str
    video: str
    num_frames: int
    invalid: int  # frames without a face
    cached: bool  # was there already
    uneven: bool  # the file's frames do not come at a constant rate


def prepare(
    items: Sequence[VideoItem],
    out: Path,
    classes: Sequence[str],
    backbone: Backbone,
    options: Options = DEFAULT,
    first_frame: int = 1,
    name: str = "folder",
    workers: int | None = None,
    progress: Callable[..., Any] | None = None,
) -> tuple[list[Summary], bool]:
    """Prepares a data set; what was done before with the same options is kept.

    Args:
      items: the videos.
      out: directory for cache, previews and shards.
      classes: the emotions.
      backbone: the feature extractor.
      options: see :class:`decode.Options`.
      first_frame: the number that the sheet gives to the first frame; stored for writing results.
      name: of the data set.
      workers: processes that decode and align; None: one per core. 1 works in this process.
      progress: tqdm, or something with its interface; None shows nothing.

    Returns:
      A summary per video, and whether shards were written (False: they were there already).

    Raises:
      UserError: other options than before in this directory, or videos that cannot be used (all of them, at the end).
    """
    _check(options)
    annotations.report("subjects", _clashes(items))
    settings = options._asdict() | {"source": name, "backbone": backbone.sha[:16], "pipeline": PIPELINE}
    with files.alone(out):
        builders.check_options(out, settings)
        keys = [_key(item.path, settings) for item in items]
        table = [(item.subject, item.video, key, item.events.tolist()) for item, key in zip(items, keys, strict=True)]
        sign = builders.signature([settings, list(classes), first_frame, table])
        caches = [_cache(out, item, key) for item, key in zip(items, keys, strict=True)]
        known = [_preview(out, item).exists() and _usable(cache) for item, cache in zip(items, caches, strict=True)]
        problems = _fill(items, caches, known, out, backbone, options, workers, progress)
        present = [(item, cache, was) for item, cache, was in zip(items, caches, known, strict=True) if cache.exists()]
        summaries = [_summarise(item, cache, was) for item, cache, was in present]
        problems += [text for item, cache, _ in present for text in _beyond(item, cache, first_frame)]
        annotations.report("videos", problems)
        if builders.up_to_date(out, sign):
            return summaries, False
        metadata = {
            "classes": list(classes), "frames_per_row": 1, "backbone": f"{backbone.description} ({backbone.sha[:16]})",
            "aligner": f"{options.aligner}, {options.size} px", "signature": sign,
        }  # fmt: skip

        def records(subject: str) -> Iterator[dict[str, Any]]:
            return (_record(item, cache, first_frame) for item, cache, _ in present if item.subject == subject)

        builders.pack(out, name, sorted({item.subject for item in items}), records, metadata)
        return summaries, True


def _check(options: Options) -> None:
    from data_prep.align import ALIGNERS

    one_of("--aligner", options.aligner, ALIGNERS)
    if not 32 <= options.size <= 1024 or options.size % 2:
        raise UserError(f"--size must be an even number from 32 to 1024 (pixels); got {options.size}")
    if options.fps is not None and not 0 < options.fps <= 1000:
        raise UserError(f"--fps must be a number of frames per second; got {options.fps}")


def _clashes(items: Sequence[VideoItem]) -> list[str]:
    try:
        builders.split_names(item.subject for item in items)
    except UserError as error:
        return [str(error)]
    return []


# ---- Paths ----------------------------------------------------------------------------------------------------------


def _key(path: Path, settings: dict[str, Any]) -> str:
    """Identifies a video file together with the options."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_EDGE)
        file.seek(max(0, size - _EDGE))
        edges = hashlib.sha256(head + file.read(_EDGE)).hexdigest()
    return builders.signature([size, edges, settings])


def _cache(out: Path, item: VideoItem, key: str) -> Path:
    return out / "cache" / f"{files.file_name(item.subject, item.video)}-{key}.npz"


def _preview(out: Path, item: VideoItem) -> Path:
    return out / "previews" / f"{files.file_name(item.subject, item.video)}.mp4"


# ---- All videos -----------------------------------------------------------------------------------------------------


def _embed(decoded: Decoded, cache: Path, backbone: Backbone, size: int) -> None:
    """Embeds the aligned frames and writes the cache file, all of it or nothing."""
    from data_prep.embed import embed

    pictures = np.memmap(decoded.path, np.uint8, "r").reshape(-1, size, size, 3)
    inputs = embed(pictures, backbone)
    del pictures
    decoded.path.unlink()
    content = decoded._asdict() | {"inputs": inputs, "fps": np.float32(decoded.fps)}
    temporary = cache.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, **{name: content[name] for name in _COLUMNS})
    temporary.replace(cache)


def _fill(items, caches, known, out, backbone, options, workers, progress) -> list[str]:
    """Computes the missing cache files; returns the problems, one line per video."""
    for folder in ("cache", "previews"):
        (out / folder).mkdir(exist_ok=True)
        for leftover in [*(out / folder).glob("*.tmp*"), *(out / folder).glob("*.raw")]:
            leftover.unlink()  # of a preparation that was killed
    todo = [i for i, was in enumerate(known) if not was]
    jobs = {
        i: functools.partial(decode, items[i].path, options, caches[i].with_suffix(".raw"), _preview(out, items[i]))
        for i in todo
    }
    problems: dict[int, str] = {}
    bar = progress(total=len(items), initial=len(items) - len(todo), desc="prepare", unit="video") if progress else None
    done, count = _results(jobs, workers or os.cpu_count() or 1), 0
    for i, result in done:
        if isinstance(result, UserError):
            problems[i] = str(result)
            caches[i].with_suffix(".raw").unlink(missing_ok=True)
        else:
            _embed(result, caches[i], backbone, options.size)
            count += len(result.valid)
        if bar is not None:
            bar.set_postfix_str(f"{count} frames, {count / max(bar.format_dict['elapsed'], 1e-3):.0f} frames/s")
            bar.update()
    if bar is not None:
        bar.close()
    return [problems[i] for i in sorted(problems)]


def _results(jobs: dict[int, Callable[[], Decoded]], workers: int) -> Iterator[tuple[int, Decoded | UserError]]:
    """Runs the jobs; at most ``workers`` + 1 results wait on the disk at a time."""
    if workers == 1 or len(jobs) < 2:
        for i, job in jobs.items():
            try:
                yield i, job()
            except UserError as error:
                yield i, error
        return
    import multiprocessing

    waiting, running = list(jobs.items()), {}
    with ProcessPoolExecutor(min(workers, len(jobs)), multiprocessing.get_context("spawn")) as pool:
        try:
            while waiting or running:
                while waiting and len(running) <= workers:
                    i, job = waiting.pop(0)
                    running[pool.submit(job)] = i
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield running.pop(future), _outcome(future)
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed, most often for lack of memory; start the same command again with fewer "
                "--workers: finished videos are kept"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _outcome(future: Future) -> Decoded | UserError:
    error = future.exception()
    if error is not None and not isinstance(error, UserError):
        raise error
    return error or future.result()


# ---- Records --------------------------------------------------------------------------------------------------------


_COLUMNS = ("inputs", "fps", "num_source", "source", "valid", "motion", "uneven")


def _load(cache: Path) -> dict[str, np.ndarray]:
    with cache.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in _COLUMNS}


def _usable(cache: Path) -> bool:
    """Whether a video is done; a damaged cache file is thrown away, and its video done again."""
    if not cache.exists():
        return False
    try:
        _load(cache)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        cache.unlink()
        return False
    return True


def _summarise(item: VideoItem, cache: Path, cached: bool) -> Summary:
    content = _load(cache)
    valid = content["valid"]
    uneven = bool(content["uneven"])
    return Summary(item.subject, item.video, len(valid), int((valid == 0).sum()), cached, uneven)


def _beyond(item: VideoItem, cache: Path, first_frame: int) -> list[str]:
    """Expressions that end after their video."""
    frames = int(_load(cache)["num_source"])
    return [
        f"{item.path}: expression {onset + first_frame} to {offset - 1 + first_frame} ends after the last frame, "
        f"{frames - 1 + first_frame}; correct the sheet, or --first-frame"
        for onset, _, offset, _, _ in item.events.tolist()
        if offset > frames
    ]


def _record(item: VideoItem, cache: Path, first_frame: int) -> dict[str, Any]:
    content = _load(cache)
    fps, source = float(content["fps"]), content["source"]
    events = item.events.copy()
    if len(events):
        # Frames of the file to frames of the record, which differ when the rate was changed.
        events[:, 0] = np.minimum(np.searchsorted(source, events[:, 0], "left"), len(source) - 1)
        events[:, 2] = np.maximum(np.searchsorted(source, events[:, 2] - 1, "right"), events[:, 0] + 1)
        apex = np.clip(np.searchsorted(source, events[:, 1], "left"), events[:, 0], events[:, 2] - 1)
        events[:, 1] = np.where(events[:, 1] < 0, -1, apex)
    return {
        "subject": item.subject,
        "video": item.video,
        "num_frames": np.int32(len(source)),
        "fps": np.float32(fps),
        "first_frame": np.int32(first_frame),
        "inputs": content["inputs"],
        "valid": content["valid"],
        "motion": content["motion"],
        "events": annotations.resolve_kinds(events.astype(np.int32), fps),
    }
