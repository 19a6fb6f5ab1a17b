"""Tiles of sums that stay in vector registers: the inner loops of products, as LLVM vector instructions.

A tile is R rows by V vectors of columns. Each of its sums is one chain of fused multiply-adds in the order of
t and k (in dW: of m), so it has the same bits whatever the tile, the block, the batch or the thread.
docs/math/product.md shows the picture.
"""

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

from vqnp.kernels.llvm import I64, VectorBuilder, vector_bytes

ROWS_PER_TILE = {4: 6, 3: 8, 2: 12, 1: 12} if vector_bytes() == 64 else {2: 6, 1: 12}
"""Rows of a tile, by its vectors. With 32 registers: 24 sums, 4 vectors of W and one number of x; with 16:
12, 2 and 1. Other shapes that fit were within 10 % of these."""

ROWS_AT_THE_END = 2
"""Rows of a tile where fewer are left than a tile has."""

COLUMNS_AT_THE_END = 4
"""Rows of a tile of dW where x has fewer columns than a tile has rows, as in the first layer of grey
images."""

ADAM_ROWS_PER_TILE = {4: 4, 3: 4, 2: 4, 1: 4} if vector_bytes() == 64 else {2: 4, 1: 4}
"""A step of Adam needs registers too, and θ, m and v are best read along long rows."""

ROWS_AHEAD = 8
"""W is asked for so many rows before it is needed. A prototype gained 10 to 40 % by it on an Intel Xeon
where W came from L2; on an AMD EPYC there was no difference."""


