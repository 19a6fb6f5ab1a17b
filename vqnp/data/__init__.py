"""Images to train on: the embedded digits, MNIST and Fashion-MNIST, and files of one's own."""

from vqnp._images import to_float
from vqnp.data.datasets import Dataset, load_dataset, load_splits, open_images
from vqnp.data.spec import DataSpec
from vqnp.data.stream import ArrayStream

__all__ = ["ArrayStream", "DataSpec", "Dataset", "load_dataset", "load_splits", "open_images", "to_float"]
