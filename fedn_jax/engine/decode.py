"""From network outputs to detections, and from these to the frames of the file.

Three steps: ``Task.decode`` turns positions in windows into candidates in frames of the video that was looked at;
suppression (``ops.nms``) leaves the detections; ``in_file`` gives them the frame numbers of the file.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Num

from fedn_jax.core.types import Array, Config, Detections, Task
from fedn_jax.ops import intervals, nms


def _padded(outputs: dict[str, np.ndarray], chunk: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(outputs, starts [W], valid [W]) of one video, W padded to a multiple of ``chunk`` so that few sizes compile."""
    count = len(outputs["starts"])
    pad = lambda array: np.pad(array, [(0, -count % chunk)] + [(0, 0)] * (array.ndim - 1))
    padded = {name: pad(array) for name, array in outputs.items()}
    starts = padded.pop("starts").astype(np.float32)
    return padded, starts, np.arange(len(starts)) < count


def rule_of(config: Config) -> nms.Rule:
    """How a configuration suppresses candidates.

    Args:
      config: it was checked.

    Returns:
      The rule.
    """
    post = config.predict
    return nms.Rule(post.nms_iou, post.max_detections, post.per_class, post.suppression, post.sigma)


@functools.lru_cache(maxsize=8)
def make_decoder(task: Task, rule: nms.Rule, chunk: int) -> Callable[[dict[str, np.ndarray], int], Detections]:
    """Network outputs of one video -> detections; what was compiled for a task and options is kept.

    Args:
      task: the model.
      rule: of suppression.
      chunk: windows are padded to a multiple of it.

    Returns:
      decode(outputs, num_frames) -> Detections [max_detections] of the video (NumPy), by falling score.
    """

    @jax.jit
    def program(outputs: dict[str, Array], starts: Array, valid: Array, num_frames: Array) -> Detections:
        candidates = task.decode(outputs, starts, valid, num_frames)
        return nms.suppress(candidates, rule)

    return lambda outputs, num_frames: jax.device_get(program(*_padded(outputs, chunk), jnp.float32(num_frames)))


def make_candidates(task: Task, chunk: int) -> Callable[[dict[str, np.ndarray], int], Detections]:
    """Network outputs of one video, or of a piece of it -> candidates, before NMS.

    Args:
      task: the model.
      chunk: windows are padded to a multiple of it.

    Returns:
      candidates(outputs, num_frames) -> Detections [N] (NumPy).
    """
    program = jax.jit(task.decode)
    return lambda outputs, num_frames: jax.device_get(program(*_padded(outputs, chunk), jnp.float32(num_frames)))


def in_file(
    interval: Num[Array, "*n 2"], first_frame: int = 0, source: Sequence[int] | np.ndarray | None = None
) -> Int[np.ndarray, "*n 2"]:
    """Intervals in frames that were looked at -> inclusive frame numbers of the file.

    Args:
      interval: [..., 2] float, frames from 0, half-open.
      first_frame: number that the file gives to its first frame.
      source: [T] frame of the file, from 0, that each frame came from; None: frames are those of the file.

    Returns:
      [..., 2] int, numbers of the first and the last frame.
    """
    numbers = intervals.inclusive(interval)
    if source is not None:
        numbers = np.asarray(source)[np.clip(numbers, 0, len(source) - 1)]
    return numbers + first_frame
