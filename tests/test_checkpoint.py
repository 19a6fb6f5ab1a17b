"""What is saved is what was; whatever else lies at the path is refused with one sentence."""

import itertools
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from helpers import refused
from hypothesis import given
from hypothesis import strategies as st

from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer, InputError, VectorQuantizer, load, save
from vqnp.checkpoint import FORMAT_VERSION, load_all, read_arrays, write_arrays
from vqnp.nn import Activation, Flatten, Linear, Module, Param, Reshape, Sequential, describe

TINY = {"image_shape": (3, 2), "num_latents": 2, "embedding_dim": 3, "num_embeddings": 4, "hidden": (5,)}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "m.npz"
    save(path, VQVAE.mlp(**TINY, rng=3))
    return path


def parts(z, P, dtype, activation="gelu"):
    """An encoder to latents of shape z, and a decoder from them, of P numbers."""
    M = int(np.prod(z))
    first, second = Linear(P, 5, 1, dtype), Linear(5, M, 2, dtype)
    inner = Sequential(Activation("tanh"), Linear(7, P, 4, dtype))
    return (
        Sequential(Flatten(), first, Activation(activation), second, Reshape(*z)),
        Sequential(Flatten(), Linear(M, 7, 3, dtype), inner, Reshape(3, 2)),
    )


DATA = {"shape": (3, 2), "low": -1.0, "high": 2.0}
SONNETS = {"smoothing": "additive", "zero_debias": True, "epsilon": 0.5, "decay": 0.5}
OPTIONS = {"reduction": "sum", "codebook_init": "kmeans", "restart_dead_codes": 0.25, "commitment_cost": 2.0}


def vqvae(z, quantizer, dtype):
    encoder, decoder = parts((*z, 3), 6, dtype)
    return VQVAE(encoder, quantizer, decoder, DATA)


