"""Images and sounds to train on: those that come with vqnp, MNIST and others, and files of one's own."""

from vqnp._images import to_float
from vqnp.data.datasets import Dataset, load_dataset, load_splits, open_images
from vqnp.data.spec import DataSpec
from vqnp.data.stream import ArrayStream
from vqnp.data.wav import read_wav, write_wav

__all__ = [
    "ArrayStream", "DataSpec", "Dataset", "load_dataset", "load_splits", "open_images", "read_wav",
    "to_float", "write_wav",
]  # fmt: skip
