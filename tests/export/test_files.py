"""What is written is read back bit for bit; any other file is refused with one sentence."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from vqnp import VQVAE, InputError, load, save
from vqnp.checkpoint import write_arrays
from vqnp.cli.main import main
from vqnp.export import FORMATS, load_torch, save_torch, to_torch

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
    return VQVAE(**TINY, rng=3)


def refused(path, config=None):
    with pytest.raises(InputError) as caught:
        load_torch(path, config)
    assert "\n" not in str(caught.value) and caught.value.where.startswith(f"weights {path}")
    return caught.value


def sentence(path, config=None):
    return str(refused(path, config))


def same_bits(a, b):
    assert a.keys() == b.keys()
    assert all(a[n].dtype == b[n].dtype and a[n].tobytes() == b[n].tobytes() for n in a)


@formats
@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reading_gives_what_was_written(tmp_path, format, codebook, dtype):
    options = {"reduction": "sum"}
    model = VQVAE(**TINY, codebook=codebook, dtype=dtype, activation="gelu", quantizer_options=options, rng=1)
    path = tmp_path / f"w{FORMATS[format]}"
    same_bits(save_torch(path, model, format), to_torch(model))
    back = load_torch(path)
    assert back.config == model.config
    same_bits(back.state(), model.state())


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
    assert meta["format"] == "vqnp-torch" and meta["model"] == model.config and meta["vqnp_version"]


def test_a_file_of_somebody_elses_needs_a_configuration(tmp_path, model):
    path = tmp_path / "theirs.npz"
    np.savez(path, **{n: a for n, a in to_torch(model).items() if n.endswith((".weight", ".bias"))})
    assert "config: must be given for a file that vqnp did not write; got none" in sentence(path)
    same_bits(load_torch(path, model.config).state(), {**model.state()})
    assert "encoder.0.weight must have shape (7, 6), as config says" in sentence(
        path, {**TINY, "hidden": (7,)}
    )


def test_truncated_or_changed_is_refused_or_harmless(tmp_path, model):
    path = tmp_path / "w.npz"
    save_torch(path, model)
    whole = path.read_bytes()
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        sentence(path)
    refused = 0
    for at in range(0, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            same_bits(load_torch(path).state(), model.state())
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
        assert "file: must be a .safetensors of NumPy's dtypes, whole and unchanged; got " in sentence(path)
    path.unlink()
    assert refused(path).got == "no such file"


def test_other_files(tmp_path, model):
    assert refused(tmp_path / "no.npz").got == "no such file"
    assert sentence(tmp_path / "w.pt").endswith("must end in .npz or .safetensors; got w.pt")
    save(tmp_path / "m.npz", model)
    assert "format: must be 'vqnp-torch'; got 'vqnp-checkpoint'" in sentence(tmp_path / "m.npz")
    np.savez(tmp_path / "evil.npz", a=np.array([print], dtype=object))
    assert refused(tmp_path / "evil.npz", TINY).got == "a pickled object"
    meta = {"format": "vqnp-torch", "format_version": 2, "model": model.config}
    write_arrays(tmp_path / "new.npz", meta, to_torch(model))
    assert "format_version: must be 1, which this vqnp reads; got 2" in sentence(tmp_path / "new.npz")
    write_arrays(tmp_path / "bad.npz", {"format": "vqnp-torch"}, to_torch(model))
    assert "meta: must be the JSON text that vqnp writes; got KeyError" in sentence(tmp_path / "bad.npz")
    meta = {"format": "vqnp-torch", "format_version": 1, "model": {**model.config, "hidden": [10**12]}}
    write_arrays(tmp_path / "huge.npz", meta, to_torch(model))
    sentence(tmp_path / "huge.npz")


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
    with pytest.raises(
        InputError, match="^save_torch: format must be one of 'torch-npz', 'safetensors'; got 'pt'$"
    ):
        save_torch(tmp_path / "w.npz", model, "pt")
    assert not os.listdir(tmp_path)


def test_without_safetensors_the_error_says_what_to_install(tmp_path, model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "safetensors", None)  # so that importing it fails
    needed = "safetensors must be installed (the extra: pip install 'vqnp[safetensors]')"
    with pytest.raises(InputError) as caught:
        save_torch(tmp_path / "w.safetensors", model, "safetensors")
    assert str(caught.value).startswith(f"save_torch: {needed}; got ")
    (tmp_path / "theirs.safetensors").write_bytes(b"")
    assert f"load_torch: {needed}" in sentence(tmp_path / "theirs.safetensors", TINY)
    (tmp_path / "theirs.safetensors").unlink()
    save(tmp_path / "m.npz", model)
    out = str(tmp_path / "w.safetensors")
    assert main(["export", str(tmp_path / "m.npz"), "--format", "safetensors", "--out", out]) == 2
    assert needed in capsys.readouterr().err and os.listdir(tmp_path) == ["m.npz"]


@formats
def test_the_command_writes_the_file_and_lists_what_is_in_it(tmp_path, model, format, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save("m.npz", model)
    assert main(["export", "m.npz", "--format", format]) == 0
    out = capsys.readouterr().out.splitlines()
    path = tmp_path / f"weights{FORMATS[format]}"
    assert [line.split()[0] for line in out] == [*to_torch(model), "wrote"]
    assert out[0].split() == ["encoder.0.weight", "float32", "5x6"] and path.name in out[-1]
    same_bits(load_torch(path).state(), load("m.npz").state())
    before = path.read_bytes()
    assert main(["export", "m.npz", "--format", format]) == 2
    assert "--out must be a new file (or give --force)" in capsys.readouterr().err
    assert main(["export", "m.npz", "--format", format, "--force"]) == 0
    assert path.read_bytes() == before
    assert main(["export", "m.npz", "--format", format, "--out", "w.txt"]) == 2
    assert f"--out must end in {FORMATS[format]}; got w.txt" in capsys.readouterr().err


@pytest.mark.slow
def test_the_import_brings_no_safetensors():
    script = "import sys, vqnp.export, vqnp.cli.commands; print('safetensors' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
