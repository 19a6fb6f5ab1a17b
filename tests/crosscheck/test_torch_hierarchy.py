"""HierarchicalVQVAE beside the same network in PyTorch with the exported weights, float64, to 1e-12."""

import os

import numpy as np
import pytest

from vqnp import HierarchicalVQVAE
from vqnp.export import from_torch, load_torch, save_torch, to_torch
from vqnp.export.names import torch_names

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")
nn = torch.nn
F = nn.functional

H, R, D, K = 8, 5, (4, 3, 2), (7, 6, 5)
FORMS = {
    "two levels": {"image_shape": (8, 4, 3), "downsampling": (2, 1)},
    "three levels": {"image_shape": (16, 8, 1), "downsampling": (3, 2, 1)},
    "four times as fine": {"image_shape": (8, 16, 2), "downsampling": (3, 1)},
}


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.ReLU(), nn.Conv2d(H, R, 3, padding=1), nn.ReLU(), nn.Conv2d(R, H, 1))

    def forward(self, x):
        return x + self.inner(x)


def down(C, n):
    widths, layers = [H // 2] + [H] * (n - 1), []
    for a, b in zip([C, *widths], widths, strict=False):
        layers += [nn.Conv2d(a, b, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], H, 3, padding=1), nn.ReLU(), Residual(), nn.ReLU())


