"""Every wrong word of the cross-check that an examination on 118 layers found, each as a test of its own.

The letters are the examination's. Skipped where PyTorch is not installed; with VQNP_REQUIRE_TORCH=1 that is a
failure.
"""

import os
from collections import namedtuple

import pytest

from vqnp import InputError
from vqnp.crosscheck import Adapter, Reference, check

if os.environ.get("VQNP_REQUIRE_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the crosscheck extra)")

from vqnp.crosscheck.adapters.torch_module import TorchModule  # noqa: E402

from .layers_torch import Classic, Ema, nearest, rows, set_all, with_  # noqa: E402

F = torch.nn.functional


def told(layer, **options):
    return check(TorchModule(layer, **options))


def averages(make, stored):
    """The adapter of a layer whose N and m are in reach, or not."""
    adapter = TorchModule(make)
    step = adapter.step
    if not stored:
        adapter.step = lambda z: step(z)[0]
    return adapter


def results(report):
    return {row.quantity: row.result for row in report.rows}


def failed(report):
    return {quantity for quantity, result in results(report).items() if result == "fail"}


def nothing_guessed(report, word):
    """One sentence, which has the word; no finding, no advice, no row; and no verdict."""
    assert not any(report.fingerprint.values()) and not report.advice(), report
    assert set(results(report).values()) == {"not checked"}
    (sentence,) = report.faults
    assert word in sentence, sentence
    assert report.verdict == "not enough was asked" and not report.ok
    assert set(report.constants.values()) == {None}


# A: restarts that are not at a row of the batch.


def noisy(self, z):
    dead = self.N < 0.5
    x = rows(z, int(dead.sum()))
    self.E[dead] = x * (1 + 0.01 * torch.randn_like(x))


def noisy_right(self, z):
    dead = self.N < 0.5
    x = rows(z, int(dead.sum()))
    set_all(self, dead, x * (1 + 0.01 * torch.randn_like(x)))


def split(self, z):
    for j in torch.nonzero(self.N < 0.5)[:, 0]:
        i = self.N.argmax()
        self.N[i] /= 2
        self.m[i] /= 2
        self.N[j] = self.N[i]
        self.E[j] = self.E[i] * (1 + 0.01 * torch.randn(())) + 0.01 * torch.randn_like(self.E[i])
        self.m[j] = self.N[j] * self.E[j]


@pytest.mark.parametrize(
    ("after", "variant"), [(noisy, "undone"), (noisy_right, "restart"), (split, "restart")]
)
@pytest.mark.parametrize("stored", [True, False])
def test_A_a_restart_need_not_be_a_row_of_the_batch(after, variant, stored):
    report = check(averages(with_(Ema, after=after), stored))
    assert report.fingerprint["dead_codes"] == variant, report
    assert report.ok == (variant == "restart"), report


# B: a module that is random.


class Independent(Ema):
    """N = 0 and m drawn at random; z_q from the codes after the update."""

    start = 0.0

    def __init__(self, K, D):
        super().__init__(K, D)
        self.m.normal_()

    def forward(self, z):
        k = nearest(z, self.E)
        if self.training:
            self.average(k, z.detach())
        e = self.E[k]
        return z + (e - z).detach(), k, self.beta * F.mse_loss(z, e.detach())


def test_B_a_random_module_is_the_same_in_each_question():
    state = torch.get_rng_state()
    report = told(Independent)
    assert torch.equal(torch.get_rng_state(), state)
    assert report.fingerprint["codes"] == "after" and report.fingerprint["start"] == "independent", report
    assert report.fingerprint["straight_through"] == "copy" and not report.faults


def test_B_other_luck_is_seeded_too():
    class Projected(Classic):
        def __init__(self, K, D):
            super().__init__(K, D)
            self.turn = torch.linalg.qr(torch.randn(D, D))[0]

        def forward(self, z):
            k = nearest(z @ self.turn.to(z), self.E @ self.turn.to(z))  # an isometry: the same codes
            e = self.E[k]
            return z + (e - z).detach(), k, self.loss(F.mse_loss(z, e.detach()), F.mse_loss(e, z.detach()))

    assert told(Projected).ok


