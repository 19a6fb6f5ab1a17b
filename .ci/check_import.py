"""vqnp is imported from an installed wheel, has every name that it lists, and its digits."""

import pathlib

import vqnp

assert "site-packages" in pathlib.Path(vqnp.__file__).parts, vqnp.__file__
assert all(getattr(vqnp, name) is not None for name in vqnp.__all__)
assert len(vqnp.load_dataset("digits").images) == 10_000
