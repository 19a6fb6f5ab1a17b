"""What is written is read back bit for bit; any other file is refused with one sentence."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import refused, refused_command

from vqnp import VAE, VQVAE, Autoencoder, EMAVectorQuantizer, InputError, VectorQuantizer, load, save
from vqnp.checkpoint import write_arrays
from vqnp.cli import main
from vqnp.export import FORMATS, load_torch, save_torch, to_torch
from vqnp.nn import describe

TINY = {"image_shape": (3, 2), "num_latents": 2, "embedding_dim": 3, "num_embeddings": 4, "hidden": (5,)}

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import safetensors
else:
    safetensors = None
    try:
        import safetensors
    except ImportError:
        pass
needs_safetensors = pytest.mark.skipif(safetensors is None, reason="safetensors is not installed (the extra)")
formats = pytest.mark.parametrize(
    "format", ["torch-npz", pytest.param("safetensors", marks=needs_safetensors)]
)


@pytest.fixture
def model():
    return VQVAE.mlp(**TINY, rng=3)


def refuse(path, needed="", got="", *, argument="", within="", model=None):
    """load_torch must raise an InputError about this file, in one line."""
    where = f"weights {path}: {within}" if within else f"weights {path}"
    with refused(argument, needed, got, where=where) as caught:
        load_torch(path, model)
    assert "\n" not in str(caught.value)


def same_bits(a, b):
    assert a.keys() == b.keys()
    assert all(a[n].dtype == b[n].dtype and a[n].tobytes() == b[n].tobytes() for n in a)


@formats
@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reading_gives_what_was_written(tmp_path, format, codebook, dtype):
    kind = {"ema": EMAVectorQuantizer, "gradient": VectorQuantizer}[codebook]
    quantizer = kind(4, 3, reduction="sum", dtype=dtype)
    model = VQVAE.mlp(**TINY, dtype=dtype, activation="gelu", quantizer=quantizer, rng=1)
    path = tmp_path / f"w{FORMATS[format]}"
    same_bits(save_torch(path, model, format), to_torch(model))
    back = load_torch(path)
    assert describe(back) == describe(model)
    same_bits(back.state_dict(), model.state_dict())


@formats
@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_reading_another_model_gives_what_was_written(tmp_path, format, kind):
    model, path = kind.mlp((3, 2), 4, (5,), rng=1), tmp_path / f"w{FORMATS[format]}"
    save_torch(path, model, format)
    back = load_torch(path)
    assert describe(back) == describe(model)
    same_bits(back.state_dict(), model.state_dict())


@pytest.mark.slow
@formats
def test_the_same_model_has_the_same_bytes_in_another_process(tmp_path, model, format):
    path, again = (tmp_path / f"{name}{FORMATS[format]}" for name in "ab")
    save_torch(path, model, format)
    save(tmp_path / "m.npz", model)
    script = "import sys, vqnp; vqnp.export.save_torch(sys.argv[2], vqnp.load(sys.argv[1]), sys.argv[3])"
    subprocess.run([sys.executable, "-c", script, tmp_path / "m.npz", again, format], check=True)
    assert path.read_bytes() == again.read_bytes()


def test_the_npz_is_plain(tmp_path, model):
    save_torch(tmp_path / "w.npz", model)
    with np.load(tmp_path / "w.npz", allow_pickle=False) as file:
        assert set(file.files) == {"meta", *to_torch(model)}
        meta = json.loads(str(file["meta"]))
    assert meta["format"] == "vqnp-torch" and meta["model"] == describe(model) and meta["vqnp_version"]


def test_a_file_of_somebody_elses_needs_a_model(tmp_path, model):
    path, arrays = tmp_path / "theirs.npz", to_torch(model)
    np.savez(path, **{n: a for n, a in arrays.items() if n.endswith((".weight", ".bias"))})
    refuse(path, "must be given for a file that vqnp did not write", "none", argument="model")
    other = VQVAE.mlp(**TINY, rng=4)
    assert load_torch(path, other) is other
    same_bits(other.state_dict(), model.state_dict())
    wide = VQVAE.mlp(**{**TINY, "hidden": (7,)})
    needed = "must have shape (7, 6), as the model's"
    refuse(path, needed, "shape (5, 6)", argument="encoder.1.weight", within="from_torch", model=wide)


def test_a_model_that_is_given_is_filled_whatever_the_file_describes(tmp_path, model):
    """So that a file written under other settings, which have no arrays, can be loaded into one's own."""
    save_torch(tmp_path / "w.npz", model)
    other = VQVAE.mlp(**TINY, commitment_cost=2.0, activation="tanh", rng=9)
    load_torch(tmp_path / "w.npz", other)
    same_bits(other.state_dict(), model.state_dict())
    assert other.quantizer.commitment_cost == 2.0


