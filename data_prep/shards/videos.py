"""Videos to records: decode, align, embed; every finished video is kept, so a stopped preparation goes on.

Worker processes decode and align (no JAX in them, so an accelerator is opened once); this process embeds. With a Beam
runner, whole videos are made wherever it runs them (``data_prep.shards.beam``).
"""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.backbones import kinds
from data_prep.backbones.kinds import Backbone
from data_prep.faces import landmarker_file
from data_prep.faces.decode import DEFAULT, Decoded, Options
from data_prep.media import sources
from data_prep.media.frames import check_rate
from data_prep.shards import builders, records, video_cache
from data_prep.shards.video_cache import Job
from data_prep.sheets import annotations
from data_prep.sheets.annotations import VideoItem
from fedn_jax.core import errors, files, processes, schema
from fedn_jax.core.errors import UserError, one_of
from fedn_jax.formats.clocks import Stamps

_MOST_SPLIT = 1000 * 2**20  # bytes of a subject: without TensorFlow a split must stay below 1 GB


class Summary(NamedTuple):
    """One prepared video, for the table at the end."""

    subject: str
    video: str
    num_frames: int
    invalid: int  # frames without a face
    cached: bool  # was there already
    uneven: bool  # the file's frames do not come at a constant rate
    notes: tuple[str, ...]  # what was odd


Finished = Callable[[int, UserError | None], None]  # told of each job as it is done: its number, what is wrong
Runner = Callable[[dict[int, Job], int, Finished], None]  # given jobs by number, and how many workers


def prepare(
    items: Sequence[VideoItem],
    out: Path,
    classes: Sequence[str],
    backbone: Backbone,
    options: Options = DEFAULT,
    first_frame: int = 1,
    name: str = "folder",
    labels: dict[str, Any] | None = None,
    workers: int | None = None,
    runner: Runner | None = None,
    progress: Callable[..., Any] | None = None,
    frames: bool = False,
) -> tuple[list[Summary], bool]:
    """Prepares a data set; what was done before with the same options is kept.

    Args:
      items: the videos.
      out: directory for cache, previews and shards.
      classes: the emotions; empty: spotting only.
      backbone: the feature extractor.
      options: see :class:`decode.Options`.
      first_frame: the number that the sheet gives to the first frame; stored for writing results.
      name: of the data set.
      labels: how the sheet was read, stored with the shards.
      workers: processes that decode and align; None: one per core. 1 works in this process.
      runner: makes the cache files; None: processes on this machine.
      progress: tqdm, or something with its interface; None shows nothing.
      frames: keep the aligned frames, for models that read pictures.

    Returns:
      A summary per video, and whether shards were written (False: they were there already).

    Raises:
      UserError: other options than before in this directory, or videos that cannot be used (all of them, at the end).
    """
    _check(options)
    errors.report("subjects", _clashes(items))
    settings = options._asdict() | {"source": name, "backbone": backbone.sha[:16], "pipeline": video_cache.PIPELINE}
    settings |= {"frames": "png"} if frames else {}
    labels = labels or {}
    with files.lock(out):
        builders.check_options(out, settings)
        _keep(backbone, out / schema.BACKBONE)
        keys = [builders.signature([sources.fingerprint(item.source), first_frame, settings]) for item in items]
        columns = [records.signed(one) for one in items]
        sign = builders.signature([settings, list(classes), first_frame, labels, keys, columns])
        jobs = [
            _job(item, key, out, options, first_frame)._replace(frames=frames)
            for item, key in zip(items, keys, strict=True)
        ]
        timed = [video_cache.TIMES if item.seconds is not None else () for item in items]
        known = [
            job.preview.exists() and video_cache.usable(job.cache, frames, more)
            for job, more in zip(jobs, timed, strict=True)
        ]
        messages = _fill(jobs, known, out, runner or functools.partial(_processes, backbone), workers, progress)
        present = [index for index, job in enumerate(jobs) if job.cache.exists()]
        contents = {
            index: video_cache.load(jobs[index].cache, (*video_cache.COLUMNS[1:], *timed[index])) for index in present
        }
        items = [_placed(item, contents.get(index)) for index, item in enumerate(items)]
        messages += [
            text for i in present for text in annotations.beyond(items[i], int(contents[i]["num_source"]), first_frame)
        ]
        errors.report("videos", messages)
        if frames:
            _check_sizes(items, jobs)
        summaries = [_summarise(items[index], contents[index], known[index]) for index in present]
        if builders.up_to_date(out, sign):
            return summaries, False
        metadata = {
            "classes": list(classes), "frames_per_row": 1, "backbone": f"{backbone.description} ({backbone.sha[:16]})",
            "aligner": f"{options.aligner}, {options.size} px", "signature": sign, "labels": labels,
            "preparation": options._asdict() | {"backbone": backbone.sha},
        }  # fmt: skip
        metadata |= {"frames": {"codec": "png", "size": options.size}} if frames else {}

        def of_subject(subject: str) -> Iterator[dict[str, Any]]:
            chosen = [index for index, item in enumerate(items) if item.subject == subject]
            content = lambda index: video_cache.load(jobs[index].cache, video_cache.columns(frames))
            return (records.record(items[i], content(i), first_frame) for i in chosen)

        builders.pack(out, name, sorted({item.subject for item in items}), of_subject, metadata)
        return summaries, True


def _check(options: Options) -> None:
    from data_prep.faces.align import ALIGNERS

    one_of("--aligner", options.aligner, ALIGNERS)
    if options.aligner == "landmarker":
        landmarker_file.load()  # else every video would say that it is not there
    if not 32 <= options.size <= 1024 or options.size % 2:
        raise UserError(f"--size must be an even number from 32 to 1024 (pixels); got {options.size}")
    if options.fps is not None:
        check_rate("--fps", options.fps)


