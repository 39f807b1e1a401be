"""Every option once, with its default: the paper's value, or the one chosen where the paper is silent ("open").

An experiment is a file with ``get_config(row)`` that starts from ``default()`` and changes a few values; a row is a
named set of further changes, e.g. ``casme2:table4/coupled``. On the command line ``--config.train.epochs=3`` overrides
one value. The comment beside an option in ``default()`` is what ``fedn configs --options`` prints.
"""

import ast
import difflib
import inspect
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fedn_jax.core import errors, schema
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Hyper

KINDS = (*schema.KINDS, "all")
LARGEST_INT, TINY, HUGE = 2**31, 1e-30, 1e30  # numbers are computed with in int32 and float32
HYPER = (  # what runs that are trained as one program may differ in: the numbers of Hyper
    "train.learning_rate", "train.weight_decay", "train.clip_norm", "train.ema_decay", "loss.alpha", "loss.beta",
    "loss.gamma", "loss.lsdm", "loss.weight_power", "seed",
)  # fmt: skip
SWITCHES = ("train.clip_norm", "train.ema_decay")  # of them, those that are off at 0: then the program is without
PAPER_ROWS: dict[str, dict[str, Any]] = {  # of Tables 2 to 4, whatever the data set; FEDN itself is the row ""
    "table2/spotting_only": {"data.recognition": False},
    "table3/i3d": {"model.segment_fusion": "none"},
    "table3/no_segment_attention": {"model.segment_fusion": "mean"},
    "table3/no_window_attention": {"model.window_attention": "none"},
    "table3/no_attention": {"model.segment_fusion": "mean", "model.window_attention": "none"},
    "table4/confidence": {"model.scoring": "confidence"},
    "table4/coupled": {"model.head": "coupled"},
    "table4/iou": {"loss.interval": "iou"},
    "table4/giou": {"loss.interval": "giou"},
}
CASCADE_ROWS: dict[str, dict[str, Any]] = {  # of Table 2, and our rival: recognisers behind FEDN
    "table2/spotting_only_ceflnet": {"data.recognition": False, "cascade.recogniser": "ceflnet"},
    "table2/spotting_only_str": {"data.recognition": False, "cascade.recogniser": "str"},
    "table2/ceflnet": {"cascade.recogniser": "ceflnet"},
    "table2/str": {"cascade.recogniser": "str"},
    "table2/frozen_features": {"cascade.recogniser": "frozen-features"},
}


