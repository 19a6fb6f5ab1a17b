"""The questions of each family: layer -> a Finding for each of its dimensions.

A question that is not answered leaves its dimension open, with the reason.
"""

from collections.abc import Callable

import numpy as np

from vqnp._check import Array
from vqnp.crosscheck.findings import Finding
from vqnp.crosscheck.quantizers import cosine, distances, entropies, finite_scalar, lookup_free, residual
from vqnp.crosscheck.quantizers.asking import Answer, Question, Unanswered, relative

SEEDS = 6
"""Calls with different seeds, if the first two differ."""

ASKED = ("nearest", "fine_first", "by_direction")
"""Choices after which gradients are asked."""

LARGE = 1 << 22
"""N K and N D are at most this."""


class Findings(dict[str, Finding]):
    """Dimension -> Finding, in the order in which they were asked."""

    def __init__(self, ask: Question) -> None:
        super().__init__()
        self.ask = ask

    def add(self, *found: Finding) -> None:
        for one in found:
            self[one.dimension] = one

    def answer(self, dimension: str, find: Callable[[], Finding | list[Finding]]) -> None:
        """What find returns; a question without a usable answer is a fault, and the dimension open."""
        try:
            found = find()
            self.add(*(found if isinstance(found, list) else [found]))
        except Unanswered as problem:
            self.ask.hinder(problem)
            self.add(Finding(dimension, None, "no answer that can be used"))

    def variant(self, dimension: str) -> str | None:
        return self[dimension].variant if dimension in self else None


def find_repeat(ask: Question, z: Array) -> tuple[Finding, list[Answer]]:
    """The same z twice, and with other seeds."""
    answers = [ask.forward(z, seed=0), ask.forward(z, seed=1)]
    first, second = answers
    if _same(ask, first, second):
        return Finding("repeat", "deterministic", "asked twice"), answers
    answers += [ask.forward(z, seed=s) for s in range(2, SEEDS)]
    ks = [a.k for a in answers if a.k is not None]
    if len(ks) == len(answers) and any((k < 0).any() for k in ks):
        if all(((k == ks[0]) | (k < 0) | (ks[0] < 0)).all() for k in ks):
            return Finding("repeat", "dropped", f"{len(answers)} calls"), answers
    return Finding("repeat", "random", f"z_q or k differ in {len(answers)} calls"), answers


def _same(ask: Question, a: Answer, b: Answer) -> bool:
    same_k = (a.k is None) == (b.k is None) and (a.k is None or bool((a.k == b.k).all()))
    return same_k and relative(a.z_q, b.z_q) <= ask.tolerance


def split(
    ask: Question, z: Array, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array | None, Array | None]:  # fmt: skip
    """G, Jᵀ G, and the gradients dz and dE of L alone, and dE of ⟨G, z_q⟩ alone."""
    G = np.asarray(rng.standard_normal(z.shape))
    dz, dE = ask.gradients(z, np.zeros_like(G))
    scale = max(1.0, float(np.abs(dz).max()))  # so that L's part does not drown that of G
    total, total_E = ask.gradients(z, scale * G)
    JE = None if dE is None or total_E is None else (total_E - dE) / scale
    return G, (total - dz) / scale, dz, dE, JE


