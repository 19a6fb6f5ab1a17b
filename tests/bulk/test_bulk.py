"""Encoding with Dask: the bits of the whole, whatever the blocks and whoever computes them."""

import os
import signal
import time

import numpy as np
import pytest
from helpers import refused, refused_command

from vqnp import VAE, VQVAE, HierarchicalVQVAE, save
from vqnp._check import NonFiniteError
from vqnp.bulk import decode, decode_zarr, encode, encode_zarr, extra
from vqnp.cli import main

da = pytest.importorskip("dask.array", reason="needs the extra dask")
zarr = pytest.importorskip("zarr", reason="needs the extra dask")

X = np.random.default_rng(0).random((50, 8, 8)).astype(np.float32)
CONV = {"channels": 4, "residual_channels": 2, "residual_blocks": 1, "embedding_dim": 4}
CONV["codebook_init"] = "normal"
MODELS = {
    "a plane": lambda: VQVAE.conv((8, 8), num_embeddings=300, **CONV),
    "levels": lambda: HierarchicalVQVAE.conv((8, 8), num_embeddings=(16, 300), downsampling=(2, 1), **CONV),
    "latents": lambda: VAE.mlp((8, 8), latent_dim=3, hidden=(8,)),
}


def parts(found):
    return found if isinstance(found, tuple) else (found,)


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.zarr"
    zarr.create_array(str(path), shape=X.shape, chunks=(7, 8, 8), dtype=X.dtype)[:] = X
    return path


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("chunks", [(50, 8, 8), (9, 8, 3)])
def test_blocks_do_not_show(name, chunks):
    model = MODELS[name]()
    found = encode(model, da.from_array(X, chunks=chunks))
    for ours, whole in zip(parts(found), parts(model.encode(X)), strict=True):
        assert np.array_equal(ours.compute(), whole) and ours.dtype.kind in "uf"
        assert ours.dtype.itemsize <= 4 and ours.chunks[0] == da.from_array(X, chunks=chunks).chunks[0]
    assert np.array_equal(decode(model, found).compute(), model.reconstruct(X))


@pytest.mark.parametrize("name", MODELS)
def test_from_zarr_to_zarr_and_back(name, images, tmp_path):
    model, codes = MODELS[name](), tmp_path / "codes.zarr"
    assert encode_zarr(model, images, codes) == 50
    assert decode_zarr(model, codes, tmp_path / "again.zarr") == 50
    again = zarr.open(str(tmp_path / "again.zarr"), mode="r")["images"]
    assert np.array_equal(again[:], model.reconstruct(X))
    with refused("out", "a new path"):
        encode_zarr(model, images, codes)
    assert not list(tmp_path.glob("*.part"))


def test_what_is_refused(images, tmp_path):
    model, latents = MODELS["a plane"](), MODELS["latents"]()
    with refused("images", "a Dask array", "ndarray", where="bulk.encode"):
        encode(model, X)
    with refused("images", "(n, 8, 8)", "(50, 64)"):
        encode(model, da.from_array(X.reshape(50, 64)))
    with refused("", "a Zarr array, or a group", where=f"bulk.encode_zarr {tmp_path / 'none.zarr'}"):
        encode_zarr(model, tmp_path / "none.zarr", tmp_path / "out.zarr")
    encode_zarr(model, images, tmp_path / "codes.zarr")
    with refused("", "of this model", "another model"):
        other = VQVAE.conv((8, 8), num_embeddings=300, rng=1, **CONV)
        decode_zarr(other, tmp_path / "codes.zarr", tmp_path / "out.zarr")
    with refused("", "named latents", "codes"):
        decode_zarr(latents, tmp_path / "codes.zarr", tmp_path / "out.zarr")
    with refused("images", "finite", "(20, 0, 0)", where="bulk.encode", error=NonFiniteError):
        bad = X.copy()
        bad[20] = np.nan
        encode(model, da.from_array(bad, chunks=(9, 8, 8))).compute(scheduler="synchronous")


def test_without_the_extra_a_sentence_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dask.array", None)
    with refused("", "pip install 'vqnp[dask]'", where="bulk.encode"):
        encode(MODELS["a plane"](), X)
    with refused("", "the extra dask"):
        extra.package("no_such_package", "bulk.encode")


def test_the_commands(images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = MODELS["a plane"]()
    save("model.npz", model)
    assert main(["encode", "model.npz", "--data", "images.zarr", "--out", "codes.zarr"]) == 0
    assert main(["encode", "model.npz", "--data", "images.zarr", "--out", "codes.zarr", "--force"]) == 0
    assert main(["decode", "model.npz", "codes.zarr", "--out", "again.zarr"]) == 0
    assert np.array_equal(zarr.open("again.zarr", mode="r")["images"][:], model.reconstruct(X))
    capsys.readouterr()
    words = ["encode", "model.npz", "--data", "images.zarr", "--out"]
    assert refused_command(capsys, *words, "codes.npz").startswith("--out must end in .zarr")
    assert refused_command(capsys, *words, "codes.zarr").startswith("--out must be a new path")
    os.mkdir("mine.zarr")
    assert refused_command(capsys, *words, "mine.zarr", "--force").startswith("--out must be a Zarr folder")
    sentence = refused_command(capsys, "encode", "model.npz", "--data", "digits", "--scheduler", "tcp://x:1")
    assert sentence.startswith("--scheduler must be given only with files that end in .zarr")


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_the_codes_are_complete(tmp_path):
    """Two workers in processes of their own; one is killed while both compute."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    model = MODELS["a plane"]()

    def slowly(x):  # local, so that it is sent by value: the workers cannot import this file
        time.sleep(0.05)
        return x

    slow = da.from_array(np.tile(X, (4, 1, 1)), chunks=(10, 8, 8)).map_blocks(slowly)
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 60}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        codes = encode(model, slow)
        future = client.compute(codes)
        time.sleep(0.2)
        os.kill(cluster.workers[0].pid, signal.SIGKILL)
        found = future.result(timeout=120)
    assert np.array_equal(found, np.tile(model.encode(X), (4, 1, 1)))
