"""A source to aligned frames: what a worker process does, in constant memory and without JAX."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_prep.media import sources
from data_prep.media.frames import Frame, resample
from data_prep.media.sources import Source
from fedn_jax.core import files, schema
from fedn_jax.core.errors import UserError

if TYPE_CHECKING:
    from data_prep.faces.align import Aligned


class Options(NamedTuple):
    """Everything that changes what a video becomes, beside the backbone."""

    aligner: str = "cascade"  # of align.ALIGNERS
    size: int = 112  # side of the aligned face, pixels
    fps: float | None = None  # resample to; None keeps the source's own frames


class Facts(NamedTuple):
    """What is known about the aligned frames of a source, once all have passed."""

    fps: float
    source: np.ndarray  # [T] int32, frame of the source that each frame came from
    num_source: int  # frames of the source
    seconds: np.ndarray  # [num_source] float64, when each of them is shown, from the file's start
    ends: np.ndarray  # [num_source] float64, until when: the next one, but for holes and the last one
    valid: np.ndarray  # [T] uint8
    uneven: bool  # the file's frames do not come at a constant rate
    notes: tuple[str, ...]  # what was odd about the source
    shot: np.ndarray  # [T] int32, rising from 0: cuts of the film before the frame, as far as the aligner says


class Decoded(NamedTuple):
    """What a worker finds out about a video of a data set."""

    facts: Facts
    flow: np.ndarray  # [T, 12, 2] float16, how far regions of the face have moved against the nose; see displacement


DEFAULT = Options()
_KINDS = {  # of stored facts, and of the embeddings beside them: kind and size of the numbers, axes
    "fps": ("f4 f8", 0), "source": ("i4", 1), "num_source": ("i4 i8", 0), "seconds": ("f8", 1), "ends": ("f8", 1),
    "valid": ("u1", 1), "flow": ("f2", 3), "uneven": ("b1", 0), "notes": ("", 1), "inputs": ("f2", 2),
    "shot": ("i4", 1),
}  # fmt: skip


def fits(stored: Mapping[str, np.ndarray]) -> bool:
    """Whether stored facts can be those of a video; a file that can be read may hold others.

    Args:
      stored: fields of :class:`Facts`, all or some, perhaps with ``inputs`` [T, D] float16 and ``flow``.

    Returns:
      True if types, lengths and numbers fit one another.
    """
    for name, array in stored.items():
        kinds, axes = _KINDS[name]
        right = array.dtype.str[1:] in kinds.split() if kinds else array.dtype.kind == "U"
        if not right or array.ndim != axes or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            return False
    source, number = stored["source"], int(stored["num_source"])
    lengths = {len(stored[name]) for name in ("source", "valid", "flow", "inputs", "shot") if name in stored}
    ends = {len(stored[name]) for name in ("seconds", "ends") if name in stored}
    if lengths != {len(source)} or ends - {number} or not len(source) or not stored["fps"] > 0:
        return False
    if "flow" in stored and stored["flow"].shape[1:] != (schema.REGIONS, 2):
        return False
    return bool(
        0 <= source[0] and source[-1] < number and (np.diff(source) >= 0).all() and (stored["valid"] <= 1).all()
    )


class Faces:
    """The aligned faces of one source as a stream; when it has ended, ``facts`` says what it was."""

    def __init__(
        self, source: Source, options: Options, first_frame: int = 1, watch: Callable[[Frame], None] | None = None,
        only: Callable[[Frame], Frame] | None = None,
    ):  # fmt: skip
        """Opens the source.

        Args:
          source: the source.
          options: see :class:`Options`.
          first_frame: number of the first frame, for folders of pictures.
          watch: is shown every frame of the source.
          only: hides from the aligner what it shall not see, such as other people; without an image: a gap.
        """
        self._watch, self._only = watch, only
        self._source, self._options, self._first = source, options, first_frame
        self._listing = sources.listing(source, first_frame)
        self.fps = options.fps or sources.rate(source)
        self._seconds: list[float] = []
        self._holes: list[int] = []  # frames before which nothing is known for a while
        self._length = 0.0  # seconds that the last frame is shown for; 0: not known
        self._odd: list[str] = []
        self._index: list[int] = []
        self._valid: list[bool] = []
        self._shots: list[int] = []
        self._cuts = 0
        self._unreadable = 0
        self._present: deque[bool] = deque()  # of frames that the aligner still holds: whether there was a picture

    def __iter__(self) -> Iterator["Aligned"]:
        """Yields the face of each frame; where there is no picture, one without a face."""
        import cv2

        from data_prep.faces import align

        cv2.setNumThreads(1)  # the processes share the cores
        size = self._options.size
        none = align.gap(size)
        for face in align.ALIGNERS[self._options.aligner](self._images(), size):
            while not self._present.popleft():
                yield self._note(none)
            yield self._note(face)
        for _ in self._present:
            yield self._note(none)
        if not any(self._valid):
            raise UserError(
                f"{self._source.path}: no face in any of its {len(self._valid)} frames; expected an upright, frontal "
                "face of at least 12 % of the picture's height: leave the video out, or crop it and use --aligner none"
            )

    def _native(self) -> Iterator[Frame]:
        for frame in sources.stream(self._source, self._listing, self._first, self._odd):
            self._seconds.append(frame.seconds)
            self._length = frame.length
            if frame.hole:
                self._holes.append(frame.index)
            if frame.image is None and self._listing is not None:
                number = frame.index + self._first
                self._unreadable += number in self._listing.files and number not in self._listing.invalid
            if self._watch is not None:
                self._watch(frame)
            yield frame if self._only is None else self._only(frame)

    def _images(self) -> Iterator[np.ndarray]:
        native = self._native()
        for frame in native if self._options.fps is None else resample(native, self._options.fps):
            self._index.append(frame.index)
            self._present.append(frame.image is not None)
            if frame.image is not None:
                yield frame.image

    def _note(self, face: "Aligned") -> "Aligned":
        self._cuts += face.cut
        self._valid.append(face.valid)
        self._shots.append(self._cuts)
        return face

    def facts(self) -> Facts:
        """What is known after the last frame.

        Returns:
          The facts.
        """
        fps, seconds = self.fps, np.array(self._seconds, np.float64)
        gaps = np.diff(seconds)
        holes = np.array(self._holes, int)
        steps = np.delete(gaps, holes - 1)
        if self._options.fps is None and steps.sum() > 0:
            fps = round(len(steps) / steps.sum(), 3)  # what was decoded, not what the header says
        notes = [*(self._listing.notes if self._listing else ()), *self._odd]
        if self._unreadable:
            notes.append(f"{self._unreadable} pictures cannot be read")
        if self._cuts:
            notes.append(f"the film is cut {self._cuts} times; after each cut the largest face is taken anew")
        return Facts(
            fps=fps,
            source=np.array(self._index, np.int32),
            num_source=len(seconds),
            seconds=seconds,
            ends=sources.ends(seconds, self._holes, self._length, fps),
            valid=np.array(self._valid, np.uint8),
            uneven=len(gaps) > 1 and bool(np.abs(gaps - gaps.mean()).max() > 0.5 * gaps.mean()),
            notes=tuple(notes),
            shot=np.array(self._shots, np.int32),
        )


def decode(source: Source, options: Options, first_frame: int, raw: Path, preview: Path) -> Decoded:
    """Decodes and aligns one source; runs in a worker process, in constant memory.

    Args:
      source: the source.
      options: see :class:`Options`.
      first_frame: number of the first frame.
      raw: file for the aligned frames, [T, size, size, 3] uint8.
      preview: file for a small video of them.

    Returns:
      What is known about the frames, and how the face moves in them.

    Raises:
      UserError: unreadable source, or not one face in it.
    """
    from data_prep.faces import displacement

    faces = Faces(source, options, first_frame)
    moved, flow = displacement.Displacement(options.aligner, faces.fps), []
    with raw.open("wb") as file, writer(preview, options.size, options.size, faces.fps) as show:
        for face in faces:
            file.write(face.image.tobytes())
            show(face.image)
            if face.cut:
                moved.restart()
            flow.append(moved.next(face.image) if face.valid else displacement.NONE)
    return Decoded(faces.facts(), np.array(flow, np.float16))


# Length of a video in seconds up to which -> (height of the picture, constant rate factor) of its small copy.
_COPIES = ((300, 480, 28), (1800, 360, 30), (np.inf, 240, 33))


@contextlib.contextmanager
def writer(path: Path, width: int, height: int, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes a small H.264 video of constant rate, whole or not at all.

    Args:
      path: the file, .mp4.
      width: of the pictures, even.
      height: of the pictures, even.
      fps: frames per second.

    Yields:
      A function that appends a picture [height, width, 3] uint8 RGB.
    """
    with _encoder(path, fps, 23) as encode:
        yield lambda image: encode(image, None)


