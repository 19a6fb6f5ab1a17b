"""The options of vqnp train by table: the model, its networks, its levels, its latent, its training."""

import argparse
from collections.abc import Iterator
from typing import Any

from vqnp.cli import quantizers
from vqnp.cli.options import SOURCE, Option, option

Table = dict[str, tuple[type | tuple[str, ...], str, str]]
"""By the name of Python's argument: the type and the metavar of a number, list for several integers,
bool for a flag, or the choices and ""; the help."""

MODEL_OPTIONS: Table = {
    "embedding_dim": (list, "D", "dimensions of a latent and of a code (default: 16; conv: 8)"),
    "num_embeddings": (list, "K", "codes in the codebook (default: 128; hierarchical: 128 32)"),
    "commitment_cost": (float, "BETA", "weight of the commitment loss (default: 0.25)"),
    "decay": (float, "GAMMA", "weight of the old average in an EMA update (default: 0.99)"),
    "epsilon": (float, "EPS", "constant of the Laplace smoothing of EMA cluster sizes (default: 1e-05)"),
    "restart_dead_codes": (
        float, "SHARE",
        "restart codes used less than this share of uniform use; 0: never (default: 0.05; conv: 0.2)",
    ),
    "codebook": (("ema", "gradient"), "", "how the codebook is trained (default: ema)"),
    "codebook_init": (
        ("uniform", "normal", "scaled_uniform", "data", "kmeans"), "",
        "how the codebook is initialized: from a distribution, from random latents of the images, or from "
        "their k-means (default: data)",
    ),
    "estimator": (
        ("straight_through", "rotation"), "",
        "how the decoder's gradient reaches the encoder: copied, or by the rotation trick "
        "(default: straight_through)",
    ),
}
MLP_OPTIONS: Table = {
    "num_latents": (int, "M", "latents, and therefore codes, per image (default: 16)"),
    "activation": (
        ("relu", "gelu", "tanh", "sigmoid", "silu", "leaky_relu"), "",
        "function between layers (default: relu)",
    ),
}
CONV_OPTIONS: Table = {
    "channels": (
        int, "H",
        "channels of the convolutions, half as many next to the image (default: 64; hierarchical: 32)",
    ),
    "residual_channels": (int, "R", "channels within a residual block (default: 32; hierarchical: 16)"),
    "residual_blocks": (int, "N", "residual blocks in the encoder and in the decoder (default: 2)"),
    "downsampling": (
        list, "N",
        "how often the convolutions halve each axis of an image; of a hierarchy for each level, the top "
        "first (default: 2; hierarchical: 2 1)",
    ),
    "ndim": (int, "N", "axes that are convolved (default: 1 for examples of one axis, otherwise 2)"),
}  # fmt: skip
FIELD_OPTIONS: Table = {
    "receptive_field": (
        ("wide", "patch"), "",
        "what a code of a vqvae depends on: its surroundings, or only its own patch of the image "
        "(default: wide)",
    ),
}
HIERARCHY_OPTIONS: Table = {
    "level_gradient": (
        ("straight_through", "stopped"), "",
        "whether the gradient of a level's latents passes on into the levels above "
        "(default: straight_through)",
    ),
    "level_loss": (
        float, "W", "weight of the reconstruction from each level and those above it (default: 0.0)"
    ),
}
SOUND_OPTIONS: Table = {
    "hops": (
        list, "H", "samples that a code stands for, at each level, the longest first (default: 64 16 4)"
    ),
    "spectral_weight": (
        float, "W", "weight of the spectral loss, the squared error's being 1 (default: 1.0)"
    ),
    "segment": (int, "T", "samples of a training example, cut from the recordings (default: 2048)"),
}
LATENT_OPTIONS: Table = {
    "latent_dim": (
        int, "D", "dimensions of the latent of an image; of each position, if conv (default: 256; conv: 8)"
    ),
    "likelihood": (("bernoulli", "gaussian"), "", "distribution of each pixel (default: bernoulli)"),
    "noise_std": (float, "S", "standard deviation of a pixel, if gaussian (default: 0.1)"),
    "kl_weight": (float, "W", "weight of the KL divergence; with gumbel 0.001 (default: 1.0)"),
    "kl_warmup": (int, "STEPS", "steps over which the weight grows from 0; with gumbel 1000 (default: 0)"),
}
SCHEDULE_OPTIONS: Table = {
    "epochs": (int, "N", "passes over the training images (default: 60; conv: 20)"),
    "batch_size": (int, "B", "images per step (default: 32)"),
    "lr": (float, "LR", "Adam's learning rate (default: 0.001; conv: 0.002)"),
    "lr_schedule": (("cosine", "constant"), "", "course of the learning rate (default: cosine)"),
    "seed": (int, "SEED", "seed of parameters, minibatches and restarts (default: 0)"),
    "shards": (
        int, "S",
        "parts into which a batch is cut; with mpiexec -n R, where 4 are the default, the ranks share them, "
        "and any R gives the same bits as one process with as many shards (default: 1)",
    ),
}
SCHEDULES: dict[str, dict[str, Any]] = {"mlp": {}, "conv": {"epochs": 20, "lr": 2e-3}}
SOUND_SCHEDULE: dict[str, Any] = {"epochs": 30, "batch_size": 16, "lr": 2e-3}
"""By the network: what its training has in place of Schedule's defaults, so that it ends in a few minutes."""

DATA_DEFAULTS: dict[str, dict[str, Any]] = {
    "captioned-digits": {
        "network": "conv", "channels": 32, "residual_channels": 16, "num_embeddings": 256, "epochs": 10,
    },
    "emoji": {"network": "conv", "num_embeddings": 512, "epochs": 20},
}  # fmt: skip
"""By the data's name: what its training has in place of the defaults above, for a model that has it."""

FLAGS = {"kind": "--model", "network": "--network", "quantizer": "--quantizer"}

NETWORK_OPTIONS = (
    *MODEL_OPTIONS, *MLP_OPTIONS, "hidden", *CONV_OPTIONS, *FIELD_OPTIONS,
    *HIERARCHY_OPTIONS, *SOUND_OPTIONS, *quantizers.OPTIONS, *LATENT_OPTIONS,
)  # fmt: skip
"""Every option that is an argument of a constructor, such as VQVAE.mlp, or of a quantizer."""


def flag_of(name: str) -> str:
    """The option of a Python argument: --num-latents of num_latents."""
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


FLAG_OF = {name: flag_of(name) for name in (*NETWORK_OPTIONS, *SCHEDULE_OPTIONS, *FLAGS)}
FLAG_OF |= {"parameters": "the model's parameters", **SOURCE}
DATA_ARGUMENTS = ("image_shape", "data", "test_data", "images", "shape")
"""What Python's functions call the data."""


def options_of(group: str, table: Table) -> Iterator[Option]:
    """The options of a table."""
    for name, (kind, metavar, help) in table.items():
        values: dict[str, Any] = {"type": kind, "metavar": metavar}
        if isinstance(kind, tuple):
            values = {"choices": kind}
        elif kind is bool:
            values = {"action": "store_true", "default": argparse.SUPPRESS}
        elif kind is list:
            values = {"type": int, "nargs": "+", "metavar": metavar}
        yield option(flag_of(name), group=group, help=help, **values)
