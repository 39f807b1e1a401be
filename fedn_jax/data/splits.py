"""Cross-validation as data: which windows every fold trains on, and which videos it tests.

A fold is two lists of training windows and a list of test videos; nothing of a test subject is in its lists.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Folds, VideoMeta, Windows

INNER = "/inner"  # ending of the name of an inner fold


def _fold(name: str, test: set[int], train: set[int], windows: Windows) -> tuple:
    """(name, positive windows, negative windows, test videos) of one fold."""
    trained = np.isin(windows.video, sorted(train))
    positive = windows.events.valid.any(1)
    return name, np.flatnonzero(trained & positive), np.flatnonzero(trained & ~positive), tuple(sorted(test))


def _with_inner(name: str, test: set[int], units: dict[str, set[int]], share: float, windows: Windows) -> list[tuple]:
    """A fold and, unless ``share`` is 0, its inner fold, which holds out part of the training units."""
    names = sorted(unit for unit, videos in units.items() if not videos & test)
    train = set().union(*(units[unit] for unit in names))
    if share == 0:
        return [_fold(name, test, train, windows)]
    if len(names) < 2:
        raise UserError(
            f"fold {name!r} has {len(names)} subject or video to train on, and its inner fold needs 2; set "
            "folds.inner=0 to do without inner folds, with the threshold of evaluate.threshold"
        )
    count = min(len(names) - 1, max(1, round(share * len(names))))
    first = zlib.crc32(name.encode()) % len(names)
    held = set().union(*(units[names[(first + step) % len(names)]] for step in range(count)))
    return [_fold(name, test, train, windows), _fold(name + INNER, held, train - held, windows)]


def padded(lists: Sequence[np.ndarray]) -> np.ndarray:
    """Window lists of one length.

    Args:
      lists: K lists of windows.

    Returns:
      [K, P] int32; -1 pads.
    """
    size = max(1, max(len(indices) for indices in lists))
    return np.stack([np.pad(one, (0, size - len(one)), constant_values=-1) for one in lists]).astype(np.int32)


def _stack(folds: Sequence[tuple]) -> Folds:
    """Pads the window lists to one length."""
    names, positive, negative, test = zip(*folds, strict=True)
    for name, windows in zip(names, positive, strict=True):
        if not len(windows):
            raise UserError(f"fold {name!r} has no training window with an expression: nothing to learn from")
    keys = np.array([zlib.crc32(name.encode()) for name in names], np.uint32)
    none = np.zeros((len(names), 0), np.float32)
    return Folds(tuple(names), keys, padded(positive), padded(negative), tuple(test), none)


def _subjects(metas: Sequence[VideoMeta]) -> dict[str, set[int]]:
    """Subject -> its videos."""
    subjects: dict[str, set[int]] = {}
    for index, meta in enumerate(metas):
        if meta.subject.endswith(INNER):
            raise UserError(f"subject {meta.subject!r} ends as inner folds do ({INNER}); rename it")
        subjects.setdefault(meta.subject, set()).add(index)
    return subjects


def plan_loso(metas: Sequence[VideoMeta], windows: Windows, inner: float, k: int = 0) -> Folds:
    """Leave one subject out (FEDN section 4.2): every subject is the test subject of one fold.

    Args:
      metas: V videos.
      windows: all training windows.
      inner: share of the training subjects that the inner fold holds out.
      k: unused.

    Returns:
      Each subject's fold and, unless ``inner`` is 0, right after it the inner one of its training subjects.

    Raises:
      UserError: too few subjects, or a fold without an expression to learn from.
    """
    del k
    subjects = _subjects(metas)
    if len(subjects) < 2:
        raise UserError(
            f"leave-one-subject-out needs at least 2 subjects, 3 with inner folds; got {', '.join(subjects)}; "
            "set folds.scheme=kfold to split by video"
        )
    folds = [_with_inner(name, subjects[name], subjects, inner, windows) for name in sorted(subjects)]
    return _stack([fold for pair in folds for fold in pair])


def plan_kfold(metas: Sequence[VideoMeta], windows: Windows, inner: float, k: int = 5) -> Folds:
    """k folds by video; a subject may be in training and test (FESNet's scheme), so scores are optimistic.

    Args:
      metas: V videos.
      windows: all training windows.
      inner: share of the training videos that the inner fold holds out.
      k: number of folds.

    Returns:
      Each fold and, unless ``inner`` is 0, right after it its inner one.

    Raises:
      UserError: k outside [2, V], or a fold without an expression to learn from.
    """
    if not 2 <= k <= len(metas):
        raise UserError(f"folds.k must lie between 2 and the number of videos ({len(metas)}); got {k}")
    units = {f"{meta.subject}/{meta.video}": {index} for index, meta in enumerate(metas)}
    order = sorted(units, key=lambda name: (zlib.crc32(name.encode()), name))
    folds = []
    for number in range(k):
        test = set().union(*(units[name] for name in order[number::k]))
        folds.extend(_with_inner(f"fold{number + 1}of{k}", test, units, inner, windows))
    return _stack(folds)


def plan_datasets(metas: Sequence[VideoMeta], windows: Windows, inner: float, k: int = 0) -> Folds:
    """Leave one data set out: every data set of several that were merged is the test set of one fold.

    Args:
      metas: V videos; subjects are named DATASET/SUBJECT, as `fedn merge` does.
      windows: all training windows.
      inner: share of the training subjects that the inner fold holds out.
      k: unused.

    Returns:
      Each data set's fold and, unless ``inner`` is 0, right after it the inner one of its training subjects.

    Raises:
      UserError: less than two data sets, or a fold without an expression to learn from.
    """
    del k
    subjects = _subjects(metas)
    datasets: dict[str, set[int]] = {}
    for subject, videos in subjects.items():
        datasets.setdefault(subject.partition("/")[0], set()).update(videos)
    single = next((subject for subject in subjects if "/" not in subject), None)
    if single is not None or len(datasets) < 2:
        got = f"subject {single!r}" if single is not None else f"one data set, {', '.join(datasets)}"
        raise UserError(
            "leave-one-dataset-out needs the data of `fedn merge`, of at least 2 data sets, whose subjects are named "
            f"DATASET/SUBJECT; got {got}"
        )
    folds = [_with_inner(name, datasets[name], subjects, inner, windows) for name in sorted(datasets)]
    return _stack([fold for pair in folds for fold in pair])


SCHEMES: dict[str, Callable[..., Folds]] = {
    "loso": plan_loso,
    "kfold": plan_kfold,
    "leave-one-dataset-out": plan_datasets,
}


def plan_shares(
    metas: Sequence[VideoMeta], windows: Windows, scheme: str, inner: float, shares: Sequence[float], draws: int
) -> tuple[Folds, np.ndarray]:
    """The folds of a scheme, each with growing shares of its training subjects: for a learning curve.

    The subjects of a draw are in a random order, of which each share takes the first, so a larger share holds the
    smaller ones. Test videos are those of the scheme.

    Args:
      metas: V videos.
      windows: all training windows.
      scheme: "loso" or "leave-one-dataset-out".
      inner: share of the chosen subjects that the inner fold holds out.
      shares: A shares of the training subjects, rising, above 0 and at most 1.
      draws: orders of each fold, D.

    Returns:
      The folds, named FOLD@SHARE.DRAW (see ``share_name``), with their inner ones; and [A, K] int, training subjects
      of each share and fold of the scheme.

    Raises:
      UserError: folds by video, or a fold without an expression to learn from.
    """
    if scheme == "kfold":
        raise UserError("a learning curve leaves out training subjects; set folds.scheme to loso, not kfold")
    outer, subjects = SCHEMES[scheme](metas, windows, 0.0), _subjects(metas)
    folds, counts = [], np.zeros((len(shares), len(outer.name)), int)
    for column, (name, test) in enumerate(zip(outer.name, outer.test, strict=True)):
        others = sorted(subject for subject, videos in subjects.items() if not videos & set(test))
        counts[:, column] = [max(2 if inner else 1, round(share * len(others))) for share in shares]
        for draw in range(draws):
            order = np.random.default_rng([zlib.crc32(name.encode()), draw]).permutation(len(others))
            for share, number in zip(shares, counts[:, column], strict=True):
                units = {others[index]: subjects[others[index]] for index in order[:number]}
                folds += _with_inner(share_name(name, share, draw), set(test), units, inner, windows)
    return _stack(folds), counts


def share_name(fold: str, share: float, draw: int) -> str:
    """The name of a fold that learns from a share of its training subjects.

    Args:
      fold: of the scheme.
      share: of its training subjects.
      draw: from 0.

    Returns:
      FOLD@SHARE.DRAW, the share in percent.
    """
    return f"{fold}@{100 * share:g}.{draw}"


def take(folds: Folds, chosen: Sequence[int]) -> Folds:
    """Some of the folds.

    Args:
      folds: K folds.
      chosen: their indices.

    Returns:
      The chosen folds, padded as before.
    """
    index = list(chosen)
    pick = lambda column: tuple(column[i] for i in index)  # noqa: E731
    arrays = (folds.key[index], folds.positive[index], folds.negative[index])
    return Folds(pick(folds.name), *arrays, pick(folds.test), folds.census[index])


def with_census(folds: Folds, counts: np.ndarray) -> Folds:
    """Adds up what a model counts of windows, over the training windows of each fold and no others.

    Args:
      folds: K folds.
      counts: [W, C] float, of every window.

    Returns:
      The folds with ``census`` [K, C] float32.
    """
    lists = [np.concatenate(pair) for pair in zip(folds.positive, folds.negative, strict=True)]
    return folds._replace(census=np.stack([counts[rows[rows >= 0]].sum(0) for rows in lists]).astype(np.float32))


def steps_per_epoch(folds: Folds, batch_size: int, negatives: int) -> int:
    """Steps that the largest fold needs.

    Args:
      folds: K folds.
      batch_size: windows per step.
      negatives: negative windows per positive one.

    Returns:
      Steps, at least 1.
    """
    positive, negative = (folds.positive >= 0).sum(1), (folds.negative >= 0).sum(1)
    most = int((positive + np.minimum(negative, negatives * positive)).max())
    return max(1, -(-most // batch_size))
