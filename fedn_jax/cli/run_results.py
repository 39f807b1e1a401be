"""The results of a run: evaluated, put where they belong, and shown. Everything heavy is imported inside."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedn_jax.cli import config_files, own_code
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import progress_bar

FILES = ("metrics.json", "report.html", "detections.csv", "candidates.csv")  # of an evaluation
SHOWN = {"numbers": "metrics.json", "page": "report.html", "found": "detections.csv"}


def evaluate_run(
    run: Path,
    data: Path,
    overrides: Sequence[str] = (),
    spec: str | None = None,
    out: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Evaluates a run from the outputs that training saved, and prints the numbers.

    The run's own numbers are those of the options that it was trained with. With others, numbers are shown, and
    files are written only where ``out`` says.

    Args:
      run: directory of the training.
      data: directory made by `fedn prepare`.
      overrides: options of the sections predict and evaluate, other than those of the training.
      spec: the file whose own code the run was trained with, if it was.
      out: directory for what is written; None: that of the run.
      force: replace files even where somebody changed them.

    Returns:
      The numbers, as in metrics.json.

    Raises:
      UserError: ``out`` is a run, or holds files that a person wrote or changed.
    """
    from fedn_jax import models
    from fedn_jax.core import written
    from fedn_jax.data import problem
    from fedn_jax.engine import run_dir
    from fedn_jax.evaluation import run_evaluation, thresholds
    from fedn_jax.reports import run_tables

    own_code.admit(run, spec)
    config = run_dir.load_config(run)
    dataset = problem.load(config, data, inputs=False)
    config_files.override(config, overrides, thresholds.SECTIONS)
    models.validate(config)
    typed = [text.removeprefix("--config.").partition("=")[0] for text in overrides]
    other = thresholds.other_options(config, run_dir.load_config(run), typed)
    own = out is None or os.path.realpath(out) == os.path.realpath(run)
    if out and (other if own else (out / "run.json").exists()):
        raise UserError(f"--out {out}: holds a run, whose own numbers stay; choose a directory that is none")
    out = run if own else out
    writes = not (own and other)
    if writes:
        out.mkdir(parents=True, exist_ok=True)
        if not force:
            written.check(out, FILES, own)
    results = run_evaluation.evaluate_run(run, config, dataset, progress_bar(), typed)
    if writes:
        save_evaluation(results, out, run, data, force, own)
    print(run_tables.run_text(results.metrics) + "\n")
    if writes:
        print(lines(out))
    else:
        print(f"with other options ({', '.join(other)}): {run} keeps its own files; --out DIR writes these")
    return results.metrics


def save_evaluation(results: Any, out: Path, run: Path, data: Path, force: bool, own: bool) -> None:
    """Writes the files of an evaluation, the page among them, and puts them in their places.

    Args:
      results: of the evaluation.
      out: directory for them.
      run: directory of the training.
      data: directory made by `fedn prepare`.
      force: replace files even where somebody changed them.
      own: ``out`` is a run's directory, so its files are results.
    """
    from fedn_jax.core import files, written
    from fedn_jax.engine import run_dir
    from fedn_jax.evaluation import run_evaluation
    from fedn_jax.reports import run_page

    shown, history = (run_page.videos(results), results.problem.classes), run_dir.read_metrics(run)
    with files.scratch(out / "evaluation") as made:
        run_evaluation.write(results, made)
        run_page.write(made, results.metrics, *shown, history, thumbnails(data))
        with (
            files.wait_for_lock(out),
            written.replacing(out, "evaluation", {"run": str(run)}, FILES, force, own) as parts,
        ):
            for name, part in parts.items():
                (made / name).replace(part)


def lines(out: Path) -> str:
    """Where the files of an evaluation are, for the terminal.

    Args:
      out: directory that they were written to.

    Returns:
      A line for each of ``SHOWN``.
    """
    return "\n".join(f"{what + ':':<8} {out / name}" for what, name in SHOWN.items())


def thumbnails(data: Path) -> Any:
    """Aligned faces of prepared videos.

    Args:
      data: directory made by `fedn prepare`.

    Returns:
      (subject, video, frame indices) -> pictures, or None where there are no previews.
    """
    from data_prep.media import frames
    from fedn_jax.core import files

    def thumbnail(subject: str, video: str, indices: list[int]) -> Any:
        path = data / "previews" / f"{files.file_name(subject, video)}.mp4"
        return frames.pick(path, indices) if path.exists() else None

    return thumbnail
