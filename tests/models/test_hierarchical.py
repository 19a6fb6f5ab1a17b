"""HierarchicalVQVAE: shapes, every gradient, one level is the VQ-VAE, what stops, what is carried, files."""

import json

import numpy as np
import oracles
import pytest
from helpers import gradcheck_loss, refused, same

import vqnp
from vqnp import VQVAE, load
from vqnp.evaluation import evaluate_levels
from vqnp.models import HierarchicalVQVAE, Level
from vqnp.nn import Conv, ConvTranspose, EMAVectorQuantizer, Sequential, VectorQuantizer, build, describe
from vqnp.training import Schedule, Trainer

SMALL = {
    "image_shape": (8, 4), "channels": 4, "residual_channels": 3, "residual_blocks": 1, "embedding_dim": 2,
    "num_embeddings": (5, 4), "codebook_init": "normal", "rng": 1, "dtype": "float64",
}  # fmt: skip
SHAPES = {
    "two levels": ({}, ((2, 1), (4, 2))),
    "colour, own sizes": ({"image_shape": (4, 8, 3), "embedding_dim": (3, 2)}, ((1, 2), (2, 4))),
    "three levels": (
        {"image_shape": (8, 8), "downsampling": (3, 2, 1), "num_embeddings": 3}, ((1, 1), (2, 2), (4, 4)),
    ),
    "four times as fine": ({"image_shape": (8, 8), "downsampling": (3, 1)}, ((1, 1), (4, 4))),
    "one level": ({"downsampling": (2,), "num_embeddings": (5,)}, ((2, 1),)),
    "signal": ({"image_shape": (8, 2), "ndim": 1}, ((2,), (4,))),
}
each_shape = pytest.mark.parametrize("form", SHAPES)


def make(form="two levels", **options):
    return HierarchicalVQVAE.conv(**{**SMALL, **SHAPES[form][0], **options})


def shaken(model, rng):
    for param in model.parameters():  # a bias of 0 may leave a ReLU exactly at its kink
        param.value += 0.1 * rng.standard_normal(param.value.shape)
    return model


@each_shape
def test_shapes_of_codes_and_images(form, rng):
    options, shapes = SHAPES[form]
    model = make(form)
    x = rng.random((5, *options.get("image_shape", (8, 4))))
    assert model.latent_shape == shapes and len(model.levels) == len(shapes)
    codes = model.encode(x)
    assert [k.shape for k in codes] == [(5, *shape) for shape in shapes]
    assert all(k.dtype == np.int64 and k.max() < K for k, K in zip(codes, model.num_embeddings, strict=True))
    assert model.decode(codes).shape == x.shape
    assert model.decode(codes).tobytes() == model.reconstruct(x).tobytes()
    for ours, flat in zip(codes, model.encode(x.reshape(5, -1)), strict=True):
        np.testing.assert_array_equal(ours, flat)
    again = model.quantize(model.latents(x))
    assert all(np.array_equal(a, b) for a, b in zip(codes, again, strict=True))
    bits = [np.prod(shape) * np.log2(K) for shape, K in zip(shapes, model.num_embeddings, strict=True)]
    assert model.bits_per_level == pytest.approx(bits) and model.bits_per_image == pytest.approx(sum(bits))
    assert model.num_latents == sum(np.prod(shape) for shape in shapes)


def test_the_defaults_are_7_by_7_under_which_14_by_14():
    model = HierarchicalVQVAE.conv()
    assert model.latent_shape == ((7, 7), (14, 14)) and model.bits_per_level == (343, 980)