MODELS = {
    "ema": lambda t: VQVAE.mlp(**TINY, dtype=t, rng=1),
    "gradient": lambda t: VQVAE.mlp(**TINY, codebook="gradient", dtype=t, rng=1),
    "no hidden layer": lambda t: VQVAE.mlp(**{**TINY, "hidden": ()}, dtype=t, rng=1),
    "a plane of latents": lambda t: vqvae((2, 2), EMAVectorQuantizer(4, 3, **OPTIONS, **SONNETS, dtype=t), t),
    "one latent": lambda t: vqvae((), VectorQuantizer(4, 3, **OPTIONS, decay=0.75, dtype=t), t),
    "a vae of parts": lambda t: VAE(
        parts((2, 6), 6, t)[0], parts((2, 3), 6, t)[1], DATA, "gaussian", 0.5, kl_weight=2, kl_warmup=9
    ),
    "an autoencoder of parts": lambda t: Autoencoder(*parts((2, 3), 6, t, "sigmoid"), DATA),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loading_gives_what_was_saved(tmp_path, name, dtype):
    """Whatever the arrangement of its parts; the weights are not those of a new model."""
    model, rng = MODELS[name](dtype), np.random.default_rng(0)
    for param in model.parameters():
        param.value[...] = rng.standard_normal(param.value.shape)
    save(tmp_path / "m.npz", model)
    other = load(tmp_path / "m.npz")
    assert type(other) is type(model) and describe(other) == describe(model) and other.data == model.data
    assert other.state_dict().keys() == model.state_dict().keys()
    for array_name, array in model.state_dict().items():
        assert other.state_dict()[array_name].dtype == array.dtype
        np.testing.assert_array_equal(other.state_dict()[array_name], array)
    assert other.fingerprint() == model.fingerprint()
    x = rng.random((5, 3, 2)).astype(dtype)
    np.testing.assert_array_equal(other.encode(x), model.encode(x))
    np.testing.assert_array_equal(other.reconstruct(x), model.reconstruct(x))


def test_a_layer_of_ones_own_is_saved_once_it_is_registered(tmp_path):
    from vqnp.nn.description import MODULES, register

    class Scale(Module):
        def __init__(self, factor):
            self.factor = Param(np.full(1, factor, np.float32))

        def config(self):
            return {"factor": 0.0}

        def forward(self, x):
            return x * self.factor.value, x

    encoder, decoder = parts((2, 3), 6, "float32")
    model = Autoencoder(Sequential(*encoder.layers, Scale(3.0)), decoder, DATA)
    with refused("Scale", "must be registered with vqnp.nn.register", where="describe"):
        save(tmp_path / "m.npz", model)
    assert os.listdir(tmp_path) == []
    register(Scale)
    try:
        save(tmp_path / "m.npz", model)
        assert load(tmp_path / "m.npz").encoder.layers[-1].factor.value == 3
    finally:
        del MODULES["Scale"]
    with refused_load(tmp_path / "m.npz", "must hold a whole model", "module must be one of"):
        load(tmp_path / "m.npz")


def test_a_run_folder_stands_for_its_checkpoint_and_any_name_does(tmp_path, saved):
    saved.rename(tmp_path / "checkpoint.npz")
    assert load(tmp_path).fingerprint() == load(tmp_path / "checkpoint.npz").fingerprint()
    (tmp_path / "checkpoint.npz").rename(tmp_path / "renamed.model")
    assert load(tmp_path / "renamed.model").num_embeddings == 4


def test_the_same_content_has_the_same_bytes(tmp_path, saved):
    save(tmp_path / "again.npz", load(saved))
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


def test_it_is_a_plain_npz(saved):
    with np.load(saved, allow_pickle=False) as arrays:
        assert arrays["model.quantizer.E"].shape == (4, 3)
        meta = json.loads(str(arrays["meta"]))
    assert meta["format"] == "vqnp-checkpoint" and meta["format_version"] == 2 and meta["vqnp_version"]
    assert meta["model"]["module"] == "VQVAE" and meta["model"]["quantizer"]["num_embeddings"] == 4


@pytest.mark.slow
def test_truncated_anywhere_is_refused(tmp_path, saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 7):
        saved.write_bytes(whole[:length])
        with refused_load(saved, "must be an .npz file, whole and unchanged"):
            load(saved)


@given(at=st.integers(0, 10**6), value=st.integers(1, 255))
def test_a_changed_byte_never_passes_unseen_or_crashes(tmp_path_factory, at, value):
    path = tmp_path_factory.mktemp("c") / "m.npz"
    model = VQVAE.mlp(**TINY, rng=3)
    save(path, model)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= value
    path.write_bytes(data)
    try:
        other = load(path)
    except InputError as error:
        assert error.where.startswith(f"checkpoint {path}") and "\n" not in str(error)
        return
    for name, array in model.state_dict().items():  # the byte was in a date or a flag of the archive
        np.testing.assert_array_equal(other.state_dict()[name], array)


@pytest.mark.slow
def test_a_changed_byte_in_the_archives_directory_is_refused_or_harmless(tmp_path):
    """Every byte of it, lowest bit: also those that move a member outside of the file."""
    path, model = tmp_path / "m.npz", VQVAE.mlp(**TINY, rng=3)
    save(path, model)
    whole, outside = path.read_bytes(), 0
    for at in range(whole.index(b"PK\x01\x02"), len(whole)):
        data = bytearray(whole)
        data[at] ^= 1
        path.write_bytes(data)
        try:
            load(path)
        except InputError as error:
            outside += error.where == f"checkpoint {path}" and "must be an .npz file" in error.needed
    assert outside


def refused_load(path, needed="", got="", where=""):
    return refused("", needed, got, where=f"checkpoint {path}{where}")


def test_no_file(tmp_path):
    with refused_load(tmp_path / "no.npz", "must be an existing file", "no such file"):
        load(tmp_path / "no.npz")
    with refused_load(tmp_path / "checkpoint.npz", "must be an existing file", "no such file"):
        load(tmp_path)


def test_an_npz_of_somebody_elses(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with refused_load(tmp_path / "x.npz", "must be a checkpoint written by vqnp", "an .npz file of a"):
        load(tmp_path / "x.npz")
    write_arrays(tmp_path / "y.npz", {"format": "other", "format_version": 1}, {})
    with refused_load(tmp_path / "y.npz", "must be a checkpoint written by vqnp", "format 'other'"):
        load(tmp_path / "y.npz")


def test_a_newer_format(tmp_path):
    path = tmp_path / "x.npz"
    head = {"format": "vqnp-checkpoint", "format_version": FORMAT_VERSION + 1, "vqnp_version": "9.0"}
    write_arrays(path, head, {})
    with refused_load(path, "must be of format 2 or older", "format 3, written by vqnp 9.0"):
        load(path)


def test_a_pickled_object_is_never_loaded(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, meta=np.array("{}"), evil=np.array([print], dtype=object))
    with refused_load(path, "must hold plain numbers", "a pickled object", ": evil.npy"):
        load(path)


def rewritten(saved, change):
    """The checkpoint with its members' bytes changed by change(name, data)."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(saved, "w") as archive:
        for name, data in members.items():
            data = change(name, data)
            if data is not None:
                archive.writestr(name, data)
    return saved


def test_a_header_that_claims_more_than_the_file_holds(saved):
    rewritten(
        saved,
        lambda name, data: (
            data.replace(b"(4, 3), }".ljust(20), b"(40000000000, 3), }".ljust(20))
            if name == "model.quantizer.E.npy"
            else data
        ),
    )
    with refused_load(saved, "must have 480000000128 bytes", "176 bytes", ": model.quantizer.E.npy"):
        load(saved)


def described(path, description, arrays=None):
    """A checkpoint whose description of the model, and perhaps whose arrays, are these."""
    meta, own = read_arrays(path)
    arrays = own if arrays is None else {f"model.{name}": array for name, array in arrays.items()}
    write_arrays(path, {**meta, "model": description}, arrays)
    return path


def test_an_array_missing_unknown_misshapen_or_not_finite(saved):
    model = load(saved)
    state = model.state_dict()
    for change, what in [
        ({"quantizer.E": np.zeros((5, 3), "f")}, "quantizer.E must have shape (4, 3); got shape (5, 3)"),
        ({"quantizer.E": np.zeros((4, 3), "d")}, "quantizer.E must be float32"),
        ({"quantizer.E": np.full((4, 3), np.nan, "f")}, "quantizer.E must be finite; got nan at"),
        ({"quantizer.N": np.full(4, -1, "f")}, "N must not be negative"),
        ({"more": np.zeros(1, "f")}, "got unknown more"),
        ({"encoder.1.W": None}, "got missing encoder.1.W"),
    ]:
        arrays = {name: array for name, array in {**state, **change}.items() if array is not None}
        with refused_load(described(saved, describe(model), arrays), "must hold a whole model", what):
            load(saved)


def changed(description, path, value):
    """The description with another value at a path such as ("encoder", "layers", 1, "in_features")."""
    if not path:
        return value
    copy = dict(description) if isinstance(description, dict) else list(description)
    key, *rest = path
    copy[key] = changed(copy[key] if isinstance(copy, list) or key in copy else {}, rest, value)
    return copy


FIRST = ("encoder", "layers", 1)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), None),
        ((), {}),
        ((), [1]),
        (("module",), "GAN"),
        (("module",), ["VQVAE"]),
        (("no_such",), 1),
        (("encoder",), 3),
        (("encoder", "layers"), "abc"),
        (("encoder", "layers"), []),
        ((*FIRST, "in_features"), 10**12),
        ((*FIRST, "in_features"), 5),
        ((*FIRST, "dtype"), "float64"),
        ((*FIRST, "dtype"), "no such"),
        (("quantizer", "num_embeddings"), 0),
        (("quantizer", "decay"), 1),
        (("quantizer", "module"), "Linear"),
        (("decoder", "module"), "VQVAE"),
        (("data",), None),
        (("data", "shape"), "abc"),
        (("data", "shape"), [2, 3]),
        (("data", "no_such"), 1),
    ],
)  # fmt: skip
def test_a_description_of_no_model(saved, path, value):
    described(saved, changed(describe(load(saved)), path, value))
    with refused_load(saved, "must hold a whole model"):
        load(saved)


@pytest.mark.parametrize("hidden", [[20_000, 20_000], [10**6, 10**6], [6] * 3000, [10**9, 10**9], [2**70]])
def test_a_description_of_more_than_the_file_holds_takes_no_memory(saved, hidden):
    """A file of a few kB must not make anyone wait for gigabytes."""
    sizes = (6, *hidden, 6)
    layers = [
        {"module": "Linear", "in_features": I, "out_features": O, "dtype": "float32"}
        for I, O in itertools.pairwise(sizes)
    ]
    description = changed(describe(load(saved)), ("encoder", "layers"), layers)
    tracemalloc.start()
    try:
        with refused_load(described(saved, description), "a whole model", "no larger than the arrays"):
            load(saved)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_a_description_too_deep_to_read(saved):
    for depth in (50, 300):  # JSON can be read so deep, but modules cannot be made
        description = {}
        for _ in range(depth):
            description = {"module": "Sequential", "layers": [description]}
        with refused_load(described(saved, description), "must hold a whole model"):
            load(saved)
    meta, arrays = read_arrays(saved)
    text = json.dumps({**meta, "model": 0}).replace('"model": 0', '"model": ' + "[" * 100_000 + "]" * 100_000)
    np.savez(saved, meta=np.array(text), **arrays)
    with refused_load(saved, "must be a checkpoint written by vqnp"):
        load(saved)


def test_meta_and_arrays_come_back(tmp_path):
    save(tmp_path / "m.npz", VQVAE.mlp(**TINY), {"note": [1, 2]}, {"mine": np.arange(3)})
    _, meta, arrays = load_all(tmp_path / "m.npz")
    assert meta["note"] == [1, 2] and list(arrays) == ["mine"]
    np.testing.assert_array_equal(arrays["mine"], np.arange(3))
    assert read_arrays(tmp_path / "m.npz")[0]["note"] == [1, 2]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
def test_a_full_disk_keeps_the_earlier_checkpoint(saved):
    """The kernel refuses to let the file grow past a limit, as a full disk would."""
    before = saved.read_bytes()
    script = (
        "import resource, sys, vqnp\n"
        "model = vqnp.VQVAE.mlp(image_shape=(28, 28))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    vqnp.save(sys.argv[1], model)\n"
        "except OSError as error:\n"
        "    print('refused:', error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, saved], capture_output=True, text=True)
    assert done.stdout.startswith("refused:"), done.stderr
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]