def _keep(backbone: Backbone, path: Path) -> None:
    """Writes the feature extractor, unless it is there and whole."""
    with contextlib.suppress(UserError):
        if kinds.load(path).sha == backbone.sha:
            return
    kinds.save(path, backbone)


def _clashes(items: Sequence[VideoItem]) -> list[str]:
    try:
        builders.split_names(item.subject for item in items)
    except UserError as error:
        return [str(error)]
    return []


def _job(item: VideoItem, key: str, out: Path, options: Options, first_frame: int) -> Job:
    name = files.file_name(item.subject, item.video)
    cache, preview = out / "cache" / f"{name}-{key}.npz", out / "previews" / f"{name}.mp4"
    return Job(item.source, options, first_frame, cache, preview, out / schema.BACKBONE)


# ---- All videos -----------------------------------------------------------------------------------------------------


def _fill(
    jobs: Sequence[Job], known: Sequence[bool], out: Path, runner: Runner, workers: int | None, progress: Any
) -> list[str]:
    """Makes the missing cache files; returns the messages, one line per video."""
    for folder in ("cache", "previews"):
        (out / folder).mkdir(exist_ok=True)
    _tidy(out)
    try:
        return _run(jobs, known, runner, workers, progress)
    finally:
        _tidy(out)


def _tidy(out: Path) -> None:
    """Removes what a preparation that was killed left behind, or this one if it is stopped."""
    for folder, pattern in itertools.product(("cache", "previews"), (f"{files.PART}*", "*.raw", "*.problem")):
        for leftover in (out / folder).glob(pattern):
            leftover.unlink(missing_ok=True)


def _run(jobs: Sequence[Job], known: Sequence[bool], runner: Runner, workers: int | None, progress: Any) -> list[str]:
    todo = {index: job for index, job in enumerate(jobs) if not known[index]}
    messages: dict[int, str] = {}
    bar = progress(total=len(jobs), initial=len(jobs) - len(todo), desc="prepare", unit="video") if progress else None
    count = 0

    def finished(index: int, problem: UserError | None) -> None:
        nonlocal count
        if problem is not None:
            messages[index] = str(problem)
            todo[index].raw.unlink(missing_ok=True)
        elif bar is not None:
            count += len(video_cache.load(todo[index].cache, ["valid"])["valid"])
            bar.set_postfix_str(f"{count} frames, {count / max(bar.format_dict['elapsed'], 1e-3):.0f} frames/s")
        if bar is not None:
            bar.update()

    runner(todo, workers or os.cpu_count() or 1, finished)
    if bar is not None:
        bar.close()
    return [messages[index] for index in sorted(messages)]


def _processes(backbone: Backbone, jobs: dict[int, Job], workers: int, finished: Finished) -> None:
    """The runner of one machine: processes decode and align, this one embeds."""
    with contextlib.closing(_decoded(jobs, workers)) as results:  # workers end here, at the latest
        for index, result in results:
            if not isinstance(result, UserError):
                try:
                    video_cache.embed_raw(jobs[index], result, backbone)
                except UserError as error:
                    result = error
            finished(index, result if isinstance(result, UserError) else None)


def _decoded(jobs: dict[int, Job], workers: int) -> Generator[tuple[int, Decoded | UserError], None, None]:
    """Decodes; at most ``workers`` + 1 results wait on the disk at a time."""
    if workers == 1 or len(jobs) < 2:
        for index, job in jobs.items():
            try:
                yield index, video_cache.decode_job(job)
            except UserError as error:
                yield index, error
        return
    waiting, running = list(jobs.items()), {}
    with processes.pool(min(workers, len(jobs))) as pool:
        while waiting or running:
            while waiting and len(running) <= workers:
                index, job = waiting.pop(0)
                running[pool.submit(video_cache.decode_job, job)] = index
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield running.pop(future), _outcome(future)


def _outcome(future: Future) -> Decoded | UserError:
    error = future.exception()
    if error is not None and not isinstance(error, UserError):
        raise error
    return error or future.result()


# ---- Records --------------------------------------------------------------------------------------------------------


def _placed(item: VideoItem, content: dict[str, np.ndarray] | None) -> VideoItem:
    """A video with its events in frames, where it could be decoded."""
    if content is None or item.seconds is None:
        return item
    return annotations.placed(item, Stamps(content["seconds"], content["ends"], first_frame=0))


def _check_sizes(items: Sequence[VideoItem], jobs: Sequence[Job]) -> None:
    """Raises where the records of a subject are more than its split can hold."""
    sizes: dict[str, int] = {}
    for item, job in zip(items, jobs, strict=True):
        sizes[item.subject] = sizes.get(item.subject, 0) + job.cache.stat().st_size
    errors.report(
        "subjects",
        [
            f"subject {name}: {size / 2**20:,.0f} MiB of embeddings and frames, and the shards of a subject hold "
            f"at most {_MOST_SPLIT // 2**20:,}; prepare with a smaller --size, or without --frames"
            for name, size in sorted(sizes.items())
            if size > _MOST_SPLIT
        ],
    )


def _summarise(item: VideoItem, content: dict[str, np.ndarray], cached: bool) -> Summary:
    valid, notes = content["valid"], tuple(str(note) for note in content["notes"])
    late = sum(bool(x) for x in item.cut & (item.events[:, 2] > int(content["num_source"])))
    notes += (f"{late} expressions pass the last frame and are cut",) if late else ()
    return Summary(
        item.subject, item.video, len(valid), int((valid == 0).sum()), cached, bool(content["uneven"]), notes
    )
