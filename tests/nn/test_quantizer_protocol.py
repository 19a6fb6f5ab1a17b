"""What a VQ-VAE requires of a quantizer: every quantizer, and one of a user's own with two codebooks."""

import numpy as np
import pytest
from helpers import refused, same

import vqnp
from vqnp import VQVAE, EMAVectorQuantizer, VectorQuantizer, fit, load, save
from vqnp.cli import main
from vqnp.export import from_torch, load_torch, save_torch
from vqnp.inspection import code_anatomy, position_influence
from vqnp.nn import (
    CosineVectorQuantizer, EMACosineVectorQuantizer, FiniteScalarQuantizer, GumbelQuantizer,
    LookupFreeQuantizer, ProductVectorQuantizer, Quantizer, ResidualVectorQuantizer, SimVQ, register,
)
from vqnp.plots import inspection_figure, training_figure
from vqnp.priors import Markov, PixelCNN, generate

IMAGES = vqnp.load_dataset("digits").images[:64, ::4, ::4]


@register
class Pair(Quantizer):
    """Two coordinates, each rounded by itself: two codebooks of L codes."""

    num_codebooks, embedding_dim = 2, 2

    def __init__(self, levels, dtype="float32"):
        self.num_embeddings, self.each = levels, FiniteScalarQuantizer((levels,), dtype)

    def config(self):
        return {"levels": self.num_embeddings, "dtype": self.dtype.name}

    @property
    def dtype(self):
        return self.each.dtype

    def forward(self, z, rng=None, step=0):
        z_q, k, cache = self.each.forward(z[..., None])
        return z_q[..., 0], k, cache

    def backward(self, dz_q, cache, dL=1.0, need_dx=True):
        return self.each.backward(dz_q[..., None], cache)[..., 0] if need_dx else None

    def decode(self, k):
        return self.each.decode(self._checked_codes(k))[..., 0]

    def decode_parts(self, k):
        return self.decode(k)[..., None, :] * np.eye(2, dtype=self.dtype)


QUANTIZERS = {
    "vector": lambda dtype: VectorQuantizer(6, 2, codebook_init="normal", dtype=dtype),
    "ema": lambda dtype: EMAVectorQuantizer(6, 2, codebook_init="data", restart_dead_codes=0.1, dtype=dtype),
    "finite scalar": lambda dtype: FiniteScalarQuantizer((3, 2), dtype),
    "cosine": lambda dtype: CosineVectorQuantizer(
        6, 2, codebook_init="kmeans", restart_dead_codes=0.1, dtype=dtype
    ),
    "cosine, ema": lambda dtype: EMACosineVectorQuantizer(
        6, 2, codebook_init="data", restart_dead_codes=0.1, dtype=dtype
    ),
    "simvq": lambda dtype: SimVQ(6, 2, dtype=dtype),
    "product": lambda dtype: ProductVectorQuantizer(
        3, 2, codebook="gradient", codebook_init="data", restart_dead_codes=0.1, dtype=dtype
    ),
    "product, ema": lambda dtype: ProductVectorQuantizer(3, 2, codebook_init="kmeans", dtype=dtype),
    "gumbel": lambda dtype: GumbelQuantizer(6, 2, dtype=dtype),
    "gumbel, hard": lambda dtype: GumbelQuantizer(6, 2, draw="hard", kl_warmup=0, dtype=dtype),
    "lookup-free": lambda dtype: LookupFreeQuantizer(2, dtype=dtype),
    "binary spherical": lambda dtype: LookupFreeQuantizer(
        2, entropy_weight=0.01, spherical=True, batch_entropy="bound", dtype=dtype
    ),
    "residual": lambda dtype: ResidualVectorQuantizer(3, 5, 2, restart_dead_codes=0.1, dtype=dtype),
    "residual, shared": lambda dtype: ResidualVectorQuantizer(
        2, 5, 2, codebook="gradient", shared_codebook=True, quantizer_dropout=0.5, dtype=dtype
    ),
    "a pair": lambda dtype: Pair(3, dtype),
}
each = pytest.mark.parametrize("name", QUANTIZERS)


def model_of(name, dtype="float32"):
    return VQVAE.conv((8, 8), 6, 4, 1, 1, quantizer=QUANTIZERS[name](dtype), dtype=dtype)


@pytest.fixture(scope="module")
def trained():
    """A model of each quantizer after two epochs, and its history."""
    found = {}
    for name in QUANTIZERS:
        images = np.pad(IMAGES, ((0, 0), (0, 1), (0, 1)))
        model = model_of(name)
        found[name] = model, fit(model, images, images, epochs=2, batch_size=16, progress=False), images
    return found


@each
def test_forward_encode_and_decode_agree(name, rng):
    quantizer = QUANTIZERS[name](np.float64)
    z = rng.standard_normal((4, 3, 2))
    quantizer.initialize(z, 0)
    z_q, *losses, k, _ = quantizer.forward(z)
    assert len(losses) == len(quantizer.loss_names) and all(np.shape(loss) == () for loss in losses)
    assert k.shape == (4, 3, *quantizer.code_shape) and k.dtype == np.int64
    np.testing.assert_array_equal(quantizer.encode(z), k)
    np.testing.assert_array_equal(quantizer.decode(k), z_q)
    parts = quantizer.decode_parts(k)
    assert parts.shape == (4, 3, quantizer.num_codebooks, 2)
    np.testing.assert_allclose(parts.sum(axis=-2), z_q, rtol=1e-12, atol=1e-15)
    counts = quantizer.counts(k)
    assert counts.shape == (*quantizer.code_shape, quantizer.num_embeddings) and counts.sum() == k.size
    for j in (-1, quantizer.num_embeddings):
        with refused("codes", f"[0, {quantizer.num_embeddings})"):
            quantizer.decode(np.full((2, *quantizer.code_shape), j))


