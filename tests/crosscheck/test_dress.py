"""Layers in unusual dress, drawn by hypothesis: a right one raises no alarm, a planted bug is named.

The dress: how z comes in and goes out, what is returned and how it is wrapped, the dtype, where arrays are
kept, which rule restarts codes, a weight on the whole loss. VQNP_DRESSED=N draws N layers of each kind
(default 6). Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1 that is a failure.
"""

import os
from collections import namedtuple
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from vqnp.crosscheck import VARIANTS, check

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")

from vqnp.crosscheck.adapters.layouts import layouts  # noqa: E402
from vqnp.crosscheck.adapters.torch_module import TorchModule  # noqa: E402

from .layers_torch import rows  # noqa: E402

F = torch.nn.functional
DRESSED = int(os.environ.get("VQNP_DRESSED", 6))

LAYOUTS = (
    *("(N, D)", "(1, N, D)", "(1, D, N)", "(1, D, N, 1)", "(1, N, 1, D)", "(N, 1, D)", "(1, D, 1, N, 1)"),
    *("(1, D, N, 1) -> (1, N, D)", "(N, D) -> (1, D, N)"),
)
Out = namedtuple("Out", ["quantized", "info"])
FORMS = {
    "tuple": lambda o: (o.z_q, o.k, o.L),
    "loss first": lambda o: (o.L, o.z_q, o.k),
    "dict": lambda o: {"loss": o.L, "quantized": o.z_q, "indices": o.k, "distances": o.d},
    "nested tuple": lambda o: (o.z_q, (o.k, o.L)),
    "dict in a tuple": lambda o: (o.z_q, {"codes": o.k, "loss": o.L}),
    "named tuple": lambda o: Out(o.z_q, {"encoding_indices": o.k, "vq_loss": o.L}),
    "two terms": lambda o: {
        "z_q": o.z_q, "k": o.k, "commitment_loss": o.commitment, "codebook_loss": o.codebook,
    },
    "one-hot": lambda o: (o.z_q, o.L, F.one_hot(o.k, o.K).to(o.z_q.dtype)),
    "one-hot, K first": lambda o: (o.z_q, o.L, F.one_hot(o.k, o.K).T[None, :, :, None].contiguous()),
    "codes as a column": lambda o: (o.z_q, o.k[:, None], o.L.reshape(1)),
    "int32": lambda o: (o.z_q, o.k.int(), o.L),
    "perplexity too": lambda o: (o.L, o.z_q, o.perplexity, o.one_hot, o.k),
    "no codes": lambda o: (o.z_q, o.L),
}  # fmt: skip


def noise(z, n):
    x = rows(z, n)
    return x * (1 + 0.01 * torch.randn_like(x))


RESTARTS = {"none": None, "rows": rows, "near rows": noise}
WRAPS = {
    "bare": lambda module: module,
    "sequential": lambda module: torch.nn.Sequential(module),
    "inner": lambda module: Inner(module),
}