def up(C, O, n):
    between, layers = [H] * (n - 2) + [H // 2] * (n > 1), []
    for a, b in zip([H, *between], [*between, O], strict=True):
        layers += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(nn.Conv2d(C, H, 3, padding=1), Residual(), nn.ReLU(), *layers[:-1])


class Net(nn.Module):
    """The hierarchy in PyTorch, channels second: level_1 is the top."""

    def __init__(self, image_shape, downsampling, level_decoders):
        super().__init__()
        n, C, self.L = downsampling, image_shape[-1], len(downsampling)
        for l in range(self.L):
            level, above, bottom = nn.Module(), sum(D[:l]), l == self.L - 1
            level.encoder = down(C if bottom else H, n[l] if bottom else n[l] - n[l + 1])
            level.project = nn.Conv2d(H + (D[l] if l else 0), D[l], 1)
            level.quantizer = nn.Module()
            level.quantizer.embedding = nn.Embedding(K[l], D[l])
            if l:
                level.condition = up(above, D[l], n[l - 1] - n[l])
                doublings = (nn.ConvTranspose2d(above, above, 4, 2, 1) for _ in range(n[l - 1] - n[l]))
                level.up = nn.Sequential(*doublings)
            if level_decoders and not bottom:
                level.decoder = up(above + D[l], C, n[l])
            setattr(self, f"level_{l + 1}", level)
        self.decoder = up(sum(D[: self.L]), C, n[-1])

    def losses(self, x, stopped, gradient, w):
        """The losses by autograd, with detach for every stop-gradient, and the codes."""
        levels = [getattr(self, f"level_{l + 1}") for l in range(self.L)]
        h, features = x, []
        for level in reversed(levels):
            h = level.encoder(h)
            features.insert(0, h)
        out, codes, a = {"codebook_loss": 0.0, "commitment_loss": 0.0}, [], None
        for l, (level, h) in enumerate(zip(levels, features, strict=True), 1):
            if l > 1:
                h = torch.cat([level.condition(a.detach() if stopped else a), h], dim=1)
            z = level.project(h).movedim(1, -1)
            k = ((z[..., None, :] - level.quantizer.embedding.weight) ** 2).sum(-1).argmin(-1)
            e = level.quantizer.embedding(k)
            codes.append(k)
            moves = F.mse_loss(e, z.detach()) if gradient else 0.0 * z.sum()
            out["codebook_loss"] = out["codebook_loss"] + moves
            out[f"commitment_loss_{l}"] = 0.25 * F.mse_loss(z, e.detach())
            out["commitment_loss"] = out["commitment_loss"] + out[f"commitment_loss_{l}"]
            q = (z + (e - z).detach()).movedim(-1, 1)
            a = q if l == 1 else torch.cat([level.up(a), q], dim=1)
            if w and l < self.L:
                out[f"reconstruction_loss_{l}"] = F.mse_loss(level.decoder(a), x)
        out["reconstruction_loss"] = F.mse_loss(self.decoder(a), x)
        own = sum(out.get(f"reconstruction_loss_{l}", 0.0) for l in range(1, self.L + 1))
        total = out["reconstruction_loss"] + out["codebook_loss"] + out["commitment_loss"] + w * own
        return {"loss": total, **out}, codes


def pair(form, rng, **options):
    """A model, and PyTorch's with the exported weights."""
    L = len(FORMS[form]["downsampling"])
    model = HierarchicalVQVAE.conv(
        channels=H, residual_channels=R, residual_blocks=1, embedding_dim=D[:L], num_embeddings=K[:L],
        codebook_init="data", rng=0, dtype="float64", **FORMS[form], **options,
    )  # fmt: skip
    for param in model.parameters():
        param.value += 0.1 * rng.standard_normal(param.value.shape)
    model.initialize((rng.random((20, *model.data.shape)),), rng)  # so that several codes are used
    net = Net(level_decoders=model.level_loss > 0, **FORMS[form]).double()
    arrays = {key: torch.from_numpy(a) for key, a in to_torch(model).items()}
    statistics = {t.name for t in torch_names(model).values() if t.statistic}
    net.load_state_dict({key: a for key, a in arrays.items() if key not in statistics}, strict=True)
    return model, net


def close(ours, theirs, size=0.0):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-12 * max(np.abs(theirs).max(), size)


SLOW = [pytest.param(form, marks=pytest.mark.slow) for form in list(FORMS)[1:]]


@pytest.mark.parametrize("form", ["two levels", *SLOW])
@pytest.mark.parametrize("level_gradient", ["straight_through", "stopped"])
@pytest.mark.parametrize(("codebook", "w"), [("gradient", 0.7), ("ema", 0.0)])
def test_losses_codes_and_every_parameters_gradient(form, level_gradient, codebook, w, rng):
    model, net = pair(form, rng, level_gradient=level_gradient, codebook=codebook, level_loss=w)
    x = rng.random((3, *model.data.shape))
    losses, cache = model.loss((x,))
    theirs, codes = net.losses(
        torch.from_numpy(x).movedim(-1, 1), level_gradient == "stopped", codebook == "gradient", w
    )
    assert losses.keys() == theirs.keys()
    for name, value in theirs.items():
        close(losses[name], value, float(theirs["loss"].detach()))
    for ours, other in zip(model.encode(x), codes, strict=True):
        np.testing.assert_array_equal(ours, other.numpy())
        assert len(np.unique(ours)) > 1
    model.backward(cache)
    theirs["loss"].backward()
    names = torch_names(model)
    gradients = {key: p.grad for key, p in net.named_parameters() if p.grad is not None}
    own = {names[key].name: (key, p.grad) for key, p in model.named_parameters()}
    moving = {key for key in gradients if key.endswith("embedding.weight")} if codebook == "ema" else set()
    assert own.keys() == gradients.keys() - moving
    largest = max(float(g.abs().max()) for g in gradients.values())
    for name, (key, grad) in own.items():
        assert grad.any()
        close(names[key].to_torch(grad), gradients[name], largest)


def test_weights_make_the_way_to_pytorch_and_back(rng, tmp_path):
    model, net = pair("two levels", rng)
    save_torch(tmp_path / "w.npz", model)
    assert load_torch(tmp_path / "w.npz").fingerprint() == model.fingerprint()
    other = Net(level_decoders=False, **FORMS["two levels"]).double()
    from_torch({key: p.detach() for key, p in other.named_parameters()}, model)
    x = rng.random((3, *model.data.shape))
    _, codes = other.losses(torch.from_numpy(x).movedim(-1, 1), False, False, 0.0)
    for ours, theirs in zip(model.encode(x), codes, strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())
