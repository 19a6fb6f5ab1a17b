"""The defaults of functions, methods and constructors up to the training: one for each argument's name.

A second place for them, and for some constants, so that none changes unnoticed. None needs no line.
"""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import vqnp

FOLDERS = ("ops", "nn", "models", "kernels", "metrics", "training", "optim", "checkpoint")
DEFAULTS = {
    "activation": "relu", "approximate": "none", "batch": "exact", "batch_entropy": "exact", "batch_size": 32,
    "beta": 0.25, "beta1": 0.9, "beta2": 0.999, "bits": 7, "channels": 64, "codebook": "ema",
    "codebook_init": "uniform", "codebook_loss": True, "commitment_cost": 0.25, "dL": 1.0, "decay": 0.99,
    "defer": False, "dilation": 1, "diversity_weight": 1.0, "downsampling": 2, "draw": "soft", "dropout": 0.0,
    "dtype": "float32", "embedding_dim": 8, "entropy_temperature": 0.1, "entropy_weight": 0.1, "epochs": 60,
    "epsilon": 1e-5, "estimator": "straight_through", "final_temperature": 0.5, "first": 0, "groups": 2,
    "hard": False, "hidden": (512,), "high": 1000.0, "hops": (64, 16, 4), "image_shape": (28, 28),
    "iterations": 10, "kl_warmup": 0, "kl_weight": 1.0, "level_gradient": "straight_through",
    "level_loss": 0.0, "levels": (8, 6, 5), "likelihood": "bernoulli", "low": 60.0, "lr": 1e-3,
    "lr_schedule": "cosine", "mu": 255.0, "multiple": 1, "ndim": 2, "need_dx": True, "noise_std": 0.1,
    "num_embeddings": 128, "num_latents": 16, "num_quantizers": 4, "output_padding": 0, "padding": 0,
    "peak": 1.0, "progress": False,
    "quantizer_dropout": 0.0, "rate": 8000, "receptive_field": "wide", "reduction": "mean",
    "relative": True, "relu": False,
    "residual_blocks": 2, "residual_channels": 32, "restart_dead_codes": 0.0, "return_rescored": False,
    "rng": 0, "scale": 1.0, "seed": 0, "segment": 2048, "shards": 1, "shared_codebook": False, "slope": 0.01,
    "smoothing": "laplace", "spectral_weight": 1.0, "spherical": False, "statistic": False, "std": 0.02,
    "step": 0, "stopped": False, "stride": 1, "t": 0, "tau": 1.0, "temperature": 4.0,
    "temperature_steps": 5000, "threshold": 0.01, "told": False, "weight_decay": 0.0, "write": False,
    "zero": False, "zero_debias": False,
}  # fmt: skip
CONV = {"codebook_init": "data", "restart_dead_codes": 0.2}
SEVERAL = CONV | {"channels": 32, "ndim": None}
SUMS = {"reduction": "mean_of_sums"}
OWN = {
    "Adam": {"epsilon": 1e-8},
    "Autoencoder.mlp": {"latent_dim": 256}, "Autoencoder.conv": {"latent_dim": 8},
    "VAE.mlp": {"latent_dim": 256}, "VAE.conv": {"latent_dim": 8},
    "VQVAE": {"likelihood": "squared_error"}, "VQVAE.conv": CONV,
    "VQVAE.mlp": {"codebook_init": "data", "restart_dead_codes": 0.05, "embedding_dim": 16},
    "HierarchicalVQVAE.conv": SEVERAL
    | {"residual_channels": 16, "downsampling": (2, 1), "num_embeddings": (128, 32)},
    "SoundVQVAE.conv": SEVERAL | {"image_shape": (4096, 1), "num_embeddings": 512},
    "Encoding": {"num_embeddings": 0},
    "GumbelQuantizer": {"kl_weight": 1e-3, "kl_warmup": 1000},
    "ResidualVectorQuantizer": {"embedding_dim": 16, "codebook_init": "data", "restart_dead_codes": 0.05},
    "gaussian_kl_forward": SUMS, "gaussian_nll_forward": SUMS | {"noise_std": 1.0},
    "categorical_kl_forward": SUMS, "logit_laplace_nll_forward": SUMS,
    "squeeze": {"epsilon": 0.1}, "unsqueeze": {"epsilon": 0.1}, "logit_laplace_median": {"epsilon": 0.1},
    "gumbel_noise": {"dtype": "float64"}, "hann": {"dtype": "float64"},
    "precision_recall": {"k": 3}, "density_coverage": {"k": 5}, "per_axis": {"low": 1},
    "fit": {"progress": True}, "resume": {"progress": True},
    **dict.fromkeys(("CodeConv.backward", "Embedding.backward", "Trainable.backward"), {"need_dx": False}),
}  # fmt: skip