@each
def test_training_lowers_the_loss_and_the_history_names_its_losses(name, trained):
    model, history, images = trained[name]
    n = model.quantizer.num_codebooks
    assert history[-1]["reconstruction_loss"] < history[0]["reconstruction_loss"]
    assert set(model.quantizer.loss_names) <= history[0].keys()
    report = model.evaluate(images, history)
    assert 1 <= report.perplexity <= model.num_embeddings and str(report)
    assert report.counts.sum() == len(images) * model.num_codes and len(report.perplexities) == n
    assert history[-1]["test_perplexity"] == report.perplexity
    if n > 1:
        assert np.prod(report.perplexities) ** (1 / n) == pytest.approx(report.perplexity)
        assert history[-1]["test_perplexity_2"] == report.as_dict()["perplexities"][1]
        rows, counts = np.unique(model.encode(images).reshape(-1, n), axis=0, return_counts=True)
        assert report.joint_perplexity == pytest.approx(vqnp.perplexity(counts))
        assert report.joint_perplexity <= np.prod(report.perplexities) * (1 + 1e-9)
    assert report.bits_per_image == 16 * n * np.log2(model.num_embeddings)
    assert "restart" not in report.diagnosis.advice or not model.quantizer.fixed_codes


@each
def test_files(name, trained, tmp_path):
    model, _, images = trained[name]
    save(tmp_path / "m.npz", model)
    again = load(tmp_path / "m.npz")
    assert same(again, model) and again.fingerprint() == model.fingerprint()
    np.testing.assert_array_equal(again.reconstruct(images), model.reconstruct(images))
    save_torch(tmp_path / "w.npz", model)
    assert same(load_torch(tmp_path / "w.npz"), model)
    assert same(from_torch(vqnp.export.to_torch(model), model_of(name)), model)
    arguments = [tmp_path / "m.npz", "--data", tmp_path / "x.npy", "--out"]
    np.save(tmp_path / "x.npy", images)
    assert main(["encode", *map(str, arguments), str(tmp_path / "k.npz")]) in (0, None)
    arguments = [tmp_path / "m.npz", tmp_path / "k.npz", "--out", tmp_path / "y.npy"]
    assert main(["decode", *map(str, arguments)]) in (0, None)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model.reconstruct(images))
    assert np.load(tmp_path / "k.npz")["codes"].shape == (len(images), *model.code_shape)


def test_the_levels_are_part_of_the_fingerprint():
    a, b = (VQVAE.mlp((2, 2), 2, hidden=(3,), quantizer=FiniteScalarQuantizer(L)) for L in ((4, 3), (3, 4)))
    assert a.num_embeddings == b.num_embeddings and a.fingerprint() != b.fingerprint()


@each
def test_inspection_and_figures(name, trained):
    model, history, images = trained[name]
    anatomy = code_anatomy(model, images)
    K = model.num_embeddings * model.quantizer.num_codebooks
    assert anatomy.counts.shape == (K,) and anatomy.counts.sum() == len(images) * model.num_codes
    used = anatomy.counts > 0
    assert (np.abs(anatomy.effect).max(axis=(1, 2)) > 0)[used].any()
    assert position_influence(model, images[:8], 0).shape == (*model.code_shape, 8, 8)
    report = model.evaluate(images, history)
    training_figure(report, model, history, images)
    inspection_figure(report, model, images)
    if name == "a pair":
        assert [anatomy.label(j) for j in (0, 2, 3)] == ["1.0", "1.2", "2.0"]


@each
def test_a_prior_takes_the_codes_as_a_grid(name, trained):
    """The codes of a latent beside each other, and back."""
    model, _, images = trained[name]
    codes, n = model.encode(images), model.quantizer.num_codebooks
    grid = codes.reshape(len(codes), *model.grid_shape)
    assert model.grid_shape == (4, 4 * n)
    if n > 1:
        np.testing.assert_array_equal(grid[:, :, :n], codes[:, :, 0])
    chain = Markov(grid, model.num_embeddings)
    assert generate(model, chain, 3, rng=0).shape == (3, 8, 8)
    PixelCNN(model.num_embeddings, model.grid_shape, channels=4, layers=8).nll(grid)


def test_what_is_no_quantizer_and_what_does_not_fit():
    with refused("quantizer", "must be a quantizer of vqnp.nn", "Linear", where="VQVAE"):
        VQVAE.mlp((2, 2), 2, quantizer=vqnp.nn.Linear(2, 2))
    with refused("quantizer", "must be float32", "float64", where="VQVAE"):
        VQVAE.mlp((2, 2), 2, quantizer=FiniteScalarQuantizer((3, 2), "float64"))
    model = model_of("a pair")
    with refused("codes", "must have shape (n, 4, 4, 2)", "shape (3, 4, 4)", where="VQVAE.decode"):
        model.decode(np.zeros((3, 4, 4), int))
