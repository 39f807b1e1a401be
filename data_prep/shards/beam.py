"""The same preparation as an Apache Beam pipeline: one element per video, on any of Beam's runners.

Cache files are made where the runner works, so the output directory must lie on a file system that all workers see;
shards are packed from them by the process that started the pipeline, as without Beam. That a cache file is there says
that its video is done: so progress is known with any runner, and a video that two workers make is made once.
Needs the extra ``beam`` or ``dask``.
"""

import argparse
import contextlib
import functools
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from data_prep.shards.video_cache import Job
from data_prep.shards.videos import Finished, Runner
from fedn_jax.core import errors, files
from fedn_jax.core.errors import UserError

DASK = "apache_beam.runners.dask.dask_runner.DaskRunner"  # Beam knows it by this name only
POLL = 1.0  # seconds between two looks at what is done
LATE = 65.0  # seconds that a network file system may take to show what another machine wrote
_START = (
    "start a scheduler with `dask scheduler --scheduler-file FILE`, workers with `dask worker --scheduler-file FILE`, "
    "and give --beam dask_scheduler_file=FILE or dask_client_address=tcp://HOST:PORT"
)

log = logging.getLogger(__name__)


def make_runner(name: str, options: Sequence[str]) -> Runner:
    """A runner for ``videos.prepare``.

    Args:
      name: of the Beam runner: DirectRunner, DaskRunner, FlinkRunner, SparkRunner, DataflowRunner ...
      options: of the runner, such as "dask_client_address=tcp://host:8786".

    Returns:
      The runner.

    Raises:
      UserError: Beam or what the runner needs is not installed, or Beam does not know the runner, or Dask an option.
    """
    logging.disable(logging.WARNING)  # Beam warns of what only Google's cloud needs
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.runner import create_runner
    except ImportError:
        raise UserError("--runner needs Apache Beam, which is not installed: pip install 'fedn_jax[beam]'") from None
    finally:
        logging.disable(logging.NOTSET)
    flags = [f"--{option.lstrip('-')}" for option in options]
    if name.lower() in ("dask", "daskrunner", DASK.lower()):
        name = DASK
        _check_dask(flags)
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"--runner {name}: Beam has no such runner ({error}); expected such as DirectRunner") from None

    def run(jobs: dict[int, Job], workers: int, finished: Finished) -> None:
        if not jobs:
            return
        own: dict[str, Any] = {"runner": name, "default_sdk_harness_log_level": "ERROR"}
        if name == "DirectRunner":
            own |= {
                "direct_num_workers": workers,
                "direct_running_mode": "multi_processing" if workers > 1 else "in_memory",
            }
        if name == DASK and not any("dask_npartitions" in flag or "dask_partition_size" in flag for flag in flags):
            own["partition_size"] = 1  # Beam would put 128 videos into one task
        logging.getLogger("apache_beam").setLevel(logging.ERROR)
        absolute = {index: _absolute(job) for index, job in jobs.items()}
        pipeline = beam.Pipeline(options=PipelineOptions(flags, **own))
        _ = (
            pipeline
            | "videos" >> beam.Create(list(absolute.values()))
            | "spread" >> beam.Reshuffle()
            | "decode, align, embed" >> beam.Map(make)
        )
        with _watching(absolute, finished):
            (_run_on_dask if name == DASK else _run)(pipeline)

    return run


def _absolute(job: Job) -> Job:
    """The job with paths that do not depend on where a worker was started."""
    originals = job.source.originals
    source = job.source._replace(path=job.source.path.absolute(), originals=originals and originals.absolute())
    paths = {name: getattr(job, name).absolute() for name in ("cache", "preview", "backbone")}
    return job._replace(source=source, **paths)


# ---- In a worker ----------------------------------------------------------------------------------------------------


def make(job: Job) -> str:
    """Makes the cache file of one video, in whatever process the runner chose.

    Args:
      job: the video.

    Returns:
      Path of the cache file, or of a file beside it that says why there is none.

    Raises:
      UserError: the machine is at fault, not the video.
    """
    from data_prep.shards import video_cache

    for done in (job.cache, _problem(job)):
        if done.exists():  # an element that the runner does twice
            return str(done)
    job = job._replace(attempt=f".{secrets.token_hex(4)}")  # a worker that was given up may still be at it
    try:
        video_cache.embed_raw(job, video_cache.decode_job(job), _backbone(str(job.backbone)))
    except UserError as error:
        files.write_text(_problem(job), str(error))
        return str(_problem(job))
    except OSError as error:  # no fault of the video, such as a full disk; Dask cannot send one that names its file
        raise UserError(f"on {socket.gethostname()}: {errors.line(error)}") from None
    finally:
        job.raw.unlink(missing_ok=True)
    return str(job.cache)


