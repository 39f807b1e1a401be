"""How much does a still face tremble: in the crop of each alignment, and in its blendshapes?

    python benchmarks/tremor.py --videos DIR      the first frames of real videos
    python benchmarks/tremor.py                   drawn people

A picture of a face is shifted by up to one pixel in x and y, 60 times, and gets the noise of a sensor (deviation 2 grey
levels). What moves beside the known shift is tremor: the deviation of three points of the face in a crop of 112 pixels,
and the mean deviation of the 52 log-odds. It decided how real faces are aligned (docs/decisions.md, Real faces).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data_prep.backbones import blendshapes
from data_prep.faces import align, find, landmarker_file
from data_prep.faces.find_landmarks import LandmarkFinder
from data_prep.faces.landmarker import Landmarker
from data_prep.media import frames
from data_prep.synthetic import faces, people

COUNT, SIDE, NOISE = 60, 112, 2.0
POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.7]])  # of the crop: about the eyes and the mouth
# Corners of the eyes, nose, temples.
RIGID = [
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 10, 151, 9, 8, 127, 356, 234, 454,
]  # fmt: skip


def stills(videos: Path | None) -> Iterator[np.ndarray]:
    """One picture [H, W, 3] uint8 RGB of each person."""
    if videos is None:
        for person in range(5):
            yield faces.render(people.identity(7, person), np.zeros(len(people.ACTIONS)))
    else:
        for path in sorted(videos.glob("*.mp4")):
            yield next(frames.stream(path)).image


def trembling(still: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Shifted and noisy copies, and their shifts [T, 2]; the first is not shifted."""
    shifts = np.concatenate([[(0.0, 0.0)], rng.uniform(-1, 1, (COUNT - 1, 2))])
    copies = []
    for shift in shifts:
        move = np.column_stack([np.eye(2), shift])
        size = still.shape[1::-1]
        moved = cv2.warpAffine(
            still.astype(np.float32), move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        copies.append(np.clip(moved + rng.normal(0, NOISE, moved.shape), 0, 255).astype(np.uint8))
    return copies, shifts


def tremor(poses: list[np.ndarray], shifts: np.ndarray) -> float:
    """Deviation of POINTS in the crop, pixels of SIDE."""
    face = POINTS @ poses[0][:, :2].T + poses[0][:, 2]
    seen = []
    for pose, shift in zip(poses, shifts, strict=True):
        back = np.linalg.inv(np.vstack([pose, (0, 0, 1)]))
        seen.append((face + shift) @ back[:2, :2].T + back[:2, 2])
    return float(np.std(seen[1:], axis=0).mean() * SIDE)


def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[2, 3], the least-squares similarity from points a to points b, [N, 2] each."""
    x, y = a - a.mean(0), b - b.mean(0)
    cos, sin = (x * y).sum(), (x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum()
    linear = np.array([[cos, -sin], [sin, cos]]) / (x**2).sum()
    return np.column_stack([linear, b.mean(0) - linear @ a.mean(0)])


def measure(still: np.ndarray, networks: Landmarker, rng: np.random.Generator) -> dict[str, float] | None:
    """Name -> tremor of one person; None where one of the ways does not find the face in every copy."""
    copies, shifts = trembling(still, rng)
    boxes, cascade = [networks.find(one) for one in copies], find.Finder()
    cascades = [cascade.find(one) for one in copies]
    registered = list(align.align_landmarker(iter(copies), 256))
    if not all(boxes) or any(one is None for one in cascades) or not all(one.valid for one in registered):
        return None
    eyes = LandmarkFinder()
    meshes, pose = [], boxes[0][0].pose
    for one in copies:
        meshes.append(networks.mesh(one, pose))
        pose = meshes[-1].pose
    first = meshes[0]
    rigid = [similarity(first.points[RIGID], one.points[RIGID]) for one in meshes]
    to_frame = [cv2.invertAffineTransform(one.transform) for one in registered]
    unit = np.array([[256, 0, -0.5], [0, 256, -0.5], [0, 0, 1]])  # crop [0, 1] -> its pixels
    odds = lambda points: blendshapes.log_odds(networks.blendshapes(points))
    following = np.std([odds(one.points) for one in meshes[5:]], axis=0).mean()
    still_crop = np.std([odds(networks.mesh_of_crop(one.image).points) for one in registered[5:]], axis=0).mean()
    return {
        "cascade's box and eyes": tremor(cascades, shifts),
        "landmarker's box": tremor([one[0].pose for one in boxes], shifts),
        "eyes among its points": tremor([eyes.find(one) for one in copies], shifts),
        "square around its points": tremor([one.pose for one in meshes], shifts),
        "similarity of 19 rigid points": tremor(
            [one[:, :2] @ first.pose + np.column_stack([np.zeros((2, 2)), one[:, 2]]) for one in rigid], shifts
        ),
        "registration (cascade, landmarker)": tremor([one @ unit for one in to_frame], shifts),
        "log-odds, square that follows": float(following),
        "log-odds, registered crop": float(still_crop),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of videos, one person each")
    args = parser.parse_args()
    networks, rng = Landmarker(landmarker_file.load()), np.random.default_rng(0)
    found = [measure(still, networks, rng) for still in stills(args.videos)]
    rows = [one for one in found if one is not None]
    print(f"{len(rows)} of {len(found)} people; median, least and most")
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name:<36} {np.median(values):6.3f} {min(values):6.3f} {max(values):6.3f}")


if __name__ == "__main__":
    main()
