"""The images of a data set, some at a time, from memory or from a file."""

from collections.abc import Iterator

from vqnp._check import Array, check_int
from vqnp.data.stream import ArrayStream

BATCH = 1024  # images in memory at a time: big enough that reading them costs nothing beside the products


def origin(images: Array | ArrayStream, otherwise: str) -> str:
    """Where an error about the images is: in their file, if they are read from one."""
    return str(images.path) if isinstance(images, ArrayStream) else otherwise


def batches(images: Array | ArrayStream, size: int = BATCH) -> Iterator[Array]:
    """The images, `size` at a time: (n, ...) -> (size, ...), the last one perhaps smaller."""
    size = check_int("batches", "size", size)
    if isinstance(images, ArrayStream):
        return images.batches(size)
    return (images[start : start + size] for start in range(0, len(images), size))