def test_the_layers_are_the_published_ones():
    """rosinality/vq-vae-2-pytorch with 128 channels, 2 residual blocks of 32, D = 64, on colour images."""
    sizes = {"channels": 128, "residual_channels": 32, "embedding_dim": 64, "num_embeddings": 512}
    model = HierarchicalVQVAE.conv((64, 64, 3), downsampling=(3, 2), **sizes)

    def layers(module):
        found = [m for _, m in module.named_modules() if isinstance(m, (Conv, ConvTranspose))]
        configs = [(type(m).__name__, m.config()) for m in found]
        return [(n, c["in_channels"], c["out_channels"], c["kernel_size"][0], c["stride"][0])
                for n, c in configs]  # fmt: skip

    stack = [("Conv", 128, 32, 3, 1), ("Conv", 32, 128, 1, 1)] * 2
    top, bottom = model.levels
    halved = [("Conv", 3, 64, 4, 2), ("Conv", 64, 128, 4, 2), ("Conv", 128, 128, 3, 1)]
    assert layers(bottom.encoder) == [*halved, *stack]
    assert layers(top.encoder) == [("Conv", 128, 64, 4, 2), ("Conv", 64, 128, 3, 1), *stack]
    assert layers(top.project) == [("Conv", 128, 64, 1, 1)]
    assert layers(bottom.condition) == [
        ("Conv", 64, 128, 3, 1), *stack, ("ConvTranspose", 128, 64, 4, 2)
    ]  # fmt: skip
    assert layers(bottom.project) == [("Conv", 192, 64, 1, 1)]
    assert layers(bottom.up) == [("ConvTranspose", 64, 64, 4, 2)]
    doubled = [("ConvTranspose", 128, 64, 4, 2), ("ConvTranspose", 64, 3, 4, 2)]
    assert layers(model.decoder) == [("Conv", 128, 128, 3, 1), *stack, *doubled]


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_a_hierarchy_of_one_level_is_the_vqvae(codebook, rng):
    """The same draws, losses, gradients and codes, bit for bit."""
    model = make("one level", codebook=codebook)
    same_arguments = {**SMALL, "num_embeddings": 5, "codebook": codebook}
    plain = VQVAE.conv(**same_arguments)
    x = rng.random((6, 8, 4))
    (ours, cache), (theirs, other) = model.loss((x,)), plain.loss((x,))
    assert {n: ours[n].tobytes() for n in theirs} == {n: v.tobytes() for n, v in theirs.items()}
    dx, dx2 = model.backward(cache, need_dx=True), plain.backward(other, need_dx=True)
    assert dx.tobytes() == dx2.tobytes()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        if a.value.ndim != 2:  # the codebook is before the decoder here
            continue
    ours = sorted(p.grad.tobytes() for p in model.parameters())
    assert ours == sorted(p.grad.tobytes() for p in plain.parameters())
    np.testing.assert_array_equal(model.encode(x)[0], plain.encode(x))
    assert model.reconstruct(x).tobytes() == plain.reconstruct(x).tobytes()


# Gradients.


def surrogate(model, x0, names, stopped):
    """The loss of x and every parameter, with the codes, the target and every stop-gradient frozen."""
    x0, frozen, a = x0.copy(), [], None
    for level, h in zip(model.levels, model.features(x0)[0], strict=True):
        z = level.latents(h, a)[0].copy()
        E = level.quantizer.embeddings
        k = oracles.nearest(z.reshape(-1, z.shape[-1]), E).reshape(z.shape[:-1])
        frozen.append((z, k, E[k].copy(), None if a is None else a.copy()))
        a = level.join(a, E[k])[0]

    def loss(x, *params):
        for param, value in zip(model.parameters(), params, strict=True):
            param.value = value
        total, a = 0.0, None
        for l, (level, h) in enumerate(zip(model.levels, model.features(x)[0], strict=True), 1):
            z0, k, e0, a0 = frozen[l - 1]
            z = level.latents(h, a0 if stopped else a)[0]
            if f"level_{l}.quantizer.E" in names:
                total = total + np.mean((z0 - level.quantizer.embeddings[k]) ** 2)
            total = total + 0.25 * np.mean((z - e0) ** 2)
            a = level.join(a, z + (e0 - z0))[0]
            if level.decoder is not None:
                total = total + model.level_loss * np.mean((level.decoder.forward(a)[0] - x0) ** 2)
        return (np.asarray(total + np.mean((model.decoder.forward(a)[0] - x0) ** 2)),)

    return loss