def test_B_codes_that_are_sampled_are_still_noticed():
    class Sampled(Classic):
        def forward(self, z):
            k = torch.multinomial(torch.softmax(-((z[:, None] - self.E) ** 2).sum(-1), 1), 1)[:, 0]
            e = self.E[k]
            return z + (e - z).detach(), k, self.loss(F.mse_loss(z, e.detach()), F.mse_loss(e, z.detach()))

    report = told(Sampled)
    assert any("two answers" in fault for fault in report.faults) and not report.ok


# C: luck is no evidence.


def restart_below_two(self, z):
    dead = self.N < 2
    set_all(self, dead, rows(z, int(dead.sum())), 2.0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stored", [True, False])
def test_C_a_code_that_restarts_again_was_not_undone(seed, stored):
    report = check(averages(with_(Ema, after=restart_below_two), stored), seed=seed)
    assert report.fingerprint["dead_codes"] in ("restart", None if not stored else "restart"), report
    assert not any("old m" in line for line in report.advice())


# D: weights of any scale.


@pytest.mark.parametrize(
    ("weights", "beta", "scale"),
    [((2.5, 10), 0.25, 10), ((0.25, 0.5), 0.5, 0.5), ((4, 10), 0.4, 10), ((1, 4), 0.25, 4), ((6, 6), 1, 6)],
)
def test_D_the_loss_is_p_commitment_and_q_codebook(weights, beta, scale):
    p, q = weights
    report = check(TorchModule(with_(Classic, loss=lambda self, c, b: p * c + q * b)))
    assert report.fingerprint["beta_on"] == "commitment" and report.fingerprint["loss_from"] == "codes"
    told = report.constants
    assert told["beta"] == pytest.approx(beta) and told["scale"] == pytest.approx(scale)
    assert report.ok and any(f"commitment {p:.6g}, codebook {q:.6g}" in note for note in report.notes), report


def test_D_a_scale_that_is_given_is_required():
    ten = TorchModule(with_(Classic, loss=lambda self, c, b: 10 * (0.25 * c + b)))
    assert failed(check(ten, scale=1.0)) >= {"loss", "dz", "dE"}
    assert check(ten, scale=10.0, beta=0.25).ok


def test_D_swapped_and_scaled_is_not_taken_for_right():
    report = told(with_(Classic, loss=lambda self, c, b: 10 * (c + 0.25 * b)))
    f = next(f for f in report.findings if f.dimension == "beta_on")
    assert f.variant in (None, "codebook") and "codebook" in f.also and not report.ok
    assert check(TorchModule(with_(Classic, loss=lambda self, c, b: 10 * c + 2.5 * b)), beta=4.0).ok


# E: answers that do not come from E by the nearest-code rule.


def maps(change):
    """A layer whose vectors are change(E)[k]."""

    class Mapped(Classic):
        def forward(self, z):
            book = change(self.E)
            k = nearest(z, book)
            e = book[k]
            return z + (e - z).detach(), k, self.loss(F.mse_loss(z, e.detach()), F.mse_loss(e, z.detach()))

    return Mapped


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda E: 2 * E, "2 times"),
        (lambda E: F.normalize(E, dim=1), "length"),
        (lambda E: E @ torch.linspace(-1, 1, E.shape[1] ** 2).to(E).reshape(2 * E.shape[1:]), "one vector"),
        (lambda E: E + 1, "one vector"),
    ],
)
def test_E_vectors_that_are_made_of_the_codes_are_said_to_be(change, word):
    nothing_guessed(told(maps(change)), word)


def test_E_without_steps_in_numpy():
    def forward(z, E):
        k = ((z[:, None] - E) ** 2).sum(-1).argmin(1)
        return k, 2 * E[k], ((z - 2 * E[k]) ** 2).mean()

    nothing_guessed(check(Adapter(forward=forward)), "2 times")


def test_E_another_family():
    class FSQ(Classic):
        def forward(self, z):
            bounded = torch.tanh(z)
            q = bounded + (torch.round(3 * bounded) / 3 - bounded).detach()
            return q, (q > 0).long()[:, 0], (z**2).mean() * 0

    nothing_guessed(told(FSQ), "does not depend on E")