@contextlib.contextmanager
def media_writer(path: Path, seconds: float) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Writes a small copy of a video that browsers play, whole or not at all; a longer one is smaller.

    Args:
      path: the file, .mp4.
      seconds: length of the video; 0 where it is not known.

    Yields:
      A function (picture [H, W, 3] uint8 RGB, seconds from the start) that appends a frame.
    """
    import cv2

    _, height, crf = next(copy for copy in _COPIES if seconds <= copy[0])
    size: list[tuple[int, int]] = []  # of the first picture, which all others are fitted to
    with _encoder(path, 1000, crf) as encode:

        def show(image: np.ndarray, time: float) -> None:
            if not size:
                scale = min(1.0, height / image.shape[0])
                size.append(tuple(max(2, 2 * round(side * scale / 2)) for side in image.shape[1::-1]))
                if round(1000 * time) > 0:  # else the copy would begin with its first picture
                    encode(np.zeros((*size[0][::-1], 3), np.uint8), 0)
            encode(cv2.resize(image, size[0], interpolation=cv2.INTER_AREA), round(1000 * time))

        yield show


@contextlib.contextmanager
def _encoder(path: Path, rate: float, crf: int) -> Iterator[Callable[[np.ndarray, int | None], None]]:
    """A function (picture, time in 1 / rate seconds or None for the next one) that encodes a frame."""
    import av

    with (
        files.replacing(path) as part,
        av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        video = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        video.pix_fmt, last = "yuv420p", -1
        video.options = {"preset": "ultrafast", "crf": str(crf), "threads": "1"}

        def encode(image: np.ndarray, time: int | None) -> None:
            nonlocal last
            if last < 0:
                video.height, video.width = image.shape[:2]
            last = max(last + 1, time or 0)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = last, 1 / video.codec_context.framerate
            container.mux(video.encode(frame))

        yield encode
        if last >= 0:
            container.mux(video.encode(None))