def default() -> ConfigDict:
    """The documented default: FEDN at the paper's size.

    Returns:
      A locked ConfigDict; unknown keys raise.
    """
    config = ConfigDict()
    config.task = "fedn"  # the model: fedn or fesnet (models.TASKS)
    config.seed = 0  # the only source of randomness

    config.data = ConfigDict()
    config.data.kind = "macro"  # expressions to detect: macro, micro or all (section 4.1: macro)
    config.data.recognition = True  # False: one class, spotting only (Table 2, "w/o rec")
    config.data.label = "emotion"  # what the class of an expression is: emotion, or kind
    config.data.standardize = "none"  # open: none; video or subject: minus its mean, by its deviation
    config.data.side = 0  # of the frames that a model of pictures reads, pixels; 0: as they were prepared
    config.data.shuffle_labels = False  # control: train on expressions moved in time; scores must fall to chance

    config.window = ConfigDict()
    config.window.segments = 64  # S (section 4.2)
    config.window.segment_frames = 8  # F (section 4.2)
    config.window.stride = 2  # frames between segments: overlap 6 (section 4.2)
    config.window.context = "video"  # open: frames past a window's last: of the video, or the last of the window
    config.window.train_hop = 32  # open: frames between training windows
    config.window.test_hop = 16  # open: frames between windows at prediction
    config.window.inside = 0.9  # open: share of an expression that must lie in a window to belong to it

    config.model = ConfigDict()
    config.model.segment_fusion = "attention"  # frames of a segment to one vector: attention, mean or none
    config.model.window_attention = "scaled"  # weights of segments: scaled (open), literal (equation) or none
    config.model.window_attention_channels = 1  # open: 1 score per segment, or 0 for one per channel
    config.model.width = 512  # d1 (section 4.2)
    config.model.head_width = 256  # d2 (section 4.2)
    config.model.head_depth = 2  # open: convolutions of a head's tower
    config.model.head = "decoupled"  # towers of intervals and classes: decoupled, or coupled in one (Table 4)
    config.model.heads = 8  # open: heads of every attention
    config.model.groups = 32  # open: groups of the normalisation
    config.model.scoring = "binary"  # class scores: binary, one per class; confidence, one beside them (Table 4)
    config.model.prior = 0.02  # open: class probability that an untrained network gives
    config.model.dropout = 0.0  # open: of the features before the pyramid

    config.anchors = ConfigDict()
    config.anchors.widths = [0.5, 0.75, 1.0, 1.5, 2.0]  # open: in strides of the level
    config.anchors.reaches = [[0, 10], [8, 32], [16, 64], [64, 128]]  # open: frames of the longer side, per level
    config.anchors.positive_iou = 0.5  # open: IoU from which an anchor learns an expression
    config.anchors.negative_iou = 0.4  # open: IoU below which it learns that there is none

    config.loss = ConfigDict()
    config.loss.interval = "diou"  # loss of the intervals: diou, giou or iou (Table 4)
    config.loss.alpha = 1.0  # weight of the interval loss (section 4.2)
    config.loss.beta = 2.0  # weight of the class loss (section 4.2)
    config.loss.normalize = True  # open: per branch, by positives + windows; False: the sum of eq. 3

    config.loss.gamma = 0.15  # fesnet: weight of the smoothing (FESNet, Table 4)
    config.loss.lsdm = 1.0  # fesnet: weight of eq. 3; 0: without it (Table 3)
    config.loss.lsdm_form = "diverse"  # fesnet, open: reading of eq. 3: diverse, compact or norm
    config.loss.lsdm_mean = "time"  # fesnet, open: M of eq. 3, over time, space or all
    config.loss.smooth = "probabilities"  # fesnet, open: steps of probabilities, or of log_probabilities (MS-TCN)
    config.loss.supervise = "stages"  # fesnet, open: labels for all stages, or for the final one alone (eq. 4)
    config.loss.weight_power = 1.0  # fesnet, open: of the inverse share of a label; 0: all weigh the same

    config.fesnet = ConfigDict()
    config.fesnet.stem_width = 64  # open: channels of the first convolution
    config.fesnet.stem_kernel = 7  # open
    config.fesnet.widths = [64, 128, 128, 256, 256]  # open: channels of the residual blocks
    config.fesnet.strides = [2, 2, 1, 2, 1]  # open: of the same
    config.fesnet.depth = 4  # layers of attention, after the third block (section 3.2)
    config.fesnet.heads = 8  # of the same (section 3.2)
    config.fesnet.mlp = 4.0  # open: hidden width of the same, in widths
    config.fesnet.mtam = True  # False: without temporal aggregation (Table 3)
    config.fesnet.temporal_width = 64  # open: channels over time
    config.fesnet.refinement = "heads"  # open: heads, a proposal head per layer; literal, eq. 2 word for word
    config.fesnet.refine_width = 64  # open: channels of refinement
    config.fesnet.refine_stages = 2  # S (section 3.3)
    config.fesnet.refine_layers = 5  # and scales of aggregation (section 3.3)

    config.train = ConfigDict()
    config.train.epochs = 30  # (section 4.2)
    config.train.batch_size = 64  # open: windows
    config.train.negatives = 3  # open: negative windows per positive one, drawn anew every epoch
    config.train.learning_rate = 1e-4  # Adam (section 4.2)
    config.train.weight_decay = 1e-4  # L2 in the gradient, as PyTorch's Adam (section 4.2)
    config.train.schedule = "constant"  # of the learning rate: constant, cosine, falling to 0, or warm_cosine (CEFLNet)
    config.train.warmup_steps = 0  # first updates, during which the learning rate rises to its value in even steps
    config.train.clip_norm = 0.0  # a gradient whose global norm is larger is scaled down to it, before L2; 0: none is
    config.train.ema_decay = 0.0  # networks are the running mean of the parameters of all updates; 0: the last ones
    config.train.phase = False  # open: an epoch's windows begin later by one random number below window.train_hop
    config.train.flip = False  # fesnet: mirror an interval with probability 1/2
    config.train.precision = "device"  # of products: device (its default), float32, tf32 or bfloat16; the rest float32
    config.train.keep_every = 0  # epochs between networks that are kept beside the last, to show progress; 0: none
    config.train.keep_state = False  # keep Adam's moments of a finished run, so that it can be trained for more epochs
    config.train.checkpoint_minutes = 10.0  # between two saves of the training state; 0: after every epoch

    config.folds = ConfigDict()
    config.folds.scheme = "loso"  # loso: by subject (section 4.2); kfold: by video; leave-one-dataset-out: merged data
    config.folds.k = 5  # folds of kfold
    config.folds.inner = 0.25  # share of the training subjects held out to pick the threshold; 0: none
    config.folds.memory_gb = 0.0  # memory of a device that folds may fill; 0: ask the device, of a CPU the machine
    config.folds.programs = 1  # at least so many programs: one for each machine that shall help

    config.cascade = ConfigDict()
    config.cascade.recogniser = ""  # what names the intervals of a run; set by `fedn recognise`. "": the network itself
    config.cascade.grid = 12  # open: frames between the pairs of frames on which STR's streams learn to spot

    config.predict = ConfigDict()
    config.predict.nms_iou = 0.01  # open: overlapping a better detection by more drops a candidate
    config.predict.suppression = "hard"  # of candidates that overlap: hard, or soft: linear, gaussian (Soft-NMS)
    config.predict.sigma = 0.5  # of gaussian suppression, from Bodla et al. 2017
    config.predict.max_detections = 30  # open: per video
    config.predict.per_class = False  # open: candidates drop only those of their own emotion
    config.predict.min_frames = 1  # fesnet: shorter expressions are dropped
    config.predict.max_gap = 0  # fesnet: neutral gaps of up to so many frames within an expression are filled
    config.predict.chunk = 32  # windows per call of the network

    config.evaluate = ConfigDict()
    config.evaluate.iou = 0.5  # tIoU of a true positive (section 4.3, reference [9])
    config.evaluate.threshold = 0.5  # lowest score of a detection, where no inner fold picks it, or if given later
    config.evaluate.threshold_rule = "shrunk"  # open: how an inner fold picks it: shrunk, best or one_error
    return config.lock()


