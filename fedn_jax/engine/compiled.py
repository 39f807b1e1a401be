"""What the ways to run epochs ask of compiled functions: keys by which they are kept, and their memory."""

from typing import Any

import jax

from fedn_jax.core.types import Tree


def shapes_of(arguments: Tree) -> tuple:
    """What arguments are, as a key.

    Args:
      arguments: a pytree of arrays, or of their shapes and dtypes.

    Returns:
      Their structure, and shape and dtype of every leaf; ``jax.tree.unflatten`` makes the tree of it.
    """
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)


def modes() -> tuple:
    """The settings of JAX that programs are compiled under, as a key.

    Returns:
      Whether numbers of 64 bits are allowed, and the precision of products.
    """
    return jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision


def bytes_of(function: Any) -> int:
    """Memory of one device that a compiled function needs, as its compiler says.

    Args:
      function: ``jax.stages.Compiled``.

    Returns:
      Bytes, of arguments and results, too.
    """
    said = function.memory_analysis()
    given = said.argument_size_in_bytes + said.output_size_in_bytes - said.alias_size_in_bytes
    return given + said.temp_size_in_bytes + said.generated_code_size_in_bytes
