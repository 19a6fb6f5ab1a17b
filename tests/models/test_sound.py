"""VQ-VAEs of sounds: the loss written out, shapes, segments, levels of their own."""

import numpy as np
import pytest
from helpers import refused, same

import vqnp
from vqnp import VQVAE, ops
from vqnp.gradcheck import gradcheck_module
from vqnp.models import SoundVQVAE
from vqnp.models.sound_networks import reach, sound_networks, strides_of
from vqnp.priors import HierarchicalPrior, generate

TINY = {
    "image_shape": (32, 1), "hops": (8, 4), "channels": 3, "residual_blocks": 1, "embedding_dim": 2,
    "num_embeddings": (4, 5), "segment": 16,
}  # fmt: skip


def tiny(**options):
    """A small model in float64 whose codes are trained by gradient."""
    own = {"codebook": "gradient", "codebook_init": "normal", "rng": 1, "dtype": "float64"}
    return SoundVQVAE.conv(**{**TINY, **own, **options})


def sounds(rng, n=3, T=32):
    return rng.uniform(-0.9, 0.9, (n, T, 1))


def test_the_loss_written_out(rng):
    model, x = tiny(spectral_weight=0.7), sounds(rng)
    losses, _ = model.loss((x,))
    total = 0.0
    for l, level in enumerate(model.levels, 1):
        z = level.encoder.forward(x)[0]
        k = ((z[:, :, None] - level.quantizer.E.value) ** 2).sum(-1).argmin(-1)
        e = level.quantizer.E.value[k]
        x_hat = level.decoder.forward(e)[0]
        noise = ((x_hat - x) ** 2).sum() / (x**2).sum()
        spectral = ops.spectral_loss_forward(x_hat[..., 0], x[..., 0])[0]
        assert losses[f"noise_{l}"] == pytest.approx(noise)
        assert losses[f"spectral_{l}"] == pytest.approx(spectral)
        total += noise + 0.7 * spectral + 1.25 * ((z - e) ** 2).mean()
    assert losses["loss"] == pytest.approx(total) and next(iter(losses)) == "loss"
    assert np.isfinite(model.loss((np.zeros_like(x),))[0]["loss"])


def test_the_decoders_gradients(rng):
    """Those of the decoders are derivatives; the encoders' pass straight through, as of each VQVAE."""
    model, x = tiny(), sounds(rng)
    z_q = [level.quantizer.decode(k) for level, k in zip(model.levels, model.encode(x), strict=True)]
    losses, cache = model.loss((x,))
    model.zero_grad()
    model.backward(cache)
    for l, (level, q) in enumerate(zip(model.levels, z_q, strict=True), 1):
        for param in level.decoder.parameters():
            v, h, found = rng.standard_normal(param.value.shape), 1e-6, []
            for s in (h, -h):
                param.value += s * v
                x_hat = level.decoder.forward(q)[0]
                noise = ((x_hat - x) ** 2).sum() / (x**2).sum()
                found.append(noise + ops.spectral_loss_forward(x_hat[..., 0], x[..., 0])[0])
                param.value -= s * v
            slope = (found[0] - found[1]) / (2 * h)
            assert (param.grad * v).sum() == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_networks_have_their_gradients(rng):
    encoder, decoder = sound_networks(8, 3, 2, 2, rng, "float64")
    gradcheck_module(encoder, rng.standard_normal((2, 16, 1)), rng=rng).raise_if_failed()
    gradcheck_module(decoder, rng.standard_normal((2, 2, 2)), rng=rng).raise_if_failed()