CHECKED = [("two levels", "straight_through", "gradient", 0.7), ("two levels", "stopped", "gradient", 0.7)]
CHECKED += [
    pytest.param(*case, marks=pytest.mark.slow)
    for case in [
        ("three levels", "straight_through", "ema", 0.5), ("three levels", "stopped", "gradient", 0.0),
        ("four times as fine", "straight_through", "gradient", 0.0), ("signal", "stopped", "ema", 0.5),
        ("colour, own sizes", "straight_through", "ema", 0.0),
    ]
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("form", "gradient", "codebook", "level_loss"), CHECKED)
def test_every_gradient(form, gradient, codebook, level_loss, rng):
    """Of the whole model, with the target and every stop-gradient frozen; worst relative error 1e-7."""
    small = {"channels": 2, "residual_channels": 2}
    options = {"codebook": codebook, "level_gradient": gradient, "level_loss": level_loss}
    model = shaken(make(form, **small, **options), rng)
    names = [n for n, _ in model.named_parameters()]
    x = rng.random((2, *model.data.shape))
    stopped = gradient == "stopped"
    report = gradcheck_loss(model, x, lambda x0, *_: surrogate(model, x0, names, stopped), rng)
    assert len(report.rows) == 1 + len(names)
    report.raise_if_failed()


def test_the_gradients_of_both_ways_differ_at_the_top_and_nowhere_else(rng):
    """Only the top level's own encoder and projection, and the encoder below that both use."""
    grads = []
    x = rng.random((3, 8, 4))
    for gradient in ("straight_through", "stopped"):
        model = make(level_gradient=gradient)
        model.backward(model.loss((x,))[1])
        grads.append({name: p.grad.copy() for name, p in model.named_parameters()})
    ours, stopped = grads
    differ = {name.rpartition(".")[0] for name in ours if not np.array_equal(ours[name], stopped[name])}
    reached = ("level_1.encoder", "level_1.project", "level_2.encoder")
    assert differ and all(name.startswith(reached) for name in differ)
    assert any(n.startswith("level_1.project") for n in differ)
    assert ours["level_2.project.W"].any() and stopped["level_2.condition.0.W"].any()


def test_the_loss_is_the_sum_of_its_parts(rng):
    model = make("three levels", codebook="gradient", level_loss=0.5)
    losses, _ = model.loss((rng.random((4, 8, 8)),))
    own = sum(losses[f"reconstruction_loss_{l}"] for l in (1, 2))
    parts = losses["reconstruction_loss"] + losses["codebook_loss"] + losses["commitment_loss"] + 0.5 * own
    assert losses["loss"] == pytest.approx(parts, rel=1e-14)
    assert losses["commitment_loss"] == pytest.approx(sum(losses[f"commitment_loss_{l}"] for l in (1, 2, 3)))
    assert "reconstruction_loss_3" not in losses and losses["codebook_loss"] > 0


# Training.


