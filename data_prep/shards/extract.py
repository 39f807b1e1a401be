"""One video to rows on the disk, embeddings or aligned faces, for detection: frames are seen once."""

import itertools
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.backbones import kinds
from data_prep.backbones.aligned_frames import AlignedFrames
from data_prep.backbones.kinds import Backbone
from data_prep.faces.decode import Faces, Facts, Options, fits, media_writer, writer
from data_prep.faces.persons import Person
from data_prep.media import frames, sources
from data_prep.media.frames import Frame
from data_prep.media.sources import Source
from data_prep.shards import builders
from fedn_jax.core import arrays, files
from fedn_jax.core.errors import UserError

EXTRACTION = 4  # raise when the content of the directories changes


class Extracted(NamedTuple):
    """What is known of a video once it has been decoded, aligned and embedded."""

    inputs: np.ndarray  # [T, D] float16, or [T, side, side, 3] uint8 of ``AlignedFrames``; memory-mapped
    facts: Facts
    faces: Path  # a video of the aligned faces
    media: Path  # the video itself, small, so that a browser can play it


def extract(
    source: Source, options: Options, backbone: Backbone | AlignedFrames, cache: Path,
    progress: Callable[..., Any] | None = None, person: Person | None = None,
) -> Extracted:  # fmt: skip
    """Decodes, aligns and embeds a video; what was done before with the same options is taken from the cache.

    Args:
      source: the video.
      options: as those of the data that the network was trained on.
      backbone: likewise; ``AlignedFrames`` keeps the aligned faces themselves.
      cache: directory for the results.
      progress: tqdm, or something with its interface; None shows nothing.
      person: who is looked at; None: whoever the aligner finds.

    Returns:
      Rows and facts.

    Raises:
      UserError: an unreadable video, or not one face in it.
    """
    sources.rate(source)  # a file that is none is refused here
    who = None if person is None else [person.start, person.boxes.round(3).tolist()]
    key = builders.signature([sources.fingerprint(source), options._asdict(), backbone.sha, EXTRACTION, who])
    done = cache / f"{files.file_name(source.path.stem)}-{key}"
    found = _load(done, backbone)
    if found is None:
        shutil.rmtree(done, ignore_errors=True)  # of one that is damaged
        with files.building(done) as fresh:
            _extract(source, options, backbone, fresh, progress, person)
        found = _load(done, backbone)
    if found is None:
        raise UserError(f"{done}: damaged as soon as it was written; check the disk")
    return found


def pictures(
    source: Source, options: Options, rows: Collection[int], person: Person | None = None
) -> dict[int, np.ndarray]:
    """Some of the aligned frames, exactly as they were embedded: the video is decoded and aligned once more.

    Args:
      source: the video.
      options: as of ``extract``.
      rows: frames that are wanted, as rows of the embeddings.
      person: as of ``extract``.

    Returns:
      row -> [size, size, 3] uint8 RGB.
    """
    wanted, last = set(rows), max(rows, default=-1)
    all_faces = Faces(source, options, sources.first_frame(source), only=person and person.only)
    faces = itertools.islice(all_faces, last + 1)
    return {row: face.image for row, face in enumerate(faces) if row in wanted}


def _row(backbone: Backbone | AlignedFrames) -> tuple[Any, tuple[int, ...]]:
    """Type and shape of a row."""
    if isinstance(backbone, AlignedFrames):
        return np.uint8, (backbone.side, backbone.side, 3)
    return np.float16, (backbone.width,)


def _load(done: Path, backbone: Backbone | AlignedFrames) -> Extracted | None:
    """What a directory of the cache holds; None if it is not there, or damaged."""
    try:
        found = arrays.load_npz(done / "facts.npz", Facts._fields)
        if not fits(found):
            return None
        facts = Facts(**found)
        facts = facts._replace(
            fps=float(facts.fps), num_source=int(facts.num_source), uneven=bool(facts.uneven),
            notes=tuple(str(note) for note in facts.notes),
        )  # fmt: skip
        dtype, shape = _row(backbone)
        inputs = np.memmap(done / "inputs.raw", dtype, "r").reshape(len(facts.valid), *shape)
        whole = all((done / name).is_file() for name in ("faces.mp4", "media.mp4"))
    except (UserError, ValueError, TypeError, OSError):
        return None
    return Extracted(inputs, facts, done / "faces.mp4", done / "media.mp4") if whole else None


def _extract(
    source: Source, options: Options, backbone: Backbone | AlignedFrames, out: Path, progress: Any,
    person: Person | None,
) -> None:  # fmt: skip
    info = None if source.path.is_dir() else frames.probe(source.path)
    total = round(info.seconds * info.fps) if info and info.seconds else None
    with ExitStack() as stack:
        bar = stack.enter_context(progress(total=total, desc=source.path.name[:30], unit="frame")) if progress else None
        show = stack.enter_context(media_writer(out / "media.mp4", info.seconds if info else 0.0))

        def watch(frame: Frame) -> None:
            if frame.image is not None:
                show(frame.image, frame.seconds)
            if bar is not None:
                bar.update()

        faces = Faces(source, options, sources.first_frame(source), watch=watch, only=person and person.only)
        keep = stack.enter_context(writer(out / "faces.mp4", options.size, options.size, faces.fps))

        def pictures() -> Iterator[np.ndarray]:
            for face in faces:
                keep(face.image)
                yield face.image

        seen = []
        with (out / "inputs.raw").open("wb") as file:
            for batch in backbone.features(pictures()):
                batch, found = kinds.seen(batch)
                seen.append(found)
                file.write(batch.tobytes())
    facts = faces.facts()
    facts = facts._replace(valid=kinds.seen_at_all(source.path, facts.valid & np.concatenate(seen)))
    np.savez(out / "facts.npz", **(facts._asdict() | {"notes": np.array(facts.notes, np.str_)}))
