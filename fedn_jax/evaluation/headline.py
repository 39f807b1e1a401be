"""The six numbers of a run, and when a number does not exist: one rule for terminal, pages, tables and checks.

Recognition is judged on true positives, so without one there is none. A network that tells no emotions apart, because
``data.recognition`` is off or because there is one class only, recognises nothing: its "100 %" would say nothing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError

Metrics = Mapping[str, Any]  # content of metrics.json, or an entry of its "baselines"


class Number(NamedTuple):
    """Where a number stands, and what it is called."""

    path: str  # in metrics.json
    title: str
    short: str  # in a table, as the paper calls it
    definition: str  # entry of ``all_metrics.DEFINITIONS``


NUMBERS = {
    "tp": Number("spotting/tp", "TP", "TP", "tp"),
    "n": Number("spotting/n", "N", "N", "n"),
    "f1_s": Number("spotting/f1", "Spotting F1", "F1 S", "f1"),
    "f1_r": Number("recognition/accuracy", "Recognition accuracy", "F1 R", "accuracy"),
    "map_s": Number("map/coco/spotting", "Spotting mAP", "mAP S", "map.spotting"),
    "map_d": Number("map/coco/detection", "Detection mAP", "mAP D", "map.detection"),
}
SHARES = tuple(NUMBERS)[2:]  # in [0, 1]; the others are counts
NAMED = frozenset({"f1_r", "map_d"})  # need emotions
BASELINES = {"flow": "Flow baseline", "position": "Position prior"}  # entry of "baselines" -> title
MAP_ORDER = (
    "Detection mAP can exceed spotting mAP: it ranks the detections of each emotion by themselves and averages the "
    "emotions with equal weight. A false detection with a high score then harms its own emotion only, and a rare "
    "emotion counts as much as a frequent one"
)


def recognises(metrics: Metrics) -> bool:
    """Whether a run tells emotions apart.

    Args:
      metrics: with "per_class", and "config" if it is known.

    Returns:
      False for a run of spotting only, and for a single class.
    """
    return options_recognise(configs.flatten(metrics.get("config") or {})) and len(metrics["per_class"]) > 1


def worded(metrics: Metrics, text: str) -> str:
    """A sentence about emotions, of a run whose classes may be kinds of expressions.

    Args:
      metrics: with "config" if it is known.
      text: that says "emotion".

    Returns:
      The text, which says "kind" of such a run.
    """
    options = configs.flatten(metrics.get("config") or {})
    return (
        text.replace("an emotion", "a kind").replace("emotion", "kind") if options.get("data.label") == "kind" else text
    )


def options_recognise(options: Mapping[str, Any]) -> bool:
    """Whether a configuration asks for emotions: of the network, or of a recogniser behind it.

    Args:
      options: dotted name -> value; those that are missing have their defaults.

    Returns:
      False for spotting only.
    """
    return bool(options.get("data.recognition", True) or options.get("cascade.recogniser"))


def value(metrics: Metrics, path: str) -> Any:
    """A number of a run.

    Args:
      metrics: content of metrics.json.
      path: such as "map/coco/detection".

    Returns:
      The number, unrounded; None where it is not there, or does not exist.
    """
    first, *_, last = path.split("/")
    judged = first == "recognition" or last in ("detection", "f1_analysis", "strs")
    if judged and not recognises(metrics) or first == "recognition" and not metrics["spotting"]["tp"]:
        return None
    found: Any = metrics
    for key in path.split("/"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def numbers(metrics: Metrics) -> dict[str, Any]:
    """The headline.

    Args:
      metrics: content of metrics.json.

    Returns:
      An entry for each of ``NUMBERS``: a count, or a share in [0, 1]; None where it does not exist.
    """
    return {name: value(metrics, number.path) for name, number in NUMBERS.items()}


def accuracy(metrics: Metrics, row: Mapping[str, Any]) -> float | None:
    """Recognition accuracy of a subject.

    Args:
      metrics: of the run.
      row: one of its "per_subject".

    Returns:
      A share in [0, 1]; None where it does not exist.
    """
    return row["accuracy"] if row["tp"] and recognises(metrics) else None


def baselines(metrics: Metrics) -> dict[str, dict[str, Any]]:
    """What learns nothing and was judged on the same expressions.

    Args:
      metrics: content of metrics.json.

    Returns:
      Title -> its metrics, with the configuration of the run.

    Raises:
      UserError: a baseline of another version.
    """
    found = metrics.get("baselines") or {}
    if unknown := sorted(set(found) - set(BASELINES)):
        raise UserError(
            f"metrics.json: has the baseline {unknown[0]!r}; expected {', '.join(BASELINES)}, as this version writes: "
            "prepare the data again, and start `fedn evaluate` again"
        )
    return {BASELINES[name]: {**one, "config": metrics.get("config")} for name, one in found.items()}
