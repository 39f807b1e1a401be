"""Random keys by name, so that every key is used once."""

import zlib

import jax


def fold_name(key: jax.Array, name: str) -> jax.Array:
    """The key of a purpose.

    Args:
      key: a typed PRNG key; not to be sampled from itself.
      name: what the new key is for.

    Returns:
      A typed PRNG key.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
