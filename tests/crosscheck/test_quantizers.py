"""check_quantizer: ours and others' right layers have no fault, each planted one is named, and by its name.

Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1, as in CI, that is a failure.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from helpers import refused

from vqnp import nn, ops
from vqnp.cli import main
from vqnp.crosscheck import OwnQuantizer, QuantizerFunctions, check_quantizer
from vqnp.crosscheck.quantizers.table import DIMENSIONS, NEEDED, TITLES, VARIANTS

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")

from vqnp.crosscheck import TorchQuantizer  # noqa: E402

from .planted_quantizers import Cosine, Dropped, FiniteScalar, LookupFree, Residual, Rotated  # noqa: E402

torch.set_num_threads(1)
LEVELS = (8, 5, 4)
PAGE = (Path(__file__).parents[2] / "docs" / "crosscheck-quantizers.md").read_text(encoding="utf-8")


def agrees(report, expected, ok):
    assert expected.items() <= report.fingerprint.items(), report
    assert report.ok == ok and not report.faults, report


# Right layers.

OURS = {
    "residual": lambda d: nn.ResidualVectorQuantizer(
        3, 8, 4, codebook="gradient", codebook_init="normal", dtype=d
    ),
    "residual shared": lambda d: nn.ResidualVectorQuantizer(
        2, 8, 4, codebook_init="normal", shared_codebook=True, dtype=d
    ),
    "vector": lambda d: nn.VectorQuantizer(8, 4, codebook_init="normal", estimator="rotation", dtype=d),
    "vector simvq": lambda d: nn.SimVQ(8, 4, dtype=d),
    "cosine": lambda d: nn.CosineVectorQuantizer(8, 4, codebook_init="normal", dtype=d),
    "cosine ema": lambda d: nn.EMACosineVectorQuantizer(
        8, 4, codebook_init="normal", estimator="rotation", dtype=d
    ),
    "finite_scalar": lambda d: nn.FiniteScalarQuantizer((8, 5, 2, 7), dtype=d),
    "lookup_free": lambda d: nn.LookupFreeQuantizer(4, dtype=d),
    "lookup_free bound": lambda d: nn.LookupFreeQuantizer(4, batch_entropy="bound", spherical=True, dtype=d),
}  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_ours_conform_as_other_peoples_layers(name):
    kind = name.split()[0]
    for dtype in ("float64", "float32"):
        report = check_quantizer(OwnQuantizer(OURS[name](dtype)), None if kind != "cosine" else kind)
        agrees(report, {"repeat": "deterministic", "decode": "agrees"}, True)
        assert report.kind == kind and report.dtype == dtype and not report.advice() and not report.notes


RESIDUAL = {
    None: {"choice": "nearest", "output": "sum", "estimator": "straight_through", "commitment": "each",
           "codebook_loss": "each", "loss": "terms", "sharing": "own"},
    "n_times": {"estimator": "n_times"}, "rotation": {"estimator": "rotation"},
    "rotation_each": {"estimator": "rotation_each"}, "zero": {"estimator": "zero"},
    "rotation_through": {"estimator": "rotation_through", "commitment": "through_rotation"},
    "multiple": {"estimator": "multiple"},
    "first_only": {"commitment": "first_only", "estimator": "straight_through", "codebook_loss": "each"},
    "last_only": {"commitment": "last_only"},
    "negative": {"commitment": "negative", "codebook_loss": "negative"},
    "weighted": {"commitment": "weighted"}, "no_residual": {"choice": "no_residual"},
    "fine_first": {"choice": "fine_first", "output": "sum", "estimator": "straight_through"},
    "without_last": {"output": "without_last"}, "mean": {"output": "mean"}, "after": {"output": "after"},
    "between_depths": {"output": "between_depths", "sharing": "shared"},
    "from_decoder": {"codebook_loss": "from_decoder"},
}  # fmt: skip
COSINE = {
    None: {"choice": "cosine", "output": "unit_code", "estimator": "through_norm", "commitment": "of_unit",
           "codebook_loss": "of_unit", "loss": "terms"},
    "product": {"choice": "product"}, "distance": {"choice": "distance"},
    "distance_of_unit": {"choice": "distance_of_unit"}, "zero": {"estimator": "zero"},
    "of_vectors": {"commitment": "of_vectors", "codebook_loss": "of_vectors"},
    "of_vector_and_unit_code": {"commitment": "of_vector_and_unit_code"},
    "skips_norm": {"estimator": "skips_norm"}, "code": {"output": "code"},
    "length_of_z": {"output": "length_of_z"},
    "rotation_through_norm": {"estimator": "rotation_through_norm", "zero_vector": "nan"},  # λ = ‖q‖/0
    "nan": {"zero_vector": "nan"},
}  # fmt: skip
FINITE_SCALAR = {
    None: {"levels": "as_asked", "values": "published", "bound": "published", "estimator": "through_bound",
           "index": "first_lowest"},
    "wider": {"bound": "wider"}, "narrower_artanh": {"bound": "narrower_artanh"},
    "no_shift": {"bound": "no_shift"}, "no_shift_wider": {"bound": "no_shift_wider"},
    "symmetric": {"bound": "symmetric", "values": "symmetric"}, "clipped": {"bound": "clipped"},
    "more": {"levels": "more", "index": "out_of_range"}, "skips_bound": {"estimator": "skips_bound"},
    "zero": {"estimator": "zero"},
    "through_bound_unscaled": {"estimator": "through_bound_unscaled"}, "integers": {"values": "integers"},
    "first_highest": {"index": "first_highest"}, "collides": {"index": "collides"},
    "out_of_range": {"index": "out_of_range"},
}  # fmt: skip
LOOKUP_FREE = {
    None: {"code": "signs", "estimator": "straight_through", "index": "first_lowest", "commitment": "each",
           "sample_entropy": "minimised", "batch_entropy": "exact", "loss": "terms"},
    "bound": {"batch_entropy": "bound"}, "sample": {"sample_entropy": "maximised"},
    "batch": {"batch_entropy": "minimised"}, "sample_only": {"batch_entropy": "absent"},
    "batch_only": {"sample_entropy": "absent"}, "none": {"commitment": "none"},
    "negative": {"commitment": "negative"}, "first_highest": {"index": "first_highest"},
    "no_entropies": {"sample_entropy": "absent", "batch_entropy": "absent", "commitment": "each"},
    "flipped": {"code": "flipped"}, "no_code": {"sign_of_zero": "no_code"},
    "clipped": {"estimator": "clipped"}, "zero": {"estimator": "zero"},
}  # fmt: skip


def expect(report, expected):
    """It is named; it is the only mistake that is named; and the layer conforms if it is none."""
    wrong = [d for d, v in expected.items() if VARIANTS[d][v].advice]
    agrees(report, expected, not wrong) if "nan" not in expected.values() else None
    assert report.fingerprint.items() >= expected.items()
    assert set(report.failing) == set(wrong), report


@pytest.mark.parametrize("bug", RESIDUAL)
def test_residual(bug):
    expect(check_quantizer(Residual(bug)), RESIDUAL[bug])


def test_quantizer_dropout():
    report = check_quantizer(Dropped())
    assert report.fingerprint["repeat"] == "dropped" and report.fingerprint["dropout"] == "prefix"
    assert not report.failing and report.verdict == "not enough was asked"  # it has no loss
    assert check_quantizer(Dropped("gaps")).failing == ["dropout"]
    assert check_quantizer(Dropped("dropped_kept")).fingerprint["output"] == "dropped_kept"


ESTIMATORS = (
    "straight_through", "rotation", "rotation_unscaled", "rotation_transposed", "scale_not_detached", "zero",
)  # fmt: skip


@pytest.mark.parametrize("bug", ESTIMATORS)
def test_rotation(bug):
    expect(check_quantizer(Rotated(bug)), {"estimator": bug})


@pytest.mark.parametrize("bug", COSINE)
def test_cosine(bug):
    expect(check_quantizer(Cosine(bug), "cosine"), COSINE[bug])


@pytest.mark.parametrize("bug", FINITE_SCALAR)
def test_finite_scalar(bug):
    expect(check_quantizer(TorchQuantizer(FiniteScalar(bug), levels=LEVELS)), FINITE_SCALAR[bug])


@pytest.mark.parametrize("bug", LOOKUP_FREE)
def test_lookup_free(bug):
    expect(check_quantizer(TorchQuantizer(LookupFree(bug), embedding_dim=4)), LOOKUP_FREE[bug])
    if bug in ("sample", "batch", "bound"):
        report = check_quantizer(TorchQuantizer(LookupFree(bug, spherical=True), embedding_dim=4))
        expect(report, LOOKUP_FREE[bug] | {"estimator": "through_norm"})


def test_a_number_is_told_with_its_weights():
    report = check_quantizer(Residual("weighted"))
    (commitment,) = (f for f in report.findings if f.dimension == "commitment")
    assert commitment.evidence == "weights of the mean squared error: 0.25, 0.5, 0.75"
    (entropy,) = (
        f for f in check_quantizer(TorchQuantizer(LookupFree(), embedding_dim=4)).findings
        if f.dimension == "sample_entropy"
    )  # fmt: skip
    assert entropy.evidence.startswith("τ = 0.5, weight 0.1, gradient explained to ")


def test_what_rounding_hides_is_not_called_absent():
    quantizer = nn.LookupFreeQuantizer(5, 100.0, 0.01, 0.5, 0.0085, reduction="sum", dtype="float32")
    report = check_quantizer(OwnQuantizer(quantizer))
    assert report.fingerprint["commitment"] == "each" and not report.failing
    assert "absent" not in (report.fingerprint["sample_entropy"], report.fingerprint["batch_entropy"])
    for quantizer in (nn.LookupFreeQuantizer(1, spherical=True), nn.CosineVectorQuantizer(5, 1)):
        kind = "cosine" if hasattr(quantizer, "E") else "lookup_free"
        report = check_quantizer(OwnQuantizer(quantizer), kind)  # whose gradient is 0: a sphere of two points
        assert report.verdict == "not enough was asked" and not report.failing
    report = check_quantizer(OwnQuantizer(nn.FiniteScalarQuantizer((18, 7))))
    (bound,) = (f for f in report.findings if f.dimension == "bound")
    assert bound.variant == "published" and bound.evidence.endswith("as near: narrower_artanh")


# What is not known, and what does not answer.

E = np.random.default_rng(0).standard_normal((8, 4))


def forward(z):
    z_q, codebook, commitment, k, _ = ops.quantize_forward(z, E)
    return z_q, k, codebook + commitment


def backward(z, G):
    *_, cache = ops.quantize_forward(z, E)
    return ops.quantize_backward(G, 1.0, cache)


def spoilt(**changes):
    return QuantizerFunctions(**({"forward": forward, "backward": backward, "codebooks": E} | changes))


OPEN = {
    "no gradient": spoilt(backward=None),
    "no loss": spoilt(forward=lambda z: forward(z)[:2]),
    "no codes": spoilt(forward=lambda z: forward(z)[::2]),
    "a projection": spoilt(forward=lambda z: (forward(z)[0] @ np.diag([1.0, 2, 3, 4]), *forward(z)[1:])),
    "another codebook": spoilt(codebooks=E[::-1].copy()),
    "raises": spoilt(forward=lambda z: 1 / 0),
    "two losses": spoilt(forward=lambda z: (*forward(z), 2.0)),
    "z beside z_q": spoilt(forward=lambda z: (z, *forward(z))),
    "codes of other codes": spoilt(codebooks=E[:3]),
    "another shape": spoilt(forward=lambda z: forward(z)[0][:, :2]),
    "a shape of dz": spoilt(backward=lambda z, G: backward(z, G)[0][:, :2]),
    "an unknown loss": spoilt(backward=lambda z, G: backward(z, G)[0] + np.cos(z)),
    "an unknown estimator": spoilt(backward=lambda z, G: backward(z, G * (1 + z**2))),
    "noise": spoilt(forward=lambda z: (forward(z)[0] + np.random.random(), *forward(z)[1:])),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_is_not_understood_is_not_checked(name):
    report = check_quantizer(OPEN[name], "vector")
    assert report.verdict == "not enough was asked" and not report.failing, report
    assert "not checked" in str(report)


def test_what_is_wrong_with_an_answer_is_a_fault():
    right = spoilt()
    assert check_quantizer(right).ok and check_quantizer(right).kind == "vector"

    def writing(z):
        result = forward(z)
        z[:] = 0
        return result

    report = check_quantizer(spoilt(forward=writing))
    assert report.verdict == "does not conform" and "it changed one" in report.faults[0]
    report = check_quantizer(spoilt(forward=lambda z: (forward(z)[0] * np.nan, *forward(z)[1:])), "vector")
    assert report.verdict == "does not conform" and "must be finite" in report.faults[0]
    named = {"codes": 1, "quantized": 0, "commit_loss": 2}
    report = check_quantizer(spoilt(forward=lambda z: {n: forward(z)[i] for n, i in named.items()}))
    assert report.ok


def test_a_layer_that_computes_in_float32_is_noted_not_blamed():
    def single(z):
        return tuple(a.astype(np.float64) if a.dtype == np.float32 else a for a in low(z))

    def low(z):
        z_q, codebook, commitment, k, _ = ops.quantize_forward(z.astype(np.float32), E.astype(np.float32))
        return z_q, k, codebook + commitment

    report = check_quantizer(spoilt(forward=single))
    assert report.ok and "float32's precision only" in report.notes[0]


def test_arguments_are_refused_in_a_sentence():
    for given, argument in (
        ({"kind": "all"}, "kind"), ({"kind": "vector"}, "layer"), ({"kind": "lookup_free"}, "embedding_dim"),
        ({"levels": (1, 3)}, "levels"), ({"vectors": 3}, "vectors"), ({"seed": -1}, "seed"),
        ({"allow": {"all": "x"}}, "allow's dimension"), ({"allow": {"choice": "x"}}, "allow['choice']"),
    ):  # fmt: skip
        dim = {} if argument == "embedding_dim" else {"embedding_dim": 4}
        with refused(argument, where="check_quantizer"):
            check_quantizer(lambda z: z, **dim, **given)
    with refused("layer", where="check_quantizer"):
        check_quantizer(3)
    with refused("codebooks", where="TorchQuantizer"):
        check_quantizer(TorchQuantizer(Rotated(), codebooks="nothing"))


def test_what_is_meant_can_be_allowed():
    for allow in ("estimator", {"estimator": "n_times"}):
        assert check_quantizer(Residual("n_times"), allow=allow).ok
    assert not check_quantizer(Residual("n_times"), allow={"estimator": "zero"}).ok


class Public(torch.nn.Module):
    """Channels first, codes (n, B, T), a loss for each depth, as audio codecs have them."""

    def __init__(self, by_direction=False):
        super().__init__()
        torch.manual_seed(0)
        self.by_direction = by_direction
        for i in range(3):
            self.register_buffer(f"book{i}", torch.randn(6, 4))

    def forward(self, z):
        r, z_q, ks, losses, unit = z.mT, 0, [], [], torch.nn.functional.normalize
        for E in (self.book0, self.book1, self.book2):
            score = unit(r, dim=-1) @ unit(E, dim=-1).T if self.by_direction else -torch.cdist(r, E[None])
            ks.append(score.argmax(-1))
            q = E[ks[-1]]
            losses.append(((q.detach() - r) ** 2).mean())
            q = r + (q - r).detach()
            r, z_q = r - q, z_q + q
        return z_q.mT, torch.stack(ks), torch.stack(losses)


@pytest.mark.parametrize("by_direction", [False, True])
def test_a_layer_as_audio_codecs_have_it(by_direction):
    books = ["book0", "book1", "book2"]
    report = check_quantizer(TorchQuantizer(Public(by_direction), codebooks=books, layout="(1, D, N)"))
    assert report.failing == ["commitment"] and not report.faults and not report.notes
    choice = "by_direction" if by_direction else "nearest"
    expected = {"commitment": "first_only", "estimator": "straight_through", "choice": choice}
    assert report.fingerprint.items() >= expected.items()


def test_what_is_not_a_code_or_a_loss_is_noted_once():
    class Layer(Rotated):
        def forward(self, z):
            z_q, k, L = super().forward(z)
            p = torch.nn.functional.one_hot(k, 6).double()
            return L, z_q, p.mean(0).prod(), (p, k[:, None])

    report = check_quantizer(Layer())
    assert report.ok and [note.split("(")[0] for note in report.notes] == [
        "not understood, and left out: float64 ", "not understood, and left out: float64 "
    ]  # fmt: skip


def test_codebooks_of_different_sizes_are_not_asked():
    class Layer(torch.nn.Module):
        codebooks = torch.zeros(6, 4), torch.zeros(5, 4)

    report = check_quantizer(Layer())
    assert report.verdict == "not enough was asked" and "different sizes" in report.faults[0]


def test_modules_in_other_layouts():
    class Layer(Rotated):
        def forward(self, z):
            z_q, k, L = super().forward(z[0].T)
            return {"loss": L, "z_q": z_q.T[None], "indices": k[None]}

    decode = lambda module, k: module.codebook[k].mT  # noqa: E731
    report = check_quantizer(TorchQuantizer(Layer(), layout="(1, D, N)", decode=decode))
    agrees(report, {"estimator": "rotation", "decode": "agrees"}, True)


def test_functions_of_tensors_and_of_jax():
    def signs(z):
        e = torch.where(z > 0, 0.5, -0.5)
        return z + (e - z).detach(), (z > 0).long() @ (1 << torch.arange(4)), ((z - e) ** 2).mean()

    expected = {"estimator": "straight_through", "commitment": "each", "sample_entropy": "absent"}
    agrees(check_quantizer(TorchQuantizer(signs, embedding_dim=4)), expected, True)

    jax = pytest.importorskip("jax")
    from vqnp.crosscheck import JaxQuantizer

    def nearest(z, E):
        k, stop = ((z[:, None] - E) ** 2).sum(-1).argmin(-1), jax.lax.stop_gradient
        e = E[k]
        return z + stop(e - z), k, ((stop(z) - e) ** 2).mean() + 0.3 * ((z - stop(e)) ** 2).mean()

    report = check_quantizer(JaxQuantizer(jax.jit(nearest), codebooks=E))
    agrees(report, {"codebook_loss": "each", "loss": "terms"}, True)


# vector-quantize-pytorch 1.32.0, as the page says.

PACKAGE = {
    "ResidualVQ": ({"dim": 6, "num_quantizers": 3, "codebook_size": 8},
                   {"estimator": "rotation_each", "commitment": "each", "output": "sum"}, ["estimator"]),
    "ResidualVQ ": ({"dim": 6, "num_quantizers": 3, "codebook_size": 8, "rotation_trick": False},
                    {"estimator": "n_times", "sharing": "own"}, ["estimator"]),
    "ResidualVQ  ": ({"dim": 6, "num_quantizers": 3, "codebook_size": 8, "shared_codebook": True,
                      "rotation_trick": False, "quantize_dropout": True},
                     {"output": "sum", "sharing": "shared", "dropout": "prefix"}, ["estimator"]),
    "ResidualVQ   ": ({"dim": 6, "num_quantizers": 3, "codebook_size": 8, "rotation_trick": False,
                       "quant_grad_frac": 1.0, "kmeans_init": True},
                      {"estimator": "straight_through", "commitment": "first_only"}, ["commitment"]),
    "VectorQuantize": ({"dim": 6, "codebook_size": 8}, {"estimator": "rotation", "commitment": "each"}, []),
    "VectorQuantize ": ({"dim": 6, "codebook_size": 8, "use_cosine_sim": True},
                        {"estimator": "rotation_through_norm", "output": "unit_code", "zero_vector": "huge",
                         "commitment": "of_unit"}, []),
    "SimVQ": ({"dim": 6, "codebook_size": 8}, {"estimator": "rotation", "commitment": "each"}, []),
    "FSQ": ({"levels": [8, 5, 5]}, {"bound": "wider", "index": "first_lowest"}, []),
    "FSQ ": ({"levels": [8, 5, 4], "preserve_symmetry": True},
             {"bound": "symmetric", "values": "symmetric"}, []),
    "FSQ  ": ({"levels": [8, 5, 4], "bound_hard_clamp": True}, {"bound": "clipped_shifted"}, []),
    "LFQ": ({"dim": 4, "codebook_size": 16},
            {"index": "first_highest", "batch_entropy": "exact", "sample_entropy": "minimised",
             "commitment": "none", "estimator": "straight_through"}, []),
    "LFQ ": ({"dim": 4, "codebook_size": 16, "spherical": True, "commitment_loss_weight": 0.25},
             {"estimator": "through_norm", "commitment": "each", "loss": "terms"}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", PACKAGE)
def test_vector_quantize_pytorch(name):
    package = pytest.importorskip("vector_quantize_pytorch")
    from vqnp.crosscheck import VQPytorchQuantizer

    settings, expected, failing = PACKAGE[name]
    torch.manual_seed(0)
    report = check_quantizer(VQPytorchQuantizer(getattr(package, name.strip())(**settings)))
    assert report.fingerprint.items() >= expected.items() and report.failing == failing, report
    assert report.ok == (not failing) and report.fingerprint["decode"] in ("agrees", None)


def test_what_a_layer_of_the_package_draws_or_projects_is_not_checked():
    package = pytest.importorskip("vector_quantize_pytorch")
    from vqnp.crosscheck import VQPytorchQuantizer

    for layer in (
        package.VectorQuantize(dim=6, codebook_size=8, stochastic_sample_codes=True),
        package.FSQ([5, 5, 5], orthogonal_rotation=True),
        package.FSQ([8, 5, 4], preserve_symmetry=True, noise_dropout=0.5),
        package.LFQ(dim=5, codebook_size=32, soft_clamp_input_value=3.0),
        package.ResidualVQ(dim=8, codebook_dim=4, num_quantizers=2, codebook_size=8),
    ):  # fmt: skip
        report = check_quantizer(VQPytorchQuantizer(layer))
        assert report.verdict == "not enough was asked" and not report.failing, report
    with refused("layer", where="VQPytorchQuantizer"):
        VQPytorchQuantizer(torch.nn.Linear(2, 2))


# The page and the command line.


@pytest.mark.parametrize("dimension", VARIANTS)
def test_the_page_has_every_variant_with_its_advice_and_reference(dimension):
    section = PAGE.split(f"## {TITLES[dimension]}: `{dimension}`\n")[1].split("\n## ")[0]
    for name, variant in VARIANTS[dimension].items():
        assert f"| `{name}` | {variant.label} | {variant.advice or '-'} |" in section
        assert all(one.removeprefix("docs/") in section for one in variant.reference.split("; "))
        assert bool(variant.reference) == bool(variant.advice)


def test_every_dimension_has_a_title_and_every_kind_its_needs():
    assert {d for each in DIMENSIONS.values() for d in each} == set(TITLES) == set(VARIANTS)
    assert all(set(NEEDED[kind]) <= set(DIMENSIONS[kind]) for kind in DIMENSIONS)


LAYER = """
import numpy as np
from vqnp import nn
from vqnp.crosscheck import OwnQuantizer, QuantizerFunctions

