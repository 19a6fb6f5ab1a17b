"""The page says what the table says; the command and the figure do what it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import refused
from plots.layout import assert_legible

from vqnp.cli import main
from vqnp.crosscheck import check_autoregressive
from vqnp.crosscheck.autoregressive.table import NEEDED, TITLES, VARIANTS
from vqnp.plots import influence_figure

from .planted import Attention, PixelCNN

PAGE = (Path(__file__).parents[2] / "docs" / "crosscheck-autoregressive.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("dimension", VARIANTS)
def test_the_page_has_every_variant_with_its_advice_and_reference(dimension):
    section = PAGE.split(f"## {TITLES[dimension]}: `{dimension}`\n")[1].split("\n## ")[0]
    for name, variant in VARIANTS[dimension].items():
        assert f"| `{name}` | {variant.label} | {variant.advice or '-'} |" in section
        assert all(one in section for one in variant.reference.split("; "))
        assert bool(variant.reference) == bool(variant.advice)
    assert set(NEEDED) < set(TITLES) == set(VARIANTS)


MODEL = """
import numpy as np

print("the file may print")
table = np.random.default_rng(0).standard_normal((5, 5))


def logits(codes):
    a = np.zeros((*codes.shape, 5))
    a[:, 1:] = table[codes[:, :-1]]
    return a


def leaking(codes):
    return logits(codes) + table[codes]


class Model:
    def __call__(self, codes):
        return logits(codes)


def probabilities(a):
    return np.exp(a / 2) / np.exp(a / 2).sum(axis=-1, keepdims=True)


def chunks(codes, cut):
    return leaking(codes)
"""


@pytest.fixture
def ask(tmp_path, capsys):
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")

    def run(name, *options):
        shape = ["--num-embeddings", "5", "--shape", "6"]
        status = main(["crosscheck", "autoregressive", f"{tmp_path / 'model.py'}:{name}", *shape, *options])
        return status, *capsys.readouterr()

    return run


def test_the_command_line(ask, tmp_path):
    status, out, err = ask("logits")
    assert status == 0 and "ok: conforms" in out and "the file may print" in err
    assert ask("Model")[0] == 0
    status, out, _ = ask("leaking", "--json")
    assert status == 1 and json.loads(out)["verdict"] == "does not conform"
    assert ask("leaking", "--allow", "order=no_shift")[0] == 0
    assert ask("leaking", "--predicts", "next", "--cached", "chunks")[0] == 0
    assert ask("logits", "--probabilities", "probabilities")[0] == 1
    assert ask("logits", "--shape", "1")[0] == 3  # one position has no order
    figure = tmp_path / "figure.png"
    told = "--probabilities", "probabilities", "--temperature", "2", "--figure", str(figure)
    assert ask("logits", *told)[0] == 0 and figure.read_bytes()[:4] == b"\x89PNG"
    status, _, err = ask("logits", *told)
    assert status == 2 and "--figure must be a new file" in err
    status, _, err = ask("logits", "--cached", "nothing")
    assert status == 2 and "--cached must be a name that model.py defines; got nothing" in err
    status, _, err = ask("nothing")
    assert status == 2 and "must define nothing" in err
    status, _, err = ask("logits", "--allow", "field=all")
    assert status == 2 and "allow['field'] must be one of" in err


@pytest.mark.slow
@pytest.mark.parametrize("model", [PixelCNN(4, stacks=1, layers=2), PixelCNN(4, "mask B first", layers=2)])
def test_the_figure_shows_the_map(model):
    report = check_autoregressive(model, (5, 6), 4)
    figure = influence_figure(report)
    assert_legible(figure)
    chosen = influence_figure(report, [8, 14])
    assert [axes.get_title() for axes in chosen.axes] == ["(1, 2)", "(2, 2)"]
    names = np.array([*"#.!o "])
    shown = names[chosen.axes[1].images[0].get_array()]
    assert "\n".join("".join(row) for row in shown) == report.map(14)
    with refused("positions", where="influence_figure"):
        influence_figure(report, [30])


def test_the_figure_of_a_sequence_has_a_row_for_each_code():
    report = check_autoregressive(Attention((7,), 4, "no mask"), 7, 4)
    image = influence_figure(report).axes[0].images[0].get_array()
    assert image.shape == (7, 7) and (image[np.tri(7, k=-1, dtype=bool)] == 0).all()
    silent = check_autoregressive(Attention((7,), 4, "dropout"), 7, 4)
    with refused("report", where="influence_figure"):
        influence_figure(silent)
