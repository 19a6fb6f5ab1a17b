"""The packages of the extra dask, imported when they are needed."""

import importlib
from typing import Any

from vqnp._check import fail


def package(name: str, where: str) -> Any:
    """A package of the extra, or one sentence that names the extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        fail(where, "", "must be used with the extra dask: pip install 'vqnp[dask]'", error)
