"""The ready adapters: what a module returns is told apart, its arrays are found, its bug is named.

Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import itertools
import os
from collections import namedtuple
from dataclasses import make_dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqnp import InputError
from vqnp.crosscheck import check
from vqnp.crosscheck.adapters.outputs import Unclear, sort_outputs

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")

from vqnp.crosscheck.adapters.torch_module import LAYOUTS, TorchModule  # noqa: E402

F = torch.nn.functional
PARTS = ("z_q", "k", "L", "one_hot", "distances")


class Layer(torch.nn.Module):
    """A classical layer that returns its parts in any order, in any of the usual wrappings."""

    def __init__(self, K, D, *, order=PARTS[:3], wrap=tuple, layout="(N, D)", beta_on="commitment"):
        super().__init__()
        self.embedding = torch.nn.Embedding(K, D)
        self.order, self.wrap, self.layout, self.beta_on = order, wrap, layout, beta_on

    def forward(self, given):
        E = self.embedding.weight
        K, D = E.shape
        z = given.reshape(D, -1).T if self.layout.startswith("(1, D") else given.reshape(-1, D)
        d = ((z[:, None] - E) ** 2).sum(-1)
        k = d.argmin(1)
        e = E[k]
        pull, follow = F.mse_loss(z, e.detach()), F.mse_loss(e, z.detach())
        z_q = LAYOUTS[self.layout](z + (e - z).detach())
        parts = {
            "z_q": z_q,
            "k": k.reshape(z_q.shape[:-1]) if self.layout in ("(N, D)", "(1, N, D)") else k,
            "L": 0.25 * pull + follow if self.beta_on == "commitment" else pull + 0.25 * follow,
            "one_hot": F.one_hot(k, K).to(z.dtype),
            "distances": d,
        }
        return self.wrap(parts[name] for name in self.order)


def nested(parts):
    first, *rest = parts
    return (first, tuple(rest))


ORDERS = [o for n in (3, 4, 5) for o in itertools.permutations(PARTS, n) if {"z_q", "k", "L"} <= set(o)]


@pytest.mark.parametrize("wrap", [tuple, list, nested])
@pytest.mark.parametrize("order", ORDERS[::7])
def test_outputs_in_any_order_are_told_by_shapes(order, wrap):
    report = check(TorchModule(lambda K, D: Layer(K, D, order=order, wrap=wrap)))
    assert report.ok, report


NAMES = {"z_q": "quantized", "k": "encoding_indices", "L": "vq_loss", "one_hot": "encodings"}
WRAPS = {
    "mapping": lambda d: dict(d),
    "named tuple": lambda d: namedtuple("Out", d)(**d),
    "dataclass": lambda d: make_dataclass("Out", d)(**d),
}


@pytest.mark.parametrize("kind", WRAPS)
def test_outputs_with_names(kind):
    order = ("L", "one_hot", "k", "z_q")
    wrap = lambda parts: WRAPS[kind]({NAMES[n]: p for n, p in zip(order, parts, strict=True)})
    report = check(TorchModule(lambda K, D: Layer(K, D, order=order, wrap=wrap)))
    assert report.ok, report


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    report = check(TorchModule(lambda K, D: Layer(K, D, layout=layout), layout=layout))
    assert report.ok, report


def test_a_module_that_is_there_is_asked_at_its_size_and_stays_as_it_was():
    layer = Layer(9, 4, beta_on="codebook")
    before = layer.embedding.weight.detach().clone()
    report = check(TorchModule(layer))
    assert report.shape == (9, 4) and report.fingerprint["beta_on"] == "codebook" and not report.ok
    assert torch.equal(layer.embedding.weight, before) and layer.embedding.weight.grad is None


class EMALayer(torch.nn.Module):
    """As in public code: the codebook (D, K), statistics in buffers, moved in forward when training."""

    def __init__(self, K, D, start="consistent"):
        super().__init__()
        E = torch.randn(D, K)
        self.register_buffer("embed", E)
        self.register_buffer("cluster_size", torch.ones(K) if start == "consistent" else torch.zeros(K))
        self.register_buffer("embed_avg", E.clone())

    def forward(self, z):
        k = ((z[:, :, None] - self.embed) ** 2).sum(1).argmin(1)
        e = self.embed.T[k]
        if self.training:
            onehot = F.one_hot(k, self.embed.shape[1]).to(z.dtype)
            self.cluster_size.mul_(0.95).add_(onehot.sum(0), alpha=0.05)
            self.embed_avg.mul_(0.95).add_(z.detach().T @ onehot, alpha=0.05)
            n = self.cluster_size.sum()
            smooth = (self.cluster_size + 1e-5) / (n + len(self.cluster_size) * 1e-5) * n
            self.embed.copy_(self.embed_avg / smooth)
        return z + (e - z).detach(), 0.5 * F.mse_loss(z, e.detach()), k


def test_moving_averages_in_buffers_and_a_transposed_codebook():
    report = check(TorchModule(EMALayer))
    assert report.ok, report
    assert report.constants == pytest.approx({"beta": 0.5, "decay": 0.95, "epsilon": 1e-5}, rel=1e-3)
    late = check(TorchModule(lambda K, D: EMALayer(K, D, "zero_counts")))
    assert late.fingerprint["start"] == "zero_counts" and not late.ok


class Counting(Layer):
    """The codebook follows by gradient; usage is counted for show, and a vector of D is no N."""

    def __init__(self, K, D):
        super().__init__(K, D)
        self.register_buffer("usage", torch.zeros(K))
        self.scale = torch.nn.Parameter(torch.ones(D))

    def forward(self, z):
        z_q, k, L = super().forward(z)
        if self.training:
            self.usage += torch.bincount(k.reshape(-1), minlength=len(self.usage))
        return z_q, k, L


class Reassigning(EMALayer):
    """Moved in forward, though it is a Parameter that asks for a gradient."""

    def __init__(self, K, D):
        super().__init__(K, D)
        E = self.embed
        del self.embed
        self.embed = torch.nn.Parameter(E)

    def forward(self, z):
        with torch.no_grad():
            z_q, _, k = super().forward(z)
        e = z_q - z.detach()
        e = (z + e).detach()
        return z + (e - z).detach(), 0.5 * F.mse_loss(z, e), k


@pytest.mark.parametrize("make", [Counting, lambda K, D: Counting(K, D), Counting(9, 4)])
def test_counts_for_show_make_no_moving_average(make):
    report = check(TorchModule(make))
    assert report.ok and not report.reference["ema"], report


def test_a_parameter_that_moves_in_forward_is_a_moving_average():
    report = check(TorchModule(Reassigning), beta=0.5)
    assert report.reference["ema"] and report.fingerprint["start"] == "consistent", report


def test_what_cannot_be_told_is_asked_for():
    class Two(Layer):
        def __init__(self, K, D):
            super().__init__(K, D)
            self.other = torch.nn.Parameter(torch.zeros(K, D))

    with pytest.raises(InputError) as caught:
        TorchModule(Two)
    assert caught.value.argument == "codebook" and "embedding.weight (7, 5)" in caught.value.got
    assert check(TorchModule(Two, codebook="embedding.weight")).ok
    for make, options, needed, got in (
        (Two, {"codebook": "E"}, "must have a parameter or buffer E", "embedding.weight (7, 5)"),
        (lambda K, D: 3, {}, "must be, or return, a torch.nn.Module", "int"),
    ):
        with pytest.raises(InputError) as caught:
            TorchModule(make, **options)
        assert caught.value.needed == needed and got in caught.value.got
    given = check(TorchModule(lambda K, D: Layer(K, D, wrap=lambda p: [*p, torch.ones(()), torch.ones(())])))
    assert any("two outputs could be perplexity" in fault for fault in given.faults), given.faults
    chosen = TorchModule(
        lambda K, D: Layer(K, D, wrap=lambda p: (*p, 1.0, 2.0)), outputs=lambda result: result[:3]
    )
    assert check(chosen).ok


def test_the_dtype_may_be_named_as_pytorch_does():
    assert check(TorchModule(Layer, dtype=torch.float32)).dtype == "float32"
    assert check(TorchModule(Layer, dtype=torch.double)).dtype == "float64"
    assert check(TorchModule(Layer, dtype=torch.bfloat16)).dtype == "bfloat16"
    for dtype in (torch.int8, "half a float", 5):
        with pytest.raises(InputError) as caught:
            TorchModule(Layer, dtype=dtype)
        assert caught.value.argument == "the adapter's dtype"


def test_a_module_that_leaves_stops_nothing():
    class Leaves(Layer):
        def forward(self, z):
            raise SystemExit(0)  # the status of a layer that conforms

    report = check(TorchModule(Leaves))
    assert not report.ok and report.faults[0].startswith("forward: raised SystemExit: 0")


@given(st.permutations(["z_q", "k", "L", "perplexity"]), st.integers(2, 5), st.integers(2, 6))
def test_a_loss_and_a_perplexity_are_told_apart_by_the_gradient(order, N, K):
    z = torch.ones(N, 3, requires_grad=True)
    parts = {"z_q": z * 2, "k": torch.zeros(N, dtype=torch.int64), "L": z.sum(), "perplexity": torch.ones(())}
    found = sort_outputs([parts[name] for name in order], z.numel(), K)
    assert all(found[name] is part for name, part in parts.items())


def test_outputs_that_are_no_answer():
    with pytest.raises(Unclear, match="no output of 12 floats, as z has: float64 \\(3,\\)"):
        sort_outputs(np.zeros(3), 12, 5)
    with pytest.raises(Unclear, match="two numbers, and no telling which is the loss"):
        sort_outputs([np.zeros((3, 4)), np.ones(()), np.ones(())], 12, 5)
