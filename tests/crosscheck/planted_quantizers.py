"""Quantizers of five families as people write them in PyTorch, each right or with one mistake."""

import torch

nn, F = torch.nn, torch.nn.functional


def nearest(x, E):
    return torch.cdist(x, E).argmin(dim=-1)


def through(x, q):
    return x + (q - x).detach()


def dot(a, b):
    return (a * b).sum(-1, keepdim=True)


def rotate(x, q, bug=None):
    length = q.norm(dim=-1, keepdim=True) / x.norm(dim=-1, keepdim=True)
    scale = length if bug == "scale_not_detached" else length.detach()
    u, v = F.normalize(x, dim=-1).detach(), F.normalize(q, dim=-1).detach()
    w = F.normalize(u + v, dim=-1)
    if bug == "rotation_transposed":  # the rotation of the gradient is that of the vector
        return Turned.apply(q, lambda G: scale * (G - 2 * dot(G, w) * w + 2 * dot(G, u) * v), x)
    y = x - 2 * dot(x, w) * w + 2 * dot(x, u) * v
    if bug == "rotation_unscaled":
        return y + (q - y).detach()
    return scale * y


class Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, g, x):
        ctx.g = g
        return q.clone()

    @staticmethod
    def backward(ctx, G):
        return None, None, ctx.g(G)


class Residual(nn.Module):
    """n depths, β = 0.25; one straight-through step around the sum, unless bug says otherwise."""

    def __init__(self, bug=None, n=3, K=6, D=4, shared=False):
        super().__init__()
        torch.manual_seed(0)
        self.bug, self.n, count = bug, n, 1 if shared or bug == "between_depths" else n
        books = torch.randn(count, K, D) * (1 + torch.arange(K)[:, None] / K)
        graded = bug not in ("between_depths", "after")
        self.books = nn.ParameterList([nn.Parameter(b, requires_grad=graded) for b in books])

    @property
    def codebooks(self):
        return [*self.books]

    def forward(self, z):
        bug, r, codes, ks, L = self.bug, z, [], [], 0
        for i in range(self.n):
            E = self.books[i % len(self.books)]
            k = nearest(z if bug == "no_residual" else r, E)
            if bug == "after":
                self.move(E, r, k)
            e = E[k]
            if bug == "between_depths":
                self.move(E, r, k)
            weights = {"last_only": float(i == self.n - 1), "negative": -1.0, "weighted": i + 1.0}
            weight = weights.get(bug, 1.0)
            L = L + weight * (0.25 * F.mse_loss(r, e.detach()) + F.mse_loss(r.detach(), e))
            q = rotate(r, e) if bug in ("rotation_each", "rotation_through") else through(r, e)
            carried = bug in ("first_only", "rotation_through")
            r = r - (q if carried else e.detach())
            codes.append(q if carried or bug in ("n_times", "rotation_each") else e)
            ks.append(k)
        if bug == "without_last":
            codes = codes[:-1]
        z_q = sum(codes)
        if bug == "mean":
            z_q = z_q / self.n
        if bug == "rotation":
            z_q = rotate(z, z_q)
        elif bug == "zero":
            z_q = z_q.detach()
        elif bug == "multiple":
            z_q = 2 * z + (z_q - 2 * z).detach()
        elif bug == "from_decoder":
            z_q = z_q + z - z.detach()
        elif bug not in ("n_times", "rotation_each", "first_only", "rotation_through"):
            z_q = through(z, z_q)
        k = torch.stack(ks[::-1] if bug == "fine_first" else ks, dim=-1)
        return z_q, k, L

    def move(self, E, r, k):
        with torch.no_grad():
            for j in range(len(E)):
                if (k == j).any():
                    E[j] = 0.8 * E[j] + 0.2 * r[k == j].mean(0)


class Dropped(Residual):
    """Quantizer dropout: how many codes a batch has is drawn."""

    def forward(self, z):
        _, k, _ = super().forward(z)
        m = int(torch.randint(1, self.n + 1, ()))
        left = torch.arange(self.n) >= m if self.bug != "gaps" else torch.arange(self.n) == m - 1
        e = torch.stack([E[k[:, i]] for i, E in enumerate(self.books)], dim=1)
        kept = e if self.bug == "dropped_kept" else e * ~left[:, None]
        return through(z, kept.sum(1)), torch.where(left, -1, k), None


class Rotated(nn.Module):
    def __init__(self, bug="rotation", K=6, D=4):
        super().__init__()
        torch.manual_seed(1)
        self.bug, self.codebook = bug, nn.Parameter(torch.randn(K, D))

    def forward(self, z):
        k = nearest(z, self.codebook)
        e = self.codebook[k]
        L = F.mse_loss(z.detach(), e) + 0.25 * F.mse_loss(z, e.detach())
        q = through(z, e.detach()) if self.bug == "straight_through" else rotate(z, e.detach(), self.bug)
        return {"zero": e.detach(), "from_decoder": e + z - z.detach()}.get(self.bug, q), k, L


