"""The equations as plain loops: slow, and too simple to be wrong. Imports math and NumPy, nothing of ours."""

import math

import numpy as np


def perplexity(counts):
    """exp(−Σ p log p), 0 log 0 = 0."""
    total = math.fsum(float(n) for n in counts)
    entropy = 0.0
    for n in counts:
        p = float(n) / total
        if p > 0:
            entropy -= p * math.log(p)
    return math.exp(entropy)


# Agreement: 1e-12 in float64, 1e-5 in float32.

RTOL = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}


def close(ours, theirs, size=0.0, rtol=None):
    """Raise unless ours, in its own precision, is theirs, to rtol of the largest entry or of size.

    size is how large the terms of a sum were that may have cancelled.
    """
    ours, theirs = np.asarray(ours), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    rtol = RTOL[ours.dtype] if rtol is None else rtol
    scale = max(np.abs(theirs).max(initial=0.0), size)
    worst = np.abs(ours.astype(np.float64) - theirs).max(initial=0.0)
    bound = rtol * scale + np.finfo(ours.dtype).tiny
    assert worst <= bound, f"off by {worst:.3g} where the largest is {scale:.3g}"


# Linear: y_o = Σ_i x_i W_io + b_o.


def linear(x, W, b):
    """x: (N, I), W: (I, O), b: (O,) -> y: (N, O)."""
    N, I, O = len(x), W.shape[0], W.shape[1]
    y = np.zeros((N, O))
    for n in range(N):
        for o in range(O):
            y[n, o] = math.fsum([float(x[n, i]) * float(W[i, o]) for i in range(I)] + [float(b[o])])
    return y


def linear_gradients(dy, x, W):
    """∂y_no/∂x_ni = W_io, ∂y_no/∂W_io = x_ni, ∂y_no/∂b_o = 1, times dy_no, summed."""
    dx, dW, db = np.zeros(x.shape), np.zeros(W.shape), np.zeros(W.shape[1])
    for n in range(len(x)):
        for o in range(W.shape[1]):
            g = float(dy[n, o])
            db[o] += g
            for i in range(W.shape[0]):
                dx[n, i] += g * float(W[i, o])
                dW[i, o] += g * float(x[n, i])
    return dx, dW, db


# Convolutions: y_m = b + Σ_k x_{s m + d k − p} W_k, x being 0 outside; per axis s, p = (before, after), d.


def conv_terms(pixels, windows, kernel, s, p, d):
    """Every (window m, tap k, pixel j) with j = s m + d k − p inside the image."""
    for m in np.ndindex(*windows):
        for k in np.ndindex(*kernel):
            j = tuple(s[a] * m[a] + d[a] * k[a] - p[a][0] for a in range(len(m)))
            if all(0 <= j[a] < pixels[a] for a in range(len(m))):
                yield m, k, j


def conv_length(n, k, s, p, d):
    """How many windows fit: by trying."""
    m = 0
    while s * m + d * (k - 1) < n + p[0] + p[1]:
        m += 1
    return m


def conv(x, W, b, s, p, d):
    """x: (B, *S, C), W: (*k, C, O), b: (O,) -> y: (B, *S', O)."""
    pixels, kernel = x.shape[1:-1], W.shape[:-2]
    windows = [conv_length(*each) for each in zip(pixels, kernel, s, p, d, strict=True)]
    y = np.zeros((len(x), *windows, len(b))) + b
    for m, k, j in conv_terms(pixels, windows, kernel, s, p, d):
        for n in range(len(x)):
            for c in range(x.shape[-1]):
                for o in range(len(b)):
                    y[n, *m, o] += float(x[n, *j, c]) * float(W[*k, c, o])
    return y


def conv_gradients(dy, x, W, s, p, d):
    """Each term x_j W_k of y_m, by its derivatives, times dy_m."""
    dx, dW, db = np.zeros(x.shape), np.zeros(W.shape), np.zeros(W.shape[-1])
    for n in range(len(x)):
        for m in np.ndindex(*dy.shape[1:-1]):
            db += dy[n, *m]
        for m, k, j in conv_terms(x.shape[1:-1], dy.shape[1:-1], W.shape[:-2], s, p, d):
            for c in range(x.shape[-1]):
                for o in range(W.shape[-1]):
                    dx[n, *j, c] += float(dy[n, *m, o]) * float(W[*k, c, o])
                    dW[*k, c, o] += float(dy[n, *m, o]) * float(x[n, *j, c])
    return dx, dW, db


