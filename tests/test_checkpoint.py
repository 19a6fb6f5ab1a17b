"""What is saved is what was; whatever else lies at the path is refused with one sentence."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqnp import VQVAE, InputError, load, save
from vqnp.checkpoint import load_all, read_arrays, write_arrays

TINY = {"image_shape": (3, 2), "num_latents": 2, "embedding_dim": 3, "num_embeddings": 4, "hidden": (5,)}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "m.npz"
    save(path, VQVAE(**TINY, rng=3))
    return path


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}])
def test_loading_gives_what_was_saved(tmp_path, codebook, dtype, options):
    model = VQVAE(**TINY, codebook=codebook, dtype=dtype, quantizer_options=options, rng=1)
    save(tmp_path / "m.npz", model)
    other = load(tmp_path / "m.npz")
    assert other.config == model.config
    assert other.state().keys() == model.state().keys()
    for name, array in model.state().items():
        assert other.state()[name].dtype == array.dtype
        np.testing.assert_array_equal(other.state()[name], array)


def test_a_run_folder_stands_for_its_checkpoint_and_any_name_does(tmp_path, saved):
    saved.rename(tmp_path / "checkpoint.npz")
    assert load(tmp_path).fingerprint() == load(tmp_path / "checkpoint.npz").fingerprint()
    (tmp_path / "checkpoint.npz").rename(tmp_path / "renamed.model")
    assert load(tmp_path / "renamed.model").config["num_embeddings"] == 4


def test_the_same_content_has_the_same_bytes(tmp_path, saved):
    save(tmp_path / "again.npz", load(saved))
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


def test_it_is_a_plain_npz(saved):
    with np.load(saved, allow_pickle=False) as arrays:
        assert arrays["model.quantizer.E"].shape == (4, 3)
        meta = json.loads(str(arrays["meta"]))
    assert meta["format"] == "vqnp-checkpoint" and meta["format_version"] == 1 and meta["vqnp_version"]


@pytest.mark.slow
def test_truncated_anywhere_is_refused(tmp_path, saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 7):
        saved.write_bytes(whole[:length])
        with pytest.raises(InputError, match=f"^checkpoint {saved}: "):
            load(saved)


@given(at=st.integers(0, 10**6), value=st.integers(1, 255))
def test_a_changed_byte_never_passes_unseen_or_crashes(tmp_path_factory, at, value):
    path = tmp_path_factory.mktemp("c") / "m.npz"
    model = VQVAE(**TINY, rng=3)
    save(path, model)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= value
    path.write_bytes(data)
    try:
        other = load(path)
    except InputError as error:
        assert str(error).startswith(f"checkpoint {path}")
        return
    for name, array in model.state().items():  # the byte was in a date or a flag of the archive
        np.testing.assert_array_equal(other.state()[name], array)


@pytest.mark.slow
def test_a_changed_byte_in_the_archives_directory_is_refused_or_harmless(tmp_path):
    """Every byte of it, lowest bit: also those that move a member outside of the file."""
    path, model = tmp_path / "m.npz", VQVAE(**TINY, rng=3)
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


def refused(path):
    with pytest.raises(InputError) as caught:
        load(path)
    assert caught.value.where.startswith(f"checkpoint {path}") and "\n" not in str(caught.value)
    return caught.value


def sentence(path):
    return str(refused(path))


def test_no_file(tmp_path):
    assert refused(tmp_path / "no.npz").got == "no such file"


def test_an_npz_of_somebody_elses(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    assert "must be a checkpoint written by vqnp" in sentence(tmp_path / "x.npz")
    write_arrays(tmp_path / "y.npz", {"format": "other", "format_version": 1}, {})
    assert "got format 'other'" in sentence(tmp_path / "y.npz")


def test_a_newer_format(tmp_path):
    write_arrays(
        tmp_path / "x.npz", {"format": "vqnp-checkpoint", "format_version": 2, "vqnp_version": "9.0"}, {}
    )
    assert sentence(tmp_path / "x.npz").endswith(
        "must be of format 1 or older; got format 2, written by vqnp 9.0"
    )


def test_a_pickled_object_is_never_loaded(tmp_path):
    np.savez(tmp_path / "x.npz", meta=np.array("{}"), evil=np.array([print], dtype=object))
    assert refused(tmp_path / "x.npz").got == "a pickled object"


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
    error = refused(saved)
    assert error.where.endswith("model.quantizer.E.npy") and "must have 480000000128 bytes" in error.needed
    assert error.got == "176 bytes"


def test_an_array_missing_unknown_misshapen_or_not_finite(tmp_path, saved):
    with zipfile.ZipFile(saved) as archive:
        names = [n for n in archive.namelist() if n.startswith("model.")]
    rewritten(saved, lambda name, data: None if name == names[0] else data)
    assert f"got missing {names[0].removeprefix('model.').removesuffix('.npy')}" in sentence(saved)
    model = VQVAE(**TINY)
    meta, arrays = {"format": "vqnp-checkpoint", "format_version": 1, "model": model.config}, model.state()
    for change, what in [
        ({"quantizer.E": np.zeros((5, 3), "f")}, "E must have shape (4, 3); got shape (5, 3)"),
        ({"quantizer.E": np.zeros((4, 3), "d")}, "E must be float32"),
        ({"quantizer.E": np.full((4, 3), np.nan, "f")}, "E must be finite; got nan at index (0, 0)"),
        ({"more": np.zeros(1, "f")}, "got unknown more"),
    ]:
        write_arrays(tmp_path / "x.npz", meta, {f"model.{n}": a for n, a in {**arrays, **change}.items()})
        assert what in sentence(tmp_path / "x.npz")


@pytest.mark.parametrize("config", [{"hidden": [10**12]}, {"num_embeddings": 0}, {"no_such": 1}, None, {}])
def test_a_configuration_of_no_model(tmp_path, config):
    model = VQVAE(**TINY)
    config = config and {**model.config, **config}
    meta = {"format": "vqnp-checkpoint", "format_version": 1, "model": config}
    write_arrays(tmp_path / "x.npz", meta, {f"model.{n}": a for n, a in model.state().items()})
    assert "must hold a whole model" in sentence(tmp_path / "x.npz")


def test_meta_and_arrays_come_back(tmp_path):
    save(tmp_path / "m.npz", VQVAE(**TINY), {"note": [1, 2]}, {"mine": np.arange(3)})
    _, meta, arrays = load_all(tmp_path / "m.npz")
    assert meta["note"] == [1, 2] and list(arrays) == ["mine"]
    np.testing.assert_array_equal(arrays["mine"], np.arange(3))
    assert read_arrays(tmp_path / "m.npz")[0]["note"] == [1, 2]


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
def test_a_full_disk_keeps_the_earlier_checkpoint(saved):
    """The kernel refuses to let the file grow past a limit, as a full disk would."""
    before = saved.read_bytes()
    script = (
        "import resource, sys, vqnp\n"
        "model = vqnp.VQVAE(image_shape=(28, 28))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    vqnp.save(sys.argv[1], model)\n"
        "except OSError as error:\n"
        "    print('refused:', error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, saved], capture_output=True, text=True)
    assert done.stdout.startswith("refused:"), done.stderr
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]
