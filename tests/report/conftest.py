"""A small run of random weights, its page, and a browser: shared by the tests of this folder."""

import numpy as np
import pytest

from vqnp import VQVAE
from vqnp.priors import Transformer
from vqnp.report import Contents, write_page

from .browser import Browser, find_browser
from .cases import lively

SHAPE, K = (8, 8), 9


@pytest.fixture(scope="session")
def model():
    """A convolutional model of 4 × 4 codes, whose codes change the image visibly."""
    rng = np.random.default_rng(0)
    one = VQVAE.conv(SHAPE, 4, 3, 1, 1, embedding_dim=3, num_embeddings=K, rng=rng)
    lively(one.decoder, rng, 0.5)
    one.decoder.layers[-2].b.value[...] = 0.5
    return one


@pytest.fixture(scope="session")
def prior():
    rng = np.random.default_rng(0)
    return lively(Transformer(K, (4, 4), 8, 2, 2, num_classes=3, rng=rng), rng, 2.0)


@pytest.fixture(scope="session")
def contents(model, prior, tmp_path_factory):
    """All that a page can have."""
    images = np.random.default_rng(1).integers(0, 256, (4, *SHAPE), np.uint8)
    history = [{"epoch": 1, "loss": 0.5, "perplexity": 3.5}, {"epoch": 2, "loss": 0.25, "perplexity": 4.0}]
    folder = tmp_path_factory.mktemp("run")
    (folder / "training.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    report = model.evaluate(images)
    names = [f"{i}, class {i}" for i in range(4)]
    config = {"data": "few", "model": {"channels": 4, "image_shape": [8, 8], "ndim": None}}
    data = report, "few (test)", images, names
    return Contents("<run> & co", model, folder, config, history, (), *data, prior)


@pytest.fixture(scope="session")
def page(contents):
    return write_page(contents)


@pytest.fixture(scope="session")
def browser():
    if find_browser() is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with Browser() as one:
        yield one
