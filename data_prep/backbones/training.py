"""Training of a backbone: a ResNet18 with a linear layer on top, on cropped faces and whatever is known of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core.types import Array, Tree


class Plan(NamedTuple):
    """How a backbone is trained."""

    widths: tuple[int, ...]  # channels of the four stages
    size: int  # side of the input, pixels
    mean: tuple[float, ...]  # of R, G, B, in [0, 1]; subtracted
    std: tuple[float, ...]  # of R, G, B; divided by
    epochs: int  # passes over the pictures
    batch_size: int  # pictures per step
    seed: int  # of weights, order and augmentation


def light(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How bright pictures are, picture by picture: there may be more of them than fit the memory as floats.

    Args:
      images: [N, side, side, 3] uint8.

    Returns:
      Mean and standard deviation of R, G, B for a ``Plan``, in [0, 1], the latter at least 0.01; three decimals.
    """
    moments = np.zeros((2, 3))
    for image in images:
        pixels = image.reshape(-1, 3) / 255.0
        moments += pixels.mean(0), (pixels**2).mean(0)
    mean, square = moments / len(images)
    std = np.sqrt((square - mean**2).clip(1e-4))
    return tuple(mean.round(3).tolist()), tuple(std.round(3).tolist())


def augment(images: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Moves, mirrors, lights and blurs pictures as the aligner's rest and cameras do.

    Args:
      images: [B, side, side, 3] uint8; what is outside of them repeats their edges.
      rng: source of the variation.
      size: side of the results in pixels, cut out of the middle.

    Returns:
      [B, size, size, 3] uint8.
    """
    import cv2

    result = np.empty((len(images), size, size, 3), np.uint8)
    for i, image in enumerate(images):
        angle, scale = rng.normal(0, 0.02), np.exp(rng.normal(0, 0.025))
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        mirror = -1 if rng.random() < 0.5 else 1
        linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
        centre = (len(image) - 1) / 2 + rng.normal(0, 1.2, 2)
        transform = np.column_stack([linear, centre - linear @ ((size - 1) / 2, (size - 1) / 2)])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        face = cv2.warpAffine(image, transform, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        if rng.random() < 0.3:
            face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.4, 1.0))
        result[i] = cv2.convertScaleAbs(face, alpha=rng.uniform(0.8, 1.2), beta=0)
    return result


def make_step(model: Any, optimizer: Any, cost: Callable[..., Array], plan: Plan) -> Callable[..., Any]:
    """Builds the training step.

    Args:
      model: ``ResNet18(norm=True)``.
      optimizer: of optax.
      cost: (outputs of the linear layer [B, O], targets ...) -> scalar.
      plan: of the training.

    Returns:
      Jitted (variables, opt_state, images [B, H, W, 3] uint8, targets ...) -> (variables, opt_state, loss).
      ``variables`` hold "backbone" (params), "batch_stats" and "head".
    """
    import jax
    import jax.numpy as jnp
    import optax

    def loss_of(trained: Tree, stats: Tree, images: Array, *targets: Array) -> Any:
        x = (images.astype(jnp.float32) / 255 - jnp.array(plan.mean)) / jnp.array(plan.std)
        state = {"params": trained["backbone"], "batch_stats": stats}
        features, updated = model.apply(state, x, train=True, mutable=["batch_stats"])
        return cost(features @ trained["head"]["kernel"] + trained["head"]["bias"], *targets), updated["batch_stats"]

    def step(variables: Tree, opt_state: Tree, images: Array, *targets: Array) -> Any:
        trained = {"backbone": variables["backbone"], "head": variables["head"]}
        grad = jax.value_and_grad(loss_of, has_aux=True)
        (loss, stats), grads = grad(trained, variables["batch_stats"], images, *targets)
        updates, opt_state = optimizer.update(grads, opt_state, trained)
        return {**optax.apply_updates(trained, updates), "batch_stats": stats}, opt_state, loss

    return jax.jit(step, donate_argnums=(0, 1))


def train(
    images: np.ndarray, targets: Sequence[np.ndarray], outputs: int, cost: Callable[..., Array], plan: Plan,
    say: Callable[[str], None],
) -> Tree:  # fmt: skip
    """Trains from scratch.

    Args:
      images: [N, side, side, 3] uint8; N is at least the size of a batch.
      targets: [N] each.
      outputs: of the linear layer, O.
      cost: see ``make_step``.
      plan: how.
      say: receives a line per epoch.

    Returns:
      Variables, see ``make_step``.
    """
    import jax
    import optax

    from fedn_jax.models.resnet import ResNet18

    model, steps = ResNet18(plan.widths, norm=True), len(images) // plan.batch_size
    backbone = jax.jit(model.init)(jax.random.key(plan.seed), np.zeros((1, plan.size, plan.size, 3), np.float32))
    head = {"kernel": np.zeros((plan.widths[-1], outputs), np.float32), "bias": np.zeros(outputs, np.float32)}
    variables = {"backbone": backbone["params"], "batch_stats": backbone["batch_stats"], "head": head}
    optimizer = optax.adamw(optax.cosine_onecycle_schedule(plan.epochs * steps, 3e-3, 0.15), weight_decay=1e-2)
    opt_state = optimizer.init({"backbone": variables["backbone"], "head": head})
    step = make_step(model, optimizer, cost, plan)
    for epoch in range(plan.epochs):
        rng = np.random.default_rng([plan.seed, epoch])
        order, losses = rng.permutation(len(images)), []
        for i in range(steps):
            rows = order[i * plan.batch_size : (i + 1) * plan.batch_size]
            batch = augment(images[rows], rng, plan.size)
            variables, opt_state, loss = step(variables, opt_state, batch, *(column[rows] for column in targets))
            losses.append(loss)
        say(f"epoch {epoch + 1}/{plan.epochs}: loss {np.mean(jax.device_get(losses)):.3f}")
    return jax.device_get(variables)


def folded(variables: Tree) -> Tree:
    """The backbone as it is kept: without normalisation layers.

    Args:
      variables: of ``train``.

    Returns:
      Weights for ``embed.save_backbone``.
    """
    from fedn_jax.models.resnet import fold

    return fold({"params": variables["backbone"], "batch_stats": variables["batch_stats"]})["params"]


def outputs_of(images: np.ndarray, backbone: Any, head: Tree) -> np.ndarray:
    """What the linear layer says, on the features of the backbone as it will be used.

    Args:
      images: [N, size, size, 3] uint8.
      backbone: the ``embed.Backbone``.
      head: "kernel" [D, O] and "bias".

    Returns:
      [N, O] float32.
    """
    features = np.concatenate(list(backbone.features(images))).astype(np.float32)
    return features @ head["kernel"] + head["bias"]
