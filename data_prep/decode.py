"""One video to aligned frames: what a worker process does, in constant memory and without JAX."""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedn_jax.checks import UserError


class Options(NamedTuple):
    """Everything that changes what a video becomes, beside the backbone."""

    aligner: str = "cascade"  # of align.ALIGNERS
    size: int = 112  # side of the aligned face, pixels
    fps: float | None = None  # resample to; None keeps the video's own frames


class Decoded(NamedTuple):
    """What a worker hands over; the aligned frames lie in a file."""

    path: Path  # [T, size, size, 3] uint8, raw bytes
    fps: float
    source: np.ndarray  # [T] int32, frame of the file that each frame came from
    num_source: int  # frames of the file
    valid: np.ndarray  # [T] uint8
    motion: np.ndarray  # [T] float32
    uneven: bool  # the file's frames do not come at a constant rate


DEFAULT = Options()


def decode(path: Path, options: Options, raw: Path, preview: Path) -> Decoded:
    """Decodes and aligns one video; runs in a worker process, in constant memory.

    Args:
      path: the video.
      options: see :class:`Options`.
      raw: file for the aligned frames, [T, size, size, 3] uint8.
      preview: file for a small video of them.

    Returns:
      What is known about the frames.

    Raises:
      UserError: unreadable video, or not one face in it.
    """
    import cv2

    from data_prep import align, frames

    cv2.setNumThreads(1)  # the processes share the cores
    source, seconds, valid, motion = [], [], [], []

    def native() -> Iterator[frames.Frame]:
        for frame in frames.stream(path):
            seconds.append(frame.seconds)
            yield frame

    def images() -> Iterator[np.ndarray]:
        stream = native() if options.fps is None else frames.resample(native(), options.fps)
        for frame in stream:
            source.append(frame.index)
            yield frame.image

    fps = options.fps or frames.probe(path).fps or 30.0
    previous = None
    with raw.open("wb") as file, _writer(preview, options.size, fps) as show:
        for face in align.ALIGNERS[options.aligner](images(), options.size):
            grey = cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY) if face.valid else None
            both = grey is not None and previous is not None
            motion.append(float(cv2.absdiff(grey, previous).mean()) if both else 0.0)
            valid.append(face.valid)
            previous = grey
            file.write(face.image.tobytes())
            show(face.image)
    if not any(valid):
        raise UserError(
            f"{path}: no face in any of its {len(valid)} frames; expected an upright, frontal face of at least 12 % "
            "of the picture's height: leave the video out, or crop it and use --aligner none"
        )
    gaps = np.diff(seconds)
    if options.fps is None and gaps.sum() > 0:
        fps = round(len(gaps) / gaps.sum(), 3)  # what was decoded, not what the header says
    uneven = len(gaps) > 1 and bool(np.abs(gaps - gaps.mean()).max() > 0.5 * gaps.mean())
    columns = np.array(source, np.int32), len(seconds), np.array(valid, np.uint8), np.array(motion, np.float32)
    return Decoded(raw, fps, *columns, uneven)


@contextlib.contextmanager
def _writer(path: Path, size: int, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends a picture to a small H.264 video."""
    import av

    temporary = path.with_suffix(".tmp.mp4")
    with av.open(str(temporary), "w") as container:
        video = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        video.width, video.height, video.pix_fmt = size, size, "yuv420p"
        video.options = {"preset": "ultrafast", "crf": "23", "threads": "1"}

        def show(image: np.ndarray) -> None:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))

        yield show
        container.mux(video.encode(None))
    temporary.replace(path)