def test_E_a_wrong_view_is_a_bug_and_one_sentence():
    class WrongView(Classic):
        def forward(self, z):  # (1, D, N, 1), and no permute
            flat = z.reshape(-1, z.shape[1])
            k = nearest(flat, self.E)
            e = self.E[k].reshape(z.shape)
            L = self.loss(F.mse_loss(z, e.detach()), F.mse_loss(e, z.detach()))
            return z + (e - z).detach(), k, L

    report = told(WrongView, layout="(1, D, N, 1)")
    assert report.fingerprint["distance"] == "other" and report.verdict == "does not conform"
    named = {d: v for d, v in report.fingerprint.items() if v}
    assert named == {"distance": "other"}, named
    assert len(report.advice()) == 1 and "wrong axis" in report.advice()[0]


# F: codes from the first batch.


class FromFirstBatch(Ema):
    def __init__(self, K, D):
        super().__init__(K, D)
        self.register_buffer("started", torch.zeros(()))

    def before(self, z):
        if self.training and not self.started:
            x = z[torch.randperm(len(z))[: len(self.E)]]
            self.E.copy_(x)
            self.m.copy_(x)
            self.started.fill_(1)


class FromFirstBatchPython(FromFirstBatch):
    def __init__(self, K, D):
        Ema.__init__(self, K, D)
        self.is_ready = False

    def before(self, z):
        if self.training and not self.is_ready:
            x = z[torch.randperm(len(z))[: len(self.E)]]
            self.E.copy_(x)
            self.m.copy_(x)
            self.is_ready = True


@pytest.mark.parametrize(("make", "flag"), [(FromFirstBatch, "started"), (FromFirstBatchPython, "is_ready")])
def test_F_a_codebook_that_is_replaced_in_the_first_call(make, flag):
    report = told(make)
    nothing_guessed(report, "replaced in the first call")
    assert flag in report.faults[0]

    def ready(K, D):
        layer = make(K, D)
        setattr(layer, flag, torch.ones(()) if flag == "started" else True)
        return layer

    assert told(ready).ok


# I: the reference's kind.


class RestartingClassic(Classic):
    """A right codebook by gradient; unused codes become rows of the batch in forward."""

    def __init__(self, K, D):
        super().__init__(K, D)
        self.register_buffer("usage", torch.ones(K))

    def forward(self, z):
        out = super().forward(z)
        if self.training:
            with torch.no_grad():
                self.usage.mul_(0.9).add_(torch.bincount(out[1], minlength=len(self.usage)), alpha=0.1)
                dead = self.usage < 0.5
                self.E.data[dead] = rows(z.detach(), int(dead.sum()))
                self.usage[dead] = 1.0
        return out


def test_I_a_codebook_by_gradient_that_restarts_is_held_to_one_by_gradient():
    adapter = TorchModule(RestartingClassic)
    assert hasattr(adapter, "step") or adapter.names["N"] is None
    adapter = TorchModule(RestartingClassic, cluster_size="usage")
    report = check(adapter)
    assert not report.reference["ema"] and report.ok, report
    assert report.fingerprint["beta_on"] == "commitment" and report.fingerprint["start"] is None
    assert report.fingerprint["dead_codes"] in ("restart", None)


# H: codes that restart at once.


def restart_at_once(self, z):
    dead = self.N < 0.02
    set_all(self, dead, rows(z, int(dead.sum())))


def test_H_averages_are_told_where_codes_restart_at_once():
    report = told(with_(Ema, start=0.0, after=restart_at_once))
    got = report.fingerprint
    assert (got["start"], got["smoothing"], got["write_back"]) == ("zero_counts", "laplace", "no"), report
    assert report.constants["decay"] == pytest.approx(0.95, rel=1e-4)
    assert report.constants["epsilon"] == pytest.approx(1e-5, rel=0.02)
    right = told(with_(Ema, after=restart_at_once))
    assert right.ok, right


# J: no loss.


def test_J_without_a_loss_nothing_is_said_of_it():
    class NoLoss(Ema):
        def forward(self, z):
            return super().forward(z)[:2]

    report = told(NoLoss)
    assert report.fingerprint["beta_on"] is None and report.constants["beta"] is None
    assert report.verdict == "not enough was asked" and not failed(report), report


# K, Q, N: precision as found.


class Float32Inside(Classic):
    def forward(self, z):
        E, z_ = self.E.float(), z.float()
        k = nearest(z_, E)
        e = E[k]
        L = self.loss(F.mse_loss(z_, e.detach()), F.mse_loss(e, z_.detach()))
        return (z_ + (e - z_).detach()).to(z.dtype), k, L.to(z.dtype)