def comments() -> dict[str, str]:
    """What stands beside each option in ``default()``.

    Returns:
      "section.key" -> comment, in the order of the options.
    """
    found = re.findall(r"^ +config\.([\w.]+) = .*?  # (.+)$", inspect.getsource(default), re.MULTILINE)
    return dict(found)


def check_options(config: Any) -> ConfigDict:
    """Checks that a configuration has all options, and each of its type.

    Args:
      config: what should be a configuration made from ``default()``.

    Returns:
      ``config``.

    Raises:
      UserError: another object, an option that is missing or too many, or a value of another type.
    """
    if not isinstance(config, ConfigDict):
        raise UserError(f"expected a configuration that starts from default(); got {type(config).__name__}")
    known, found = flatten(default()), flatten(config)
    if missing := [key for key in known if key not in found]:
        raise UserError(f"option {missing[0]} is missing; expected a configuration that starts from default()")
    for key, value in found.items():
        if key not in known:
            raise UserError(no_option(key))
        kind = type(known[key])
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise UserError(f"option {key} must be of type {kind.__name__}, such as {known[key]!r}; got {value!r}")
        if kind is float and value and not TINY <= abs(value) <= HUGE:
            raise UserError(f"option {key} must be 0, or between {TINY} and {HUGE}; got {value!r}")
        if kind is int and key != "seed" and not abs(value) < LARGEST_INT:
            raise UserError(f"option {key} must be a number below {LARGEST_INT}; got {value!r}")
    return config


def validate(config: ConfigDict) -> ConfigDict:
    """Checks values that no other place checks, of any model.

    Args:
      config: a configuration made from ``default()``.

    Returns:
      ``config``.

    Raises:
      UserError: see ``check_options``; or the first value that is out of its range.
    """
    check_options(config)
    errors.one_of("data.kind", config.data.kind, KINDS)
    for name in ("epochs", "batch_size"):
        errors.at_least(f"train.{name}", config.train[name], 1)
    for name in ("checkpoint_minutes", "keep_every", "warmup_steps", "clip_norm"):
        errors.at_least(f"train.{name}", config.train[name], 0)
    for name, lowest in (("memory_gb", 0), ("programs", 1), ("k", 2)):
        errors.at_least(f"folds.{name}", config.folds[name], lowest)
    errors.at_least("data.side", config.data.side, 0)
    for option in HYPER:
        if option.startswith("loss."):
            errors.at_least(option, flatten(config)[option], 0)
    for name in ("segments", "segment_frames", "stride"):
        errors.at_least(f"window.{name}", config.window[name], 1)
    for option, low, high, without in (
        ("window.inside", 0, 1, [1]), ("folds.inner", 0, 1, [1]), ("seed", 0, 2**32 - 1, []),
        ("train.ema_decay", 0, 0.999999, []),  # nearer to 1 float32 does not tell it from 1, and the mean is NaN
        ("predict.nms_iou", 0, 1, []), ("predict.sigma", 1e-6, 1e6, []), ("predict.max_detections", 1, 10**6, []),
        ("evaluate.iou", 0, 1, [0]),
    ):  # fmt: skip
        errors.between(option, flatten(config)[option], low, high, without)
    for name in ("negatives", "learning_rate", "weight_decay"):
        errors.at_least(f"train.{name}", config.train[name], 0)
    errors.at_least("cascade.grid", config.cascade.grid, 1)
    for name in ("train_hop", "test_hop"):
        errors.at_least(f"window.{name}", config.window[name], config.window.stride)
        if config.window[name] % config.window.stride:
            stride = config.window.stride
            raise UserError(f"window.{name} must be a multiple of window.stride ({stride}); got {config.window[name]}")
    if config.train.phase and config.window.inside:
        raise UserError(
            "train.phase moves windows over expressions, so window.inside must be 0, which counts every piece of one; "
            f"got {config.window.inside}"
        )
    errors.at_least("predict.chunk", config.predict.chunk, 1)
    return config


