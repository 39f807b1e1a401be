"""The tables of a run, and of an evaluation of CSV files: for terminals, pages and files."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedn_jax.core import errors
from fedn_jax.core.text import DASH, percent, plain, points
from fedn_jax.evaluation import all_metrics, headline, leaks, ties
from fedn_jax.evaluation.metrics import Counts
from fedn_jax.reports import tables
from fedn_jax.reports.tables import Cell, Column, Table, share, texts, words

Runs = Mapping[str, Mapping[str, Any]]  # name -> content of metrics.json
ALSO = (  # beside the headline: title, path in metrics.json, entry of all_metrics.DEFINITIONS
    ("Spotting precision", "spotting/precision", "precision"),
    ("Spotting recall", "spotting/recall", "recall"),
    ("Recognition macro-F1", "recognition/macro_f1", "macro_f1"),
    ("Spotting mAP, all-point", "map/all_point/spotting", "all_point"),
    ("Detection mAP, all-point", "map/all_point/detection", "all_point"),
    ("Oracle spotting F1", "oracle/spotting/f1", "oracle"),
)


def definitions(metrics: Mapping[str, Any], explained: Mapping[str, str]) -> list[str]:
    """What some numbers mean.

    Args:
      metrics: content of metrics.json, which carries its definitions.
      explained: title -> entry of ``all_metrics.DEFINITIONS``.

    Returns:
      A sentence each.
    """
    known = metrics.get("definition") or all_metrics.DEFINITIONS
    texts = [f"{title}: {known[key].removesuffix('.')}." for title, key in explained.items() if key in known]
    return [headline.worded(metrics, text) for text in texts]


def _numbers(metrics: Mapping[str, Any]) -> Table:
    """A row per number of a whole run: its value, those of the baselines, and its definition."""
    known = metrics.get("definition") or all_metrics.DEFINITIONS
    sources = {"Network": metrics} | headline.baselines(metrics)
    rows = []
    for title, path, key in [*((one.title, one.path, one.definition) for one in headline.NUMBERS.values()), *ALSO]:
        meaning = known.get(key, "")
        if key.startswith("map."):
            meaning = f"{meaning}; {known.get('map', '')}; 101-point, as COCO"
        values = [headline.value(one, path) for one in sources.values()]
        cells = [words(x) if isinstance(x, int) else share(x) for x in values]
        cells = [cell if cell.share is None else cell._replace(text=f"{cell.text} %") for cell in cells]
        rows.append([words(title), *cells, words(headline.worded(metrics, meaning))])
    columns = [*texts("Number"), *map(Column, sources), *texts("Definition")]
    notes = [f"Above the threshold means at least the {known['threshold']}. mAP needs no threshold."]
    notes += [*ties_notes(metrics), *_confidence(metrics)]
    return Table("numbers", "All numbers, and what they mean", columns, [("", rows)], notes)


def _confidence(metrics: Mapping[str, Any]) -> list[str]:
    """The intervals over subjects, if they are known."""
    found = metrics.get("confidence")
    if not found or not found["f1"]:
        return []
    shown = {"spotting F1": found["f1"], "recognition accuracy": headline.recognises(metrics) and found.get("accuracy")}
    spans = [f"{title} {' to '.join(map(percent, span))} %" for title, span in shown.items() if span]
    text = f"{100 * found['level']:.0f} % interval over subjects: {', '.join(spans)}"
    return [f"{text} ({(metrics.get('definition') or all_metrics.DEFINITIONS)['confidence']})."]


def subjects(runs: Runs) -> Table:
    """The numbers of every subject: all of one run, or the spotting F1 of several.

    Args:
      runs: name -> content of metrics.json.

    Returns:
      A table with a row per subject and one for all of them; for one run also one for each of its baselines, and, where
      folds leave out a data set, for each data set.

    Raises:
      UserError: there are no runs.
    """
    if not runs:
        raise errors.UserError("a table needs at least one run; got none")
    single = len(runs) == 1
    columns, rows = texts("Subject"), []
    for name in map(plain, runs):
        for title, unit in (("GT", ""), ("TP", ""), ("N", ""), ("Precision", "%"), ("Recall", "%"), ("F1", "%"),
                            ("Recognition", "%")):  # fmt: skip
            wide = title if single else name if title == "F1" else f"{title}, {name}"
            filed, detail = "" if single else f"{title}, {name}", not single and title != "F1"
            columns.append(Column(wide, unit, True, detail, "bar" if title == "F1" else "", filed))
    found = [{row["subject"]: row for row in metrics["per_subject"]} for metrics in runs.values()]
    for name in dict.fromkeys(name for one in found for name in one):
        rows.append([words(name)])
        for metrics, one in zip(runs.values(), found, strict=True):
            row = one.get(name)
            rows[-1] += _counted(row, headline.accuracy(metrics, row)) if row else [Cell(DASH)] * 7
    groups = [("", rows), ("", [[words("All subjects"), *(cell for one in runs.values() for cell in _pooled(one))]])]
    if single:
        others = headline.baselines(next(iter(runs.values())))
        groups[1][1][:0] = _datasets(next(iter(runs.values())))
        groups[1][1].extend([words(title), *_pooled(other)] for title, other in others.items())
    explained = {"TP": "tp", "N": "n", "GT": "gt", "F1": "f1"} | ({"Recognition": "accuracy"} if single else {})
    title = "Results of every subject" if single else "Spotting F1 of every subject"
    return Table("subjects", title, columns, groups, definitions(next(iter(runs.values())), explained))


def _datasets(metrics: Mapping[str, Any]) -> list[list[Cell]]:
    """A row for each data set of a run that leaves one out; its subjects are named DATASET/SUBJECT."""
    if ((metrics.get("config") or {}).get("folds") or {}).get("scheme") != "leave-one-dataset-out":
        return []
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in metrics["per_subject"]:
        found.setdefault(row["subject"].partition("/")[0], []).append(row)
    cells = []
    for name, rows in found.items():
        counts = Counts(*(sum(row[key] for row in rows) for key in Counts._fields))
        right = sum(row["tp"] * row["accuracy"] for row in rows if row["tp"])
        whole = all_metrics.summary(counts) | {"accuracy": right / counts.tp if counts.tp else None}
        cells.append([words(f"All of {name}"), *_counted(whole, headline.accuracy(metrics, whole))])
    return cells


def _counted(row: Mapping[str, Any], right: float | None) -> list[Cell]:
    shares = (share(row[key]) for key in ("precision", "recall", "f1"))
    return [*(words(row[key]) for key in ("gt", "tp", "n")), *shares, share(right)]


def _pooled(metrics: Mapping[str, Any]) -> list[Cell]:
    return _counted(metrics["spotting"], headline.value(metrics, "recognition/accuracy"))


def _kinds(metrics: Mapping[str, Any]) -> Table:
    """Macro-, micro-expressions and both, of runs whose classes are kinds; with F1 over folds."""
    columns = [*texts("Kind"), *map(Column, ("GT", "TP", "N"))]
    columns += [Column(title, "%") for title in ("Precision", "Recall", "F1", "F1, folds", "±")]
    groups = []
    for title, one in [("", metrics), *headline.baselines(metrics).items()]:
        found = one.get("kinds")
        if found:
            over = found["per_fold"]
            rows = [
                [words(kind), *_counted(row, None)[:-1], share(over["mean"][kind]), share(over["deviation"][kind])]
                for kind, row in found["by_kind"].items()
            ]
            groups.append((title, rows))
    known = (metrics.get("kinds") or {}).get("definition", {})
    notes = [f"Kind: {known['by_kind']}.", f"Folds: {known['per_fold']}."] if known else []
    if (metrics.get("config") or {}).get("folds", {}).get("scheme") == "kfold":
        notes.append("Folds are by video: a person may be in training and test, which makes numbers higher.")
    return Table("kinds", "Kinds", columns, groups or [("", [])], notes)


def _labels(metrics: Mapping[str, Any]) -> Table:
    """One label per frame, in every reading of the measures; of runs whose classes are kinds."""
    found = metrics.get("kinds") or {"labels": {}, "definition": {}}
    titles = {
        "accuracy": "Acc", "all_neutral": "Acc, all neutral", "accuracy_eq6": "Acc, eq. 6", "edit": "Edit",
        "edit_over_annotated": "Edit, over annotated", "edit_frames": "Edit, frames",
    }  # fmt: skip
    known = all_metrics.DEFINITIONS | found["definition"]
    rows, notes = [], []
    for name, value in found["labels"].items():
        factor = 1 if name.startswith("edit") or name == "accuracy_eq6" else 100
        rows.append([words(titles[name]), tables.number(value, 2, factor)])
        meaning = known["frame_accuracy" if name == "accuracy" else name]
        notes.append(f"{titles[name]}: {headline.worded(metrics, meaning)}.")
    columns = [*texts("Labels per frame"), Column("Value")]
    return Table("labels", "Labels per frame", columns, [("", rows)], notes)


def _emotions(metrics: Mapping[str, Any]) -> Table:
    """A row per emotion, or per kind; none where they are not told apart."""
    what = headline.worded(metrics, "emotion").capitalize()
    columns = [*texts(what), *map(Column, ("GT", "Spotted", "Right"))]
    columns += [Column(title, "%") for title in ("Recall", "AP.50", "mAP")]
    rows = [
        [words(row["class"]), *(words(row[key]) for key in ("gt", "tp", "correct")),
         share(row["recall"] if row["gt"] else None), share(row["ap50"]), share(row["map"])]
        for row in metrics["per_class"] * headline.recognises(metrics)
    ]  # fmt: skip
    explained = {"Spotted": "per_class.tp", "Right": "per_class.correct", "AP.50": "per_class.ap50"}
    notes = [*definitions(metrics, explained | {"mAP": "per_class.map"}), "Recall: spotted / GT."]
    return Table("emotions", f"{what}s", columns, [("", rows)], notes)


def _confusion(metrics: Mapping[str, Any], classes: Sequence[str]) -> Table:
    """The confusion matrix of the true positives: rows annotated, columns detected; shares are of the row."""
    rows = []
    for name, counts in zip(classes, metrics["recognition"]["confusion"], strict=True):
        total = sum(counts)
        cells = [Cell(f"{n} ({percent(n / total)} %)" if n else "0", n, n / max(total, 1)) for n in counts]
        rows.append([words(name), *cells])
    columns = [*texts("Annotated as"), *(Column(name, drawn="shade") for name in classes)]
    notes = [*definitions(metrics, {"Confusion": "confusion"}), "Shares are of the row."]
    return Table("confusion", "Confusion", columns, [("", rows)], notes)


def _protocols(metrics: Mapping[str, Any]) -> Table:
    """The same detections, counted by every rule of the field."""
    columns = [*texts("Rule"), Column("TP"), Column("N"), Column("F1", "%"), *texts("What it does")]
    rows = [
        [words(name + " (above)" * (name == metrics.get("protocol"))), words(row["tp"]), words(row["n"]),
         share(row["f1"]), words(row["definition"])]
        for name, row in (metrics.get("protocols") or {}).items()
    ]  # fmt: skip
    return Table("protocols", "Rules of counting", columns, [("", rows)], _scores(metrics) if rows else [])


def _scores(metrics: Mapping[str, Any]) -> list[str]:
    """STRS and the measures of one label per frame, with what they mean."""
    known = metrics.get("definition") or all_metrics.DEFINITIONS
    strs = [percent(headline.value(metrics, f"strs/{name}")) for name in ("f1_spot", "f1_analysis", "strs")]
    sentences = ["Spot-then-recognise score (STRS): {} % x {} % = {} %; ".format(*strs)]
    sentences[0] += f"{known['strs']}, where f1_analysis is the {known['strs.f1_analysis']}."
    if found := metrics.get("segmental"):
        f1 = ", ".join(f"{overlap}: {percent(one)}{' %' * (one is not None)}" for overlap, one in found["f1"].items())
        sentences.append(
            f"One label per frame: frame accuracy {percent(found['frame_accuracy'])} % ({known['frame_accuracy']}); "
            f"edit score {found['edit']:.1f} ({known['edit']}); F1 at an IoU of {f1} ({known['f1.segments']})."
        )
    return [headline.worded(metrics, text) for text in sentences]


def _leaks(metrics: Mapping[str, Any]) -> Table:
    """A row for the numbers of the run, and one for each choice on test labels and each lenient rule of counting."""
    found = metrics.get("leaks") or {}
    rows = [["None: the numbers above", metrics["spotting"], Cell(DASH), "", ""]] if found else []
    for name, row in found.items():
        cell = tables.number(row["gain"], 1, 100)._replace(text=points(row["gain"]))
        title = leaks.LEAKS[name].title + (f" (x {row['factor']:.2f})" if "factor" in row else "")
        rows.append([title, row, cell, row["definition"], row["source"]])
    cells = [
        [words(title), *(words(row[key]) for key in ("gt", "tp", "n")), share(row["f1"]), gain, *map(words, texts)]
        for title, row, gain, *texts in rows
    ]
    columns = [*texts("Leak"), *map(Column, ("GT", "TP", "N")), Column("F1", "%"), Column("Gain", "points")]
    columns += texts("What it does", "Published code that does it")
    note = "Gain: F1 less that of the run, in percent points. None of these is a result."
    return Table("leaks", "What leaks are worth", columns, [("", cells)], [note])


def _average(metrics: Mapping[str, Any]) -> Table:
    """Mean average precision: a row per definition, of the network and of the baselines."""
    columns = [*texts("mAP, IoU .50:.05:.95"), Column("Spotting", "%"), Column("Detection", "%")]
    ways = {"coco": "101-point", "all_point": "all-point"}
    sources = [("", metrics), *((f"{name}, ", one) for name, one in headline.baselines(metrics).items())]
    sources = [(name, one) for name, one in sources if headline.value(one, "map/coco/spotting") is not None or not name]
    rows = [
        [words(name + way), *(share(headline.value(one, f"map/{key}/{what}")) for what in ("spotting", "detection"))]
        for key, way in ways.items()
        for name, one in sources
    ]  # fmt: skip
    explained = {"mAP": "map", "Spotting": "map.spotting", "Detection": "map.detection"}
    notes = definitions(metrics, explained | {way: key for key, way in ways.items()})
    exceeds = [headline.worded(metrics, f"{headline.MAP_ORDER}.")] if headline.recognises(metrics) else []
    return Table("map", "", columns, [("", rows)], [*ties_notes(metrics), *notes, *exceeds])


def ties_notes(metrics: Mapping[str, Any]) -> list[str]:
    """What equal scores leave open.

    Args:
      metrics: content of metrics.json.

    Returns:
      A sentence of the network's detections and one of each baseline's, where some scores are equal.
    """
    others = headline.baselines(metrics)
    sources = [("", metrics), *((f"Of the {title.lower()}: ", one) for title, one in others.items())]
    found = [(name, ties.sentence(one.get("ties"), headline.recognises(one))) for name, one in sources]
    return [name + text for name, text in found if text]


def page_tables(metrics: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Table]:
    """The tables of the page of a run.

    Args:
      metrics: content of metrics.json.
      classes: C emotion names.

    Returns:
      "numbers", "protocols", "leaks", "per_subject", "kinds", "labels", "emotions" and "confusion"; some may be without
      rows.
    """
    return {
        "numbers": _numbers(metrics),
        "protocols": _protocols(metrics),
        "leaks": _leaks(metrics),
        "per_subject": subjects({"": metrics}),
        "kinds": _kinds(metrics),
        "labels": _labels(metrics),
        "emotions": _emotions(metrics),
        "confusion": _confusion(metrics, classes),
    }


def run_text(metrics: Mapping[str, Any]) -> str:
    """The numbers of a run for a terminal.

    Args:
      metrics: content of metrics.json.

    Returns:
      Lines of at most 80 columns: subjects, all of them, the baselines, mAP, what the columns mean, and leaks.
    """
    table = subjects({"": metrics})
    notes = [*table.notes, *definitions(metrics, {"Threshold": "threshold"})]
    shown = [table._replace(title="", notes=notes), _average(metrics)]
    shown += [_kinds(metrics), _labels(metrics)] if metrics.get("kinds") else []
    if metrics.get("leaks"):
        found = _leaks(metrics)
        columns = [one._replace(detail=not one.number) for one in found.columns[1:]]  # numbers fit a terminal
        shown.append(found._replace(columns=[found.columns[0], *columns]))
    return "\n".join(tables.to_text(one) for one in shown)


def csv_text(result: Mapping[str, Any]) -> str:
    """The numbers of an evaluation of CSV files for a terminal.

    Args:
      result: of ``csv_evaluation.score``.

    Returns:
      Lines of at most 80 columns: subjects, all of them, kinds, emotions, average precision, STRS, notes, and what the
      columns mean.
    """
    limit = "every detection" if result["threshold"] is None else f"scores of at least {result['threshold']:g}"
    kinds = "all expressions" if result["kind"] == "all" else f"{result['kind']}-expressions"
    title = f"Protocol {result['protocol']}, IoU {result['iou']:g}, {kinds}, {limit}."
    table = subjects({"": result})
    for name, row in (result["by_kind"] or {}).items():
        table.groups[1][1].append([words(f"Kind: {name}"), *_counted(row, None)])
    explained = {"Protocol": "protocol"} | ({"Kind": "by_kind"} if result["by_kind"] else {})
    notes = [*table.notes, *definitions(result, explained)]
    if (found := result["confidence"]) and found["f1"]:
        low, high = map(percent, found["f1"])
        interval = f"{100 * found['level']:.0f} % interval of F1 over subjects: {low} to {high} %"
        notes.insert(0, f"{interval}. {result['definition']['confidence']}.")
    shown = [table._replace(title=title, notes=notes)]
    shown += [_emotions(result)] if result["per_class"] else []
    shown += [_average(result)] if result["map"] else []
    parts = ("strs/f1_spot", "strs/f1_analysis", "strs/strs")
    factors = (percent(headline.value(result, path)) for path in parts)
    product = "STRS: spotting F1 {} x analysis F1 {} = {} %.".format(*factors)
    rest = [] if result["map"] else [f"No mAP: {result['map_missing']}."]
    rest += [product, *definitions(result, {"Analysis F1": "strs.f1_analysis", "STRS": "strs"})]
    rest += [f"Note: {note}" for note in result["notes"]]
    return "\n".join([*map(tables.to_text, shown), *(line for one in rest for line in tables.folded(one))])
