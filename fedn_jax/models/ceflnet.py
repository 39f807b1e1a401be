"""CEFLNet's head on the embeddings of a frozen ResNet18 (Liu et al., Information Sciences 598, 2022, and its code).

    75 places of an interval -> 7 clips of 15 places, 10 apart -> 5 frames of each      [B, 7, 5, d]
                             -> attention among the 5 frames, weighted mean, projection [B, 7, d]
                             -> weights of the clips, maximum over them, classifier     [B, C]

Attention, maximum and weighted mean are symmetric, so the order of the frames in a clip is not seen: a property of the
published design.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Key

from fedn_jax.core.types import Array
from fedn_jax.models import layers

PLACES, CLIPS, SPAN, HOP, FRAMES = 75, 7, 15, 10, 5  # places of an interval and of a clip, frames taken of a clip
HEADS = 4


def chosen_places(key: Key[Array, ""] | None, batch: int) -> Int[Array, "B 7 5"]:
    """The places that each clip shows.

    Args:
      key: for training, which shows 5 of the 15 at random, in order; None: every third.
      batch: B.

    Returns:
      [B, 7, 5] int, places of the interval.
    """
    if key is None:
        within = np.broadcast_to(np.arange(0, SPAN, SPAN // FRAMES), (batch, CLIPS, FRAMES))
    else:
        lots = jax.random.uniform(key, (batch, CLIPS, SPAN))
        within = jnp.sort(jnp.argsort(lots)[..., :FRAMES])
    return within + HOP * np.arange(CLIPS)[:, None]


class CeflNet(nn.Module):
    """From frames of an interval to its emotion."""

    num_classes: int

    @nn.compact
    def __call__(self, inputs: Float[Array, "B 75 d"], train: bool, counted: Bool[Array, " B"]) -> Float[Array, "B C"]:
        """Classifies.

        Args:
          inputs: [B, 75, d], embeddings of the places of an interval.
          train: apply dropout, with the random stream "dropout", and choose frames, with the stream "frames".
          counted: unused: nothing depends on the batch.

        Returns:
          [B, C] float, logits.
        """
        del counted
        batch, _, width = inputs.shape
        places = chosen_places(self.make_rng("frames") if train else None, batch)
        taken = jnp.take_along_axis(inputs.astype(float), places.reshape(batch, -1, 1), 1)
        x = taken.reshape(batch * CLIPS, FRAMES, width)  # [B * 7, 5, d]
        drop = lambda y, rate: nn.Dropout(rate)(y, deterministic=not train)

        attention = layers.SelfAttention(HEADS, 0.1, nn.initializers.xavier_uniform(), name="attention")
        attended = x + drop(attention(x, np.ones(x.shape[:2], bool), train), 0.1)
        attended = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="norm")(attended)
        clip = jnp.broadcast_to(layers.maximum(attended)[:, None], x.shape)
        both = jnp.concatenate([x, clip], -1)  # [B * 7, 5, 2 d]
        weights = nn.sigmoid(_linear(drop(both, 0.5), 1, "frame_weight"))  # [B * 7, 5, 1]
        mean = (weights * both).sum(1) / weights.sum(1)
        clips = _linear(mean, width, "clip").reshape(batch, CLIPS, width)

        scores = self.param("clip_score", nn.initializers.normal(math.sqrt(2)), (width,))
        clips = clips * nn.softmax(clips @ scores)[..., None]
        x = nn.relu(_linear(layers.maximum(clips), width // 2, "hidden_0"))
        x = nn.relu(_linear(x, width // 4, "hidden_1"))
        return _linear(drop(x, 0.4), self.num_classes, "output")


def _linear(x: Float[Array, "... inputs"], outputs: int, name: str) -> Float[Array, "... outputs"]:
    """A linear layer of the module that calls it."""
    kernel, bias = layers.Affine(x.shape[-1], outputs, name=name)()
    return x @ kernel + bias
