"""dz = g + ∂(commitment)/∂z: other gradients g than the copied one, g = dz_q, and the true effect of codes.

z, z_q, dz_q, g: (B, *latent_shape, D), k: (B, *latent_shape). The effect of a code j at position m of an
image is the change of its error ⟨(x̂ − x)²⟩ when e_j takes the place of the code there. A gradient g
predicts g · (e_j − e_k), times the number of images, since the loss is a mean over them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import vqnp

RIDGE = 1e-3
"""Of the fit to effects of several codes, in parts of the mean ‖e_j − e_k‖²: codes may nearly coincide."""


def nearest_others(z: np.ndarray, k: np.ndarray, E: np.ndarray, n: int) -> np.ndarray:
    """The n codes that are nearest to z, without its own; z: (N, D), k: (N,) -> j: (N, n), nearest first."""
    square = (E**2).sum(axis=1) - 2 * z @ E.T
    square[np.arange(len(z)), k] = np.inf
    near = np.argpartition(square, n - 1, axis=1)[:, :n]
    return np.take_along_axis(near, np.take_along_axis(square, near, 1).argsort(axis=1, kind="stable"), 1)


def effects(
    decode: Callable[[np.ndarray], np.ndarray], x: np.ndarray, z_q: np.ndarray, e: np.ndarray
) -> np.ndarray:
    """Δ = ⟨(x̂' − x)²⟩ − ⟨(x̂ − x)²⟩, where in x̂' one code is e; e: (B, M, n, D) -> Δ: (B, M, n)."""
    B, M, n, D = e.shape
    changed = np.tile(z_q.reshape(B, 1, 1, M, D), (1, M, n, 1, 1))
    changed[:, np.arange(M), :, np.arange(M)] = e.swapaxes(0, 1)
    y = decode(changed.reshape(B * M * n, *z_q.shape[1:])).reshape(B, M * n, -1)
    x_hat = decode(z_q).reshape(B, 1, -1)
    step, twice = y - x_hat, 2 * (x_hat - x.reshape(B, 1, -1))
    return (np.einsum("bjp,bjp->bj", step, step + twice) / step.shape[-1]).reshape(B, M, n)


def fitted(delta: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The shortest g with g · d_j ≈ Δ_j; delta: (N, n), d: (N, n, D) -> g: (N, D). For one code g · d = Δ."""
    gram = d @ d.swapaxes(1, 2)
    size = np.maximum(np.einsum("njj->n", gram) / d.shape[1], 1e-30)
    if d.shape[1] == 1:
        return d[:, 0] * delta / size[:, None]
    gram += (RIDGE * size)[:, None, None] * np.eye(d.shape[1], dtype=d.dtype)
    return (d.swapaxes(1, 2) @ np.linalg.solve(gram, delta[..., None]))[..., 0]


def differences(
    model, x: np.ndarray, z: np.ndarray, k: np.ndarray, n: int, improving: bool = False
) -> np.ndarray:
    """The gradient that is fitted to the true effects of the n nearest other codes, position by position.

    improving: effects that would make the image worse count as 0, so that nothing is pushed away from a code
    """
    E, B, D = model.quantizer.embeddings, len(x), z.shape[-1]
    own = k.reshape(-1)
    e = E[nearest_others(z.reshape(-1, D), own, E, n)]
    delta = effects(lambda q: model.decoder.forward(q)[0], x, E[k], e.reshape(B, -1, n, D))
    delta = np.minimum(delta, 0) if improving else delta
    return (fitted(delta.reshape(-1, n), e - E[own][:, None]) / B).reshape(z.shape)


def along_nearest(dz_q: np.ndarray, model, z: np.ndarray, k: np.ndarray) -> np.ndarray:
    """What is left of the copied gradient if, like a difference, it knows one direction only."""
    E, D, own = model.quantizer.embeddings, z.shape[-1], k.reshape(-1)
    d = E[nearest_others(z.reshape(-1, D), own, E, 1)] - E[own][:, None]
    return fitted((dz_q.reshape(-1, 1, D) * d).sum(axis=2), d).reshape(z.shape)


COPIED = ("straight-through", "no-commitment", "rotation")
"""A rotation is the quantizer's own, and no commitment is its β."""


def replaced(name: str, dz_q: np.ndarray, model, x: np.ndarray, z: np.ndarray, k: np.ndarray) -> np.ndarray:
    """g for the name; if not dz_q, 0 or "unscaled", scaled so that Σ‖g‖² over the batch is Σ‖dz_q‖².

    Beside the commitment loss each of them then weighs as much as the copied gradient.
    """
    if name in ("frozen", "commitment-only"):
        return np.zeros_like(dz_q)
    if name in COPIED:
        return dz_q
    if name.startswith("other-image"):
        return np.roll(dz_q, 1, axis=0)  # the images of a batch are in random order
    if name.startswith("differences"):
        _, n, *how = name.split("-")
        g = differences(model, x, z, k, int(n), "improving" in how)
        if "unscaled" in how:
            return g
    else:
        g = {
            "sign": lambda: np.sign(dz_q),
            "batch-mean": lambda: np.broadcast_to(dz_q.mean(axis=0), dz_q.shape),
            "one-direction": lambda: along_nearest(dz_q, model, z, k),
        }[name]()
    lengths = [float(np.square(a, dtype=np.float64).sum()) for a in (dz_q, g)]
    return (g * np.sqrt(lengths[0] / max(lengths[1], 1e-30))).astype(dz_q.dtype)


class Replaced(vqnp.VQVAE):
    """A VQ-VAE of which only the gradient that arrives at the encoder's output differs."""

    gradient = "straight-through"

    def loss(self, batch, rng=None, step=0):
        """That of a VQ-VAE; the images are kept."""
        losses, cache = super().loss(batch, rng, step)
        return losses, (batch[0], *cache)

    def backward(self, cache, dL=1.0, need_dx=False):
        """That of a VQ-VAE, with `replaced` between decoder and quantizer."""
        x, encoder_cache, quantizer_cache, decoder_cache, error_cache, z, k = cache
        dz_q = self.decoder.backward(self._error_backward(dL, error_cache), decoder_cache)
        g = replaced(self.gradient, dz_q, self, x, z, k)
        dz = self.quantizer.backward(g, quantizer_cache, dL)
        if self.gradient == "frozen":
            dz = np.zeros_like(dz)
        return self.encoder.backward(dz, encoder_cache, need_dx)


def agreement(model, images: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """How well the copied gradient, and that of another image ("other"), predict the effects of other codes.

    For the second nearest code ("near"), a tenth of the way to it ("tenth") and a random code ("far"): the
    cosine of predicted and true effects over all images and positions, and the % with the same sign. "fit":
    the mean cosine with the gradient that is fitted to the true effects of the 2D nearest other codes.
    "better": the % of positions at which the second nearest code would lower the image's error.
    """
    (x,) = model.prepare(images)
    *_, decoder_cache, error_cache, z, k = vqnp.VQVAE.loss(model, (x,))[1]
    dz_q = len(x) * model.decoder.backward(model._error_backward(1.0, error_cache), decoder_cache)
    model.zero_grad()
    E, D, B, own = model.quantizer.embeddings, z.shape[-1], len(x), k.reshape(-1)
    near = nearest_others(z.reshape(-1, D), own, E, min(2 * D, len(E) - 1))
    far = (own + rng.integers(1, len(E), own.size)) % len(E)
    d = E[np.concatenate([near, far[:, None]], axis=1)] - E[own][:, None]
    d = np.concatenate([d, 0.1 * d[:, :1]], axis=1).astype(z.dtype)  # (B M, 2D + 2, D)
    e = (E[own][:, None] + d).reshape(B, -1, d.shape[1], D)
    decode, parts = lambda q: model.decoder.forward(q)[0], [slice(i, i + 4) for i in range(0, B, 4)]
    delta = np.concatenate([effects(decode, x[s], E[k[s]], e[s]) for s in parts]).reshape(d.shape[:2])
    fit = fitted(delta[:, :-2], d[:, :-2])
    figures = {"better": 100 * float((delta[:, 0] < 0).mean())}
    for suffix, gradient in (("", dz_q), ("_other", np.roll(dz_q, 1, axis=0))):
        g = gradient.reshape(-1, D)
        for name, at in (("near", 0), ("far", -2), ("tenth", -1)):
            told, true = (d[:, at] * g).sum(axis=1, dtype=np.float64), delta[:, at].astype(np.float64)
            figures[f"{name}_cosine{suffix}"] = float(cosine(told, true))
            figures[f"{name}_agree{suffix}"] = 100 * float((told * true > 0).mean())
        figures[f"fit_cosine{suffix}"] = float(cosine(g, fit).mean())
    return figures


def cosine(a: np.ndarray, b: np.ndarray):
    """a · b / (‖a‖ ‖b‖) over the last axis, 0 for a vector of length 0."""
    lengths = [np.sqrt(np.square(v, dtype=np.float64).sum(axis=-1)) for v in (a, b)]
    return (a * b).sum(axis=-1, dtype=np.float64) / np.maximum(lengths[0] * lengths[1], 1e-300)
