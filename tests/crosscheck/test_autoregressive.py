"""PyTorch and JAX models as people write them, right ones and wrong ones, asked through the adapters.

Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import os

import numpy as np
import pytest

from vqnp.crosscheck import check_autoregressive

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")

from vqnp.crosscheck import TorchLogits  # noqa: E402

torch.set_num_threads(1)  # the models are small, and threads that wait for a core of their own are slow
nn, F = torch.nn, torch.nn.functional
K, M = 9, 10


class GPT(nn.Module):
    """Tokens are the codes, a start token K and, before it, classes; positions are learned or rotary."""

    def __init__(self, bug=None, *, classes=0, rotary=False, layers=2, C=16, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.bug, self.classes, self.rotary, self.C = bug, classes, rotary, C
        self.tokens = nn.Embedding(K + 1 + classes, C)
        self.positions = nn.Embedding(M + 2, C)
        self.drop = nn.Dropout(0.2)
        shape = (M + bool(classes), C) if bug == "norm" else (C,)
        kind = nn.BatchNorm1d if bug == "batch norm" else nn.LayerNorm
        self.norms = nn.ModuleList([kind(C if bug == "batch norm" else shape) for _ in range(2 * layers)])
        self.qkv = nn.ModuleList([nn.Linear(C, 3 * C) for _ in range(layers)])
        self.out = nn.ModuleList([nn.Linear(C, C) for _ in range(layers)])
        self.mlp = nn.ModuleList(
            [nn.Sequential(nn.Linear(C, 2 * C), nn.GELU(), nn.Linear(2 * C, C)) for _ in range(layers)]
        )
        self.head = nn.Linear(C, K + 1 if bug == "ids" else K)
        self.train(bug in ("dropout", "batch norm"))
        if bug == "batch norm":
            self.drop.eval()

    def forward(self, codes, label=0, first=None):
        codes = codes.reshape(len(codes), -1)
        start = torch.full_like(codes[:, :1], 0 if self.bug == "start" else K)
        start = start if first is None else first[:, None]
        k = codes if self.bug == "no shift" else torch.cat([start, codes[:, :-1]], dim=1)
        if self.classes:
            k = torch.cat([torch.full_like(start, K + 1 + label), k], dim=1)
        a, _ = self.run(k, [None] * len(self.qkv), 0)
        a = a[:, bool(self.classes) :]
        return (a, None) if self.bug is None else a

    def norm(self, n, x):
        return self.norms[n](x.mT).mT if self.bug == "batch norm" else self.norms[n](x)

    def run(self, k, past, length):
        x, T = self.tokens(k), k.shape[1]
        at = torch.arange(T) + (0 if self.bug == "restart" else length)
        x = self.drop(x if self.rotary else x + self.positions(at))
        kept = []
        for n, (qkv, out, mlp) in enumerate(zip(self.qkv, self.out, self.mlp, strict=True)):
            q, key, v = qkv(self.norm(2 * n, x)).chunk(3, dim=-1)
            if self.rotary:
                q, key = (self.turn(a, at) for a in (q, key))
            if past[n] is not None:
                key, v = torch.cat([past[n][0], key], dim=1), torch.cat([past[n][1], v], dim=1)
            kept.append((key, v))
            S = key.shape[1]
            if self.bug == "sdpa":  # aligned at the upper left where T < S
                y = F.scaled_dot_product_attention(q, key, v, is_causal=True)
            elif self.bug == "skipped" and length:
                y = F.scaled_dot_product_attention(q, key, v)
            else:
                mask = torch.ones(T, S, dtype=torch.bool).tril(S - T + 2 * (self.bug == "diagonal"))
                y = F.scaled_dot_product_attention(q, key, v, attn_mask=mask)
            x = x + self.drop(out(y))
            x = x + mlp(self.norm(2 * n + 1, x))
        return self.head(x), kept

    def turn(self, x, at):
        angle = at[:, None] * 10.0 ** -torch.arange(self.C // 2)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)

    # With a cache: (its keys and values, their number).

    def begin(self, B):
        k = torch.full((B, 1), 0 if self.bug == "start" else K)
        a, past = self.run(k, [None] * len(self.qkv), 0)
        return (past, 1), a[:, -1]

    def extend(self, state, codes):
        a, past = self.run(codes, *state)
        return a, (past, state[1] + codes.shape[1])


RIGHT = {"repeat": "deterministic", "batch": "independent", "order": "causal", "field": "complete"}


def cached(model):
    model = model.double()
    return TorchLogits(model.begin), TorchLogits(model.extend)


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gpt_conforms(rotary, dtype):
    model = GPT(rotary=rotary)
    report = check_autoregressive(
        TorchLogits(model, dtype=dtype), M, K, cached=cached(GPT(rotary=rotary)),
        starting_with=TorchLogits(lambda codes, first: model.double()(codes, first=first)),
        probabilities=TorchLogits(lambda a: a.softmax(dim=-1)),
    )  # fmt: skip
    rest = {"start": "own", "cache": "agrees", "sampling": "softmax"}
    assert report.fingerprint == RIGHT | rest and report.ok, report
    assert report.dtype == dtype and report.name == "GPT"


def test_a_module_is_wrapped_and_left_as_it_is():
    model = GPT("ids", classes=3)
    before = {name: a.clone() for name, a in model.state_dict().items()}
    report = check_autoregressive(model, M, K)
    assert report.ok and report.dtype == "float64" and "1 logit for ids that are no code" in report.notes[0]
    assert all(torch.equal(a, before[name]) for name, a in model.state_dict().items())
    for label in range(3):
        assert check_autoregressive(TorchLogits(lambda k, y=label: model(k, y)), M, K).ok


GPTS = {
    "no shift": ("order", "no_shift"),
    "norm": ("order", "norm_over_positions"),
    "batch norm": ("order", "batch_norm"),
    "diagonal": ("order", "mask_off"),
    "dropout": ("repeat", "random"),
    "start": ("start", "shared"),
    "restart": ("cache", "positions_restart"),
    "sdpa": ("cache", "mask_upper_left"),
    "skipped": ("cache", "mask_skipped"),
}


@pytest.mark.parametrize("bug", GPTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_mistake_of_a_gpt_is_named(bug, seed):
    rotary = bug == "start"
    report = check_autoregressive(
        GPT(bug, rotary=rotary, seed=seed), M, K,
        cached=cached(GPT(bug, rotary=rotary, seed=seed)) if bug not in ("norm", "batch norm") else None,
    )  # fmt: skip
    dimension, variant = GPTS[bug]
    assert report.fingerprint[dimension] == variant, report
    others = {"batch"} if bug == "batch norm" else set()
    assert not report.ok and set(report.failing) == {dimension} | others


def test_torchs_encoder_with_its_axes_exchanged():
    class Encoder(nn.Module):
        def __init__(self, batch_first):
            super().__init__()
            torch.manual_seed(0)
            self.start, self.tokens = nn.Parameter(torch.randn(16)), nn.Embedding(K, 16)
            self.positions = nn.Parameter(torch.randn(M, 16))
            self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)
            self.head, self.batch_first = nn.Linear(16, K), batch_first
            self.eval()

        def forward(self, k):
            start = self.start.expand(len(k), 1, 16)
            x = torch.cat([start, self.tokens(k[:, :-1])], dim=1) + self.positions
            T = x.shape[1 if self.batch_first else 0]
            mask = torch.full((T, T), -torch.inf, dtype=x.dtype).triu(1)
            return self.head(self.layer(x, src_mask=mask))

    assert check_autoregressive(Encoder(True), M, K).ok
    report = check_autoregressive(Encoder(False), M, K)
    assert report.fingerprint["batch"] == "axes_exchanged", report


class Masked(nn.Conv2d):
    """kind A or B of a whole kernel."""

    def __init__(self, kind, *args):
        super().__init__(*args, padding="same")
        h, w = self.kernel_size
        mask = torch.ones(h, w)
        mask[h // 2, w // 2 + (kind == "B") :] = 0
        mask[h // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding="same")


class Gated(nn.Module):
    """A gated PixelCNN of a vertical stack, shifted down by a row, and a horizontal one: (B, K, H, W)."""

    def __init__(self, bug=None, *, layers=4, C=8, label=None):
        super().__init__()
        torch.manual_seed(1)
        self.bug, self.label = bug, label
        sizes = [5] + [3] * layers
        ins = [K] + [C] * layers
        layers = list(zip(sizes, ins, strict=True))
        self.v = nn.ModuleList([nn.Conv2d(i, 2 * C, (k // 2 + 1, k)) for k, i in layers])
        self.h = nn.ModuleList([nn.Conv2d(i, 2 * C, (1, k // 2 + 1)) for k, i in layers])
        self.link = nn.ModuleList([nn.Conv2d(2 * C, 2 * C, 1) for _ in sizes])
        self.classes = nn.Embedding(4, 2 * C)
        self.norm = nn.GroupNorm(1, C) if bug == "group norm" else nn.Identity()
        self.head = nn.Conv2d(C, K, 1)

    def forward(self, codes):
        v = h = F.one_hot(codes, K).movedim(-1, 1).to(self.head.weight.dtype)
        for n, (down, right, link) in enumerate(zip(self.v, self.h, self.link, strict=True)):
            rows, half = down.kernel_size[0] - 1, down.kernel_size[1] // 2
            v = down(F.pad(v, (half, half, rows, 0)))
            above = v if self.bug == "current row" else F.pad(v, (0, 0, 1, 0))[:, :, :-1]
            columns = right.kernel_size[1] - 1
            if n == 0 and self.bug != "mask B":
                left = F.pad(h, (columns + 1, 0, 0, 0))[..., :-1]
            else:
                left = F.pad(h, (columns, 0, 0, 0))
            g = right(left) + link(above)
            if self.label is not None:
                g = g + self.classes.weight[self.label][:, None, None]
            y = self.gate(g)
            h = self.norm(y if n == 0 else h + y)
            v = self.gate(v)
        return self.head(h)

    @staticmethod
    def gate(x):
        a, b = x.chunk(2, dim=1)
        return a.tanh() * b.sigmoid()


@pytest.mark.parametrize("label", [None, 2])
def test_a_gated_pixelcnn_conforms(label):
    for dtype in ("float32", "float64"):
        report = check_autoregressive(TorchLogits(Gated(label=label), dtype=dtype), (5, 6), K)
        assert {d: report.fingerprint[d] for d in RIGHT} == RIGHT and report.ok, report


@pytest.mark.parametrize(
    ("bug", "order"),
    [("mask B", "mask_b_first"), ("current row", "current_row"), ("group norm", "norm_over_positions")],
)
def test_each_mistake_of_a_gated_pixelcnn_is_named(bug, order):
    report = check_autoregressive(Gated(bug), (5, 6), K)
    assert report.fingerprint["order"] == order and report.fingerprint["field"] == "complete", report


@pytest.mark.parametrize("first", ["A", "B"])
def test_a_single_stack_has_a_blind_spot(first):
    torch.manual_seed(0)
    layers = [Masked(first, K, 8, 7), nn.ReLU(), Masked("B", 8, 8, 3), nn.ReLU(), Masked("B", 8, K, 3)]
    net = nn.Sequential(*layers).double()

    def logits(codes):
        return net(F.one_hot(codes, K).movedim(-1, 1).double())

    report = check_autoregressive(TorchLogits(logits), (7, 7), K)
    assert report.fingerprint["field"] == "blind_spot"
    assert report.fingerprint["order"] == ("causal" if first == "A" else "mask_b_first")
    if first == "A":
        assert round(100 * report.influence.unseen.sum() / report.influence.before.sum(), 1) == 11.6


def test_a_jax_function():
    jax = pytest.importorskip("jax", reason="JAX is not installed (the crosscheck extra)")
    from vqnp.crosscheck import JaxLogits

    r = np.random.default_rng(0)
    shapes = (K, 8), (M, 8), (8, K), (8,)
    E, P, W, start = (jax.numpy.asarray(r.standard_normal(s), np.float32) for s in shapes)

    def model(diagonal):
        @jax.jit
        def logits(codes):
            x = jax.numpy.concatenate([jax.numpy.tile(start, (len(codes), 1, 1)), E[codes[:, :-1]]], axis=1)
            s = jax.numpy.einsum("btc,bsc->bts", x + P, x + P) / 8
            s = jax.numpy.where(jax.numpy.tri(M, k=diagonal), s, -jax.numpy.inf)
            return (x + jax.nn.softmax(s, axis=-1) @ x) @ W

        return JaxLogits(logits)

    report = check_autoregressive(model(0), M, K)
    assert report.ok and report.dtype == "float32", report
    assert check_autoregressive(model(1), M, K).fingerprint["order"] == "mask_off"