def test_a_file_of_version_0_1_is_read(tmp_path, model):
    """Flat arguments, layers numbered without Flatten."""
    arguments = {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in TINY.items()},
        "activation": "relu", "codebook": "ema", "commitment_cost": 0.25, "decay": 0.99, "epsilon": 1e-5,
        "codebook_init": "data", "quantizer_options": {}, "dtype": "float32",
    }  # fmt: skip
    old = {}
    for name, array in to_torch(model).items():
        part, _, rest = name.partition(".")
        number, _, own = rest.partition(".")
        old[f"{part}.{int(number) - 1}.{own}" if number.isdigit() else name] = array
    assert "encoder.0.weight" in old and "decoder.2.bias" in old
    meta = {"format": "vqnp-torch", "format_version": 1, "model": arguments}
    write_arrays(tmp_path / "old.npz", meta, old)
    same_bits(load_torch(tmp_path / "old.npz").state_dict(), model.state_dict())
    write_arrays(tmp_path / "old.npz", {**meta, "model": {**arguments, "embedding_dim": 0}}, old)
    needed = "must be an integer of at least 1"
    refuse(tmp_path / "old.npz", needed, "0", argument="embedding_dim", within="EMAVectorQuantizer")
    del arguments["decay"]
    write_arrays(tmp_path / "old.npz", {**meta, "model": arguments}, old)
    refuse(tmp_path / "old.npz", "must have the arguments of a model", "'decay'", argument="meta")


