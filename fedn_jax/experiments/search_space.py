"""What a sweep searches: distributions of options, and how it goes about it. A configuration file holds both.

SPACE = {"train.learning_rate": space.Float(1e-4, 1e-2, log=True), "model.head": space.Choice("decoupled", "coupled")}
SWEEP = space.Settings(trials=16, batch=8)
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Config

SAMPLERS = ("tpe", "random", "grid")
OBJECTIVES = {  # the score of a trial, on the held-out subjects of the inner folds
    "detection": "detection mAP, 101-point, pooled over the held-out videos of the inner folds",
    "spotting": "spotting mAP, 101-point, pooled over the held-out videos of the inner folds",
}


class Float(NamedTuple):
    """A number between two others."""

    low: float
    high: float
    log: bool = False  # uniform in its logarithm
    points: int = 3  # of a grid

    def grid(self) -> list[float]:
        """Evenly spaced values, both ends among them.

        Returns:
          ``points`` values.

        >>> Float(1e-4, 1e-2, log=True).grid()
        [0.0001, 0.001, 0.01]
        """
        to, back = (math.log10, lambda x: 10**x) if self.log else (float, float)
        step = (to(self.high) - to(self.low)) / max(self.points - 1, 1)
        inner = [float(f"{back(to(self.low) + step * number):.6g}") for number in range(1, self.points - 1)]
        return [self.low, *inner, *([self.high] if self.points > 1 else [])]


class Choice:
    """One of several values: texts, numbers, or True and False."""

    def __init__(self, *values: str | float | bool):
        """Holds the values.

        Args:
          *values: the choices.
        """
        self.values = list(values)

    def grid(self) -> list[Any]:
        """All of them.

        Returns:
          The values.
        """
        return self.values


class Settings(NamedTuple):
    """How a sweep goes about it."""

    trials: int = 16
    batch: int = 8  # trials that are proposed, and trained as one program, at a time
    sampler: str = "tpe"  # of SAMPLERS; "grid" tries every point once, at most ``trials``
    seeds: int = 1  # of each trial; its score is their mean
    objective: str = "detection"  # entry of OBJECTIVES
    rungs: tuple[int, ...] = ()  # epochs after which the worse half leaves
    folds: tuple[str, ...] = ()  # outer folds whose inner folds score; (): all
    seed: int = 0  # of the sampler


def check_space(space: Any, config: Config) -> None:
    """Checks a search space.

    Args:
      space: what should be option -> distribution.
      config: the configuration that trials change.

    Raises:
      UserError: not a dict, or an option that does not exist or cannot be searched.
    """
    known = configs.flatten(config)
    if not isinstance(space, Mapping):
        raise UserError(
            f"SPACE must be a dict of option -> space.Float(low, high) or space.Choice(...); got {type(space).__name__}"
        )
    if not space:
        raise UserError("SPACE is empty; expected option -> space.Float(low, high) or space.Choice(...)")
    for key, option in space.items():
        if key not in known:
            raise UserError(f"SPACE: {configs.no_option(key)}")
        if key == "seed" or key.startswith(("folds.", "data.")):
            raise UserError(f"SPACE: {key} changes what trials are scored on; search other options")
        if not isinstance(option, Float | Choice):
            raise UserError(f"SPACE: {key} must be space.Float(low, high) or space.Choice(...); got {option!r}")
        kind = type(known[key])
        values = [option.low, option.high] if isinstance(option, Float) else option.values
        if not values or any(
            type(value) is not kind and not (kind is float and type(value) is int) for value in values
        ):
            raise UserError(f"SPACE: {key} needs values of type {kind.__name__}; got {values}")
        if isinstance(option, Float) and kind is not float:
            raise UserError(f"SPACE: {key} is no float but {kind.__name__}; use space.Choice(...)")
        if isinstance(option, Float) and not (
            -math.inf < option.low < option.high < math.inf
            and (option.low > 0 or not option.log)
            and type(option.points) is int
            and option.points > 0
        ):
            raise UserError(f"SPACE: {key} needs low < high, low > 0 if log, points > 0; got {option}")


def check(space: Any, settings: Any, config: Config) -> None:
    """Checks a search space and its settings.

    Args:
      space: option -> distribution.
      settings: what should be the ``Settings`` of the sweep.
      config: the configuration that trials change.

    Raises:
      UserError: see ``check_space``; or settings of another type, or numbers that make no sense.
    """
    check_space(space, config)
    if not isinstance(settings, Settings):
        raise UserError(f"SWEEP must be space.Settings(trials=..., ...); got {type(settings).__name__}")
    for name, default in Settings._field_defaults.items():
        value, entry = getattr(settings, name), {"rungs": int, "folds": str}.get(name)
        right = isinstance(value, tuple | list) if entry else type(value) is type(default)
        if not right or (entry and any(type(one) is not entry for one in value)):
            kind = f"a tuple of {entry.__name__}" if entry else f"of type {type(default).__name__}"
            raise UserError(f"SWEEP.{name} must be {kind}; got {value!r}")
    if config.folds.inner == 0:
        raise UserError("a sweep is scored on inner folds, and folds.inner=0 leaves none; give a share such as 0.25")
    for name in ("trials", "batch", "seeds"):
        errors.at_least(f"SWEEP.{name}", getattr(settings, name), 1)
    errors.one_of("SWEEP.sampler", settings.sampler, SAMPLERS)
    errors.one_of("SWEEP.objective", settings.objective, OBJECTIVES)
    epochs = config.train.epochs
    if "train.epochs" in space and settings.rungs:
        raise UserError(
            "SWEEP.rungs compare trials after the same epochs; leave train.epochs out of SPACE, or no rungs"
        )
    if list(settings.rungs) != sorted(set(settings.rungs)) or any(not 0 < rung < epochs for rung in settings.rungs):
        raise UserError(f"SWEEP.rungs must rise and lie between 0 and train.epochs ({epochs}); got {settings.rungs}")


def grid(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every point of a space.

    Args:
      space: option -> distribution.

    Returns:
      option -> value each, the last option changing fastest.
    """
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*(d.grid() for d in space.values()))]


def apply(config: Config, params: Mapping[str, Any]) -> Config:
    """A trial's configuration.

    Args:
      config: the one to start from; not changed.
      params: option -> value.

    Returns:
      A copy with the values.
    """
    changed = config.copy_and_resolve_references()
    kinds = configs.flatten(config)
    changed.update_from_flattened_dict({key: type(kinds[key])(value) for key, value in params.items()})
    return models.validate(changed)
