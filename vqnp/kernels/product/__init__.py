"""y_m = b + Σ_t x[at(m, t) :] W_t and its gradients: the products of linear layers and of convolutions."""

from vqnp.kernels.product.plain import gradient_plain, product_plain

__all__ = ["gradient", "gradient_plain", "product", "product_plain"]


def product(x, at, W, b=None, y=None, to=None):  # type: ignore[no-untyped-def]
    """product_plain; with y and to, row m is written to y[to[m] : to[m] + N] (y flat), and y is returned."""
    rows = product_plain(x, at, W, b)
    if y is None:
        return rows
    for m, start in enumerate(to):
        y[start : start + rows.shape[1]] = rows[m]
    return y


def gradient(x, at, K, dy):  # type: ignore[no-untyped-def]
    return gradient_plain(x, at, K, dy)
