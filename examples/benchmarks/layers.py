"""The contenders of quantizers.py: quantizers of vqnp and of vector-quantize-pytorch with the same settings.

z, dz_q: (N, D) -> a call that returns {"z_q": (N, D), "k": (N,) or (N, n), ...}. A process imports only what
its contender needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vqnp import nn, ops

Array = np.ndarray[Any, Any]
Answer = dict[str, Array]

BETA, DECAY, EPSILON = 0.25, 0.99, 1e-5
TEMPERATURE = 1.0
"""Of the lookup-free entropies. At a lower one the clamp in the other library's logarithm changes them."""


class Task(NamedTuple):
    """A quantizer, whether it is trained, and its sizes: D, K codes, n codes for each vector."""

    quantizer: str
    training: bool
    D: int
    K: int
    n: int = 1
    levels: tuple[int, ...] = ()


KINDS: dict[str, dict[str, Any]] = {
    "finite scalar": {"D": 4, "K": 875, "levels": (7, 5, 5, 5)},  # with even ones the libraries differ
    "lookup-free": {"D": 7, "K": 128},
    "residual": {"D": 16, "K": 128, "n": 4},
    "cosine": {"D": 16, "K": 128},
    "SimVQ": {"D": 16, "K": 128},
}
TASKS = [Task(name, training, **sizes) for training in (False, True) for name, sizes in KINDS.items()]


def data(task: Task, N: int) -> tuple[Array, Array, Array]:
    """Standard normal z and dz_q: (N, D); codebooks for the residuals of such z: (n, K, D)."""
    rng = np.random.default_rng(0)
    z, dz_q = rng.standard_normal((2, N, task.D), dtype=np.float32)
    E = rng.standard_normal((task.n, task.K, task.D), dtype=np.float32)
    return z, dz_q, E * (0.7 ** np.arange(task.n, dtype=np.float32))[:, None, None]


# vqnp.


def layer(task: Task) -> Any:
    """vqnp's quantizer with the codebooks of `data`."""
    E = data(task, 0)[2]
    options: dict[str, Any] = {"commitment_cost": BETA}
    ema = options | {"decay": DECAY, "codebook_init": "normal"}
    match task.quantizer:
        case "finite scalar":
            return nn.FiniteScalarQuantizer(task.levels)
        case "lookup-free":
            return nn.LookupFreeQuantizer(task.D, entropy_temperature=TEMPERATURE, **options)
        case "residual":
            ema |= {"epsilon": EPSILON, "restart_dead_codes": 0.0}
            q: Any = nn.ResidualVectorQuantizer(task.n, task.K, task.D, **ema)
            for book, e in zip(q.books, E, strict=True):
                book._set_codebook(e)
            return q
        case "cosine":
            q = nn.EMACosineVectorQuantizer(task.K, task.D, **ema)
            q._set_codebook(E[0])
            return q
    q = nn.SimVQ(task.K, task.D, **options)
    q.C = E[0]
    return q


def by_vqnp(task: Task, z: Array, dz_q: Array) -> Callable[[], Answer]:
    """forward; in training also backward and, with averages, their update."""
    q, rng = layer(task), np.random.default_rng(0)

    def infer() -> Answer:
        if task.quantizer == "lookup-free":  # without the losses, as the other has it
            return dict(zip(("z_q", "commitment", "k"), ops.lookup_free_forward(z)[:3], strict=True))
        z_q, *_, k, _ = q.forward(z)
        return {"z_q": z_q, "k": k}

    def step() -> Answer:
        q.zero_grad()
        z_q, *losses, k, cache = q.forward(z, rng)
        answer = {"z_q": z_q, "k": k, "dz": q.backward(dz_q, cache), "loss": np.asarray(sum(losses))}
        q.after_step(z, k, rng)
        return answer | {"codebook": q.embeddings} if task.quantizer in ("residual", "cosine") else answer

    return step if task.training else infer


# vector-quantize-pytorch.


def their_layer(task: Task) -> Any:
    """vector-quantize-pytorch's quantizer with the codebooks of `data`, averages as vqnp starts them."""
    import torch
    import vector_quantize_pytorch as vq

    E = torch.from_numpy(data(task, 0)[2])
    options: dict[str, Any] = {
        "decay": DECAY, "eps": EPSILON, "commitment_weight": BETA, "kmeans_init": False, "ema_update": True,
        "threshold_ema_dead_code": 0, "rotation_trick": False,
    }  # fmt: skip
    match task.quantizer:
        case "finite scalar":
            return vq.FSQ(list(task.levels))
        case "lookup-free":
            return vq.LFQ(dim=task.D, codebook_size=task.K, commitment_loss_weight=BETA)
        case "SimVQ":
            q: Any = vq.SimVQ(task.D, task.K, rotation_trick=False, input_to_quantize_commit_loss_weight=BETA)
            q.frozen_codebook.copy_(E[0])
            with torch.no_grad():
                q.code_transform.weight.copy_(torch.eye(task.D))
            return q
        case "residual":
            q = vq.ResidualVQ(dim=task.D, num_quantizers=task.n, codebook_size=task.K, **options)
        case "cosine":
            q = vq.VectorQuantize(dim=task.D, codebook_size=task.K, use_cosine_sim=True, **options)
            E = torch.nn.functional.normalize(E, dim=-1)
    for each, e in zip(getattr(q, "layers", [q]), E, strict=True):
        each._codebook.embed.copy_(e[None])
        each._codebook.embed_avg.copy_(e[None])
        each._codebook.cluster_size.fill_(1)
        each._codebook.initted.fill_(True)
    return q


def by_vq_pytorch(task: Task, z: Array, dz_q: Array) -> Callable[[], Answer]:
    """forward; in training also backward, through z_q and the loss; its averages are updated in forward."""
    import torch

    q = their_layer(task).train(task.training)
    x = torch.from_numpy(z)[None].requires_grad_(task.training)
    g = torch.from_numpy(dz_q)[None]
    arguments = {"inv_temperature": 1 / TEMPERATURE} if task.quantizer == "lookup-free" else {}

    def infer() -> Answer:
        with torch.no_grad():
            z_q, k, *_ = q(x, **arguments)
        return {"z_q": z_q[0].numpy(), "k": k[0].numpy()}

    def step() -> Answer:
        q.zero_grad()
        x.grad = None
        z_q, k, *losses = q(x, **arguments)
        total, loss = (z_q * g).sum(), sum((each.sum() for each in losses), torch.zeros(()))
        (total + loss).backward()
        answer = {"z_q": z_q[0].detach().numpy(), "k": k[0].numpy(), "dz": x.grad[0].numpy()}
        answer["loss"] = np.asarray(float(loss.detach()))
        layers = [each for each in getattr(q, "layers", [q]) if hasattr(each, "_codebook")]
        books = [each._codebook.embed[0].numpy().copy() for each in layers]
        return answer | {"codebook": np.stack(books)} if books else answer

    return step if task.training else infer