def test_K_float32_inside_is_found_and_judged_as_that():
    report = told(Float32Inside)
    assert not failed(report) and not report.advice() and len(report.faults) == 1, report
    assert report.fingerprint["straight_through"] == "copy" and report.fingerprint["beta_on"] == "commitment"
    assert report.constants["beta"] == pytest.approx(0.25, rel=1e-4)


def test_Q_a_loss_in_float32_beside_float64():
    class Loss32(Classic):
        def loss(self, c, b):
            return torch.zeros(1) + super().loss(c, b)

    report = told(Loss32)
    assert not failed(report) and len(report.faults) == 1 and "L" in report.faults[0], report


def half_inside(dtype):
    class Half(Classic):
        def forward(self, z):
            E, z_ = self.E.to(dtype), z.to(dtype)
            k = nearest(z_, E)
            e = E[k]
            L = self.loss(F.mse_loss(z_, e.detach()), F.mse_loss(e, z_.detach()))
            return (z_ + (e - z_).detach()).to(z.dtype), k, L.to(z.dtype)

    return Half


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_N_half_precision_inside_is_found(dtype):
    report = told(half_inside(dtype))
    assert not report.advice() and not failed(report), report
    (fault,) = report.faults
    assert str(dtype).removeprefix("torch.") in fault
    assert report.fingerprint["beta_on"] in ("commitment", None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, "bfloat16"])
def test_N_half_precision_can_be_asked(dtype):
    for make in (Classic, Ema):
        report = told(make, dtype=dtype)
        assert report.ok, report
        assert report.dtype == str(dtype).removeprefix("torch.") and not report.advice()
    bug = told(with_(Classic, loss=lambda self, c, b: c + 0.25 * b), dtype=dtype)
    assert bug.fingerprint["beta_on"] == "codebook" and not bug.ok, bug


def test_N_parameters_in_half_precision_end_nothing():
    class Inside16(Classic):
        def __init__(self, K, D):
            super().__init__(K, D)
            self.E.data = self.E.data.bfloat16()

        def _apply(self, fn, recurse=True):  # stays what it is
            return self

        def forward(self, z):
            E = self.E.to(z.dtype)
            k = nearest(z, E)
            e = E[k]
            return z + (e - z).detach(), k, self.loss(F.mse_loss(z, e.detach()), F.mse_loss(e, z.detach()))

    report = told(Inside16)
    assert "bfloat16" in report.faults[0] and not report.advice(), report


# L, M: constants, and sums.


def test_L_no_constant_without_a_model():
    class AveragesCodes(Ema):
        def average(self, k, z):
            super().average(k, self.E[k] + 0.3 * z.sin())

    report = told(AveragesCodes)
    assert report.fingerprint["start"] == "other"
    assert report.constants["decay"] is None and report.constants["epsilon"] is None


class SumsOnly(torch.nn.Module):
    def __init__(self, K, D):
        super().__init__()
        self.register_buffer("code_sum", torch.randn(K, D))
        self.register_buffer("usage", torch.ones(K))

    def forward(self, z):
        E = self.code_sum / self.usage[:, None]
        k = nearest(z, E)
        e = E[k]
        if self.training:
            onehot = F.one_hot(k, len(E)).to(z.dtype)
            self.usage.mul_(0.95).add_(onehot.sum(0), alpha=0.05)
            self.code_sum.mul_(0.95).add_(onehot.T @ z.detach(), alpha=0.05)
        return z + (e - z).detach(), k, 0.25 * F.mse_loss(z, e.detach())


def test_M_a_sum_is_no_codebook():
    with pytest.raises(InputError) as caught:
        TorchModule(SumsOnly)
    assert caught.value.argument == "codebook"
    report = told(SumsOnly, codebook=lambda module: module.code_sum / module.usage[:, None])
    assert report.fingerprint["start"] == "consistent" and report.fingerprint["smoothing"] == "none", report
    assert report.constants["decay"] == pytest.approx(0.95) and not report.faults

    def put(module, E):
        module.code_sum.copy_(E * module.usage[:, None])

    same = told(SumsOnly, codebook=lambda m: m.code_sum / m.usage[:, None], set_codebook=put)
    assert same.fingerprint == report.fingerprint


# W, R: what nobody gave; what does no harm.