print("the file may print")
right = OwnQuantizer(nn.FiniteScalarQuantizer((5, 4)))


class Signs:
    embedding_dim = 3

    def forward(self, z):
        return np.sign(z), (z > 0) @ np.array([1, 2, 4])

    def backward(self, z, G):
        return 0 * z


def function(z):
    return np.sign(z), (z > 0) @ np.array([1, 2, 4])
"""


def test_the_command_line(tmp_path, capsys):
    file = tmp_path / "layer.py"
    file.write_text(LAYER, encoding="utf-8")

    def run(name, *options):
        status = main(["crosscheck", "quantizer", f"{file}:{name}", *options])
        return status, *capsys.readouterr()

    status, out, err = run("right")
    assert status == 0 and "ok: conforms" in out and "the file may print" in err
    status, out, _ = run("Signs", "--json")
    assert status == 1 and json.loads(out)["kind"] == "lookup_free"
    status, out, _ = run("Signs", "--allow", "estimator=zero", "--allow", "sign_of_zero")
    assert status == 3 and "NOT ENOUGH ASKED" in out  # it has no loss
    assert run("function", "--kind", "lookup_free", "--embedding-dim", "3")[0] == 1
    assert run("right", "--levels", "5", "5")[0] == 1
    status, _, err = run("nothing")
    assert status == 2 and "must define nothing" in err
    status, _, err = run("right", "--allow", "bound=all")
    assert status == 2 and "allow['bound'] must be one of" in err