def conv_transpose(x, W, b, s, p, more, d):
    """x: (B, *S, C), W: (*k, O, C), b: (O,) -> y: every x_m is put down at each tap k, times W_k."""
    windows, kernel = x.shape[1:-1], W.shape[:-2]
    reach = [s[a] * (windows[a] - 1) + d[a] * (kernel[a] - 1) + 1 for a in range(len(s))]
    pixels = [reach[a] - sum(p[a]) + more[a] for a in range(len(s))]
    y = np.zeros((len(x), *pixels, len(b))) + b
    for m, k, j in conv_terms(pixels, windows, kernel, s, p, d):
        for n in range(len(x)):
            for c in range(x.shape[-1]):
                for o in range(len(b)):
                    y[n, *j, o] += float(x[n, *m, c]) * float(W[*k, o, c])
    return y


# Activations: (f, f') of one number.


def logistic(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def normal_cdf(x):
    return math.erfc(-x / math.sqrt(2)) / 2


def normal_pdf(x):
    return math.exp(-(x * x) / 2) / math.sqrt(2 * math.pi)


def gpt2_inner(x):
    """(u, u') of Φ(x) ≈ ½ (1 + tanh u)."""
    c = math.sqrt(2 / math.pi)
    return c * (x + 0.044715 * x * x * x), c * (1 + 3 * 0.044715 * x * x)


def gelu_tanh(x):
    return x / 2 * (1 + math.tanh(gpt2_inner(x)[0]))


def gelu_tanh_slope(x):
    u, du = gpt2_inner(x)
    return (1 + math.tanh(u)) / 2 + x / 2 * (1 - math.tanh(u) ** 2) * du


ACTIVATIONS = {
    "relu": (lambda x: x if x > 0 else 0.0, lambda x: 1.0 if x > 0 else 0.0),
    "silu": (lambda x: x * logistic(x), lambda x: logistic(x) * (1 + x * (1 - logistic(x)))),
    "leaky_relu": (lambda x: x if x > 0 else 0.01 * x, lambda x: 1.0 if x > 0 else 0.01),
    "tanh": (math.tanh, lambda x: 1 - math.tanh(x) ** 2),
    "sigmoid": (logistic, lambda x: logistic(x) * logistic(-x)),
    "gelu": (lambda x: x * normal_cdf(x), lambda x: normal_cdf(x) + x * normal_pdf(x)),
    "gelu_tanh": (gelu_tanh, gelu_tanh_slope),
}


def each(f, x):
    """f of every entry."""
    return np.array([f(float(v)) for v in x.reshape(-1)]).reshape(x.shape)


# Embedding, attention, dropout, the gate, causal convolution.


def embedding_gradient(dy, k, K):
    """dE_j: the sum of the rows of dy whose k is j; dy: (N, D), k: (N,)."""
    return np.array([
        [math.fsum(float(dy[n, c]) for n in range(len(k)) if k[n] == j) for c in range(dy.shape[1])]
        for j in range(K)
    ]).reshape(K, dy.shape[1])  # fmt: skip


def attention(q, k, v):
    """o_i = Σ_j p_ij v_j, p_ij = exp(q_i · k_j/√d)/Σ_j, over the keys j ≤ i + S − T."""
    B, T, H, d = q.shape
    S, o = k.shape[1], np.zeros(q.shape)
    for b, i, h in np.ndindex(B, T, H):
        seen = range(i + S - T + 1)
        scores = [math.fsum(float(x) * float(y) for x, y in zip(q[b, i, h], k[b, j, h], strict=True))
                  / math.sqrt(d) for j in seen]  # fmt: skip
        weights = [math.exp(s - max(scores)) for s in scores]
        for c in range(d):
            terms = [w * float(v[b, j, h, c]) for w, j in zip(weights, seen, strict=True)]
            o[b, i, h, c] = math.fsum(terms) / math.fsum(weights)
    return o


def gate(a, b):
    """tanh(a) σ(b), entry by entry."""
    pairs = zip(a.reshape(-1), b.reshape(-1), strict=True)
    return np.array([math.tanh(float(x)) * logistic(float(y)) for x, y in pairs]).reshape(a.shape)


def causal_conv(x, W, b, kernel, centre):
    """y_i = b + Σ_t x_{i + o_t} W_t: t counts the taps before the centre in raster order, and the centre."""
    S, y = x.shape[1:-1], np.zeros((*x.shape[:-1], W.shape[2])) + b
    places = list(np.ndindex(*kernel))
    middle = places.index(tuple(n // 2 for n in kernel))
    for t, place in enumerate(places[: middle + centre]):
        for n, *i in np.ndindex(*x.shape[:-1]):
            at = [a + p - size // 2 for a, p, size in zip(i, place, kernel, strict=True)]
            if all(0 <= a < s for a, s in zip(at, S, strict=True)):
                for c, o in np.ndindex(*W.shape[1:]):
                    y[(n, *i, o)] += float(x[(n, *at, c)]) * float(W[t, c, o])
    return y


def code_conv(k, W, b, offsets):
    """y_i = b + Σ_t W_t[k_{i + o_t}]; k: (B, *S), W: (T, K, O)."""
    y = np.zeros((*k.shape, W.shape[2])) + b
    for n, *i in np.ndindex(*k.shape):
        for table, offset in zip(W, offsets, strict=True):
            at = [a + d for a, d in zip(i, offset, strict=True)]
            if all(0 <= a < s for a, s in zip(at, k.shape[1:], strict=True)):
                y[(n, *i)] += table[k[(n, *at)]]
    return y


# Larger images: f per axis.


def upsample(x, f):
    """x: (B, *S, C): y_i = x_⌊i/f⌋."""
    y = np.zeros((len(x), *(n * m for n, m in zip(x.shape[1:-1], f, strict=True)), x.shape[-1]))
    for n, *i, c in np.ndindex(*y.shape):
        y[n, *i, c] = x[n, *(a // m for a, m in zip(i, f, strict=True)), c]
    return y


def pixel_shuffle(x, f):
    """y[n, i, c] = x[n, ⌊i/f⌋, channel], whose number is c, then the places i mod f, as digits."""
    C = x.shape[-1] // math.prod(f)
    y = np.zeros((len(x), *(n * m for n, m in zip(x.shape[1:-1], f, strict=True)), C))
    for n, *i, c in np.ndindex(*y.shape):
        channel = c
        for a, m in zip(i, f, strict=True):
            channel = channel * m + a % m
        y[n, *i, c] = x[n, *(a // m for a, m in zip(i, f, strict=True)), channel]
    return y


# Normalisation.


def normalized(values, epsilon):
    """(x − μ) / √(σ² + ε) of a list."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / math.sqrt(variance + epsilon) for v in values]


def layer_norm(x, gamma, beta, epsilon):
    """x: (N, C)."""
    y = np.zeros(x.shape)
    for n in range(len(x)):
        for c, v in enumerate(normalized([float(v) for v in x[n]], epsilon)):
            y[n, c] = float(gamma[c]) * v + float(beta[c])
    return y


def group_norm(x, gamma, beta, groups, epsilon):
    """x: (N, P, C)."""
    y, size = np.zeros(x.shape), x.shape[2] // groups
    for n in range(len(x)):
        for g in range(groups):
            places = [(p, g * size + c) for p in range(x.shape[1]) for c in range(size)]
            values = normalized([float(x[n, p, c]) for p, c in places], epsilon)
            for (p, c), v in zip(places, values, strict=True):
                y[n, p, c] = float(gamma[c]) * v + float(beta[c])
    return y


# Losses: (L, gradients).


def count(shape, reduction):
    """What the sum over all entries is divided by."""
    entries = 1
    for n in shape:
        entries *= n
    if reduction == "sum" or entries == 0:
        return 1
    return entries // shape[-1] if reduction == "mean_of_sums" else entries


def mse(x_hat, x, reduction):
    """L, dL/dx_hat, dL/dx."""
    size, L = count(x.shape, reduction), 0.0
    d, flat_hat, flat = np.zeros(x.size), x_hat.reshape(-1), x.reshape(-1)
    for i in range(x.size):
        r = float(flat_hat[i]) - float(flat[i])
        L += r * r / size
        d[i] = 2 * r / size
    return L, d.reshape(x.shape), -d.reshape(x.shape)


def log_sigmoid(a):
    return -math.log1p(math.exp(-a)) if a >= 0 else a - math.log1p(math.exp(a))


def bce(a, x, reduction):
    """−Σ [x log σ(a) + (1 − x) log(1 − σ(a))], with 1 − σ(a) = σ(−a); L, dL/da, dL/dx."""
    size, L = count(x.shape, reduction), 0.0
    da, dx = np.zeros(x.size), np.zeros(x.size)
    for i, (logit, target) in enumerate(zip(a.reshape(-1), x.reshape(-1), strict=True)):
        u, t = float(logit), float(target)
        L -= (t * log_sigmoid(u) + (1 - t) * log_sigmoid(-u)) / size
        da[i] = ((1 - t) * logistic(u) - t * logistic(-u)) / size
        dx[i] = (log_sigmoid(-u) - log_sigmoid(u)) / size
    return L, da.reshape(x.shape), dx.reshape(x.shape)


def softmax_cross_entropy(a, k, reduction):
    """−Σ_n log softmax(a_n)[k_n]; a: (N, K), k: (N,); L, dL/da."""
    size, L, da = (len(a) or 1) if reduction == "mean" else 1, 0.0, np.zeros(a.shape)
    for n in range(len(a)):
        row = [float(v) for v in a[n]]
        top = max(row)
        total = math.fsum(math.exp(v - top) for v in row)
        L -= (row[int(k[n])] - top - math.log(total)) / size
        for j, v in enumerate(row):
            da[n, j] = (math.exp(v - top) / total - (1 if j == k[n] else 0)) / size
    return L, da


# The Gaussian: z = μ + exp(ℓ/2) ε, KL from N(0, 1), −log density. One number at a time.


def reparameterise(mu, logvar, eps, dz):
    """z and (dμ, dℓ, dε)."""
    z, gradients = np.zeros(mu.shape), [np.zeros(mu.shape) for _ in range(3)]
    for at in np.ndindex(mu.shape):
        sigma = math.sqrt(math.exp(float(logvar[at])))
        z[at] = float(mu[at]) + sigma * float(eps[at])
        slopes = 1.0, sigma * float(eps[at]) / 2, sigma
        for gradient, slope in zip(gradients, slopes, strict=True):
            gradient[at] = float(dz[at]) * slope
    return z, gradients


def gaussian_kl(mu, logvar, reduction):
    """(KL, dμ, dℓ): log(1/σ) + (σ² + μ²)/2 − 1/2, summed."""
    n, total = count(mu.shape, reduction), []
    dmu, dlogvar = np.zeros(mu.shape), np.zeros(mu.shape)
    for at in np.ndindex(mu.shape):
        variance = math.exp(float(logvar[at]))
        total.append(-float(logvar[at]) / 2 + (variance + float(mu[at]) ** 2) / 2 - 0.5)
        dmu[at], dlogvar[at] = float(mu[at]) / n, (variance - 1) / 2 / n
    return math.fsum(total) / n, dmu, dlogvar


def gaussian_nll(x_hat, x, s, reduction):
    """(L, dx̂, dx): −log of exp(−(x − x̂)²/2s²) / √(2πs²), summed."""
    n, total, dx_hat = count(x.shape, reduction), [], np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        r = float(x_hat[at]) - float(x[at])
        total.append(r * r / (2 * s * s) + math.log(s) + math.log(2 * math.pi) / 2)
        dx_hat[at] = r / (s * s) / n
    return math.fsum(total) / n, dx_hat, -dx_hat


# Nearest code.


def squared_distance(z, e):
    """Σ_d (z_d − e_d)² in float64, from d = 0, one rounding for each operation."""
    total = 0.0
    for a, b in zip(z, e, strict=True):
        difference = float(a) - float(b)
        total += difference * difference
    return total


def nearest(z, E):
    """z: (N, D), E: (K, D) -> k: (N,); the first of equal distances."""
    k = np.zeros(len(z), np.int64)
    for n in range(len(z)):
        best = squared_distance(z[n], E[0])
        for j in range(1, len(E)):
            distance = squared_distance(z[n], E[j])
            if distance < best:
                best, k[n] = distance, j
    return k


def exact_squared_distance(z, e):
    """2^2148 Σ_d (z_d − e_d)² as an integer, with no rounding at all: every float64 is m/2^1074."""
    total = 0
    for a, b in zip(z, e, strict=True):
        (p, q), (r, s) = float(a).as_integer_ratio(), float(b).as_integer_ratio()
        total += (p * 2**1074 // q - r * 2**1074 // s) ** 2
    return total


def code_statistics(z, k, K):
    """n_j, Σ z of the vectors with code j, added in their order."""
    D = z.shape[1]
    counts, sums = [0] * K, [[0.0] * D for _ in range(K)]
    for n in range(len(z)):
        counts[int(k[n])] += 1
        for d in range(D):
            sums[int(k[n])][d] += float(z[n, d])
    return np.array(counts), np.array(sums).reshape(K, D)


# The quantizer: van den Oord et al. 2017, equation 3.


def quantize(z, E, beta, codebook_loss, reduction, k=None):
    """z_q, Σ ‖sg z − e‖², β Σ ‖z − sg e‖², k; z: (N, D)."""
    k = nearest(z, E) if k is None else k
    size, codebook, commitment, z_q = count(z.shape, reduction), 0.0, 0.0, np.zeros(z.shape)
    for n in range(len(z)):
        for d in range(z.shape[1]):
            z_q[n, d] = E[k[n], d]
            r = float(z[n, d]) - float(E[k[n], d])
            commitment += beta * r * r / size
            if codebook_loss:
                codebook += r * r / size
    return z_q, codebook, commitment, k


def quantize_gradients(dz_q, dL, z, E, k, beta, codebook_loss, reduction):
    """∂/∂z of the commitment term alone, plus dz_q copied; ∂/∂E of the codebook term alone."""
    size, dz, dE = count(z.shape, reduction), np.zeros(z.shape), np.zeros(E.shape)
    for n in range(len(z)):
        j = int(k[n])
        for d in range(z.shape[1]):
            r = float(z[n, d]) - float(E[j, d])
            dz[n, d] = float(dz_q[n, d]) + dL * beta * 2 * r / size
            if codebook_loss:
                dE[j, d] -= dL * 2 * r / size
    return dz, dE


# Finite scalar quantization: Mentzer et al. 2023, appendix A.1.


def finite_scalar(z, levels):
    """z_q, k, dz_q/dz of each coordinate, and how far each is from the next rounding; z: (N, D)."""
    z_q, slope, margin, codes = np.zeros(z.shape), np.zeros(z.shape), np.zeros(z.shape), []
    for n in range(len(z)):
        k, worth = 0, 1
        for d, L in enumerate(levels):
            h = (L - 1) * (1 - 0.001) / 2
            offset = 0.0 if L % 2 else 0.5
            t = math.tanh(float(z[n, d]) + math.tan(offset / h))
            y = h * t - offset
            digit = round(y)
            z_q[n, d], slope[n, d] = digit / (L // 2), h * (1 - t * t) / (L // 2)
            margin[n, d] = abs(abs(y - digit) - 0.5)
            k, worth = k + worth * (digit + L // 2), worth * L
        codes.append(k)
    return z_q, np.array(codes, np.int64), slope, margin


# Lookup-free quantization: Yu et al. 2023, section 3.1.


def lookup_free(z, dz_q, dL, scale, beta, reduction):
    """z_q, β Σ (z − sg z_q)², k, dz; z: (N, D)."""
    size, commitment = count(z.shape, reduction), 0.0
    z_q, dz, codes = np.zeros(z.shape), np.zeros(z.shape), []
    for n in range(len(z)):
        codes.append(0)
        for d in range(z.shape[1]):
            z_q[n, d] = scale if z[n, d] > 0 else -scale
            codes[-1] += 2**d * int(z[n, d] > 0)
            r = float(z[n, d]) - z_q[n, d]
            commitment += beta * r * r / size
            dz[n, d] = float(dz_q[n, d]) + dL * beta * 2 * r / size
    return z_q, commitment, np.array(codes, np.int64), dz


def bit_entropies(a):
    """⟨H(p_n)⟩ over all codes, H(⟨p_n⟩) over all codes, Σ_d h(⟨p_nd⟩), in nats; a: (N, D)."""
    N, D = a.shape
    p = [[1 / (1 + math.exp(-float(v))) for v in row] for row in a]
    of = lambda row, k: math.prod(row[d] if k >> d & 1 else 1 - row[d] for d in range(D))
    joint = [[of(row, k) for k in range(2**D)] for row in p]
    entropy = lambda q: -math.fsum(v * math.log(v) for v in q if v > 0)
    if N == 0:
        return 0.0, 0.0, 0.0
    mean = [math.fsum(row[k] for row in joint) / N for k in range(2**D)]
    bits = [math.fsum(row[d] for row in p) / N for d in range(D)]
    sample = math.fsum(entropy(row) for row in joint) / N
    return sample, entropy(mean), math.fsum(entropy([b, 1 - b]) for b in bits)


# Residual quantization: Lee et al. 2022, section 3.1.


def residual_quantize(z, E, n, used, dz_q, dL, beta, codebook_loss, reduction):
    """z_q, the losses, k and the gradients, a vector and a depth at a time; z: (N, D)."""
    N, D = z.shape
    size = n * count(z.shape, reduction)
    z_q, dz, dE = np.zeros(z.shape), np.array(dz_q, np.float64), np.zeros(E.shape)
    k, codebook, commitment = np.full((N, n), -1), 0.0, 0.0
    for row in range(N):
        r = z[row].copy()
        for i in range(n if used is None else int(used[row])):
            e = E[i % len(E)]
            j = int(nearest(r[None], e)[0])
            k[row, i] = j
            z_q[row] += e[j]
            r = r - e[j]
            for d in range(D):
                left = float(r[d])
                commitment += beta * left * left / size
                dz[row, d] += dL * beta * 2 * left / size
                if codebook_loss:
                    codebook += left * left / size
                    dE[i % len(E), j, d] -= dL * 2 * left / size
    return {"z_q": z_q, "codebook": codebook, "commitment": commitment, "k": k, "dz": dz, "dE": dE}


# EMA: the same paper's appendix A. A state is (E, N, m, t).


def ema_initialize(E, zero=False):
    """E, N₀, m₀, 0: the averages of one vector at each code, or of none."""
    K, D = E.shape
    e = np.array([[float(v) for v in row] for row in E]).reshape(K, D)
    return e, np.full(K, 0.0 if zero else 1.0), e * (0.0 if zero else 1.0), 0


def smoothed(N, epsilon, smoothing):
    """Ñ: (K,)."""
    total, K = math.fsum(N), len(N)
    if smoothing == "none":
        return [float(n) for n in N]
    if smoothing == "additive":
        return [float(n) + epsilon for n in N]
    return [(float(n) + epsilon) / (total + K * epsilon) * total if total > 0 else 0.0 for n in N]


def ema_update(state, z, k, gamma, epsilon, smoothing="laplace", zero_debias=False):
    """One update, code by code."""
    E, N, m, t = state
    K, D = E.shape
    t += 1
    n, s = code_statistics(z, k, K)
    new_N, new_m, new_E = np.zeros(K), np.zeros((K, D)), E.copy()
    correction = 1 - gamma**t if zero_debias else 1.0
    for j in range(K):
        new_N[j] = gamma * N[j] + (1 - gamma) * n[j]
        for d in range(D):
            new_m[j, d] = gamma * m[j, d] + (1 - gamma) * s[j, d]
    used_N = smoothed(new_N / correction, epsilon, smoothing)
    for j in range(K):
        for d in range(D):
            if used_N[j] > 0:
                new_E[j, d] = new_m[j, d] / correction / used_N[j]
    return new_E, new_N, new_m, t


def lloyd_step(z, mu):
    """The mean of the vectors nearest to each centre, and how many; a centre with none stays."""
    n, s = code_statistics(z, nearest(z, mu), len(mu))
    new = np.array(mu, np.float64)
    for j in range(len(mu)):
        if n[j]:
            new[j] = s[j] / n[j]
    return new, n


# Adam (Kingma & Ba 2015, algorithm 1), one number at a time, and the cosine learning rate.


def adam(value, gradients, rates, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """value after one step for each gradient and rate; any shape."""
    theta, m, v = [float(x) for x in value.reshape(-1)], [0.0] * value.size, [0.0] * value.size
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        for i, g in enumerate(gradient.reshape(-1)):
            m[i] = beta1 * m[i] + (1 - beta1) * float(g)
            v[i] = beta2 * v[i] + (1 - beta2) * float(g) ** 2
            m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
            theta[i] -= rate * m_hat / (math.sqrt(v_hat) + epsilon)
    return np.array(theta).reshape(value.shape)


def cosine(step, steps, lr):
    """Half a period of a cosine, from lr to 0."""
    return lr / 2 + lr / 2 * math.cos(math.pi * step / steps)


# Information, in bits, from lists of values; and what detail an image has.


def entropy_bits(values):
    """−Σ p log₂ p over the distinct values."""
    H = 0.0
    for value in set(values):
        p = values.count(value) / len(values)
        H -= p * math.log2(p)
    return H


def mutual_information_bits(a, b):
    """Σ p(a, b) log₂ p(a, b)/(p(a) p(b))."""
    n, pairs, total = len(a), list(zip(a, b, strict=True)), 0.0
    for pair in set(pairs):
        p = pairs.count(pair) / n
        total += p * math.log2(p / (a.count(pair[0]) / n * b.count(pair[1]) / n))
    return total


def chain_bits(seen, k, K, order, w):
    """−⟨Σ_m log₂ p_m(k_m | k_{m−1})⟩, p(j | i) = (n_ij + w p(j))/(n_i + w), p(j) = (n_j + ½)/(n + K/2)."""
    bits, n = 0.0, len(seen)
    for row in k:
        for m, j in enumerate(row):
            p = (sum(1 for other in seen if other[m] == j) + 0.5) / (n + K / 2)
            if m and order:
                alike = [other[m] for other in seen if other[m - 1] == row[m - 1]]
                p = (sum(1 for one in alike if one == j) + w * p) / (len(alike) + w)
            bits -= math.log2(p)
    return bits / len(k)


def energy_distance(x, y):
    """2⟨‖x − y‖⟩ − ⟨‖x − x'‖⟩ − ⟨‖y − y'‖⟩ over pairs of different places."""

    def mean(a, b, same):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same and i == j)]
        return math.fsum(math.sqrt(float(((a[i] - b[j]) ** 2).sum())) for i, j in pairs) / len(pairs)

    return 2 * mean(x, y, False) - mean(x, x, True) - mean(y, y, True)


def radial_spectrum(x):
    """Mean of |X(u, v)|²/(HW) over images and over u, v with round √(u² + v²) = r; by the defining sums."""
    n, H, W = x.shape
    side = min(H, W)
    sums, members = [0.0] * (side // 2 + 1), [0] * (side // 2 + 1)
    for u in range(H):
        for v in range(W):
            fu, fv = (u if 2 * u < H else u - H) / H, (v if 2 * v < W else v - W) / W
            r = round(side * math.hypot(fu, fv))
            if r > side // 2:
                continue
            members[r] += n
            for image in x:
                re = im = 0.0
                for i in range(H):
                    for j in range(W):
                        angle = 2 * math.pi * (u * i / H + v * j / W)
                        re += float(image[i, j]) * math.cos(angle)
                        im -= float(image[i, j]) * math.sin(angle)
                sums[r] += (re * re + im * im) / (H * W)
    return [s / m for s, m in zip(sums, members, strict=True)]


def gradient_energy(x):
    """Mean squared difference of neighbours, downwards plus sideways."""
    n, H, W = x.shape
    down = [(x[a, i + 1, j] - x[a, i, j]) ** 2 for a in range(n) for i in range(H - 1) for j in range(W)]
    side = [(x[a, i, j + 1] - x[a, i, j]) ** 2 for a in range(n) for i in range(H) for j in range(W - 1)]
    return math.fsum(down) / len(down) + math.fsum(side) / len(side)


# Images that a model makes, by their neighbours.


def _distance(a, b):
    return math.sqrt(sum((float(s) - float(t)) ** 2 for s, t in zip(a, b, strict=True)))


def _balls(points, k):
    """The radius of each point's ball: the distance of its k-th neighbour other than itself."""
    n = range(len(points))
    return [sorted(_distance(points[i], points[j]) for j in n if j != i)[k - 1] for i in n]


def precision_recall(x, y, k):
    """The share of samples x in a ball of an image y, and of images in a ball of a sample."""
    r_x, r_y = _balls(x, k), _balls(y, k)
    inside = [any(_distance(a, b) <= r for b, r in zip(y, r_y, strict=True)) for a in x]
    around = [any(_distance(a, b) <= r for a, r in zip(x, r_x, strict=True)) for b in y]
    return sum(inside) / len(x), sum(around) / len(y)


def density_coverage(x, y, k):
    """The mean number of image balls that a sample is in, over k; the share of image balls with a sample."""
    r_y = _balls(y, k)
    within = [[_distance(a, b) <= r for a in x] for b, r in zip(y, r_y, strict=True)]
    return sum(map(sum, within)) / (k * len(x)), sum(map(any, within)) / len(y)


# The rotation trick: Fifty et al. 2024. R is built by Gram-Schmidt, as a turn in the plane of z and q.


def rotation(z, q):
    """λR for one pair: a turn by the angle from z to q in their plane; R = I − 2ẑẑᵀ if q is opposite to z."""
    z, q = [float(v) for v in z], [float(v) for v in q]
    D = len(z)
    length_z, length_q = (math.sqrt(math.fsum(v * v for v in x)) for x in (z, q))
    if length_z == 0 or length_q == 0:
        return np.eye(D)
    u, w = [v / length_z for v in z], [v / length_q for v in q]
    cosine = math.fsum(a * b for a, b in zip(u, w))
    rest = [b - cosine * a for a, b in zip(u, w)]  # of q, perpendicular to z
    sine = math.sqrt(math.fsum(v * v for v in rest))
    R = np.eye(D)
    if sine > 1e-12:
        v = [r / sine for r in rest]
        for i in range(D):
            for j in range(D):
                R[i, j] += (cosine - 1) * (u[i] * u[j] + v[i] * v[j]) + sine * (v[i] * u[j] - u[i] * v[j])
    elif cosine < 0:
        for i in range(D):
            for j in range(D):
                R[i, j] -= 2 * u[i] * u[j]
    return length_q / length_z * R


# Codes on the sphere: the largest cosine.


def normalize(x):
    """x/‖x‖ of each row, 0 for 0; x: (N, D)."""
    y = np.zeros(x.shape)
    for n, row in enumerate(x):
        length = math.sqrt(math.fsum(float(v) ** 2 for v in row))
        for d in range(x.shape[1]):
            y[n, d] = float(row[d]) / length if length else 0.0
    return y


def cosines(z, E):
    """ẑ·ê: (N, K)."""
    z, E = normalize(z), normalize(E)
    return np.array([[math.fsum(a * b for a, b in zip(x, e)) for e in E] for x in z]).reshape(len(z), len(E))


# The Gumbel-softmax and the divergence of its distribution from the uniform one, entry by entry.


def gumbel_softmax(a, g, tau):
    """exp((a_j + g_j)/τ) / Σ_i exp((a_i + g_i)/τ); a, g: (N, K)."""
    y = np.zeros(a.shape)
    for n in range(len(a)):
        s = [(float(a[n, j]) + float(g[n, j])) / tau for j in range(a.shape[1])]
        e = [math.exp(v - max(s)) for v in s]
        for j in range(a.shape[1]):
            y[n, j] = e[j] / math.fsum(e)
    return y


def categorical_kl(a, reduction):
    """Σ_j q_j log(q_j K) of each row, added up and divided by what the reduction says."""
    q, total = gumbel_softmax(a, np.zeros(a.shape), 1.0), 0.0
    for n in range(len(a)):
        total += math.fsum(p * math.log(p * len(q[n])) for p in q[n] if p > 0)
    return total / count(a.shape, reduction)


def logit_laplace_nll(mu, logb, x, reduction):
    """−log of the density of x, where logit x is Laplace(μ, b); mu, logb, x: (N, D)."""
    total = 0.0
    for n in range(len(x)):
        for d in range(x.shape[1]):
            p, m, b = float(x[n, d]), float(mu[n, d]), math.exp(float(logb[n, d]))
            u = math.log(p / (1 - p))
            total -= math.log(1 / (2 * b)) - abs(u - m) / b - math.log(p * (1 - p))
    return total / count(x.shape, reduction)


# Sound.


def stft(x, n_fft, hop, window):
    """|Σ_n w_n x_{h f + n − ⌊W/2⌋} exp(−2πi u n / N)|, x: (B, T) -> (B, F, ⌊N/2⌋ + 1)."""
    B, T = x.shape
    W, half = window, window // 2
    w = [math.sin(math.pi * n / W) ** 2 if W > 1 else 1.0 for n in range(W)]
    frames = (T + 2 * half - W) // hop + 1
    S = np.zeros((B, frames, n_fft // 2 + 1))
    for b in range(B):
        for f in range(frames):
            for u in range(n_fft // 2 + 1):
                re = im = 0.0
                for n in range(W):
                    j = hop * f + n - half
                    if 0 <= j < T:
                        angle = 2 * math.pi * u * n / n_fft
                        re += w[n] * float(x[b, j]) * math.cos(angle)
                        im -= w[n] * float(x[b, j]) * math.sin(angle)
                S[b, f, u] = math.hypot(re, im)
    return S


def spectral_loss(x_hat, x, resolutions, relative):
    """The mean over resolutions of Σ_b ‖S(x̂_b) − S(x_b)‖ / c, c = Σ_b ‖S(x_b)‖ or B."""
    norm = lambda S: math.sqrt(math.fsum(float(s) ** 2 for s in S.reshape(-1)))
    total = 0.0
    for resolution in resolutions:
        S_hat, S = stft(x_hat, *resolution), stft(x, *resolution)
        whole = math.fsum(norm(s) for s in S)
        c = whole if relative and whole else len(x)
        total += math.fsum(norm(a - b) for a, b in zip(S_hat, S, strict=True)) / c
    return total / len(resolutions)


def mu_law(x, mu):
    """sign(x) log(1 + µ|x|) / log(1 + µ)."""
    y = [math.copysign(math.log1p(mu * abs(float(v))) / math.log1p(mu), v) for v in x.reshape(-1)]
    return np.array(y).reshape(x.shape)


def mu_law_inverse(y, mu):
    """sign(y) ((1 + µ)^|y| − 1) / µ."""
    x = [math.copysign(((1 + mu) ** abs(float(v)) - 1) / mu, v) for v in y.reshape(-1)]
    return np.array(x).reshape(y.shape)
