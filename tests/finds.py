"""What could have been found in a video, and any text."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from fedn_jax.formats.detection_files import Expression, Found

CLASSES = ["happiness", "厌恶", '<b>anger & "rage"</b> -->', "surprise"]
TEXT = st.text(st.characters(), max_size=12)  # all of Unicode, with controls and halves of characters
SPANS = [(30, 51, 0, 0.93), (93, 105, 3, 0.714), (158, 194, 1, 0.66), (186, 204, 0, 0.58), (240, 241, 2, 0.47)]


def found(path="videos/anna.mp4", spans=SPANS, classes=CLASSES, fps=15.0, num_frames=300, **changes):
    """What could have been found in a video: spans are first frame, end, class and score."""
    rng = np.random.default_rng(0)
    curves = rng.uniform(0, 0.1, (len(classes), 200)).astype(np.float32)
    times = (np.arange(200) + 0.5) * num_frames / 200
    expressions = []
    for onset, end, emotion, score in spans:
        curves[emotion, (times >= onset) & (times < end)] = score
        apex = (onset + end - 1) // 2
        seconds = onset / fps, apex / fps, end / fps
        expressions.append(Expression(onset + 1, apex + 1, end, *seconds, classes[emotion], score))
    curves[:, 100:110] = np.nan
    gaps = [(10.0, 11.0)]
    about = {"run": "demo/run", "threshold": "0.40, median of the inner folds"}
    size = (num_frames, 1, fps, num_frames / fps)
    whole = Found("anna", "anna.mp4", Path(path), *size, expressions, list(classes), 0.4, curves, gaps, about)
    return whole._replace(**changes)
