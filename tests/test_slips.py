"""What a person gets wrong or finds natural: datasets for arrays, lists, masks, swapped arguments."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers import refused, refused_command, same

from vqnp import (
    VAE, VQVAE, Autoencoder, DataSpec, InputError, evaluate, export, fit, generate, load, load_dataset,
    load_splits, metrics, ops, resume, save,
)
from vqnp._check import NonFiniteError
from vqnp.checkpoint import read_arrays, write_arrays
from vqnp.data import Dataset, open_images, to_float
from vqnp.data.spec import channels_first_hint
from vqnp.evaluation.codes import with_restarts
from vqnp.inspection import code_anatomy
from vqnp.kernels import memory
from vqnp.nn import Embedding, Flatten, Linear, Reshape, Sequential
from vqnp.nn.module import trainable
from vqnp.nn.quantizers import VectorQuantizer
from vqnp.optim import Adam
from vqnp.priors import Markov

DATA = load_dataset("digits")
FEW = Dataset("few", "train", DATA.images[:40], DATA.labels[:40])
TEST = Dataset("few", "test", DATA.images[40:60], None)
SMALL = {"num_latents": 3, "embedding_dim": 4, "num_embeddings": 8, "hidden": (10,)}
SHORT = {"epochs": 1, "batch_size": 16, "progress": False}


def made(**options):
    return VQVAE.mlp(**{**SMALL, **options})


# Data in other forms.


def test_a_dataset_stands_for_its_images():
    one, other = made(), made()
    history = fit(one, FEW, TEST, **SHORT)
    assert history == fit(other, FEW.images, TEST.images, **SHORT) and same(one, other)
    assert str(one.evaluate(TEST)) == str(evaluate(one, TEST)) == str(evaluate(one, TEST.images))
    np.testing.assert_array_equal(one.encode(TEST), one.encode(TEST.images))
    np.testing.assert_array_equal(one.latents(TEST), one.latents(TEST.images))
    np.testing.assert_array_equal(one.reconstruct(TEST), one.reconstruct(TEST.images))


@pytest.mark.parametrize(
    "data",
    [None, FEW.images.tolist(), iter(FEW.images), "digits", Path("digits"), load_splits("digits")],
    ids=["None", "list", "iterator", "str", "Path", "two datasets"],
)
def test_what_is_no_array_is_refused_by_the_arguments_name(data):
    kind = type(data).__name__
    with refused("data", "must be a NumPy array", kind, where="fit"):
        fit(made(), data, **SHORT)
    with refused("data", "must be a NumPy array, a Dataset or an ArrayStream", kind, where="evaluate"):
        evaluate(made(), data)
    with refused("images", "must be a NumPy array", kind, where="VQVAE.encode"):
        made().encode(data)
    if data is not None:
        with refused("test_data", "must be a NumPy array, a Dataset or an ArrayStream", kind, where="fit"):
            fit(made(), FEW, data, **SHORT)


def test_arguments_in_another_order(tmp_path):
    model, path = made(), tmp_path / "m.npz"
    with refused("model", "must be a model", "ndarray", where="fit"):
        fit(FEW.images, model, **SHORT)
    with refused("model", "must be a model", "Linear", where="fit"):
        fit(Linear(2, 2), FEW.images, **SHORT)
    with refused("model", "must be a model", "Dataset", where="evaluate"):
        evaluate(FEW, model)
    with refused("path", "must be a path", "VQVAE", where="save"):
        save(model, path)
    with refused("model", "must be a vqnp.nn.Module", "ndarray", where="save"):
        save(path, FEW.images)
    for wrong in (None, model, 3):
        with refused("path", "must be the path of a checkpoint or a run folder", where="load"):
            load(wrong)


# Subclasses of arrays.


def test_a_masked_array_is_refused_at_every_door():
    """The mask would count in some sums and not in others."""
    masked = np.ma.masked_less(FEW.images, 9)
    needed = "must not be masked (its method filled gives a plain array)"
    for argument, call in [
        ("data", lambda: fit(made(), masked, **SHORT)),
        ("test_data", lambda: fit(made(), FEW, masked, **SHORT)),
        ("data", lambda: evaluate(made(), masked)),
        ("images", lambda: made().encode(masked)),
        ("images", lambda: made().reconstruct(masked)),
        ("images", lambda: to_float(masked)),
        ("codes", lambda: made().decode(np.ma.masked_less(np.zeros((2, 3), int), 1))),
        ("z", lambda: VectorQuantizer(8, 4).forward(np.ma.masked_less(np.zeros((2, 4), "f"), 1))),
        ("x", lambda: ops.relu_forward(np.ma.masked_less(np.zeros((2, 4), "f"), 1))),
    ]:
        with refused(argument, needed, "MaskedArray"):
            call()


def test_a_matrix_of_images_is_read_as_the_array_that_it_is():
    rows = FEW.images.reshape(40, -1)
    one, other = made(), made()
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.asmatrix(rows)
    fit(one, matrix, **SHORT)
    fit(other, rows, **SHORT)
    assert same(one, other) and str(evaluate(one, matrix)) == str(evaluate(one, rows))
    with pytest.warns(PendingDeprecationWarning), refused("x", "must be a plain array", "matrix"):
        ops.relu_forward(np.asmatrix(np.zeros((2, 2), "f")))


def test_a_memory_map_is_an_array(tmp_path):
    np.save(tmp_path / "x.npy", FEW.images)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(made().encode(mapped), made().encode(FEW.images))
    assert ops.relu_forward(mapped.astype("f"))[0].shape == mapped.shape


# What is known before the first step.


@pytest.mark.parametrize(
    ("test_data", "needed", "got"),
    [
        (np.zeros((5, 9, 9), "u1"), "shape (n, 28, 28) or (n, 784)", "shape (5, 9, 9)"),
        (np.zeros((0, 28, 28), "u1"), "at least one image", "(0, 28, 28)"),
        (np.zeros((5, 28, 28), "i4"), "uint8, or float32 or float64 in [0, 1]", "int32"),
        (np.full((2000, 28, 28), 2.0), "[0, 1]", "2.0 at index (0, 0, 0)"),
    ],
)
def test_test_data_are_checked_before_the_first_step(tmp_path, test_data, needed, got):
    model = made()
    before = model.state_dict()
    with refused("test_data", needed, got, where="fit"):
        fit(model, FEW, test_data, **SHORT, checkpoint=tmp_path / "c.npz")
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    assert not (tmp_path / "c.npz").exists()


def test_the_last_test_image_is_looked_at_too():
    last = np.zeros((1500, 28, 28))
    last[1400, 2, 3] = np.nan
    with refused("test_data", "finite", "nan at index (1400, 2, 3)", where="fit", error=NonFiniteError):
        fit(made(), FEW, last, **SHORT)


def test_a_callback_that_cannot_be_called_is_refused_before_the_first_step(tmp_path):
    with refused("on_epoch", "must be a function that takes the history", "[]", where="fit"):
        fit(made(), FEW, **SHORT, on_epoch=[], checkpoint=tmp_path / "c.npz")
    assert not (tmp_path / "c.npz").exists()


def test_test_data_may_be_streamed():
    history = fit(made(), FEW, open_images("digits", "test"), **SHORT)
    assert "test_mse" in history[0]


@pytest.mark.parametrize("call", [evaluate, VQVAE.encode, VQVAE.reconstruct, fit])
def test_images_of_another_shape_are_refused_before_they_take_memory(call):
    images = np.zeros((60, 512, 512), np.uint8)
    model, options = made(), SHORT if call is fit else {}
    tracemalloc.start()
    try:
        with refused("data" if call in (evaluate, fit) else "images", "(n, 28, 28)", "(60, 512, 512)"):
            call(model, images, **options)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


# The ends of a range.


@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.3), (0.1, 0.7), (-1e-3, 1 / 3)])
def test_the_ends_of_a_range_may_have_been_rounded_to_float32(low, high):
    ends = np.array([[low, high]], np.float32)
    spec = DataSpec((2,), low, high)
    for x in (ends, ends.astype(np.float64)):
        for dtype in (np.float32, np.float64):
            y = spec.to_array(x, dtype, "test")
            np.testing.assert_allclose(y, [[low, high]], rtol=1e-7)
            assert dtype is np.float32 or (y.min() >= low and y.max() <= high)
    with refused("images", "must be in"):
        spec.to_array(np.array([[low, high + 1e-6]]), np.float64, "test")


# Arguments that another function has.


def test_an_argument_that_belongs_elsewhere_is_sent_there():
    owners = (VQVAE, "num_latents"), (VAE, "latent_dim"), (Autoencoder, "hidden"), (VQVAE, "decay")
    for model, name in owners:
        with refused(name, f"must be given to {model.__name__}.mlp or", "16", where=model.__name__):
            model(**{name: 16})
    for make in (VQVAE.mlp, VQVAE.conv):
        with refused("quantizer_options", "must be arguments of a quantizer", "{}", where="VQVAE"):
            make(quantizer_options={})
    with refused("restart_dead_codes", "must be given to the quantizer", "0.1", where="fit"):
        fit(made(), FEW, **SHORT, restart_dead_codes=0.1)
    with pytest.raises(TypeError, match="no_such"):
        VQVAE(no_such=3)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        (["--codebook", "gradient", "--epsilon", "0.1"], "--epsilon"),
        (["--codebook", "gradient", "--decay", "0.5", "--restart-dead-codes", "0"], "--decay"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(tmp_path, capsys, options, argument):
    sentence = refused_command(capsys, "train", "--out", tmp_path / "r", *options)
    assert sentence.startswith(f"{argument} must be given only with --codebook ema")
    assert not (tmp_path / "r").exists()


def test_a_folder_within_a_file_is_called_so(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    save(tmp_path / "m.npz", made())
    for out in ("file/r", "file/deep/r"):
        sentence = refused_command(capsys, "train", "--out", tmp_path / out, "--epochs", "1")
        assert sentence.endswith(f"where {tmp_path / 'file'} is a file")
    sentence = refused_command(capsys, "encode", tmp_path / "m.npz", "--out", tmp_path / "file" / "c.npz")
    assert sentence.endswith(f"where {tmp_path / 'file'} is a file")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX")
def test_a_name_that_is_no_text_is_printed_all_the_same(tmp_path):
    save(tmp_path / "m.npz", made())
    np.save(tmp_path / "x.npy", FEW.images)
    out = os.fsencode(tmp_path) + b"/\xff.npz"
    command = [sys.executable, "-m", "vqnp", "encode", tmp_path / "m.npz", "--data", tmp_path / "x.npy"]
    done = subprocess.run([*command, "--out", out], capture_output=True)
    assert done.returncode == 0 and done.stderr == b"" and os.path.exists(out)
    assert b"40 images" in done.stdout


# Sizes, labels, few images.


@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(2**70, 2),
        lambda: Linear(2**40, 2**40),
        lambda: Embedding(2**63, 4),
        lambda: VectorQuantizer(2**62, 4),
        lambda: VQVAE.mlp(num_latents=2**40, embedding_dim=2**40),
        lambda: VQVAE.mlp(hidden=(2**64,)),
        lambda: VQVAE.mlp(num_embeddings=2**64),
        lambda: VQVAE.mlp(image_shape=(2**33, 2**33)),
    ],
)
def test_sizes_beyond_every_memory_are_refused(make):
    with refused("parameters", "must fit into memory"):
        make()


def test_a_label_of_a_billion_takes_no_memory():
    codes = np.arange(6).reshape(3, 2) % 4
    for label in (10**9, 2**63 - 1):
        with refused("labels", "must be below 25000000", str(label), where="class_information"):
            metrics.class_information(codes, np.array([0, 1, label]), 4)


def test_a_few_images_are_too_few_to_judge_a_codebook():
    """Codes at random from all K are no collapse, however few images there are; one code alone is one."""
    rng = np.random.default_rng(0)
    for n in (4, 30, 48, 200, 1279):
        value = metrics.perplexity(np.bincount(rng.integers(0, 128, n), minlength=128))
        d = metrics.diagnose(value, 128, codes=n)
        assert d.level in ("too few codes", "healthy") and d.perplexity == value
        assert d.level == "healthy" or f"{n} codes are too few" in str(d)
    assert metrics.diagnose(1.0, 128, codes=48).level == "severe collapse"
    assert metrics.diagnose(20.0, 128, codes=1280) == metrics.diagnose(20.0, 128)
    few = metrics.diagnose(100.0, 128, codes=1279)  # of 128, and 102.4 are healthy whatever their number
    assert few.level == "too few codes" and "at least 1280 codes" in few.advice
    assert metrics.diagnose(103.0, 128, codes=1279) == metrics.diagnose(103.0, 128)
    report = VQVAE.mlp(codebook_init="normal").evaluate(DATA.images[:3])
    assert report.counts.sum() == 48
    assert report.perplexity < 10 or report.diagnosis.level == "too few codes"
    with refused("codes", "at least 1", "0", where="diagnose"):
        metrics.diagnose(1.0, 128, codes=0)


# Parameters.


def test_a_parameter_of_two_modules_is_one_after_loading(tmp_path):
    encoder = Sequential(Flatten(), Linear(6, 4, 1), Linear(4, 4, 2))
    decoder = Sequential(Linear(4, 4, 3), Linear(4, 6, 4), Reshape(3, 2))
    decoder.layers[0].W = encoder.layers[2].W
    model = Autoencoder(encoder, decoder, DataSpec((3, 2)))
    save(tmp_path / "m.npz", model)
    loaded = load(tmp_path / "m.npz")
    assert loaded.decoder.layers[0].W is loaded.encoder.layers[2].W and same(model, loaded)
    assert loaded.num_parameters() == model.num_parameters()
    x = np.random.default_rng(0).random((20, 3, 2), np.float32)
    fit(loaded, x, **SHORT)
    fit(model, x, **SHORT)
    assert same(model, loaded)
    meta, arrays = read_arrays(tmp_path / "m.npz")
    assert meta["tied"] == {"decoder.layers.0.W": "encoder.layers.2.W"} or len(meta["tied"]) == 1
    for wrong in ({"no.W": "encoder.2.W"}, {"decoder.0.W": "no"}, [1], 3, {"decoder.2.shape": "encoder.2.W"}):
        write_arrays(tmp_path / "m.npz", {**meta, "tied": wrong}, arrays)
        with refused("", "must hold a whole model"):
            load(tmp_path / "m.npz")


def test_load_state_dict_takes_arrays_only():
    model = made()
    state = model.state_dict()
    for wrong in ([0], None, "0", 0):
        with refused("quantizer.t", "must be int64 of shape ()", type(wrong).__name__):
            model.load_state_dict({**state, "quantizer.t": wrong})


# What is missing, or of another kind.


@pytest.mark.parametrize("model", [VQVAE, VAE, Autoencoder])
def test_a_model_without_its_parts_is_sent_to_the_ready_made_ones(model):
    needed = f"must be given ({model.__name__}.mlp() and {model.__name__}.conv() make"
    with refused("encoder", needed, "nothing", where=model.__name__):
        model()
    with refused("quantizer" if model is VQVAE else "decoder", needed, "nothing"):
        model(Flatten())
    for make in (VQVAE.mlp, VQVAE.conv):
        with refused("quantizer", "must be a quantizer of vqnp.nn", "str", where="VQVAE"):
            make(quantizer="ema")


def test_a_picture_and_a_list_of_arrays_are_told_how_to_be_an_array():
    class Image:  # as Pillow's
        __array_interface__ = FEW.images[0].__array_interface__

    for call in (lambda x: fit(made(), x, **SHORT), lambda x: evaluate(made(), x), made().encode):
        with pytest.raises(InputError, match=r"got Image \(np.asarray\(picture\)\[None\]"):
            call(Image())
        with pytest.raises(InputError, match=r"got list of arrays \(np.stack makes one of them\)"):
            call(list(FEW.images))


def test_a_picture_in_a_file_is_no_array_of_images(tmp_path):
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with refused("", "np.save of np.stack", "a single picture"):
        load_dataset(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: resume(None, FEW), "path"),
        (lambda: export.save_torch("w.npz", None), "model"),
        (lambda: export.save_torch(None, made()), "path"),
        (lambda: export.load_torch(None), "path"),
        (lambda: generate(None, made(), 1, 0), "model"),
        (lambda: generate(made(), None, 1, 0), "prior"),
        (lambda: code_anatomy(None, FEW.images), "model"),
        (lambda: VectorQuantizer(8, 4, dtype="x"), "dtype"),
        (lambda: Adam(made()), "named_parameters"),
    ],
)  # fmt: skip
def test_arguments_of_another_kind_are_refused_by_name(call, argument):
    with refused(argument, "must be"):
        call()


# Channels.


def test_what_may_be_channels_that_come_first_is_explained():
    for shape, n in (((2, 64), 2), ((5, 28, 28), 5), ((16, 64, 64), 16)):
        hint = channels_first_hint(shape)
        assert hint.startswith(f"if these are {n} channels of {' × '.join(map(str, shape[1:]))}, np.moveaxis")
    for shape in ((28, 28), (64, 2), (28, 28, 3), (8, 12), (64,), (17, 80, 80), (2, 2, 2, 64)):
        assert channels_first_hint(shape) == ""
    with pytest.raises(InputError, match=r"5 channels of 28 × 28, np.moveaxis\(images, 1, -1\)"):
        VQVAE.conv((5, 28, 28))
    with pytest.raises(InputError, match=r"2 channels of 64, np.moveaxis\(images, 1, -1\)"):
        VQVAE.conv((2, 64), ndim=1)
    with pytest.raises(InputError, match="for signals of 2 channels: ndim=1"):
        VQVAE.conv((64, 2))
    with refused("data", "np.moveaxis(images, 1, -1) has this shape", "(60, 2, 64)", where="evaluate"):
        evaluate(VQVAE.conv((64, 2), 4, 2, 0, 2, 2, 4, ndim=1), np.zeros((60, 2, 64), "f"))


# Sizes against the memory that is there.


def test_what_this_machine_could_not_train_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "machine_bytes", lambda: 10**6)
    with refused("parameters", "must fit into memory, 0.0 GB", "(1000, 126)"):
        Linear(1000, 126)
    Linear(1000, 124)
    with trainable():
        Linear(100, 300)  # 30,000 entries of 32 bytes
    with trainable(), refused("parameters", "with gradients and Adam's moments", "(100, 300)"):
        Linear(10, 130)
        Linear(100, 300)
    codes = np.zeros((4, 3), int)
    with refused("n", "must be at most 157", "158", where="generate"):
        generate(made(), Markov(codes, 8), 158, 0)
    assert memory.machine_bytes() == 10**6


def test_the_machines_memory_is_known_and_limits_count(monkeypatch):
    assert 2**20 < memory.machine_bytes() <= 2**62
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (5 * 2**20, 2**30))
    assert memory.machine_bytes.__wrapped__() == 5 * 2**20


# Errors that are no lower than that of the mean image.


def test_a_model_that_reconstructs_nothing_is_not_called_healthy():
    assert metrics.diagnose(7.5, 8, mse=0.1, variance=0.2).level == "healthy"
    found = metrics.diagnose(7.5, 8, mse=0.2, variance=0.2)
    assert found.level == "no reconstruction" and "0.2, is not below that of the mean image" in str(found)
    assert metrics.diagnose(4.0, 8, mse=0.3, variance=0.2).level == "no reconstruction"
    collapsed = metrics.diagnose(3.9, 8, mse=0.3, variance=0.2)
    assert collapsed.level == "partial collapse" and "and the MSE, 0.3, is not below" in str(collapsed)
    for alike in ({"mse": 0.1, "variance": 0.0}, {"mse": 0.1}, {"variance": 0.1}):
        assert metrics.diagnose(7.5, 8, **alike) == metrics.diagnose(7.5, 8)
    with refused("variance", where="diagnose"):
        metrics.diagnose(7.5, 8, mse=0.1, variance=-1.0)


def test_an_explosion_that_stays_finite_is_told_by_the_report():
    """Losses of 10¹⁰, and at the end the codes are used all the same."""
    for model, sign in ((made(), "MSE"), (Autoencoder.mlp(latent_dim=4, hidden=(8,)), "nothing is")):
        history = fit(model, FEW, epochs=2, lr=100.0, batch_size=8, progress=False)
        report = model.evaluate(TEST, history)
        assert report.mse >= report.data_variance and sign in str(report), str(report)
        expected = TEST.images.reshape(20, -1).astype(float) / 255
        assert report.data_variance == pytest.approx(expected.var(axis=0).mean(), rel=1e-9)
        assert report.as_dict()["data_variance"] == report.data_variance


def test_a_collapse_before_any_restart_is_told_how_long_to_train():
    model = VQVAE.mlp(num_latents=2, embedding_dim=2, num_embeddings=64, hidden=())
    few = metrics.diagnose(2.0, 64)
    assert "299 steps" in with_restarts(few, model.quantizer, [{"step": 298, "restarted_codes": 0}]).advice
    for history in (
        None, [], [{"step": 299, "restarted_codes": 0}], [{"step": 10, "restarted_codes": 3}], [{"epoch": 1}],
    ):  # fmt: skip
        assert with_restarts(few, model.quantizer, history) == few
    healthy = metrics.diagnose(60.0, 64)
    assert with_restarts(healthy, model.quantizer, [{"step": 3}]) == healthy
    never = VQVAE.mlp(num_embeddings=64, hidden=(), restart_dead_codes=0).quantizer
    assert with_restarts(few, never, [{"step": 3}]) == few