@intrinsic
def add_rows(
    typing: Any, x: Any, at: Any, m0: Any, m1: Any, T: Any, K: Any, k0: Any, k1: Any, w: Any, N: Any, b: Any,
    n: Any, y: Any, to: Any, relu: Any,
) -> Any:  # fmt: skip
    """y[to_m + n :] += Σ_t Σ_k0≤k<k1 x[at(m, t) + k] w[(t K + k) N + n :] for m0 ≤ m < m1, one strip of
    columns.

    The strip begins at n and has as many vectors as a tile has at most, or as there are; if not one is whole,
    the lanes that exist. The sums start at b if k0 is 0, otherwise at what y holds; after the last k, ReLU if
    `relu`. -> n where the next strip begins
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = VectorBuilder(context, builder, signature, args)
        x, at, m0, m1, T, K, k0, k1, w, N, b, n, y, to, relu = e.arguments
        zero = e.constant(e.scalar, 0.0)

        def tile(m: Any, R: int, V: int, mask: Any) -> None:
            """Rows beyond m1 − 1 repeat row m1 − 1: loaded before any is stored, and stored again, the
            same."""
            last = builder.sub(m1, I64(1))
            index = [builder.add(m, I64(r)) for r in range(R)]
            index = [builder.select(builder.icmp_signed("<", i, last), i, last) for i in index]
            target = [e.at(y.data, builder.add(builder.load(e.at(to.data, i)), n)) for i in index]
            sums = [[e.register(zero) for _ in range(V)] for _ in range(R)]
            with builder.if_else(builder.icmp_signed("==", k0, I64(0))) as (begin, resume):
                with begin:
                    for v in range(V):
                        start = e.load(e.at(b.data, builder.add(n, I64(v * e.lanes))), mask)
                        for r in range(R):
                            builder.store(start, sums[r][v])
                with resume:
                    for r in range(R):
                        for v in range(V):
                            builder.store(e.load(e.at(target[r], v * e.lanes), mask), sums[r][v])
            with e.loop(T) as t:
                xs = [builder.load(e.at(at.data, builder.add(builder.mul(i, T), t))) for i in index]
                xs = [e.at(x.data, builder.add(start, k0)) for start in xs]
                w_t = e.at(e.at(w.data, n), builder.add(builder.mul(t, K), k0), N)
                with e.loop(builder.sub(k1, k0)) as k:
                    w_k = e.at(w_t, k, N)
                    for v in range(V):
                        e.prefetch(e.at(e.at(w_k, ROWS_AHEAD, N), v * e.lanes))
                    _multiply(e, sums, [e.at(x_r, k) for x_r in xs], w_k, mask)
            with builder.if_then(builder.and_(relu, builder.icmp_signed("==", k1, K))):
                for s in sum(sums, []):
                    value = builder.load(s)  # NaN is not below 0, so it stays, as in np.maximum
                    builder.store(builder.select(builder.fcmp_ordered("<", value, zero), zero, value), s)
            for r in range(R):
                for v in range(V):
                    e.store(builder.load(sums[r][v]), e.at(target[r], v * e.lanes), mask)

        def strip(V: int, mask: Any) -> None:
            R = ROWS_PER_TILE[V]
            tiles = builder.sdiv(builder.sub(m1, m0), I64(R))
            with e.loop(tiles) as i:
                tile(builder.add(m0, builder.mul(i, I64(R))), R, V, mask)
            rest = builder.add(m0, builder.mul(tiles, I64(R)))
            end = I64(ROWS_AT_THE_END)
            with e.loop(builder.sdiv(builder.add(builder.sub(m1, rest), I64(ROWS_AT_THE_END - 1)), end)) as i:
                tile(builder.add(rest, builder.mul(i, end)), ROWS_AT_THE_END, V, mask)

        return _by_width(e, n, N, max(ROWS_PER_TILE), strip)

    i = types.int64
    return i(x, at, i, i, i, i, i, i, w, i, b, i, y, to, types.boolean), emit


@intrinsic(prefer_literal=True)
def add_columns(
    typing: Any, x: Any, at: Any, T: Any, t: Any, m0: Any, m1: Any, c0: Any, c1: Any, dy: Any, N: Any,
    n: Any, w: Any, g: Any, mean: Any, square: Any, factors: Any, adam: Any,
) -> Any:  # fmt: skip
    """dW[c, n :] += Σ_m0≤m<m1 x[at(m, t) + c] dy[m N + n :] for c0 ≤ c < c1, one strip of columns as in
    add_rows.

    dW lies in w from g on, and the sums start at what it holds unless m0 is 0. With `adam`, a literal, dW is
    not stored: w, mean and square are θ, m and v, and take a step of Adam. -> n where the next strip begins
    """
    if not isinstance(adam, types.Literal):
        return None

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        e = VectorBuilder(context, builder, signature, args)
        x, at, T, t, m0, m1, c0, c1, dy, N, n, w, g, mean, square, factors = e.arguments[:16]
        high = ADAM_ROWS_PER_TILE if adam.literal_value else ROWS_PER_TILE

        def tile(c: Any, first: Any, offsets: list[Any], V: int, mask: Any) -> None:
            """Rows c + offsets, of which those from `first` to c1 − 1 are changed."""
            R = len(offsets)
            index = [builder.add(c, I64(r)) for r in range(R)]
            place = [builder.add(builder.add(g, n), builder.mul(i, N)) for i in index]
            begun = [builder.icmp_signed("<=", first, i) for i in index]
            exist = [builder.icmp_signed("<", i, c1) for i in index]
            inside = [builder.and_(*both) for both in zip(begun, exist, strict=True)]
            sums = [[e.register(e.constant(e.scalar, 0.0)) for _ in range(V)] for _ in range(R)]
            if adam.literal_value:  # what the end needs comes from far away
                for p in place:
                    for v in range(V):
                        for array in (w, mean, square):
                            e.prefetch(e.at(e.at(array.data, p), v * e.lanes), write=True)
            else:
                for r in range(R):
                    with builder.if_then(builder.and_(inside[r], builder.icmp_signed(">", m0, I64(0)))):
                        for v in range(V):
                            before = e.load(e.at(e.at(w.data, place[r]), v * e.lanes), mask)
                            builder.store(before, sums[r][v])
            with e.loop(builder.sub(m1, m0)) as j:
                m = builder.add(m0, j)
                x_m = e.at(e.at(x.data, c), builder.load(e.at(at.data, builder.add(builder.mul(m, T), t))))
                _multiply(e, sums, [e.at(x_m, r) for r in offsets], e.at(e.at(dy.data, n), m, N), mask)
            for r in range(R):
                with builder.if_then(inside[r]):
                    for v in range(V):
                        total = builder.load(sums[r][v])
                        if adam.literal_value:
                            arrays = [e.at(e.at(a.data, place[r]), v * e.lanes) for a in (w, mean, square)]
                            _adam(e, total, arrays, factors.data, mask)
                        else:
                            e.store(total, e.at(e.at(w.data, place[r]), v * e.lanes), mask)

        def strip(V: int, mask: Any) -> None:
            """The last tile begins early enough to read no number that does not exist, and changes the
            rest."""
            R = high[V]
            count = builder.sub(c1, c0)
            with builder.if_else(builder.icmp_signed(">=", count, I64(R))) as (many, few):
                with many:
                    with e.loop(builder.sdiv(builder.add(count, I64(R - 1)), I64(R))) as i:
                        first = builder.add(c0, builder.mul(i, I64(R)))
                        latest = builder.sub(c1, I64(R))
                        c = builder.select(builder.icmp_signed("<", first, latest), first, latest)
                        tile(c, first, list(range(R)), V, mask)
                with few:
                    R = COLUMNS_AT_THE_END
                    with e.loop(builder.sdiv(builder.add(count, I64(R - 1)), I64(R))) as i:
                        c = builder.add(c0, builder.mul(i, I64(R)))
                        last = builder.sub(builder.sub(c1, I64(1)), c)
                        rows = [I64(r) for r in range(R)]
                        offsets = [builder.select(builder.icmp_signed("<", r, last), r, last) for r in rows]
                        tile(c, c, offsets, V, mask)

        return _by_width(e, n, N, max(high), strip)

    i = types.int64
    return i(x, at, i, i, i, i, i, i, dy, i, i, w, i, mean, square, factors, adam), emit


def _by_width(e: VectorBuilder, n: Any, N: Any, widest: int, strip: Callable[[int, Any], None]) -> Any:
    """strip(V, None) for the most whole vectors from n that exist, up to `widest`; for none, a masked one.

    -> n + the strip's width
    """
    b = e.builder
    whole = b.sdiv(b.sub(N, n), I64(e.lanes))
    for V in range(1, widest + 1):
        with b.if_then(b.icmp_signed("==" if V < widest else ">=", whole, I64(V))):
            strip(V, None)
    with b.if_then(b.icmp_signed("==", whole, I64(0))):
        strip(1, e.lanes_below(b.sub(N, n)))
    most = b.select(b.icmp_signed("<", whole, I64(widest)), whole, I64(widest))
    vectors = b.select(b.icmp_signed("<", most, I64(1)), I64(1), most)
    return b.add(n, b.mul(vectors, I64(e.lanes)))


def _multiply(e: VectorBuilder, sums: Any, factors: Any, line: Any, mask: Any) -> None:
    """sums[r][v] += *factors[r] · line[v]: the only arithmetic of a product."""
    vectors = [e.load(e.at(line, v * e.lanes), mask) for v in range(len(sums[0]))]
    for row, factor in zip(sums, factors, strict=True):
        number = e.splat(e.builder.load(factor))
        for s, vector in zip(row, vectors, strict=True):
            e.builder.store(e.multiply_add(number, vector, e.builder.load(s)), s)


def _adam(e: VectorBuilder, g: Any, arrays: list[Any], factors: Any, mask: Any) -> None:
    """The operations of _adam_step in kernels/adam.py, in their order."""
    b = e.builder
    value, mean, square = arrays
    b1, c1, b2, c2, rate, unbias, epsilon, tiny = (e.splat(b.load(e.at(factors, i))) for i in range(8))
    m = b.fadd(b.fmul(b1, e.load(mean, mask)), b.fmul(c1, g))
    v = b.fadd(b.fmul(b2, e.load(square, mask)), b.fmul(c2, b.fmul(g, g)))
    zero = e.constant(e.scalar, 0.0)
    m = b.select(b.fcmp_ordered("<", e.absolute(m), tiny), zero, m)  # NaN stays
    v = b.select(b.fcmp_ordered("<", e.absolute(v), tiny), zero, v)
    step = b.fdiv(m, b.fadd(e.square_root(b.fmul(v, unbias)), epsilon))
    e.store(b.fsub(e.load(value, mask), b.fmul(rate, step)), value, mask)
    e.store(m, mean, mask)
    e.store(v, square, mask)
