"""The equations of docstrings in TeX, for the site."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "docs" / "_ext" / "equations.py"


@pytest.fixture(scope="module")
def equations():
    spec = importlib.util.spec_from_file_location("equations", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("plain", "tex"),
    [
        ("k = argmin_j ‖z − e_j‖²", r"k = \operatorname{argmin}_{j} \Vert z - e_{j}\Vert ^{2}"),
        ("dW = xᵀ dy", r"\mathrm{d}W = x^{\top} \mathrm{d}y"),
        ("Ñ = m/N̄", r"\tilde{N} = m/\bar{N}"),
        ("x̂ = √(σ² + ε)", r"\hat{x} = \sqrt{\sigma ^{2} + \varepsilon }"),
        ("a = P_x̂(r)", r"a = P_{\hat{x}}(r)"),
        ("z = 2^(d−1) [z_d > 0]", r"z = 2^{d-1} [z_{d} > 0]"),
        ("q = e_{k_i}", r"q = e_{k_{i}}"),
        ("n_j = #{i : k_i = j}", r"n_{j} = \#\{i : k_{i} = j\}"),
        ("z = z_nd ≠ y", "z = z_{n d} \\ne  y"),
        ("N ← γN + n", r"N \leftarrow  \gamma N + n"),
        ("y = x_⌊i/f⌋", r"y = x_{\lfloor i/f\rfloor }"),
    ],
)
def test_symbols(equations, plain, tex):
    assert equations.typeset(plain) == ([tex], "")


def test_the_equations_of_a_line_and_the_prose_after_them(equations):
    line = "z_q = e_k,  L = β⟨(z − sg e_k)²⟩;  m ← γm; the codebook is E. It moves."
    assert equations.typeset(line) == (
        ["z_{q} = e_{k}",
         r"L = \beta \langle (z - \operatorname{sg} e_{k})^{2}\rangle ",
         r"m \leftarrow  \gamma m"],
        "the codebook is E. It moves",
    )
    found = equations.typeset("y = x W + b; x: (M, I) -> y: (M, O).")
    assert found == (["y = x W + b"], "x: (M, I) -> y: (M, O)")
    assert equations.typeset("MSE = x over a data set, and more.") == (
        [r"\operatorname{MSE} = x"], "over a data set, and more",
    )  # fmt: skip


def test_a_sentence_stays_a_sentence(equations):
    lines = ("The model of a checkpoint.", "Adam, θ ← θ − α m, and more.", "MSE of x̂ = f(x) over images.")
    for line in lines:
        assert equations.typeset(line) == ([], line)
