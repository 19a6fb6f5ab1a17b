"""A compressed file has about as many bits as the prior says, and gives back every code, or a sentence."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from helpers import refused

import vqnp
from vqnp import VQVAE, HierarchicalVQVAE
from vqnp.export import compressed
from vqnp.export.compressed import HEADER, read_compressed, write_compressed
from vqnp.priors import HierarchicalPrior, Markov, Transformer

pytest.importorskip("constriction", reason="not installed: constriction (the extra compress)")

K = 16
WHERE = "compressed file {}"


@pytest.fixture(scope="module")
def model():
    return VQVAE.conv((8, 8), num_embeddings=K, embedding_dim=2, channels=4, residual_channels=2)


def priors(model):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, K, (300, *model.latent_shape)) ** 2 % K
    transformer = Transformer(K, model.latent_shape, channels=8, layers=1, heads=2)
    for param in transformer.parameters():
        param.value[...] += 0.5 * rng.standard_normal(param.value.shape)
    return {"markov": Markov(codes, K), "transformer": transformer}


@pytest.mark.parametrize("kind", ["markov", "transformer"])
@pytest.mark.parametrize("n", [1, 127, 300])
def test_what_was_written_is_read(kind, n, model, tmp_path, rng):
    prior, path = priors(model)[kind], tmp_path / "a.vqnp"
    k = rng.integers(0, K, (n, *model.latent_shape))  # not the prior's: unlikely codes too come back
    sizes = write_compressed(path, k, model, prior)
    np.testing.assert_array_equal(read_compressed(path, model, prior), k)
    assert sizes.file_bytes == path.stat().st_size and sizes.images == n
    payload = 8 * (sizes.file_bytes - HEADER.size - 4)
    assert sizes.nll_bits - 1 < payload < 1.005 * sizes.nll_bits + 64  # one word and the last one's end
    if kind == "markov":
        assert sizes.nll_bits / n == pytest.approx(prior.code_length(k))
    else:
        assert sizes.nll_bits == pytest.approx(prior.nll(k).sum() / np.log(2), rel=1e-5)


@pytest.mark.parametrize("kind", ["pixelcnn", "transformer"])
def test_codes_of_several_levels(kind, tmp_path, rng):
    """Under a prior whose lower level depends on the codes above; another codebook size at each level."""
    model = HierarchicalVQVAE.conv((4, 4), 3, 2, 0, (2, 1), 2, (4, 8), codebook_init="normal")
    options = {"layers": 1} if kind == "pixelcnn" else {"layers": 1, "heads": 2}
    prior = HierarchicalPrior.of(kind, (4, 8), ((1, 1), (2, 2)), channels=4, **options)
    for param in prior.parameters():
        param.value[...] += 0.5 * rng.standard_normal(param.value.shape)
    k = rng.integers(0, 4, (130, 1, 1)), rng.integers(0, 8, (130, 2, 2))
    path = tmp_path / "a.vqnp"
    sizes = write_compressed(path, k, model, prior)
    for found, wanted in zip(read_compressed(path, model, prior), k, strict=True):
        np.testing.assert_array_equal(found, wanted)
    nats = sum(each.sum() for each in prior.nll(k))
    assert sizes.nll_bits == pytest.approx(nats / np.log(2), rel=1e-5)
    with refused("codes", "must be a tuple of 2 arrays", "1"):
        write_compressed(path, k[:1], model, prior)
    with refused("codes of level 2", "shape", "(130, 1, 1)"):
        write_compressed(path, (k[0], k[0]), model, prior)


def test_codes_of_the_prior_take_fewer_bits_than_uniform_ones(model, tmp_path):
    prior = priors(model)["transformer"]
    sizes = write_compressed(tmp_path / "a", prior.sample(500, 1), model, prior)
    assert sizes.bits_per_image - 8 * HEADER.size / 500 == pytest.approx(sizes.nll_bits / 500, rel=0.01)
    assert sizes.bits_per_image < model.bits_per_image


def test_a_reader_takes_the_group_from_the_file(model, tmp_path, rng, monkeypatch):
    prior, path = priors(model)["transformer"], tmp_path / "a"
    k = rng.integers(0, K, (50, *model.latent_shape))
    monkeypatch.setattr(compressed, "GROUP", 7)
    write_compressed(path, k, model, prior)
    monkeypatch.undo()
    np.testing.assert_array_equal(read_compressed(path, model, prior), k)


def test_a_codebook_of_one_code_takes_no_bits(tmp_path):
    one = VQVAE.mlp((4, 4), num_latents=3, embedding_dim=2, num_embeddings=1, hidden=(4,))
    k, path = np.zeros((5, 3), np.int64), tmp_path / "a"
    sizes = write_compressed(path, k, one, Markov(k, 1))
    assert sizes.nll_bits == 0 and sizes.file_bytes == HEADER.size + 4
    np.testing.assert_array_equal(read_compressed(path, one, Markov(k, 1)), k)


@pytest.mark.slow
def test_another_number_of_threads_reads_the_same_codes(tmp_path):
    """Threads are set for a whole process, and the model is large enough that its products use them."""
    script = (
        "import sys, numpy as np, vqnp; from vqnp.priors import Transformer\n"
        "from vqnp.export.compressed import read_compressed, write_compressed\n"
        "model = vqnp.VQVAE.conv(num_embeddings=64)\n"
        "prior = Transformer(64, model.latent_shape, channels=96, layers=2, heads=4)\n"
        "for p in prior.parameters():\n"
        "    p.value[...] *= 4\n"
        "path, what = sys.argv[1:]\n"
        "k = np.random.default_rng(0).integers(0, 64, (60, *model.latent_shape))\n"
        "write_compressed(path, k, model, prior) if what == 'write' else None\n"
        "assert (read_compressed(path, model, prior) == k).all()\n"
    )
    for threads, what in (("1", "write"), ("2", "read")):
        environment = {"NUMBA_NUM_THREADS": threads, "PYTHONPATH": str(vqnp.__path__[0]) + "/..", "PATH": ""}
        command = [sys.executable, "-c", script, str(tmp_path / "a"), what]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "a.vqnp"
    write_compressed(path, np.arange(40).reshape(10, 2, 2) % K, model, priors(model)["markov"])
    return path


@pytest.mark.parametrize(
    ("change", "needed", "got"),
    [
        (lambda b: b[:-1], "must be whole: ", "bytes"),
        (lambda b: b + b"x", "must be whole: ", "bytes"),
        (lambda b: b[:20], "must be whole", "20 bytes, less than a header"),
        (lambda b: b"", "a file that vqnp compress wrote", "another kind"),
        (lambda b: b"PK" + b[2:], "a file that vqnp compress wrote", "another kind"),
        (lambda b: b[:80] + bytes([b[80] ^ 1]) + b[81:], "must be unchanged", "another checksum"),
        (lambda b: b[:8] + struct.pack("<H", 2) + b[10:], "must be of version 1", "version 2"),
    ],
)
def test_a_file_that_is_not_whole(change, needed, got, model, file, tmp_path):
    path = tmp_path / "b"
    path.write_bytes(change(file.read_bytes()))
    with refused("", needed, got, where=WHERE.format(path)):
        read_compressed(path, model, priors(model)["markov"])


def signed(content):
    return content + struct.pack("<I", zlib.crc32(content))


def test_a_file_of_another_model_or_prior_or_whose_codes_differ(model, file, tmp_path):
    chain, where = priors(model)["markov"], WHERE.format(file)
    other = VQVAE.conv((8, 8), num_embeddings=K, embedding_dim=2, channels=4, residual_channels=2, rng=1)
    with refused("", "codes of this model", "codes of another model", where=where):
        read_compressed(file, other, chain)
    with refused("", "with this prior", "a file of another prior", where=where):
        read_compressed(file, model, priors(model)["transformer"])
    content, path = file.read_bytes()[:-4], tmp_path / "c"
    path.write_bytes(signed(content[: HEADER.size] + bytes(len(content) - HEADER.size)))  # the words
    with refused("", "the codes that were encoded", "other codes", where=WHERE.format(path)):
        read_compressed(path, model, chain)
    for at, form, got in ((10, "<I", "0"), (14, "<Q", "0 images")):
        path.write_bytes(signed(content[:at] + struct.pack(form, 0) + content[at + struct.calcsize(form) :]))
        with refused("", "at least one image", got, where=WHERE.format(path)):
            read_compressed(path, model, chain)
    with refused("", "an existing file", "no such file", where=WHERE.format(tmp_path / "d")):
        read_compressed(tmp_path / "d", model, chain)


def test_codes_that_are_not_the_model_s(model, tmp_path):
    chain = priors(model)["markov"]
    for k, needed in ((np.zeros((0, 2, 2), int), "at least one image"), (np.full((1, 2, 2), K), "[0, 16)")):
        with refused("codes", needed, where="write_compressed"):
            write_compressed(tmp_path / "a", k, model, chain)
    assert not list(tmp_path.iterdir())


def test_without_the_package(model, file, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with refused("constriction", "pip install 'vqnp[compress]'", "", where=""):
        read_compressed(file, model, priors(model)["markov"])


def test_words_that_no_encoder_makes_are_one_sentence(tmp_path):
    """The coder then raises an AssertionError: so do files of a machine whose arithmetic is another."""
    model = VQVAE.mlp((4, 4), num_latents=1, embedding_dim=2, num_embeddings=300, hidden=(5,))
    rng, path = np.random.default_rng(0), tmp_path / "a"
    chain = Markov(rng.integers(0, 300, (9, 1)), 300)
    write_compressed(path, rng.integers(0, 300, (9, 1)), model, chain)
    content = path.read_bytes()
    for _ in range(30):
        words = rng.bytes(len(content) - HEADER.size - 4)
        path.write_bytes(signed(content[: HEADER.size] + words))
        with refused("", "the codes that were encoded", "other codes", where=WHERE.format(path)):
            read_compressed(path, model, chain)
    path.write_bytes(signed(content[: HEADER.size] + b"\xff" * (len(content) - HEADER.size - 4)))
    with refused("", "the codes that were encoded", "other codes", where=WHERE.format(path)):
        read_compressed(path, model, chain)
    path.write_bytes(signed(content[:14] + struct.pack("<Q", 2**62) + content[22:-4]))
    with refused("", "must hold at most", f"{2**62}, which take", where=WHERE.format(path)):
        read_compressed(path, model, chain)


def test_a_prior_over_other_codes_is_refused(model, tmp_path):
    k = np.full((1, *model.latent_shape), K - 1)
    for prior in (Markov([[0, 1, 2, 3]], K - 1), Markov([[0, 1, 2, 3, 4]], K), None):
        with refused("prior", "must be", where="write_compressed"):
            write_compressed(tmp_path / "a", k, model, prior)
    assert not list(tmp_path.iterdir())


def test_a_code_whose_probability_is_0_in_float64_comes_back_without_a_warning(model, tmp_path):
    prior = Transformer(K, model.latent_shape, channels=8, layers=1, heads=2)
    prior.head.b.value[0] = 2000
    k = np.full((3, *model.latent_shape), 1)
    assert write_compressed(tmp_path / "a", k, model, prior).nll_bits == np.inf
    np.testing.assert_array_equal(read_compressed(tmp_path / "a", model, prior), k)
