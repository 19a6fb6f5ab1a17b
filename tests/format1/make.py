"""Run folders that version 0.1 wrote, and what it made of them: the files beside this one.

    git worktree add OLD 6016855
    PYTHONPATH=OLD python tests/format1/make.py [FOLDER]     # default: beside this file

6016855 is the last commit of version 0.1. The tests read the files only. Four small runs of `vqnp train`,
each stopped by Ctrl-C after a given step, so that the checkpoint holds the state of the optimizer and of
the trainer. In each folder:

    config.json, checkpoint.npz, metrics.csv    the run when it was stopped; config.json names images.npy
                                                without its folder
    codes.npz                                   vqnp encode (of a VAE and an autoencoder: latents)
    images.npy                                  vqnp decode
    weights.npz                                 vqnp export
    final.npz, final.csv                        parameters and metrics.csv after vqnp train --resume

machine.txt says on which kind of machine: on the same kind, version 0.2 gives the same bits.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
COMMON = ["--epochs", "4", "--batch-size", "16", "--lr", "0.002", "--hidden", "8", "--quiet"]
CODES = ["--num-latents", "4", "--embedding-dim", "4", "--num-embeddings", "8"]
VQVAE = [*COMMON, *CODES, "--decay", "0.6", "--restart-dead-codes", "0.6"]
LATENT = [*COMMON, "--latent-dim", "5"]
GAUSSIAN = ["--model", "vae", "--likelihood", "gaussian", "--noise-std", "0.3", "--kl-warmup", "7"]
RUNS = {
    "ema": (6, VQVAE),
    "gradient": (4, [*VQVAE, "--codebook", "gradient"]),
    "vae": (6, [*LATENT, *GAUSSIAN]),
    "autoencoder": (6, [*LATENT, "--model", "autoencoder"]),
}
"""After which step each run was stopped (an epoch has four), and its options."""


def machine() -> str:
    """A digest of what decides how float32 arithmetic rounds: processor, NumPy, Numba, matrix products."""
    import llvmlite.binding
    import numba

    r = np.random.default_rng(0)
    sizes = ((16, 49, 8), (16, 8, 49), (8, 16, 49), (49, 16, 8), (128, 49, 8), (15, 8, 16))
    products = [
        r.standard_normal((m, k), np.float32) @ r.standard_normal((k, n), np.float32) for m, k, n in sizes
    ]
    about = [platform.machine(), llvmlite.binding.get_host_cpu_name(), np.__version__, numba.__version__]
    digest = hashlib.sha256(repr(about).encode())
    for product in (*products, np.exp(products[0])):
        digest.update(product.tobytes())
    return digest.hexdigest()


def stop_after(step: int) -> None:
    """Press Ctrl-C, as it were, once training has made so many steps."""
    from vqnp.trainer import Trainer

    train_step = Trainer.train_step

    def with_signal(self: Trainer) -> None:
        train_step(self)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    Trainer.train_step = with_signal


def make(folder: Path, images: Path, step: int, options: list[str]) -> None:
    """One run, in a folder that does not exist yet."""
    from vqnp.cli import main
    from vqnp.trainer import Trainer

    def vqnp(*args: object, status: int = 0) -> None:
        assert main([str(a) for a in args]) == status

    train_step = Trainer.train_step
    stop_after(step)
    vqnp("train", "--data", images, "--out", folder, *options, status=130)
    Trainer.train_step = train_step
    vqnp("encode", folder, "--data", images, "--out", folder / "codes.npz")
    vqnp("decode", folder, folder / "codes.npz", "--out", folder / "images.npy")
    vqnp("export", folder, "--out", folder / "weights.npz")
    with tempfile.TemporaryDirectory() as temporary:
        final = Path(temporary, "run")
        shutil.copytree(folder, final)
        vqnp("train", "--out", final, "--resume", "--quiet")
        with np.load(final / "checkpoint.npz") as arrays:
            model = {n.removeprefix("model."): arrays[n] for n in arrays if n.startswith("model.")}
        np.savez_compressed(folder / "final.npz", **model)
        shutil.copy(final / "metrics.csv", folder / "final.csv")
    config = json.loads((folder / "config.json").read_text())
    config["data"] = images.name
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_all(out: Path) -> None:
    """Every file of this folder but this script and the test."""
    from vqnp import checkpoint, load_dataset

    assert checkpoint.FORMAT_VERSION == 1, "this is not version 0.1"
    images = out / "images.npy"
    np.save(images, load_dataset("digits").images[:70, ::4, ::4])
    for name, (step, options) in RUNS.items():
        make(out / name, images, step, options)
    (out / "machine.txt").write_text(machine() + "\n")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
