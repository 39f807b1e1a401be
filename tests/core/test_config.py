"""The default values, and what is refused; every row of every configuration: tests/models/test_rows.py."""

import pytest

from fedn_jax import models
from fedn_jax.core import config as configs


def test_the_papers_values():
    config = configs.default()
    assert (config.window.segments, config.window.segment_frames, config.window.stride) == (64, 8, 2)
    assert (config.model.width, config.model.head_width) == (512, 256)
    assert (config.loss.alpha, config.loss.beta, config.loss.interval) == (1, 2, "diou")
    assert (config.train.learning_rate, config.train.weight_decay, config.train.epochs) == (1e-4, 1e-4, 30)


def test_misspelt_keys_and_rows_raise():
    config = configs.default()
    with pytest.raises((AttributeError, KeyError), match="epoch"):
        config.train.epoch = 3
    with pytest.raises(ValueError, match="must be one of .*; got 'table4/coupeld'; did you mean 'table4/coupled'"):
        configs.with_row(config, configs.PAPER_ROWS, "table4/coupeld")


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("data.kind", "makro", "did you mean 'macro'"),
        ("train.epochs", 0, "train.epochs must be at least 1"),
        (
            "train.learning_rate",
            float("inf"),
            "option train.learning_rate must be 0, or between .*; got inf",
        ),
        ("loss.beta", float("nan"), "option loss.beta must be 0, or between"),
        ("train.warmup_steps", 2**32, "option train.warmup_steps must be a number below 2147483648; got 4294967296"),
        ("train.clip_norm", 1e-320, "option train.clip_norm must be 0, or between 1e-30 and 1e.30"),
        ("train.ema_decay", 0.9999999999, "train.ema_decay must be at least 0 and at most 0.999999; got"),
        ("predict.sigma", 1e-20, "predict.sigma must be at least 1e-06 and at most"),
        ("train.learning_rate", -1.0, "train.learning_rate must be at least 0"),
        ("window.segments", 40, "multiple of 32 for 4 pyramid levels"),
        ("model.groups", 7, "model.groups must divide model.width"),
        ("folds.inner", 1.0, "folds.inner must be at least 0 and below 1; got 1.0"),
        ("model.heads", 0, "model.heads must be at least 1"),
        ("model.prior", 0.0, "model.prior must be above 0 and below 1"),
        ("seed", -1, "seed must be at least 0 and at most 4294967295"),
        ("window.test_hop", 3, "multiple of window.stride"),
        ("anchors.reaches", [1, 2], "list of \\[low, high\\]"),
        ("model.window_attention_channels", 7, "must be one of 0, 1"),
    ],
)
def test_values_out_of_range_are_refused(key, value, message):
    config = configs.default()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=message):
        models.validate(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("folds.memory_gb", -1.0), ("folds.k", 0), ("loss.beta", -1.0), ("window.stride", 0), ("window.segments", 0),
        ("window.segment_frames", 0), ("predict.nms_iou", -1.0), ("predict.nms_iou", 5.0),
        ("predict.max_detections", 0), ("predict.max_detections", 10**10), ("evaluate.iou", 0.0),
        ("anchors.positive_iou", 2.0), ("anchors.negative_iou", -0.1), ("anchors.widths", []),
        ("anchors.widths", [0.0]), ("anchors.reaches", []),
    ],
)  # fmt: skip
def test_values_out_of_range_raise(key, value):
    config = configs.default()
    section, name = key.split(".")
    config[section].update({name: value})
    with pytest.raises(ValueError, match=rf"{key} must .*; got "):
        models.validate(config)


@pytest.mark.parametrize("text", ["1" + "0" * 400, "-1" + "0" * 400, "abc", "None", "[1.0]"])
def test_texts_that_are_no_number_are_refused(text):
    with pytest.raises(ValueError, match=r"option train.learning_rate must be of type float, such as 0\.0001; got '"):
        configs.override(configs.default(), "train.learning_rate", text)