def _problem(job: Job) -> Path:
    return job.cache.with_suffix(".problem")


@functools.cache
def _backbone(path: str) -> Any:
    """Loaded once per process."""
    from data_prep.backbones import kinds

    return kinds.load(path)


# ---- Progress -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _watching(jobs: dict[int, Job], finished: Finished) -> Iterator[None]:
    """Tells of videos as their files appear, while the pipeline runs.

    Args:
      jobs: by number.
      finished: is called from a thread.

    Yields:
      Nothing.

    Raises:
      UserError: the pipeline has ended and files are missing.
    """
    waiting, stop = dict(jobs), threading.Event()
    folder = next(iter(jobs.values())).cache.parent
    for job in jobs.values():
        job.cache.unlink(missing_ok=True)  # it is made again, such as for want of its preview

    def look() -> None:
        names = set(os.listdir(folder))  # asking for each file would let NFS remember for a while that it is not there
        for index, job in list(waiting.items()):
            if _problem(job).name in names:
                finished(index, UserError(_problem(job).read_text()))
            elif job.cache.name in names:
                finished(index, None)
            else:
                continue
            del waiting[index]

    def watch() -> None:
        while not stop.wait(POLL):
            with contextlib.suppress(Exception):  # what is wrong is met again at the end
                look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    look()
    end = time.monotonic() + LATE
    while waiting and time.monotonic() < end:
        time.sleep(POLL)
        look()
    if waiting:
        raise UserError(
            f"{folder}: {len(waiting)} of {len(jobs)} videos are done but not here; --out must be on storage that this "
            "machine and all workers see under the same path"
        )


# ---- Running --------------------------------------------------------------------------------------------------------


def _run(pipeline: Any) -> None:
    result = pipeline.run()  # some runners come back from here at the end, some at once
    try:
        result.wait_until_finish()
    except BaseException:
        with contextlib.suppress(Exception):
            result.cancel()
        raise


def _check_dask(flags: Sequence[str]) -> None:
    try:
        import distributed  # noqa: F401
        from apache_beam.runners.dask.dask_runner import DaskOptions
    except ImportError:
        raise UserError(
            "--runner DaskRunner needs Dask, which is not installed: pip install 'fedn_jax[dask]'"
        ) from None

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UserError(f"--beam: {message}")

    parser = Parser(add_help=False, allow_abbrev=False)
    DaskOptions._add_argparse_args(parser)
    chosen, unknown = parser.parse_known_args(flags)
    if wrong := [flag[2:] for flag in unknown if flag.startswith("--dask")]:
        known = ", ".join(action.option_strings[0][2:] for action in parser._actions)
        raise UserError(f"--beam {wrong[0]}: Dask's runner has no such option; it has {known}")
    if chosen.scheduler_file and not Path(chosen.scheduler_file).exists():
        raise UserError(f"--beam dask_scheduler_file={chosen.scheduler_file}: no such file; {_START}")


def _run_on_dask(pipeline: Any) -> None:
    """Runs a pipeline on the workers of a scheduler, and leaves both as they were.

    Raises:
      UserError: the scheduler cannot be reached or is lost, or a video's workers were killed again and again.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # tracebacks of what is said here in a line
    try:
        result = pipeline.run()
    except (OSError, ValueError) as error:
        raise UserError(f"--runner DaskRunner: no scheduler can be reached ({error}); {_START}") from None
    again = "start the same command again: what is finished is kept"
    try:
        if not result.client.scheduler_info()["workers"]:
            log.warning("the scheduler has no worker yet; the videos wait for one")
        result.wait_until_finish()
        if any(future.status == "cancelled" for future in result.futures):
            raise CancelledError
    except KilledWorker:
        raise UserError(
            "workers of the same video were killed again and again, most often for lack of memory or by a time limit; "
            f"give them more, and {again}"
        ) from None
    except (CancelledError, CommClosedError):
        raise UserError(f"--runner DaskRunner: the scheduler was lost; {again}") from None
    finally:
        result.client.close()
