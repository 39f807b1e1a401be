"""Checks of the shapes in signatures (jaxtyping, beartype); ``conftest`` turns them on for ops and models."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int may stand where a float is asked for
