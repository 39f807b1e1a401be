"""Records of a data set, made by hand, and their shards."""

import numpy as np

from data_prep.shards import builders

CLASSES = ["happy", "sad"]


def record(subject, video, frames=7, events=((1, 2, 4, 0, 0),), seed=0):
    rng = np.random.default_rng([seed, len(subject), ord(video[-1])])
    return {
        "subject": subject, "video": video, "num_frames": np.int32(frames), "fps": np.float32(25),
        "first_frame": np.int32(1), "inputs": rng.normal(size=(frames, 5)).astype(np.float16),
        "valid": (np.arange(frames) != 2).astype(np.uint8), "flow": rng.random((frames, 12, 2)).astype(np.float16),
        "source": np.arange(frames, dtype=np.int32),
        "events": np.array(events, np.int32).reshape(-1, 5),
    }  # fmt: skip


RECORDS = [
    record("s10", "b"),
    record("s2", "z", 3, ()),
    record("s10", "a", 4, ((0, -1, 1, 1, 1), (2, 3, 4, 0, 0))),
    record("Ü 1", "q"),
]


def write(out, records=RECORDS, **metadata):
    metadata = {
        "classes": CLASSES, "frames_per_row": 1, "backbone": "b", "aligner": "a", "signature": "0123",
        "labels": {}, "preparation": {},
    } | metadata  # fmt: skip
    subjects = sorted({one["subject"] for one in records})
    builders.pack(out, "toy", subjects, lambda name: (r for r in records if r["subject"] == name), metadata)
    return out