def test_W_no_beta_that_nobody_gave():
    report = check(Adapter(evaluate=Reference(beta=1.0).evaluate))
    assert not failed(report) and report.verdict == "not enough was asked", report
    assert "evaluation: loss" in failed(check(Adapter(evaluate=Reference(beta=1.0).evaluate), beta=0.25))

    def raises(z, E):
        raise ValueError("no")

    report = check(Adapter(forward=raises, evaluate=Reference(beta=1.0).evaluate))
    assert not failed(report) and len(report.faults) == 1


@pytest.mark.parametrize(
    ("dimension", "variant"), [("perplexity", "log_offset"), ("evaluation_loss", "zero")]
)
def test_R_benign_variants_are_notes(dimension, variant):
    report = check(Reference(**{dimension: variant}))
    assert report.ok and report.fingerprint[dimension] == variant
    assert len(report.notes) == 1, report.notes


# G: outputs that are dropped or mistaken.


def returning(form):
    class Returning(Classic):
        def forward(self, z):
            k = nearest(z, self.E)
            e = self.E[k]
            c, b = F.mse_loss(z, e.detach()), F.mse_loss(e, z.detach())
            return form(z + (e - z).detach(), k, 0.25 * c, b)

    return Returning


Out = namedtuple("Out", ["quantized", "extra"])
FORMS = {
    "a dict in a tuple": lambda z_q, k, c, b: (z_q, {"codes": k, "loss": c + b}),
    "a dict in a named tuple": lambda z_q, k, c, b: Out(z_q, {"indices": k, "losses": {"total": c + b}}),
    "two terms": lambda z_q, k, c, b: {"z_q": z_q, "codes": k, "commitment_loss": c, "codebook_loss": b},
    "two terms, nested": lambda z_q, k, c, b: (z_q, k, {"commitment": c, "codebook": b}),
    "a term, then the total": lambda z_q, k, c, b: {
        "z_q": z_q, "k": k, "commitment_loss": 4 * c, "loss": c + b,
    },
    "one-hot, channels first": lambda z_q, k, c, b: (z_q, c + b, F.one_hot(k, SIZE[0]).T[None, :, :, None]),
}  # fmt: skip
SIZE = [0]
"""K of the layer that was made last."""


@pytest.mark.parametrize("name", FORMS)
def test_G_outputs_are_understood(name):
    def make(K, D):
        SIZE[0] = K
        return returning(FORMS[name])(K, D)

    report = told(make)
    assert report.ok and not report.notes, report


def test_G_what_was_not_understood_is_listed():
    class PerVector(Classic):
        def forward(self, z):
            k = nearest(z, self.E)
            e = self.E[k]
            pull, follow = (z - e.detach()) ** 2, (e - z.detach()) ** 2
            return z + (e - z).detach(), k, (0.25 * pull + follow).mean(1)

    report = told(PerVector)
    assert any("not understood" in fault and "(32,)" in fault for fault in report.faults), report
    assert results(report)["dE"] == results(report)["loss"] == "not checked" and not failed(report)
    assert report.verdict == "not enough was asked"


# V, O, P, S: friction.


def test_V_one_cause_one_fault():
    class Multiplies(Classic):
        def forward(self, z):
            return z @ torch.ones(99, 3).to(z), nearest(z, self.E), z.sum()

    for make in (Multiplies, with_(Ema, forward=Multiplies.forward)):
        report = told(make)
        assert len(report.faults) == 1, report.faults
        assert report.faults[0].startswith("forward: raised RuntimeError")
        assert "backward" in report.faults[0] and "evaluate" in report.faults[0]


def test_V_outputs_in_another_dtype_are_one_fault():
    right = Reference(dtype="float64")
    narrow = lambda out: tuple(a.astype("f4") if a.dtype.kind == "f" else a for a in out)  # noqa: E731
    adapter = Adapter(
        forward=lambda *a: narrow(right.forward(*a)[:3]), backward=lambda *a: narrow(right.backward(*a)),
        evaluate=lambda *a: narrow(right.evaluate(*a)[:3]),
    )  # fmt: skip
    report = check(adapter)
    assert len(report.faults) == 1 and not failed(report), report


