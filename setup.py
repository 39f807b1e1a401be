"""Installation: the packages, `configs` as `fedn_jax.configs` among them; all other settings are in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["fedn_jax*", "data_prep*"]), "fedn_jax.configs"],
    package_dir={"fedn_jax.configs": "configs"},
)