@pytest.mark.slow
@pytest.mark.parametrize("level_loss", [0.0, 1.0])
def test_training_learns_and_a_resumed_run_ends_in_the_same_bits(level_loss, tmp_path):
    images = vqnp.load_dataset("digits").images[:96]
    options = {"channels": 8, "residual_channels": 4, "residual_blocks": 1, "num_embeddings": (16, 8),
               "level_loss": level_loss}  # fmt: skip
    schedule = {"epochs": 3, "batch_size": 32, "lr": 1e-2}
    whole = HierarchicalVQVAE.conv(**options)
    saved = {"checkpoint": tmp_path / "whole.npz", "progress": False}
    history = vqnp.fit(whole, images, images[:5], **saved, **schedule)
    assert history[-1]["reconstruction_loss"] < 0.9 * history[0]["reconstruction_loss"]
    assert {"perplexity_1", "codes_used_2", "restarted_codes", "test_swapped_mse_1"} <= history[0].keys()
    trainer = Trainer(HierarchicalVQVAE.conv(**options), images, Schedule(**schedule))
    trainer.initialize()
    for _ in range(4):  # in the middle of an epoch, with an epoch's row written
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch(images[:5])
    trainer.save(tmp_path / "part.npz")
    resumed, rows = vqnp.resume(tmp_path / "part.npz", images, images[:5], progress=False)
    assert same(resumed, whole) and rows == history
    assert (tmp_path / "part.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_codebooks_are_initialized_from_the_top_each_given_the_codes_above(rng):
    model = make(codebook_init="data")
    x = rng.random((50, 8, 4))
    assert not any(level.quantizer.initialized for level in model.levels)
    model.initialize((x,), np.random.default_rng(3))
    for level, z in zip(model.levels, model.latents(x), strict=True):
        rows = {row.tobytes() for row in z.reshape(-1, z.shape[-1])}
        assert level.quantizer.initialized and {e.tobytes() for e in level.quantizer.embeddings} <= rows
    before = model.state_dict()
    model.initialize((x,), np.random.default_rng(4))
    assert all(np.array_equal(a, before[n]) for n, a in model.state_dict().items())


# What each level carries.


def told_apart(top_matters, bottom_matters):
    """A model of 2 × 4 pixels: the decoder adds the upsampled top code and the bottom code, or not."""
    def one(*value, shape=(1, 1)):
        conv = Conv(*np.shape(value)[-2:], shape, dtype="float64")
        conv.W.value[...] = np.reshape(value, conv.W.value.shape)
        return conv

    half = Conv(1, 1, (1, 2), (1, 2), dtype="float64")
    half.W.value[...] = 0.5  # the top level: means of two pixels
    up = ConvTranspose(1, 1, (1, 2), (1, 2), dtype="float64")
    up.W.value[...] = 1
    nothing = ConvTranspose(1, 1, (1, 2), (1, 2), dtype="float64")
    nothing.W.value[...] = -1  # condition: the bottom level encodes what the top leaves

    def quantizer(values):
        vq = VectorQuantizer(len(values), 1, dtype="float64")
        vq.E.value[:, 0] = values
        return vq

    top = Level(half, one([[1.0]]), quantizer([0.25, 0.75]))
    bottom = Level(one([[1.0]]), one([[1.0], [1.0]]), quantizer([-0.25, 0.0, 0.25]), nothing, up)
    decoder = one([[float(top_matters)], [float(bottom_matters)]])
    return HierarchicalVQVAE([top, bottom], decoder, vqnp.DataSpec((2, 4, 1)))


def test_what_each_level_carries_is_told_apart():
    """By hand: means of 0.25 or 0.75 at the top, differences of ±0.25 at the bottom."""
    r = np.random.default_rng(0)
    mean, difference = r.choice([0.25, 0.75], (400, 2, 2)), r.choice([-0.25, 0.25], (400, 2, 2))
    x = np.stack([mean + difference, mean - difference], axis=-1).reshape(400, 2, 4, 1)
    both = evaluate_levels(told_apart(1, 1), x)
    assert both.mse == 0 and both.levels[0].counts.sum() == 1600 and both.levels[1].counts[1] == 0
    # two independent values of ±d differ by 2 d in half of the cases
    assert both.levels[0].swapped_mse == pytest.approx(0.5 * 0.5**2, rel=0.1)
    assert both.levels[1].swapped_mse == pytest.approx(0.5 * 0.5**2, rel=0.1)
    assert not any(level.carries_nothing for level in both.levels)
    one = evaluate_levels(told_apart(1, 0), x)
    assert one.levels[1].swapped_mse == one.mse == pytest.approx(0.25**2)
    assert one.levels[1].carries_nothing and not one.levels[0].carries_nothing
    assert str(one).count("carries almost nothing") == 1 and "2 × 4 codes" in str(one)
    alone = evaluate_levels(told_apart(1, 1), x[:1])
    assert np.isnan(alone.levels[0].swapped_mse) and "needs two images" in str(alone)
    assert json.loads(json.dumps(alone.as_dict(), allow_nan=False))["levels"][0]["swapped_mse"] is None
    assert alone.row().keys() == {"test_mse", "test_perplexity_1", "test_perplexity_2"}


def test_a_level_decodes_what_it_and_those_above_know(rng):
    model, x = make("three levels", level_loss=1.0), rng.random((6, 8, 8))
    codes = model.encode(x)
    for l in (1, 2):
        other = tuple(np.roll(k, 1, axis=0) if i >= l else k for i, k in enumerate(codes))
        np.testing.assert_array_equal(model.decode_level(codes, l), model.decode_level(other, l))
        assert not np.array_equal(model.decode_level(codes, l), model.decode(codes))
    np.testing.assert_array_equal(model.decode_level(codes, 3), model.decode(codes))
    report = model.evaluate(x)
    error = np.mean((model.decode_level(codes, 1) - x) ** 2)
    assert report.levels[0].own_mse == pytest.approx(error) and np.isnan(report.levels[2].own_mse)
    assert "MSE down to here" in str(report)
    with refused("level", "made with level_loss above 0", where="HierarchicalVQVAE.decode_level"):
        make().decode_level(make().encode(rng.random((2, 8, 4))), 1)


# Files.


@pytest.mark.slow
@each_shape
def test_a_description_and_a_file_make_the_same_model_again(form, rng, tmp_path):
    model = shaken(make(form, level_loss=0.5, level_gradient="stopped"), rng)
    x = rng.random((4, *model.data.shape))
    again = build(describe(model))
    assert describe(again) == describe(model)
    again.load_state_dict(model.state_dict())
    vqnp.save(tmp_path / "m.npz", model)
    for other in (again, load(tmp_path / "m.npz")):
        assert other.fingerprint() == model.fingerprint() and same(other, model)
        assert other.reconstruct(x).tobytes() == model.reconstruct(x).tobytes()


def test_the_fingerprint_is_that_of_what_decodes(rng):
    """Of codebooks, ups and decoder; not of encoders and conditions."""
    model = make()
    first = model.fingerprint()
    for part, changed in (
        (model.levels[1].condition, False), (model.levels[0].encoder, False), (model.levels[1].up, True),
        (model.levels[0].quantizer, True), (model.decoder, True),
    ):  # fmt: skip
        one = next(iter(part.parameters())).value if list(part.parameters()) else part.embeddings
        one += 1
        assert (model.fingerprint() != first) == changed
        first = model.fingerprint()


# Bad input.


@pytest.mark.parametrize(
    ("options", "argument", "needed", "got"),
    [
        ({"downsampling": ()}, "downsampling", "a number for each of 1 to 16 levels", "no level"),
        ({"downsampling": (1, 2)}, "downsampling", "must decrease from the top level", "(1, 2)"),
        ({"downsampling": (2, 2)}, "downsampling", "must decrease", "(2, 2)"),
        ({"downsampling": (2, 0)}, "downsampling[1]", "at least 1", "0"),
        ({"downsampling": 2}, "downsampling", "must be a sequence of integers", "2"),
        ({"downsampling": (3, 1)}, "image_shape", "a multiple of 8 along each axis, to be halved 3 times (nearest: 8 × 8)", "8 × 4, which can be halved twice"),  # noqa: E501
        ({"num_embeddings": (5, 4, 3)}, "num_embeddings", "one integer, or one for each of 2 levels", "3: (5, 4, 3)"),  # noqa: E501
        ({"embedding_dim": ()}, "embedding_dim", "one for each of 2 levels", "0: ()"),
        ({"level_gradient": "none"}, "level_gradient", "'straight_through', 'stopped'", "'none'"),
        ({"level_loss": -1}, "level_loss", "[0, inf)", "-1"),
        ({"channels": 0}, "channels", "at least 1", "0"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_refused(options, argument, needed, got):
    with refused(argument, needed, got, where="HierarchicalVQVAE") as caught:
        make(**options)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_codes_of_one_level_in_anothers_place_are_one_sentence(rng):
    model = make()
    top, bottom = model.encode(rng.random((3, 8, 4)))
    where = "HierarchicalVQVAE.decode"
    with refused("codes of level 1", "must have shape (n, 2, 1)", "shape (3, 4, 2), as the codes of level 2", where=where):  # noqa: E501
        model.decode((bottom, top))
    with refused("codes of level 2", "must be those of 3 images, as at level 1", "2", where=where):
        model.decode((top, bottom[:2]))
    with refused("codes", "must be a tuple of 2 arrays, one for each level, the top first", "ndarray"):
        model.decode(top)
    with refused("codes", "a tuple of 2 arrays", "1"):
        model.decode((top,))
    with refused("codes of level 2", "must be in [0, 4)", "4 at index (0, 0, 0)", where=where):
        model.decode((top, np.full_like(bottom, 4)))
    with refused("codes of level 1", "must be integers", "float64", where=where):
        model.decode((top.astype(float), bottom))


def test_parts_that_do_not_fit_are_named():
    def level(condition=None, up=None, decoder=None, D=2, C=1, stride=1):
        encoder = Conv(C, 3, stride, stride, dtype="float64")
        project = Conv(3 + (2 if condition else 0), D, 1, dtype="float64")
        return Level(encoder, project, EMAVectorQuantizer(4, 2, dtype="float64"), condition, up, decoder)

    def double(O=2):
        return ConvTranspose(2, O, 2, 2, dtype="float64")

    decoder, data = Conv(4, 1, 1, dtype="float64"), vqnp.DataSpec((4, 4, 1))
    top = level(C=3, stride=2)
    HierarchicalVQVAE([top, level(double(), double())], decoder, data)
    cases = [
        ([], decoder, "levels", "at least one Level", "none"),
        ([top, 3], decoder, "levels[1]", "must be a vqnp.models.Level", "int"),
        ([top, level()], decoder, "levels[1]", "must have a condition and an up", "none"),
        ([level(double(), double())], decoder, "levels[0]", "must have no condition", "some"),
        ([top, level(Conv(2, 2, 1, dtype="float64"), double())], decoder, "level 2's condition", "must give arrays (B, 4, 4, any)", "(2, 2, 2)"),  # noqa: E501
        ([top, level(double(), double(3))], decoder, "level 2's up", "arrays (B, 4, 4, 2)", "(4, 4, 3)"),
        ([level(C=3, stride=2, D=3), level(double(), double())], decoder, "level 1's project", "(B, 2, 2, 2)", "(2, 2, 3)"),  # noqa: E501
        ([level(C=9, stride=2), level(double(), double())], decoder, "level 1's encoder", "must take arrays of shape (B, 4, 4, 3)", ""),  # noqa: E501
        ([top, level(double(), double())], Conv(4, 2, 1, dtype="float64"), "decoder", "data's", "4, 4, 2"),
        ([top, level(double(), double())], Conv(4, 1, 1), "levels and decoder", "must have one dtype", "float32, float64"),  # noqa: E501
        ([level(C=3, stride=2, decoder=Sequential()), level(double(), double())], decoder, "levels", "must have a decoder at each level but the bottom if level_loss", "a decoder at level 1"),  # noqa: E501
    ]  # fmt: skip
    for levels, last, argument, needed, got in cases:
        with refused(argument, needed, got, where="HierarchicalVQVAE"):
            HierarchicalVQVAE(levels, last, data)
    with refused("levels", "must have a decoder", "no decoder at level 1"):
        HierarchicalVQVAE([top, level(double(), double())], decoder, data, level_loss=1)
    with refused("condition and up", "must be given together", "condition alone", where="Level"):
        level(double())
    with refused("image_shape", "must be given to HierarchicalVQVAE.conv"):
        HierarchicalVQVAE(image_shape=(4, 4))
    with refused("levels", "HierarchicalVQVAE.conv() makes a model from defaults"):
        HierarchicalVQVAE()


def test_each_levels_codebook_follows_its_own_latents(rng):
    """After a step N = γ N + (1 − γ) n, and Σn is the number of codes of the level in the batch."""
    model = HierarchicalVQVAE.conv((4, 4), 3, 2, 0, (2, 1), 2, 4, codebook_init="normal", rng=1)
    x = rng.random((6, 4, 4), np.float32)
    before = [level.quantizer.embeddings.copy() for level in model.levels]
    _, cache = model.loss((x,))
    model.after_step(cache, rng)
    for level, E, positions, k in zip(model.levels, before, (1, 4), model.chosen(cache), strict=True):
        own = level.quantizer
        assert own.ema.N.sum() == pytest.approx(own.decay * 4 + (1 - own.decay) * 6 * positions)
        moved = (own.embeddings != E).any(axis=1)
        assert moved[np.unique(k)].all()
