"""The score threshold of each fold, and where it comes from: said where it is chosen, so that no text can be wrong.

A run picks the threshold of each fold on its inner fold, by a rule (``threshold_rules``). ``evaluate.threshold``
counts where there is no inner fold, where the inner fold has nothing to pick by, and for every fold if it is given for
an evaluation.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from fedn_jax.core import config as configs
from fedn_jax.core import errors
from fedn_jax.core.text import count
from fedn_jax.core.types import Config, Detections, Events
from fedn_jax.evaluation import threshold_rules

OPTION = "evaluate.threshold"
LISTED = 6  # folds that a sentence names
SECTIONS = ("predict", "evaluate")  # options that an evaluation may change
OTHERS = NO_HIT, GIVEN, CONFIGURED, TUNED, ALL, UNSCORED = (
    "no hit", "given", "configured", "tuned", "all", "unscored",
)  # fmt: skip
ORIGINS = (*threshold_rules.RULES, *OTHERS)  # a rule says its own name
MEANING = {  # what stands behind "score threshold of each fold"
    **{name: rule.meaning for name, rule in threshold_rules.RULES.items()},
    NO_HIT: f"{OPTION} of the configuration: on its inner fold no detection finds an expression, so there is nothing "
    "to pick it by",
    GIVEN: f"{OPTION} as given for this evaluation, whatever inner folds say",
    CONFIGURED: f"{OPTION} of the configuration: the run has no inner folds, so it is not tuned",
    TUNED: "tuned, as its other settings, for the best spotting F1 on the training videos of the fold",
    ALL: "none: on the training videos of the fold nothing finds an expression, so there is nothing to tune by, and "
    "all counts",
    UNSCORED: "none: its detections have no scores, so all count",
}


class Threshold(NamedTuple):
    """Lowest score of a detection, and where it comes from."""

    value: float
    origin: str  # of ORIGINS


def choose(config: Config, given: bool, held_out: tuple[Detections, Events] | None, iou: float) -> Threshold:
    """The threshold of a fold.

    Args:
      config: of the evaluation.
      given: its ``evaluate.threshold`` was given for this evaluation.
      held_out: (detections [V, N], expressions [V, E]) of the inner fold; None: there is none.
      iou: lowest IoU of a match.

    Returns:
      The threshold.

    Raises:
      UserError: no such rule.
    """
    fixed = float(config.evaluate.threshold)
    if given or held_out is None:
        return Threshold(fixed, GIVEN if given else CONFIGURED)
    rule = errors.one_of("evaluate.threshold_rule", config.evaluate.threshold_rule, threshold_rules.RULES)
    picked = threshold_rules.RULES[rule].pick(threshold_rules.rank(*held_out, iou), fixed)
    return Threshold(fixed, NO_HIT) if picked is None else Threshold(picked, rule)


def describe(chosen: Mapping[str, str]) -> str:
    """Where thresholds come from, in words.

    Args:
      chosen: fold -> origin.

    Returns:
      A definition, without a full stop.

    >>> describe({"s1": "given", "s2": "given"})
    'score threshold of each fold: evaluate.threshold as given for this evaluation, whatever inner folds say'
    """
    groups = {origin: [fold for fold, one in chosen.items() if one == origin] for origin in ORIGINS}
    groups = {origin: folds for origin, folds in groups.items() if folds}
    if len(groups) < 2:
        return "score threshold of each fold" + "".join(f": {MEANING[origin]}" for origin in groups)
    largest = max(groups, key=lambda origin: len(groups[origin]))
    names = {origin: "" if origin == largest else f" ({_first(folds)})" for origin, folds in groups.items()}
    parts = [f"of {count(len(folds), 'fold')}{names[origin]} {MEANING[origin]}" for origin, folds in groups.items()]
    return f"score threshold of each fold: {'; '.join(parts)}"


def _first(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if names[LISTED:] else "")


def record(chosen: Mapping[str, Threshold]) -> dict[str, Any]:
    """What metrics.json says of thresholds.

    Args:
      chosen: fold -> its threshold.

    Returns:
      "thresholds" (fold -> value) and "threshold_origins" (fold -> an entry of ``ORIGINS``).
    """
    return {
        "thresholds": {fold: one.value for fold, one in chosen.items()},
        "threshold_origins": {fold: one.origin for fold, one in chosen.items()},
    }


def other_options(config: Config, trained: Config, typed: Collection[str] = ()) -> dict[str, Any]:
    """What sets an evaluation apart from that with the options of the training.

    Args:
      config: of the evaluation.
      trained: of the training.
      typed: options that were given for this evaluation, by dotted name.

    Returns:
      Dotted name -> value, of the options in ``SECTIONS`` that differ, and of ``evaluate.threshold`` where it was
      given, since that alone makes it count for every fold.
    """
    now, then = configs.flatten(config), configs.flatten(trained)
    keys = [key for key in now if key.partition(".")[0] in SECTIONS]
    return {key: now[key] for key in keys if now[key] != then.get(key) or key == OPTION and key in typed}


def known(found: Mapping[str, Any]) -> bool:
    """Whether this version can say where the thresholds of a run come from; the names of rules were others before.

    Args:
      found: content of metrics.json.

    Returns:
      False of what another version wrote.
    """
    return set((found.get("threshold_origins") or {}).values()) <= set(ORIGINS)


def of_training(found: Mapping[str, Any]) -> dict[str, Threshold]:
    """The thresholds of a run, unless its numbers are those of an evaluation with other options.

    Args:
      found: content of metrics.json.

    Returns:
      Fold -> threshold; empty where suppression, IoU or threshold are not the training's.
    """
    if found["other_options"]:
        return {}
    return {fold: Threshold(value, found["threshold_origins"][fold]) for fold, value in found["thresholds"].items()}