class Cosine(nn.Module):
    def __init__(self, bug=None, K=6, D=4):
        super().__init__()
        torch.manual_seed(2)
        self.bug, self.codebook = bug, nn.Parameter(torch.randn(K, D) * (0.5 + torch.arange(K)[:, None] / 4))

    def forward(self, z):
        bug, E, length = self.bug, self.codebook, z.norm(dim=-1, keepdim=True)
        u = z / length if bug == "nan" else F.normalize(z, dim=-1)
        Ê = F.normalize(E, dim=-1)
        score = {"product": z @ E.T, "distance": -torch.cdist(z, E), "distance_of_unit": -torch.cdist(u, E)}
        k = score.get(bug, u @ Ê.T).argmax(dim=-1)
        e, raw = Ê[k], E[k]
        pair = {"of_vectors": (z, raw), "of_vector_and_unit_code": (z, e)}.get(bug, (u, e))
        L = 0.25 * F.mse_loss(pair[0], pair[1].detach()) + F.mse_loss(pair[0].detach(), pair[1])
        q = {
            "skips_norm": lambda: through(z, e), "code": lambda: through(u, raw), "zero": lambda: e.detach(),
            "length_of_z": lambda: through(z, e * length),
            "rotation_through_norm": lambda: rotate(u, e.detach()),
        }.get(bug, lambda: through(u, e))()  # fmt: skip
        return q, k, L


class FiniteScalar:
    def __init__(self, bug=None, levels=(8, 5, 4)):
        self.bug, self.levels, self.__name__ = bug, levels, "FiniteScalar"

    def __call__(self, z):
        bug, L = self.bug, torch.tensor(self.levels, dtype=z.dtype)
        e = 1e-3 if bug in ("wider", "no_shift_wider") else -1e-3
        h, o, half = (L - 1) * (1 + e) / 2, torch.where(L % 2 == 0, 0.5, 0.0).to(z.dtype), L // 2
        if bug == "more":
            h, o = L / 2, 0 * o
        s = torch.atanh(o / h) if bug in ("wider", "narrower_artanh") else torch.tan(o / h)
        s = 0 * s if bug in ("no_shift", "no_shift_wider", "more") else s
        if bug in ("symmetric", "clipped"):
            bounded = torch.tanh(z) if bug == "symmetric" else z.clamp(-1, 1)
            y = (L - 1) * (bounded + 1) / 2
            digits = through(y, torch.floor(y + 0.5).clamp(max=L - 1))
            z_q, d = 2 * digits / (L - 1) - 1, digits.detach()
        else:
            y = h * torch.tanh(z + s) - o
            digits = y.round()
            q = digits if bug == "zero" else through(y, digits)
            z_q, d = q / half, digits.detach() + half
            if bug == "skips_bound":
                z_q = through(z, digits / half)
            if bug == "through_bound_unscaled":
                z_q = through(y, digits / half)
            if bug == "integers":
                z_q = q
        ones = torch.ones(1, dtype=z.dtype)
        basis = torch.cat([ones, L[:-1].cumprod(0)])
        if bug == "first_highest":
            basis = torch.cat([ones, L.flip(0)[:-1].cumprod(0)]).flip(0)
        if bug == "collides":
            basis = torch.ones_like(L)
        if bug == "out_of_range":
            d = d - half
        return z_q, (d * basis).sum(-1).round().long()


class LookupFree:
    def __init__(self, bug=None, D=4, tau=0.5, spherical=False):
        self.bug, self.D, self.tau, self.spherical, self.__name__ = bug, D, tau, spherical, "LookupFree"

    def __call__(self, z):
        bug, D = self.bug, self.D
        s = D**-0.5 if self.spherical else 1.0
        u = F.normalize(z, dim=-1) if self.spherical else z
        bits = torch.arange(1 << D)[:, None] >> torch.arange(D) & 1
        codes = (2.0 * bits.to(z.dtype) - 1) * s
        p = (-((u[:, None] - codes) ** 2).sum(-1) / self.tau).softmax(-1)
        e = torch.sign(u) * s if bug == "no_code" else torch.where(u > 0, s, -s).to(z.dtype)
        mean = p.mean(0)
        ones = mean @ bits.to(z.dtype)
        whole = entropy(ones) + entropy(1 - ones) if bug == "bound" else entropy(mean)
        sample = entropy(p).mean()
        signs = {"sample": (-1, -1), "batch": (1, 1), "sample_only": (1, 0), "batch_only": (0, -1)}
        a, b = signs.get(bug, (1, -1))
        beta = {"none": 0.0, "negative": -0.25}.get(bug, 0.25)
        L = 0.1 * (a * sample + b * whole) + beta * F.mse_loss(u, e.detach())
        if bug == "no_entropies":
            L = 0.25 * F.mse_loss(u, e.detach())
        order = torch.arange(D).flip(0) if bug == "first_highest" else torch.arange(D)
        k = ((u > 0).long() << order).sum(-1)
        e = -e if bug == "flipped" else e
        x = u.clamp(-1, 1) if bug == "clipped" else u
        return e.detach() if bug == "zero" else through(x, e), k, L


def entropy(p):
    return -(p * p.clamp(min=1e-300).log()).sum(-1)