@pytest.mark.parametrize(("hop", "strides"), [(2, [2]), (4, [4]), (8, [8]), (16, [8, 2]), (128, [8, 4, 4])])
def test_a_network_divides_the_length_by_its_hop_and_sees_no_further_than_its_reach(hop, strides, rng):
    assert strides_of(hop) == strides
    encoder, decoder = sound_networks(hop, 2, 2, 3, rng, "float64")
    assert encoder.forward(np.zeros((1, 4 * hop, 1)))[0].shape == (1, 4, 3)
    for part, unit in ((encoder, 1), (decoder, hop)):
        far = reach(part)
        n = 2 * far + 2 * hop
        x = rng.standard_normal((1, n - n % hop, 1 if part is encoder else 3))
        changed = x.copy()
        changed[:, len(x[0]) // 2] += 1
        moved = np.flatnonzero((part.forward(changed)[0] != part.forward(x)[0]).any(axis=-1)[0])
        place = moved * hop if part is encoder else moved / hop
        distance = np.abs(place - len(x[0]) // 2).max()
        assert distance <= far + (hop if part is encoder else 1), unit


def test_the_reach_of_a_network_is_the_sum_of_those_of_its_convolutions(rng):
    """Strides 8, 4 and 4, a block each: a convolution adds its taps less one, in its own steps."""
    encoder, decoder = sound_networks(128, 1, 1, 1, rng, "float64")
    assert reach(encoder) == 15 + 8 * 2 + 8 * 7 + 32 * 2 + 32 * 7 + 128 * 2 + 128 * 2
    assert reach(decoder) == np.ceil(2 + 2 + 2 + (2 + 2) / 4 + (2 + 2) / 16)


def test_recordings_become_segments_and_silence_is_left_out(rng):
    model, x = tiny(image_shape=(40, 1)), np.zeros((3, 40, 1))
    x[0], x[2, 33] = rng.uniform(-1, 1, (40, 1)), 0.5
    (segments,) = model.prepare(x)
    assert segments.shape == (4, 16, 1)
    np.testing.assert_array_equal(segments[:3].reshape(-1)[:40], x[0, :, 0])
    assert segments[3, 1] == 0.5 and model.prepare(np.zeros((2, 40, 1)))[0].shape == (6, 16, 1)
    assert tiny(segment=4096).prepare(sounds(rng))[0].shape == (3, 32, 1)


def test_levels_are_trained_on_their_own_and_saved(rng, tmp_path):
    x = sounds(rng, 8).astype(np.float32)
    both = SoundVQVAE.conv(**TINY, rng=0)
    history = vqnp.fit(both, x, x, epochs=2, batch_size=4, progress=False)
    for l, K in enumerate((4, 5), 1):
        assert 1 <= history[-1][f"perplexity_{l}"] <= K and 1 <= history[-1][f"codes_used_{l}"] <= K
    assert both.encoder is both.levels[1].encoder and both.decoder is both.levels[1].decoder
    top, bottom = both.encode(x)
    assert top.shape == (8, 4) and bottom.shape == (8, 8)
    np.testing.assert_array_equal(both.decode((top,)), both.levels[0].reconstruct(x))
    np.testing.assert_array_equal(both.decode((top, bottom)), both.reconstruct(x))
    np.testing.assert_array_equal(both.decode_level(top, 1), both.decode((top,)))
    vqnp.save(tmp_path / "model.npz", both)
    again = vqnp.load(tmp_path / "model.npz")
    assert same(again, both) and again.fingerprint() == both.fingerprint() and again.hops == (8, 4)
    report = both.evaluate(x)
    assert report.levels[1].bits_per_second == 8000 / 4 * np.log2(5) and report.recordings == 8
    noise = ((both.reconstruct(x) - x) ** 2).sum() / (x**2).sum()
    assert report.levels[1].signal_to_noise == pytest.approx(-10 * np.log10(noise), rel=1e-4)
    assert "spectral conv." in str(report) and report.as_dict()["levels"][0]["hop"] == 8
    assert {"test_snr_1", "test_spectral_2", "test_perplexity_2"} <= report.row().keys()


def test_a_prior_over_the_first_levels_gives_sounds():
    model = tiny(dtype="float32")
    prior = HierarchicalPrior.of("transformer", (4,), ((4,),), channels=4, layers=1, heads=1)
    assert generate(model, prior, 2, 0).shape == (2, 32, 1)
    other = HierarchicalPrior.of("transformer", (4, 4), ((4,), (8,)), channels=4, layers=1, heads=1)
    with refused("prior", "must be over grids of 4 codes of 4 above 8 codes of 5"):
        generate(model, other, 2, 0)


@pytest.mark.parametrize(
    ("options", "argument", "needed"),
    [
        ({"image_shape": (33, 1)}, "image_shape", "multiple of the longest hop, 8 (nearest: 32 or 40)"),
        ({"image_shape": (32, 2)}, "image_shape", "must be (T, 1)"),
        ({"hops": ()}, "hops", "must be a sequence of integers"),
        ({"hops": (4, 8)}, "hops[1]", "less than the hop before it, 4"),
        ({"hops": (12, 4), "image_shape": (48, 1)}, "hops", "must be powers of 2"),
        ({"segment": 12}, "segment", "multiple of the longest hop, 8"),
        ({"num_embeddings": (4, 4, 4)}, "num_embeddings", "one for each of 2 levels"),
        ({"rate": 0}, "rate", "at least 1"),
        ({"spectral_weight": -1}, "spectral_weight", "[0, inf)"),
    ],
)
def test_bad_arguments_are_refused(options, argument, needed):
    with refused(argument, needed):
        tiny(**options)


def test_bad_levels_and_codes_are_refused(rng):
    model = tiny()
    with refused("levels", "must be a sequence of at least one VQVAE", "none"):
        SoundVQVAE([])
    with refused("levels[0]", "must have data of shape (T, 1) in [-1, 1]"):
        SoundVQVAE([VQVAE.mlp((4, 4), 2, 2, 4, (3,))])
    for other, got in ((tiny(dtype="float32"), "float32"), (tiny(image_shape=(64, 1)), "(64, 1)")):
        with refused("levels[1]", "must take (32, 1) of float64, as levels[0]", got):
            SoundVQVAE([model.levels[0], other.levels[1]])
    with refused("levels[1]", "must have more codes than levels[0], 8"):
        SoundVQVAE(model.levels[::-1])
    top, bottom = model.encode(sounds(rng))
    with refused("codes", "must be a tuple of 1 to 2 arrays"):
        model.decode(top)
    with refused("codes of level 1", "must have shape (n, 4)", "as the codes of level 2"):
        model.decode((bottom,))
    with refused("codes of level 2", "must be those of 3 recordings", "2"):
        model.decode((top, bottom[:2]))
    with refused("level", "2", where="SoundVQVAE.decode_level"):
        model.decode_level(bottom, 3)
    with refused("images", "must be in [-1, 1]", where="SoundVQVAE.latents"):
        model.encode(2 + sounds(rng))
