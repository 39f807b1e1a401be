"""The same preparation as an Apache Beam pipeline: one element per video, on any of Beam's runners.

Cache files are made where the runner works, so the output directory must lie on a file system that all workers see;
shards are packed from them by the process that started the pipeline, as without Beam. Needs the extra ``beam``.
"""

import functools
import logging
from collections.abc import Generator, Sequence
from typing import Any

from data_prep.shards.videos import Job, Runner
from fedn_jax.core.errors import UserError


def make_runner(name: str, options: Sequence[str]) -> Runner:
    """A runner for ``videos.prepare``.

    Args:
      name: of the Beam runner: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner ...
      options: of the runner, such as "flink_master=host:8081".

    Returns:
      The runner.

    Raises:
      UserError: Beam is not installed, or does not know the runner or an option.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.runners.runner import create_runner
    except ImportError:
        raise UserError("--runner needs Apache Beam, which is not installed: pip install 'fedn_jax[beam]'") from None
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"--runner {name}: Beam has no such runner ({error}); expected such as DirectRunner") from None
    flags = [f"--{option.lstrip('-')}" for option in options]

    def run(jobs: dict[int, Job], workers: int) -> Generator[tuple[int, UserError | None], None, None]:
        if not jobs:
            return
        own: dict[str, Any] = {"runner": name, "default_sdk_harness_log_level": "ERROR"}
        if name == "DirectRunner":
            own |= {
                "direct_num_workers": workers,
                "direct_running_mode": "multi_processing" if workers > 1 else "in_memory",
            }
        chosen = PipelineOptions(flags, **own)
        logging.getLogger("apache_beam").setLevel(logging.ERROR)
        with beam.Pipeline(options=chosen) as pipeline:
            _ = (
                pipeline
                | "videos" >> beam.Create(list(jobs.values()))
                | "spread" >> beam.Reshuffle()
                | "decode, align, embed" >> beam.Map(make)
            )
        for index, job in jobs.items():
            failed = _problem(job)
            yield index, UserError(failed.read_text()) if failed.exists() else None
            failed.unlink(missing_ok=True)

    return run


def make(job: Job) -> str:
    """Makes the cache file of one video, in whatever process the runner chose.

    Args:
      job: the video.

    Returns:
      Path of the cache file, or of a file beside it that says why there is none.
    """
    from data_prep.shards import videos

    if job.cache.exists():  # an element that the runner does twice
        return str(job.cache)
    try:
        videos.embed_raw(job, videos.decode_job(job), _backbone(str(job.backbone)))
    except UserError as error:
        job.raw.unlink(missing_ok=True)
        _problem(job).write_text(str(error))
        return str(_problem(job))
    return str(job.cache)


def _problem(job: Job) -> Any:
    return job.cache.with_suffix(".problem")


@functools.cache
def _backbone(path: str) -> Any:
    """Loaded once per process."""
    from data_prep.backbones.embed import load_backbone

    return load_backbone(path)
