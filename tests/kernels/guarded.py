"""Every kernel on arrays beside memory that may not be touched: a byte beyond their ends ends the process.

python tests/kernels/guarded.py [how many draws of the sizes]
"""

import ctypes
import faulthandler
import mmap
import sys

import numpy as np

from vqnp.kernels import adam, attention, frame, gelu, layer_norm, memory, nearest, product, relu, statistics
from vqnp.ops import conv

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None)
PLACE = ["end"]  # of an array that is next to memory which may not be touched


def guarded(shape, dtype):
    """np.empty between two pages that may not be touched; it touches the one behind it, or before it."""
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    pages = -(-max(size, 1) // PAGE)
    room = mmap.mmap(-1, (pages + 2) * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    for at in (start, start + (pages + 1) * PAGE):
        assert LIBC.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(PAGE), 0) == 0
    first = PAGE if PLACE[0] == "begin" else (pages + 1) * PAGE - size
    return np.frombuffer(room, dtype, size // dtype.itemsize, first).reshape(shape)


def filled(shape, dtype, value=0):
    array = guarded(shape, dtype)
    array[...] = value
    return array


def calls(r, dtype):
    """(name, a call) of every kernel, for arrays of sizes around those of vectors and tiles."""
    M, N, K, C, B, H, T, d = (int(r.choice([1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 70])) for _ in range(8))
    B, H = min(B, 3), min(H, 3)

    def drawn(*shape):
        return filled(shape, dtype, r.standard_normal(shape))

    x, W, dy, gamma = drawn(M, K), drawn(K, N), drawn(M, N), drawn(K)
    q, k, v = (drawn(B, T, H, d) for _ in range(3))
    codes = filled(M, np.int64, r.integers(0, C, M))
    image, kernel = drawn(B, M, 7, min(C, 9)), drawn(3, 3, min(C, 9), N)
    yield "nearest_code", lambda: nearest.nearest_code(x, drawn(C, K))
    yield "code_statistics", lambda: statistics.code_statistics(x, codes, C)
    yield "linear", lambda: product.linear(x, W, drawn(N), relu=True)
    yield "linear_dx", lambda: product.linear_dx(dy, W)
    yield "linear_dW", lambda: product.linear_dW(x, dy)
    yield "transposed", lambda: product.transposed(x)
    yield "gelu", lambda: gelu.gelu(x)
    yield "relu_gradient", lambda: relu.relu_gradient(dy, dy)
    yield "framed", lambda: frame.framed(image, (1, 2), (0, 3))
    step = [drawn(K, N), drawn(K, N), np.square(drawn(K, N))]
    factors = adam.adam_factors(np.dtype(dtype), 1, 1e-3, 0.9, 0.999, 1e-8)
    flat = [drawn(K * N) for _ in range(3)] + [filled(K * N, dtype, 0.5)]
    yield "adam_step", lambda: adam.adam_step([tuple(flat)], 1, 1e-3, 0.9, 0.999, 1e-8)
    if product.fusible(x, dy):
        arrays = [filled((K, N), dtype, each) for each in step]
        yield "adam_gradient", lambda: product.adam_gradient(x, dy, *arrays, np.array(factors))
    y, x_hat, scale = layer_norm.layer_norm(x, gamma, drawn(K), 1e-5)
    yield "layer_norm", lambda: layer_norm.layer_norm(x, gamma, drawn(K), 1e-5)
    yield "layer_norm_gradient", lambda: layer_norm.layer_norm_gradient(drawn(M, K), x_hat, scale, gamma)
    o, P = attention.attention(q, k, v)
    yield "attention", lambda: attention.attention(q, k, v)
    yield "attention_gradient", lambda: attention.attention_gradient(drawn(*q.shape), q, k, v, P, o)

    def convolved():
        y, cache = conv.conv_forward(image, kernel, drawn(N), stride=2, padding=1)
        conv.conv_backward(filled(y.shape, dtype, 1), cache)
        z, cache = conv.conv_transpose_forward(y, kernel, drawn(image.shape[-1]), stride=2)
        conv.conv_transpose_backward(filled(z.shape, dtype, 1), cache)

    yield "conv", convolved


def main(draws):
    """Call all, at both places, in both dtypes; what memory.empty gives their callers is guarded too."""
    faulthandler.enable()
    r = np.random.default_rng(0)
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("vqnp") and hasattr(module, "empty"):
            module.empty = guarded
    assert memory.empty is guarded
    for i in range(draws):
        PLACE[0] = ("end", "begin")[i % 2]
        for name, call in calls(r, (np.float32, np.float64)[i // 2 % 2]):
            print(name, flush=True)
            call()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
