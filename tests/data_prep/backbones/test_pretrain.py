"""The script behind the shipped weights: pictures as in a video, the same for the same seed, and it learns."""

import jax
import numpy as np
import optax
import pytest

from data_prep import synthetic
from data_prep.backbones import pretrain, training
from fedn_jax.models import resnet

PLAN = training.Plan((4, 4, 4, 4), 38, pretrain.MEAN, pretrain.STD, 1, 4, 0)


@pytest.fixture(scope="module")
def stills():
    return pretrain.person(0, 6, synthetic.FIRST_STILL)


def test_pictures(stills):
    side = pretrain.SIZE + 2 * pretrain.MARGIN
    assert len(stills.images) >= 5 and stills.images.shape[1:] == (side, side, 3)
    assert stills.label.dtype == np.int32 and set(stills.label) <= set(range(pretrain.CLASSES))
    assert ((stills.strength > 0) == (stills.label > 0)).all()
    again = pretrain.person(0, 6, synthetic.FIRST_STILL)
    assert all((a == b).all() for a, b in zip(stills, again, strict=True))


def test_people_are_not_those_of_a_data_set():
    assert synthetic.FIRST_STILL >= 1000


def test_augmentation_is_small_and_seeded(stills):
    one, two = (training.augment(stills.images, np.random.default_rng(1), pretrain.SIZE) for _ in range(2))
    assert (one == two).all() and one.shape == pretrain.crop(stills.images).shape
    plain = pretrain.crop(stills.images).astype(float)
    difference = [min(np.abs(a - b).mean(), np.abs(a[:, ::-1] - b).mean()) for a, b in zip(one, plain, strict=True)]
    assert 1 < np.mean(difference) < 40


def test_steps_lower_the_loss(stills):
    model = resnet.ResNet18((4, 4, 4, 4), norm=True)
    images, head = stills.images[:4, ::3, ::3], np.zeros((4, pretrain.CLASSES + 1), np.float32)
    backbone = jax.jit(model.init)(jax.random.key(0), images.astype(np.float32))
    trained = {"backbone": backbone["params"], "head": {"kernel": head, "bias": head[0]}}
    optimizer = optax.adam(1e-2)
    step = training.make_step(model, optimizer, pretrain.cost, PLAN)
    state = {**trained, "batch_stats": backbone["batch_stats"]}, optimizer.init(trained)
    losses = []
    for _ in range(12):
        *state, loss = step(*state, images, stills.label[:4], stills.strength[:4])
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]