def with_defaults():
    """(name, argument, default) of every function, method and constructor that has one other than None."""
    for info in pkgutil.walk_packages(vqnp.__path__, "vqnp."):
        if info.name.split(".")[1] not in FOLDERS:
            continue
        for name, found in vars(importlib.import_module(info.name)).items():
            if getattr(found, "__module__", "") != info.name or not callable(found):
                continue
            methods = vars(found).items() if inspect.isclass(found) else ()
            plain = [(f"{name}.{key}", getattr(method, "__func__", method)) for key, method in methods]
            for each, one in [(name, found), *((n, m) for n, m in plain if inspect.isfunction(m))]:
                try:
                    parameters = inspect.signature(getattr(one, "py_func", one)).parameters.values()
                except (TypeError, ValueError):
                    continue
                for p in parameters:
                    if p.default not in (p.empty, None):
                        yield each.removesuffix(".__init__").removesuffix(".__new__"), p.name, p.default


def test_every_default_is_the_one_of_its_name():
    seen = set()
    for name, argument, default in with_defaults():
        value = np.dtype(default).name if argument == "dtype" else default
        own = OWN.get(name, {})
        model = name.endswith(".backward") and hasattr(getattr(vqnp.models, name.split(".")[0], None), "kind")
        expected = False if model and argument == "need_dx" else own.get(argument, DEFAULTS.get(argument))
        if expected is not None:
            seen.add(argument)
            assert (value, type(value)) == (expected, type(expected)), (name, argument)
    assert seen >= DEFAULTS.keys()


CONSTANTS = {
    "ops.lookup_free.MOST_BITS": 24, "ops.finite_scalar.EPSILON": 1e-3, "ops.finite_scalar.MOST_LEVELS": 1000,
    "ops.finite_scalar.MOST_CODES": 2**24, "ops.bit_entropy.MOST_EXACT_BITS": 12, "ops.mu_law.MU": 255.0,
    "ops.logit_laplace.MARGIN": 0.1, "nn.module.DRAWN_BYTES": 8, "nn.module.TRAINED_BYTES": 32,
    "nn.attention.WIDER": 4, "models.sound_networks.WIDEST_STRIDE": 8, "models.sound_networks.DILATION": 3,
    "models.sound_checks.LOW": -1.0, "models.sound_checks.HIGH": 1.0, "models.sound.START_SEGMENTS": 256,
    "models.hierarchical_networks.MOST_LEVELS": 16, "models.conv.MOST_BLOCKS": 1000,
    "metrics.copying.NEAR_PERCENT": 5.0, "metrics.posterior.ACTIVE": 0.01, "metrics.likelihood.LEVELS": 256,
    "metrics.likelihood.SCALES": (0.02, 300.0), "metrics.likelihood.SEARCH_STEPS": 60,
    "metrics.diagnosis.CODES_PER_EMBEDDING": 10, "metrics.information.LARGEST_TABLE": 10**8,
    "training.trainer.START_EXAMPLES": 2048, "checkpoint.FORMAT_VERSION": 2, "_files.END_BYTES": 22,
    "_files.HEAD_BYTES": 10_012,
}  # fmt: skip
"""What decides a result or a refusal, and is no argument; not those that decide the speed alone."""


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_has_its_value(name):
    module, _, constant = name.rpartition(".")
    assert getattr(importlib.import_module(f"vqnp.{module}"), constant) == CONSTANTS[name]


@pytest.mark.parametrize("name", ["VQVAE", "VAE", "Autoencoder", "HierarchicalVQVAE"])
def test_a_model_is_of_digits_by_default(name):
    data = inspect.signature(getattr(vqnp.models, name)).parameters["data"].default
    assert (data.shape, data.low, data.high) == ((28, 28), 0, 1)
