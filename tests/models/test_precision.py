"""train.precision reaches every product of the network and of its derivative, and nothing else."""

import re

import jax
import jax.numpy as jnp
import pytest
from toys import outputs_of, tiny_config

from fedn_jax import models
from fedn_jax.core.errors import UserError
from fedn_jax.ops import windows

GEOMETRY = windows.Geometry(32, 8, 2)


def lowered(name, function=lambda f, *xs: jax.grad(lambda *ys: f(*ys).sum())(*xs)):
    config = tiny_config()
    config.train.precision = name
    task = models.make_task(config, GEOMETRY, 2, (8,))
    variables = jax.eval_shape(task.init, jax.random.key(0))
    inputs, valid = jnp.zeros((1, GEOMETRY.rows, 8), jnp.float16), jnp.ones((1, GEOMETRY.rows), bool)

    def outputs(variables, inputs):
        return outputs_of(task, variables, inputs, valid, segments=32)["logits"]

    return jax.jit(lambda *xs: function(outputs, *xs)).lower(variables, inputs.astype(jnp.float32)).as_text()


def products(text):
    return [line for line in text.splitlines() if re.search(r"stablehlo\.(dot_general|convolution)", line)]


@pytest.mark.parametrize(("name", "mark"), [("float32", "HIGHEST"), ("tf32", "HIGH,")])
def test_every_product_has_the_precision_that_was_asked_for(name, mark):
    found = products(lowered(name))
    assert len(found) > 20 and all(mark in line.replace("HIGH]", "HIGH,").replace("HIGH>", "HIGH,") for line in found)


def test_bfloat16_products_are_added_in_float32():
    text = lowered("bfloat16")
    found = [line for line in products(text) if "dot_general" in line]
    assert found and all("lhs_precision_type = bf16" in line and "accumulation_type = f32" in line for line in found)
    assert "tensor<bf16>" not in text and "xbf16>" not in text  # nothing is stored as bfloat16


def test_by_default_the_device_decides():
    assert "HIGH" not in "".join(products(lowered("device")))


def test_another_name_is_refused():
    with pytest.raises(UserError, match="train.precision must be one of device, float32, tf32, bfloat16; got 'fp8'"):
        lowered("fp8")