@pytest.mark.slow
def test_truncated_or_changed_is_refused_or_harmless(tmp_path, model):
    path = tmp_path / "w.npz"
    save_torch(path, model)
    whole = path.read_bytes()
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=f"^weights {re.escape(str(path))}: [^\n]*$"):
            load_torch(path)
    refused = 0
    for at in range(0, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            same_bits(load_torch(path).state_dict(), model.state_dict())
        except InputError as error:
            assert str(error).startswith(f"weights {path}: ")
            refused += 1
    assert refused > 50


@needs_safetensors
def test_a_safetensors_that_is_none(tmp_path, model):
    path = tmp_path / "w.safetensors"
    save_torch(path, model, "safetensors")
    whole = path.read_bytes()
    for data in (b"", b"hello\n", whole[: len(whole) // 2], whole[:-1], b"\xff" * 64):
        path.write_bytes(data)
        refuse(path, "must be a .safetensors of NumPy's dtypes, whole and unchanged", within="file")
    path.unlink()
    refuse(path, "must be an existing file", "no such file")


def test_other_files(tmp_path, model):
    refuse(tmp_path / "no.npz", "must be an existing file", "no such file")
    refuse(tmp_path / "w.pt", "must end in .npz or .safetensors", "w.pt")
    save(tmp_path / "m.npz", model)
    refuse(tmp_path / "m.npz", "must be 'vqnp-torch'", "'vqnp-checkpoint'", argument="format")
    np.savez(tmp_path / "evil.npz", a=np.array([print], dtype=object))
    needed = "must hold plain numbers or text"
    refuse(tmp_path / "evil.npz", needed, "a pickled object", within="file: a.npy", model=model)
    meta = {"format": "vqnp-torch", "format_version": 3, "model": describe(model)}
    write_arrays(tmp_path / "new.npz", meta, to_torch(model))
    refuse(tmp_path / "new.npz", "must be at most 2, which this vqnp reads", "3", argument="format_version")
    write_arrays(tmp_path / "bad.npz", {"format": "vqnp-torch"}, to_torch(model))
    refuse(tmp_path / "bad.npz", "must be the JSON text that vqnp writes", "KeyError", argument="meta")
    meta = {"format": "vqnp-torch", "format_version": 2, "model": {"module": "Convolution"}}
    write_arrays(tmp_path / "other.npz", meta, to_torch(model))
    refuse(tmp_path / "other.npz", "must be one of", "'Convolution'", argument="module", within="build")


def test_a_description_of_more_than_memory_is_refused(tmp_path, model):
    described = describe(model)
    described["encoder"]["layers"][1]["in_features"] = 10**12
    meta = {"format": "vqnp-torch", "format_version": 2, "model": described}
    write_arrays(tmp_path / "huge.npz", meta, to_torch(model))
    with pytest.raises(InputError, match=f"^weights {re.escape(str(tmp_path / 'huge.npz'))}: "):
        load_torch(tmp_path / "huge.npz")


def test_a_write_that_fails_leaves_what_was(tmp_path, model, monkeypatch):
    path = tmp_path / "w.npz"
    path.write_bytes(b"before")

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.lib.format.write_array", full)
    with pytest.raises(OSError, match="No space left"):
        save_torch(path, model)
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["w.npz"]


def test_an_unknown_format(tmp_path, model):
    with refused("format", "must be one of 'torch-npz', 'safetensors'", "'pt'", where="save_torch"):
        save_torch(tmp_path / "w.npz", model, "pt")
    assert not os.listdir(tmp_path)


def test_without_safetensors_the_error_says_what_to_install(tmp_path, model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "safetensors", None)  # so that importing it fails
    needed = "must be installed (the extra: pip install 'vqnp[safetensors]')"
    with refused("safetensors", needed, where="save_torch"):
        save_torch(tmp_path / "w.safetensors", model, "safetensors")
    path = tmp_path / "theirs.safetensors"
    path.write_bytes(b"")
    refuse(path, needed, argument="safetensors", within="load_torch", model=model)
    path.unlink()
    save(tmp_path / "m.npz", model)
    command = "export", tmp_path / "m.npz", "--format", "safetensors", "--out", tmp_path / "w.safetensors"
    assert needed in refused_command(capsys, *command) and os.listdir(tmp_path) == ["m.npz"]


@formats
def test_the_command_writes_the_file_and_lists_what_is_in_it(tmp_path, model, format, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save("m.npz", model)
    assert main(["export", "m.npz", "--format", format]) == 0
    out = capsys.readouterr().out.splitlines()
    path = tmp_path / f"weights{FORMATS[format]}"
    assert [line.split()[0] for line in out] == [*to_torch(model), "wrote"]
    assert out[0].split() == ["encoder.1.weight", "float32", "5x6"] and path.name in out[-1]
    same_bits(load_torch(path).state_dict(), load("m.npz").state_dict())
    before = path.read_bytes()
    new = "--out must be a new file (or give --force)"
    assert refused_command(capsys, "export", "m.npz", "--format", format).startswith(new)
    assert main(["export", "m.npz", "--format", format, "--force"]) == 0
    assert path.read_bytes() == before
    capsys.readouterr()
    wrong = refused_command(capsys, "export", "m.npz", "--format", format, "--out", "w.txt")
    assert wrong == f"--out must end in {FORMATS[format]}; got w.txt"


@pytest.mark.slow
def test_the_import_brings_no_safetensors():
    script = "import sys, vqnp.export, vqnp.cli.export; print('safetensors' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