def no_option(name: str) -> str:
    """Says that an option does not exist.

    Args:
      name: what was given, "section.key" or a part of it.

    Returns:
      The message, with the option that may have been meant.

    >>> no_option("train.epoch")
    "no option 'train.epoch'; did you mean train.epochs?; fedn configs --options lists all of them"
    """
    known = list(flatten(default()))
    ends = {part: key for key in reversed(known) for part in (key, key.rpartition(".")[2], key.partition(".")[0])}
    near = difflib.get_close_matches(name, ends, n=1)
    sections = {key.partition(".")[0] for key in known}
    hint = f"; did you mean {near[0] if near[0] in sections else ends[near[0]]}?" if near else ""
    return f"no option {name!r}{hint}; {errors.ALL_OPTIONS}"


def with_row(config: ConfigDict, rows: Mapping[str, Mapping[str, Any]], row: str) -> ConfigDict:
    """Applies a named set of changes.

    Args:
      config: the configuration to change.
      rows: row name -> {"section.key": value}.
      row: the name; "" changes nothing.

    Returns:
      ``config``.

    Raises:
      UserError: no such row; lists the rows.
    """
    if row:
        errors.one_of("row of the configuration", row, rows)
        for key in rows[row]:
            if key not in flatten(config):
                raise UserError(f"row {row}: {no_option(key)}")
        config.update_from_flattened_dict(rows[row])
    return config


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """All options by their dotted names.

    Args:
      config: a configuration, or the dict that its JSON holds.
      prefix: put before every name.

    Returns:
      "section.key" -> value.

    >>> flatten({"seed": 0, "train": {"epochs": 30}})
    {'seed': 0, 'train.epochs': 30}
    """
    flat = {}
    for key, value in config.items():
        inner = isinstance(value, Mapping | ConfigDict)
        flat |= flatten(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def override(config: ConfigDict, key: str, text: str) -> None:
    """Sets one option from text, as given on the command line.

    Args:
      config: the configuration to change.
      key: "section.key".
      text: the value; a number, True or False, a list such as [1, 2], or, where the option is text, text.

    Raises:
      UserError: no such option, or a value of another type than the option's.
    """
    current = flatten(config)
    if key not in current:
        raise UserError(no_option(key))
    try:
        value = text if isinstance(current[key], str) else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(current[key], float) and type(value) is int:
        value = float(value) if abs(value) <= HUGE else text
    if type(value) is not type(current[key]):
        kind = type(current[key]).__name__
        raise UserError(f"option {key} must be of type {kind}, such as {current[key]!r}; got {text!r}")
    config.update_from_flattened_dict({key: value})


def shifts(config: ConfigDict) -> int:
    """How many places the windows of an epoch may begin at (``train.phase``).

    Args:
      config: a configuration.

    Returns:
      Segments of ``window.train_hop``; 1 where windows stay.
    """
    return config.window.train_hop // config.window.stride if config.train.phase else 1


def to_hyper(config: ConfigDict) -> Hyper:
    """The numbers that may differ between mapped runs.

    Args:
      config: a configuration.

    Returns:
      Hyper of scalars.
    """
    options = flatten(config)
    loss = {name.removeprefix("loss."): np.float32(options[name]) for name in HYPER if name.startswith("loss.")}
    rates = (np.float32(options["train.learning_rate"]), np.float32(options["train.weight_decay"]))
    switches = (np.float32(options[name]) if options[name] else None for name in SWITCHES)
    return Hyper(*rates, np.uint32(options["seed"]), loss, *switches)


def structure(config: ConfigDict) -> str:
    """All that runs must share to be trained as one program: every option but the numbers of ``Hyper``.

    Args:
      config: a configuration.

    Returns:
      The options as text. The seed is among them where it moves the labels (``data.shuffle_labels``), a switch where
      it is off.
    """
    off = {name for name in SWITCHES if not flatten(config)[name]}
    free = set(HYPER) - off - ({"seed"} if config.data.shuffle_labels else set())
    return repr(sorted((key, value) for key, value in flatten(config).items() if key not in free))