def ask_codebook(
    ask: Question, found: Findings, E: Array, n: int, N: int, rng: np.random.Generator
) -> None:  # fmt: skip
    """A quantizer of one code, or of n."""
    N = max(16, min(max(N, 3 * n * E.shape[1]), LARGE // max(E.shape[1:])))
    z = residual.vectors(E, n, N, rng)
    repeat, answers = find_repeat(ask, z)
    found.add(repeat)
    answer = answers[0]
    if answer.k is None:
        found.add(Finding("choice", None, "no codes were returned"))
        return
    if answer.k.max() >= E.shape[1] or (len(E) > 1 and answer.k.shape[1] != len(E)):
        shape = answer.k.shape[1]
        got = f"{shape}, up to {answer.k.max()}"
        ask.hinder(f"forward: k must be {len(E)} codes of each vector, below {E.shape[1]}; got {got}")
        return
    if repeat.variant == "random":
        return
    if n > 1:
        found.add(residual.find_dropout(answers), residual.find_sharing(E, n))
    missing = [int((a.k < 0).sum()) for a in answers if a.k is not None]
    for ask.seed in dict.fromkeys([int(np.argmax(missing)), int(np.argmin(missing))]):
        d, reverse = residual.in_order(ask, z, answers[ask.seed], E)
        after = ask.after(z)
        found.add(residual.find_output(ask, d, after))
        if found.variant("output") != "sum":
            break
    if found.variant("output") == "between_depths":
        found.add(Finding("choice", None, "each depth has another codebook, which is not known"))
    else:
        found.add(residual.find_choice(ask, d, reverse))
    if found.variant("output") != "sum" or found.variant("choice") not in ASKED:
        return
    if min(missing):
        found.add(Finding("estimator", None, "codes are left out in every call"))
        return
    try:
        G, J, dz, dE, JE = split(ask, z, rng)
    except Unanswered as problem:
        ask.hinder(problem)
        return
    found.add(distances.find_estimator(ask, d, J, G))
    if d.answer.L is None:
        return
    commitment, c = distances.find_commitment(ask, d, dz, found.variant("estimator"))
    codebook, b = distances.find_codebook(ask, d, dE, JE)
    found.add(commitment, codebook, distances.find_loss(ask, d, c, b))


def ask_cosine(ask: Question, found: Findings, E: Array, N: int, rng: np.random.Generator) -> None:
    """A quantizer on the sphere."""
    z = cosine.directions(E[0], max(16, min(max(N, 3 * E.shape[1]), LARGE // max(E.shape[1:]))), rng)
    repeat, answers = find_repeat(ask, z)
    found.add(repeat)
    answer = answers[0]
    if answer.k is None or answer.k.shape[1] != 1 or answer.k.max() >= E.shape[1] or answer.k.min() < 0:
        found.add(Finding("choice", None, f"no codes below {E.shape[1]}, one for each vector, were returned"))
        return
    if repeat.variant == "random":
        return
    p = cosine.Sphere(z, E[0], answer.k[:, 0])
    found.answer("choice", lambda: cosine.find_cosine_choice(ask, p))
    found.answer("output", lambda: cosine.find_cosine_output(ask, p, answer.z_q))
    if found.variant("output") is None or found.variant("choice") is None:
        return
    try:
        G, J, dz, dE, _ = split(ask, z, rng)
    except Unanswered as problem:
        ask.hinder(problem)
        return
    if E.shape[2] == 1:
        found.add(Finding("estimator", None, "one coordinate has no direction"))
        return
    found.add(cosine.find_cosine_estimator(ask, p, G, J))
    if answer.L is not None:
        found.add(*cosine.find_cosine_losses(ask, p, dz, dE, answer.L))
    found.answer("zero_vector", lambda: cosine.find_zero_vector(ask, p, rng))


def ask_finite_scalar(
    ask: Question, found: Findings, D: int, levels: tuple[int, ...] | None, N: int, rng: np.random.Generator
) -> None:  # fmt: skip
    """A quantizer that rounds each coordinate."""
    z = 1.5 * rng.standard_normal((4 * N, D))
    repeat, answers = find_repeat(ask, z)
    found.add(repeat)
    if repeat.variant == "random":
        return
    if levels is not None and max(levels) > finite_scalar.MOST:
        found.add(Finding("levels", None, f"more than {finite_scalar.MOST} levels"))
        return
    levels_found = finite_scalar.Levels(ask, D, max(levels or (8,)))
    found.add(finite_scalar.find_levels(levels_found, levels))
    if not levels_found.borders:
        return
    found.add(finite_scalar.find_values(ask, levels_found), finite_scalar.find_bound(ask, levels_found))
    answer = answers[0]
    found.add(finite_scalar.find_index(levels_found, answer.k, answer.z_q, levels))
    if answer.L:
        ask.note(f"L = {answer.L:.4g} was not looked into: a finite scalar quantizer needs no loss")
    try:
        G, J, *_ = split(ask, z[:N], rng)
    except Unanswered as problem:
        ask.hinder(problem)
        return
    found.add(finite_scalar.find_slope(ask, levels_found, found.variant("bound"), z[:N], G, J))


def ask_lookup_free(ask: Question, found: Findings, D: int, N: int, rng: np.random.Generator) -> None:
    """A quantizer that takes signs."""
    z = rng.standard_normal((N, D))
    repeat, answers = find_repeat(ask, z)
    found.add(repeat)
    answer = answers[0]
    if repeat.variant == "random":
        return
    code, s = lookup_free.find_code(ask, z, answer.z_q)
    found.add(code)
    if code.variant != "signs":
        return
    found.answer("sign_of_zero", lambda: lookup_free.find_zero_sign(ask, D, s))
    found.add(lookup_free.find_bits(answer, z > 0))
    try:
        G, J, *_ = split(ask, z, rng)
        found.add(lookup_free.find_sign_estimator(ask, z, G, J))
        if answer.L is None or found.variant("estimator") is None:
            return
        z = entropies.spread(D, min(N, 64), rng)
        L, dz = ask.forward(z).L, ask.gradients(z, np.zeros_like(z))[0]
    except Unanswered as problem:
        ask.hinder(problem)
        return
    terms = entropies.Terms(z, s, found.variant("estimator") == "through_norm")
    found.add(*entropies.find_losses(ask, terms, dz, L))