def test_O_sparse_gradients():
    class Sparse(Classic):
        def __init__(self, K, D):
            torch.nn.Module.__init__(self)
            self.book = torch.nn.Embedding(K, D, sparse=True)

        def forward(self, z):
            k = nearest(z, self.book.weight.detach())
            e = self.book(k)
            return z + (e - z).detach(), k, self.loss(F.mse_loss(z, e.detach()), F.mse_loss(e, z.detach()))

    assert told(Sparse).ok


def test_P_a_module_that_is_float32_only_is_asked_in_float32_with_a_note():
    class Only32(Ema):
        def forward(self, z):
            assert z.dtype == torch.float32, "expected scalar type Float but found Double"
            return super().forward(z)

    report = told(Only32)
    assert report.ok and report.dtype == "float32" and any("float32" in note for note in report.notes), report
    asked = told(Only32, dtype="float64")
    assert asked.dtype == "float64" and len(asked.faults) == 1 and 'dtype="float32"' in asked.faults[0]


def reordered(into, back, out=None):
    class Reordered(Classic):
        def forward(self, z):
            z_q, k, L = super().forward(into(z))
            return back(z_q), k, L

    return Reordered


@pytest.mark.parametrize(
    ("layout", "make"),
    [
        ("(1, N, 1, D)", reordered(lambda z: z[0, :, 0], lambda z: z[None, :, None])),
        ("(1, 1, N, D)", reordered(lambda z: z[0, 0], lambda z: z[None, None])),
        ("(1, D, N, 1, 1)", reordered(lambda z: z[0, :, :, 0, 0].T, lambda z: z.T[None, ..., None, None])),
        ("(1, N, 1, 1, D)", reordered(lambda z: z[0, :, 0, 0], lambda z: z[None, :, None, None])),
        ("(1, D, N, 1) -> (1, N, D)", reordered(lambda z: z[0, ..., 0].T, lambda z: z[None])),
        ("(N, D) -> (1, D, N)", reordered(lambda z: z, lambda z: z.T[None])),
        ("(N, D, 1, 1)", reordered(lambda z: z[..., 0, 0], lambda z: z[..., None, None])),
        ("(N, 1, D)", reordered(lambda z: z[:, 0], lambda z: z[:, None])),
    ],
)
def test_S_layouts(layout, make):
    report = told(make, layout=layout)
    assert report.ok, report


def test_S_a_layout_that_is_none():
    for layout in ("(N, N)", "N, D", "(2, N, D)", "(1, N)"):
        with pytest.raises(InputError) as caught:
            TorchModule(Classic, layout=layout)
        assert caught.value.argument == "layout"


def test_S_keyword_arguments_and_an_update_of_its_own():
    class Tempered(Ema):
        def forward(self, z, *, temperature):
            self.seen = z.detach()
            with torch.no_grad():
                k = nearest(z, self.E)
            e = self.E[k]
            return z + (e - z).detach(), k, self.beta * F.mse_loss(z, e.detach()) / temperature

        def update(self):
            self.average(nearest(self.seen, self.E), self.seen)

    report = told(Tempered, kwargs={"temperature": 1.0}, update="update")
    assert report.ok and report.fingerprint["start"] == "consistent", report
    again = told(Tempered, kwargs={"temperature": 1.0}, update=lambda module, given, result: module.update())
    assert again.ok and again.constants["decay"] == pytest.approx(0.95)


def test_smoothing_by_a_clamp_is_not_said_to_end_in_0_over_0():
    class Clamped(Ema):
        def average(self, k, z):
            super().average(k, z)
            self.E.copy_(self.m / self.N.clamp(min=1e-5)[:, None])

    report = told(Clamped)
    assert report.fingerprint["smoothing"] in ("none", "clamped")
    assert not any("in the end 0/0." in line for line in report.advice())


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_verdict_is_the_exit_status(status, tmp_path, capsys):
    from vqnp.cli import main

    file = tmp_path / "theirs.py"
    file.write_text(
        "from vqnp.crosscheck import Adapter, Reference\n"
        "right = Reference()\n"
        "layers = {0: right, 1: Reference(beta_on='codebook'),\n"
        "          3: Adapter(forward=lambda z, E: right.forward(z, E)[:1])}\n"
        f"layer = layers[{status}]\n"
    )
    assert main(["crosscheck", "run", f"{file}:layer"]) == status
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith({0: "ok: ", 1: "NOT OK: ", 3: "NOT ENOUGH ASKED: "}[status])
