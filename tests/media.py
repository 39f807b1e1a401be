"""Videos for tests: written here, so that everything about them is known."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest

REAL = Path(os.environ.get("FEDN_REAL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"real fixtures are not there: {REAL}")


def write_video(path, frames, fps=30, times=None, options=None):
    """Encodes frames [H, W, 3] uint8; ``times`` are presentation times in 1/600 s for a variable rate."""
    from fractions import Fraction

    import av

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "12"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 600) if times is not None else Fraction(1, fps)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = i if times is None else times[i]
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(path)


def numbered(count, height=48, width=64):
    """Frames that carry their number as a brightness code in four blocks."""
    frames = np.full((count, height, width, 3), 128, np.uint8)
    for number in range(count):
        for bit in range(12):
            x = bit * (width // 12)
            frames[number, : height // 2, x : x + width // 12] = 230 if number >> bit & 1 else 20
    return frames


def number_of(frame):
    """Reads the number of a frame of ``numbered``."""
    height, width = frame.shape[:2]
    step = width // 12
    cells = [frame[: height // 2, bit * step + 1 : (bit + 1) * step - 1].mean() > 125 for bit in range(12)]
    return sum(1 << bit for bit, on in enumerate(cells) if on)


@functools.cache
def face_frames(person=1, count=24, noise=True):
    """A drawn face that sways; T frames [256, 256, 3]."""
    from data_prep.synthetic import faces, people

    who, rest = people.identity(3, person), np.zeros(len(people.ACTIONS))
    poses = sway(count)
    return [faces.render(who, rest, pose, noise_key=t if noise else None) for t, pose in enumerate(poses)]


def sway(count):
    """Poses of a head that moves but does not turn: [T, 6], in the order of people.POSE."""
    t = np.arange(count) / 30
    zero = np.zeros(count)
    columns = (6 * np.sin(1.3 * t), 4 * np.cos(1.1 * t), 0.06 * np.sin(0.9 * t), zero, zero, 1 + 0.03 * np.sin(0.5 * t))
    return np.stack(columns, 1)
