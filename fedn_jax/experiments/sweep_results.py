"""What came out of a sweep: its trials, and the best one as a configuration."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedn_jax.core import config as configs
from fedn_jax.core import files
from fedn_jax.engine import run_dir
from fedn_jax.experiments import search_space, sweep
from fedn_jax.experiments.search_space import Choice


def summary(study: Any, search: sweep.Search) -> dict[str, Any]:
    """What came out; written as ``sweep.json``, and the best trial as ``best.py``.

    Args:
      study: of ``run``.
      search: what was searched.

    Returns:
      "trials" (number, state, params, score, rungs, reason each), "best" (a number or None), "importance" (option ->
      share), and what describes the search.
    """
    state = sweep.library().trial.TrialState
    known = study.get_trials(deepcopy=False)
    replaced = {trial.user_attrs.get(sweep.REPLACES) for trial in known}
    shown = [
        {
            "number": trial.number, "state": trial.state.name.lower(), "params": dict(trial.params),
            "score": trial.value if trial.state == state.COMPLETE else None,
            "rungs": {str(step): value for step, value in sorted(trial.intermediate_values.items())},
            "reason": trial.user_attrs.get(sweep.REASON, ""), "replaces": trial.user_attrs.get(sweep.REPLACES),
        }
        for trial in known if trial.number not in replaced and trial.state != state.WAITING
    ]  # fmt: skip
    complete = [trial for trial in shown if trial["state"] == "complete"]
    best = max(complete, key=lambda trial: (trial["score"], -trial["number"]), default=None)
    result = {
        "trials": shown, "best": best and best["number"], "importance": _importance(study, complete),
        "space": {key: describe(option) for key, option in search.space.items()}, "settings": search.settings._asdict(),
        "objective": search_space.OBJECTIVES[search.settings.objective], "source": search.source,
        "repeated": len(known) - len(shown), "epochs": search.config.train.epochs, "versions": run_dir.versions(),
    }  # fmt: skip
    result = json.loads(json.dumps(result))
    run_dir.write_json(search.out / "sweep.json", result)
    if best:
        files.write_text(search.out / "best.py", best_config(search, best))
    return result


def describe(option: Any) -> str:
    """A distribution in words.

    Args:
      option: its distribution, of ``search_space``.

    Returns:
      E.g. "0.0001 to 0.01, log" or "decoupled, coupled".
    """
    if isinstance(option, Choice):
        return ", ".join(map(str, option.values))
    return f"{option.low:g} to {option.high:g}{', log' if option.log else ''}"


def _importance(study: Any, complete: list[dict]) -> dict[str, float]:
    """Share of each option in what sets the best trials apart (PED-ANOVA, Watanabe et al. 2023)."""
    optuna = sweep.library()
    if len(complete) < 4 or len({trial["score"] for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def best_config(search: sweep.Search, best: Mapping[str, Any]) -> str:
    """The best trial as a configuration file that stands alone.

    Args:
      search: what was searched.
      best: the trial, of ``summary``.

    Returns:
      Python; own code comes first, and what stands below it counts.
    """
    default, base = configs.flatten(configs.default()), configs.flatten(search.config)
    chosen = configs.flatten(search_space.apply(search.config, best["params"]))
    kept = {key: value for key, value in base.items() if value != default[key]}
    differs = {key: chosen[key] for key in best["params"]}
    lines = [f"    {key!r}: {value!r}," for key, value in json.loads(json.dumps(kept)).items()]
    found = [f"    {key!r}: {value!r}," for key, value in differs.items()]
    return "\n".join([
        *([search.own.rstrip("\n"), "", ""] if search.own else []),
        f'"""The best trial of a sweep, number {best["number"]}: {best["score"]:.4f} on the inner folds.',
        "", "That score chose the trial, so it is optimistic; the estimate is the run on the test videos:", "",
        "    fedn train --config best.py --data DIR --out RUN", '"""', "",
        "from fedn_jax.core import config as fedn_config", "", f"BASE = {{  # {Path(search.source).name}", *lines, "}",
        "BEST = {  # what the sweep chose", *found, "}",
        "ROWS = fedn_config.PAPER_ROWS", "", "", 'def get_config(row: str = ""):',
        '    """The configuration of one row.', "", "    Args:",
        '      row: key of ``ROWS``; "" for what the sweep chose.', "", "    Returns:", "      A locked ConfigDict.",
        '    """', "    config = fedn_config.default()", "    config.update_from_flattened_dict(BASE | BEST)",
        "    return fedn_config.with_row(config, ROWS, row)", "",
    ])  # fmt: skip