class Inner(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.quantizer = module

    def forward(self, *given, **more):
        return self.quantizer(*given, **more)


class Dressed(torch.nn.Module):
    """Either kind of codebook, with dress and perhaps a bug."""

    def __init__(self, K, D, dress, bug):
        super().__init__()
        self.dress, self.bug = dress, bug
        if dress["ema"]:
            self.register_buffer("embed", torch.randn(K, D))
            count = 0.0 if bug == "zero_counts" else 1.0
            self.register_buffer("cluster_size", torch.full((K,), count))
            self.register_buffer("embed_avg", self.embed.clone())
        else:
            self.embed = torch.nn.Parameter(torch.randn(K, D))

    def forward(self, given):
        dress, bug, E = self.dress, self.bug, self.embed
        into, out = layouts("", dress["layout"])
        K, D = E.shape
        z = into.back(given, given.numel() // D, D)
        d = ((z[:, None] - E) ** 2).sum(-1)
        k = (-d if bug == "farthest" else d).argmin(1)
        if dress["ema"] and self.training and bug == "after":
            self.train_on(z.detach(), k)
        e = E[k]
        z_q = z + (e - z).detach()
        of = z_q if bug == "late" else e
        c, b = F.mse_loss(z, of.detach()), F.mse_loss(of, z.detach())
        p, q = (1.0, dress["beta"]) if bug == "swapped" else (dress["beta"], 1.0)
        s = 1.0 if dress["ema"] or bug == "swapped" else dress["scale"]
        mean = z.numel() if bug == "sum" else 1.0
        if dress["ema"]:
            p, q = dress["beta"], 0.0
        if bug == "leak":
            z_q = z + (e - z.detach())
        if bug == "stopped":
            z_q = e.detach()
        if dress["ema"] and self.training and bug != "after":
            self.train_on(z.detach(), k)
        share = torch.bincount(k, minlength=K).to(z.dtype) / len(k)
        o = SimpleNamespace(
            k=k, d=d, K=K, L=s * mean * (p * c + q * b), z_q=out.into(z_q), commitment=s * mean * p * c,
            codebook=s * mean * q * b, one_hot=F.one_hot(k, K).to(z.dtype),
            perplexity=torch.exp(-torch.xlogy(share, share).sum()),
        )  # fmt: skip
        return FORMS[dress["form"]](o)

    @torch.no_grad()
    def train_on(self, z, k):
        decay, N, m = self.dress["decay"], self.cluster_size, self.embed_avg
        onehot = F.one_hot(k, len(N)).to(z.dtype)
        N.mul_(decay).add_(onehot.sum(0), alpha=1 - decay)
        m.mul_(decay).add_(onehot.T @ z, alpha=1 - decay)
        smooth = (N + 1e-5) / (N.sum() + len(N) * 1e-5) * N.sum()
        if self.bug == "write_back":
            N.copy_(smooth)
        self.embed.copy_(m / smooth[:, None])
        restart = RESTARTS[self.dress["restart"]]
        dead = N < self.dress["threshold"]
        if restart and dead.any():
            x = restart(z, int(dead.sum()))
            self.embed[dead] = x
            if self.bug != "undone":
                N[dead], m[dead] = 1.0, x


BUGS = {  # bug: (dimension, variant), of a codebook by gradient, of averages
    "swapped": ("beta_on", "codebook", True, False),
    "late": ("loss_from", "straight_through", True, False),
    "leak": ("leak", "yes", True, False),
    "stopped": ("straight_through", "none", True, True),
    "sum": ("reduction", "sum", True, True),
    "farthest": ("distance", "other", True, True),
    "after": ("codes", "after", False, True),
    "zero_counts": ("start", "zero_counts", False, True),
    "write_back": ("write_back", "yes", False, True),
    "undone": ("dead_codes", "undone", False, True),
}
DRESS = st.fixed_dictionaries(
    {
        "ema": st.booleans(),
        "layout": st.sampled_from(LAYOUTS),
        "form": st.sampled_from(sorted(FORMS)),
        "dtype": st.sampled_from(["float64", "float64", "float32", "bfloat16", "float16"]),
        "wrap": st.sampled_from(sorted(WRAPS)),
        "restart": st.sampled_from(sorted(RESTARTS)),
        "threshold": st.sampled_from([0.3, 0.6]),
        "scale": st.sampled_from([1.0, 0.5, 3.0, 10.0]),
        "beta": st.floats(0.05, 0.45) | st.sampled_from([0.25, 0.7]),
        "decay": st.sampled_from([0.9, 0.95, 0.99]),
        "seed": st.integers(0, 999),
    }
).filter(lambda dress: abs(dress["scale"] * dress["beta"] - 1) > 0.05)  # 3 · (c/3 + b) is c + 3b: swapped?


def ask(dress, bug=None):
    if dress["ema"] and dress["form"] == "two terms":
        dress = dress | {"form": "dict"}  # there is one term
    wrap = WRAPS[dress["wrap"]]
    adapter = TorchModule(
        lambda K, D: wrap(Dressed(K, D, dress, bug)), layout=dress["layout"], dtype=dress["dtype"]
    )
    return check(adapter, seed=dress["seed"])


dressed = settings(
    max_examples=DRESSED, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None,
    phases=[Phase.explicit, Phase.generate],  # a layer takes a second: a failure is not made smaller
)  # fmt: skip
RIGHT = {
    "distance": ("exact", "direct_float32", "half", None), "ties": ("lowest", None),
    "reduction": ("mean", None), "loss_from": ("codes", None), "straight_through": ("copy", None),
    "leak": ("no", None), "codes": ("before",), "evaluation_loss": ("same",), "start": ("consistent", None),
    "zero_debias": ("no", None), "write_back": ("no", None), "smoothing": ("laplace", None),
    "perplexity": ("exact", None), "dead_codes": ("never", "restart", None),
    "codebook_init": ("normal", None), "kmeans_start": ("unused", None),
}  # fmt: skip


@dressed
@given(DRESS)
def test_a_right_layer_raises_no_alarm(dress):
    report = ask(dress)
    assert report.ok and not report.faults and not report.advice(), report
    beta_on = ("none" if dress["ema"] else "commitment", None)
    for dimension, variant in report.fingerprint.items():
        allowed = beta_on if dimension == "beta_on" else RIGHT[dimension]
        assert variant in allowed, f"{dimension}: {VARIANTS[dimension][variant].label}\n{report}"
    told, rel = report.constants, {"float64": 1e-4, "float32": 1e-2}.get(dress["dtype"], 0.1)
    assert told["beta"] == pytest.approx(dress["beta"], rel=rel)
    assert told["decay"] is None or told["decay"] == pytest.approx(dress["decay"], rel=1e-3)
    if not dress["ema"]:
        assert told.get("scale", 1.0) == pytest.approx(dress["scale"], rel=rel)


@dressed
@given(DRESS, st.sampled_from(sorted(BUGS)))
def test_a_planted_bug_is_named(dress, bug):
    dimension, variant, by_gradient, by_averages = BUGS[bug]
    ema = dress["ema"] if by_gradient and by_averages else by_averages
    dress = dress | {"ema": ema, "layout": "(N, D)" if bug == "farthest" else dress["layout"]}
    if bug in ("write_back", "zero_counts", "undone"):  # which float32 hides, or half precision
        dress["dtype"] = "float64"
    if bug == "undone":
        dress["restart"] = "near rows" if dress["restart"] == "none" else dress["restart"]
    elif bug in ("write_back", "zero_counts"):
        dress["restart"] = "none"
    if bug == "after" and dress["dtype"] in ("float16", "bfloat16"):
        dress["dtype"] = "float32"
    if bug == "farthest":
        dress["form"] = "tuple"
    report = ask(dress, bug)
    assert report.fingerprint[dimension] == variant and not report.ok, report
    for other, found in report.fingerprint.items():
        hidden = other == dimension or other == "beta_on" or (bug, other) == ("farthest", "ties")
        assert hidden or found in RIGHT[other], f"{other}: {found}\n{report}"
