"""Small autoregressive models as people write them, in NumPy, with any of the known mistakes planted in them.

They share nothing with vqnp. codes: (B, M) or (B, H, W) -> logits of the same shape and K
"""

import numpy as np


def softmax(a):
    p = np.exp(a - a.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def normal(x, axes=(-1,)):
    return (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + 1e-5)


class Attention:
    """A decoder with a start token; bug: one of those that its methods ask for, or None."""

    def __init__(self, shape, K, bug=None, *, positions="absolute", C=16, layers=2, seed=1, dtype=np.float64):
        r = np.random.default_rng(seed)
        self.shape, self.M, self.K, self.bug, self.layers = shape, int(np.prod(shape)), K, bug, layers
        self.r = np.random.default_rng(seed)  # for dropout

        def draw(*lengths, scale=1.0):
            return (scale * r.standard_normal(lengths)).astype(dtype)

        self.E, self.start = draw(K, C), draw(C)
        if bug == "start":
            self.start = self.E[2]
        self.P = draw(self.M + 1, C) if positions == "absolute" else np.zeros((self.M + 1, C), dtype)
        self.W = [[draw(C, C, scale=C**-0.5) for _ in "qkvof"] for _ in range(layers)]
        self.head, self.memory = draw(C, K, scale=C**-0.5), None

    def __call__(self, codes, first=None):
        return self.of(codes, first).reshape(*codes.shape, self.K)

    def of(self, codes, first=None):
        k = codes.reshape(len(codes), -1)
        start = self.start if first is None else self.E[first][:, None]
        start = np.broadcast_to(start, (len(k), 1, len(self.start)))
        if self.bug == "no shift":
            x = self.E[k]
        elif self.bug == "shifted twice":
            x = np.concatenate([start, start, self.E[k[:, :-2]]], axis=1)
        else:
            x = np.concatenate([start, self.E[k[:, :-1]]], axis=1)
        x = x + self.P[: x.shape[1]]
        T = x.shape[1]
        i, j = np.indices((T, T))
        off = {"off by one": 1, "off by two": 2}.get(self.bug, 0)
        hidden = {"no mask": i < 0, "reversed": j < i}.get(self.bug, j > i + off)
        for layer in self.W:
            x, _ = self.block(x, layer, hidden)
        if self.bug == "dropout":
            x = x * (self.r.random(x.shape) < 0.9)
        if self.bug == "batch":
            x = x - x.mean(axis=0)
        return normal(x) @ self.head

    def block(self, x, layer, hidden, past=None):
        q, k, v, o, f = layer
        n = normal(x, (-2, -1)) if self.bug == "norm" else normal(x)
        if self.bug == "batch norm":
            n = normal(x, (0, 1))
        if self.bug == "axes":
            n, hidden = n.swapaxes(0, 1), np.triu(np.ones((len(x), len(x)), bool), 1)
        q, k, v = n @ q, n @ k, n @ v
        if past is not None and past[0] is not None:
            k, v = np.concatenate([past[0], k], axis=1), np.concatenate([past[1], v], axis=1)
        s = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
        y = softmax(np.where(hidden, -1e30, s)) @ v @ o
        x = x + (y.swapaxes(0, 1) if self.bug == "axes" else y)
        return x + np.tanh(normal(x) @ f), (k, v)

    # With a cache: a list of (keys, values) and the number of positions.

    def begin(self, B):
        if self.bug == "cache kept" and self.memory is not None:
            return self.memory, self.memory["first"]
        state = {"past": [(None, None)] * self.layers, "length": 0}
        state["first"] = self.extended(state, np.broadcast_to(self.start, (B, 1, len(self.start))))[:, 0]
        self.memory = state
        return state, state["first"]

    def extend(self, state, codes):
        return self.extended(state, self.E[codes])

    def extended(self, state, x):
        s, t = state["length"], x.shape[1]
        x = x + self.P[np.arange(t) if self.bug == "positions restart" else np.arange(s, s + t) % len(self.P)]
        if self.bug == "prefix ignored":
            s, state["past"] = 0, [(None, None)] * self.layers
        i, j = np.indices((t, s + t))
        hidden = j > i + (0 if self.bug == "upper left" else s)
        if self.bug == "mask skipped" and s:
            hidden = hidden & False
        for n, layer in enumerate(self.W):
            x, state["past"][n] = self.block(x, layer, hidden, state["past"][n])
        if self.bug == "another scale":
            x = x * 0.5 + 0.1
            x[..., 0] += 1
        state["length"] += t
        return normal(x) @ self.head


def conv(x, W, taps):
    """y at a place: the sum over taps (up, right) of x there, times a matrix; x is 0 outside. (B, H, W, C)"""
    y = np.zeros((*x.shape[:3], W.shape[-1]))
    H, N = x.shape[1:3]
    for matrix, (up, right) in zip(W, taps, strict=True):
        to = slice(max(0, up), H + min(0, up)), slice(max(0, -right), N - max(0, right))
        of = slice(max(0, -up), H - max(0, up)), slice(max(0, right), N - max(0, -right))
        y[:, to[0], to[1]] += x[:, of[0], of[1]] @ matrix
    return y


def taps(k, kind):
    """(up, right) of a k × k kernel: A before the centre, B with it, V rows above, L left with the centre."""
    h = k // 2
    every = [(up, right) for up in range(h, -h - 1, -1) for right in range(-h, h + 1)]
    return {
        "A": [t for t in every if t[0] > 0 or (t[0] == 0 and t[1] < 0)],
        "B": [t for t in every if t[0] > 0 or (t[0] == 0 and t[1] <= 0)],
        "B without its row": [t for t in every if t[0] > 0],
        "full": every,
        "V": [t for t in every if t[0] >= 0],
        "above": [t for t in every if t[0] > 0],
        "L": [t for t in every if t[0] == 0 and t[1] <= 0],
        "left": [t for t in every if t[0] == 0 and t[1] < 0],
    }[kind]


class PixelCNN:
    """One masked stack, or two; kernels of the first layer and of the others."""

    def __init__(self, K, bug=None, *, stacks=2, first=5, kernel=3, layers=6, C=8, seed=1):
        self.r = np.random.default_rng(seed)
        self.K, self.bug, self.stacks = K, bug, stacks
        kinds = ["B" if bug == "mask B first" else "A"] + ["A" if bug == "mask A" else "B"] * layers
        if bug == "row zeroed":
            kinds[1:] = ["B without its row"] * layers
        if bug == "no mask":
            kinds = ["full"] * (layers + 1)
        self.sizes = [first] + [kernel] * layers
        widths = [K] + [C] * (layers + 1)
        self.one = [self.layer(k, kind, a, b) for k, kind, a, b in zip(self.sizes, kinds, widths, widths[1:])]
        above = ["V" if bug == "current row" else "above"] + ["V"] * layers
        left = ["L" if bug == "mask B first" else "left"] + ["L"] * layers
        self.two = [
            (self.layer(k, v, a, b), self.layer(k, h, a, b), self.draw(b, b))
            for k, v, h, a, b in zip(self.sizes, above, left, widths, widths[1:])
        ]
        self.head = self.draw(C, K)

    def draw(self, *lengths):
        return self.r.standard_normal(lengths) * lengths[-2] ** -0.5

    def layer(self, k, kind, a, b):
        t = taps(k, kind)
        return self.draw(len(t), a, b) * len(t) ** -0.25, t

    def __call__(self, codes):
        if self.bug == "columns":
            codes = codes.swapaxes(1, 2)
        x = np.eye(self.K)[codes]
        if self.stacks == 1:
            for layer in self.one:
                x = self.act(conv(x, *layer))
        else:
            v = h = x
            for vertical, horizontal, hand_over in self.two:
                v = conv(v, *vertical)
                h = self.act(conv(h, *horizontal) + v @ hand_over)
                v = self.act(v)
            x = h
        a = x @ self.head
        return a.swapaxes(1, 2) if self.bug == "columns" else a

    def act(self, x):
        if self.bug == "norm":
            x = normal(x, (1, 2))
        return np.tanh(x) + 0.2 * x
