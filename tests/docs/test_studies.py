"""The pages of docs/studies/ and what they are made from: tables and numbers in prose equal the JSON."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _pictures import pack, strip, unpack
from _product import ProductQuantizer, pixels
from _prose import bound, fill, studies, unreferenced, value, wrong
from _study import BEGIN, END, Column, Row, Study, block, select, stack, table

from vqnp.plots.style import new_figure

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "docs" / "studies"
PAGES = sorted(page for page in STUDIES.glob("*.md") if page.name != "README.md")
MARKED = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if "<!--" in
          page.read_text(encoding="utf-8")]  # fmt: skip


def result(name):
    return json.loads((STUDIES / f"{name}.json").read_text(encoding="utf-8"))


def test_every_study_has_its_page_figure_and_json():
    scripts = {path.stem for path in (ROOT / "examples" / "studies").glob("[!_]*.py")}
    for ending in ("md", "png", "json"):
        assert {path.stem for path in STUDIES.glob(f"*.{ending}")} - {"README"} == scripts
    for page in PAGES:
        assert (STUDIES / f"{page.stem}.png").stat().st_size < 300_000, "a figure for a page should be small"
        assert f"]({page.name})" in (STUDIES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_a_full_run_and_what_was_found(page):
    text, saved = page.read_text(encoding="utf-8"), result(page.stem)
    assert saved["command"] == f"python examples/studies/{page.stem}.py --full" and saved["seeds"] >= 3
    assert block(saved) in text, "the page's table is not the JSON's: run the study, or --full --redraw"
    _, _, found = text.partition(END)
    assert "## What was found" in found and "## What it does not show" in found and len(found) > 300
    assert not unreferenced(found, saved), "these numbers must be in the paragraph's list: see _prose.py"


@pytest.mark.parametrize("page", MARKED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_number_in_prose_is_that_of_its_table(page):
    assert not wrong(page.read_text(encoding="utf-8"), page.stem, STUDIES)


@pytest.mark.slow
@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "questions.md"], ids=lambda page: page.stem)
def test_another_number_in_the_text_or_in_the_list_is_noticed(page):
    text = page.read_text(encoding="utf-8")
    numbers = [number for listed in bound(text) for number in listed]
    assert len(numbers) > 10
    for number in numbers[:: len(numbers) // 5]:
        for place in (number.found, number.listed):
            last = place.start() + len(number.found[0]) - 1  # its last digit
            changed = text[:last] + str((int(text[last]) + 5) % 10) + text[last + 1 :]
            assert wrong(changed, page.stem, STUDIES), number.reference


# The harness itself.


def publish(folder, monkeypatch, *arguments, bias=0.0):
    """A study of two settings and three seeds, each run being its own answer."""
    monkeypatch.setattr(sys, "argv", ["toy.py", *arguments, "--jobs", "0", "--out", str(folder)])
    study = Study("toy.py", "Is two more than one?\n\nWe look.\n\npython toy.py --full\n")
    scale = study.pick(quick={"n": 1}, default={"n": 2}, full={"n": 3})
    runs = []

    def measure(seed, K):
        runs.append((K, seed))
        return {"mse": K * 0.1234567 + seed + bias, "level": "low", "curve": [K, seed], "_image": object()}

    rows = study.run([{"K": 2}, {"K": 4}], measure)
    study.write(rows, [Column("mse", "MSE", ".2f"), Column("level", "level")], new_figure(1, 1), "Toy.")
    return rows, runs, scale


def test_a_study_writes_its_page_and_keeps_what_a_person_wrote(tmp_path, monkeypatch):
    rows, runs, scale = publish(tmp_path, monkeypatch)
    assert runs == [(2, 0), (2, 1), (2, 2), (4, 0), (4, 1), (4, 2)] and scale.n == 2
    page = tmp_path / "toy.md"
    text = page.read_text()
    assert text.startswith("# Is two more than one?\n\nWe look.\n\n" + BEGIN)
    assert "| 2 | 1.25 (0.25 to 2.25) | low (3 of 3) |" in text and "n 2." in text
    assert (tmp_path / "toy.png").stat().st_size
    found = "Is it so? It is ?, at most 2.2469."
    numbers = "<!-- numbers: K=2\n?  mse\n2.2469  mse.max\n-->"
    page.write_text(f"{text}\n## What was found\n\n{found}\n{numbers}\n\nOr ?<!--mse K=2-->.\n")
    publish(tmp_path, monkeypatch, bias=1.0)
    text = page.read_text()
    assert "so? It is 2.25, at most 2.2469.\n<!-- numbers: K=2\n2.25  mse\n" in text
    assert "Or 2.25<!--mse K=2-->." in text and "2.25 (1.25 to 3.25)" in text
    assert wrong(text, "toy", tmp_path) == ["2.2469 (mse.max K=2): it is 3.24691"]
    _, runs, _ = publish(tmp_path, monkeypatch, "--redraw")
    assert not runs and page.read_text() == text


def test_rows_by_setting_and_seed(tmp_path, monkeypatch):
    rows, _, _ = publish(tmp_path, monkeypatch, "--seeds", "2")
    assert stack(rows, "mse").tolist() == [[0.246913, 0.493827], [1.24691, 1.49383]]
    assert stack(rows, "curve").shape == (2, 2, 2) and select(rows, K=4) == rows[1:]
    assert "--seeds 2`" in (tmp_path / "toy.md").read_text()


def test_a_study_may_have_more_seeds_in_full_and_measure_times_anew(monkeypatch):
    def made(*arguments):
        monkeypatch.setattr(sys, "argv", ["toy.py", *arguments])
        study = Study("toy.py", "Toy.", full_seeds=5)
        return study.seeds, study.redraw, study.clocked

    assert made() == (3, False, True) and made("--quick") == (2, False, True)
    assert made("--full", "--redraw") == (5, True, False) and made("--full", "--clock") == (5, True, True)


TOY = """'Is it so?'
import os
import time
from _study import Column, Study
from vqnp.plots.style import new_figure

def measure(seed, K):
    time.sleep(0.2 if seed == 0 else 0)  # the first is not the first to be done
    assert K < 6, "too large"
    return {"mse": K + seed, "threads": os.environ.get("OPENBLAS_NUM_THREADS")}

if __name__ == "__main__":
    study = Study(__file__, __doc__)
    scale = study.pick(quick={"last": 9}, default={"last": 4}, full={"last": 9})
    rows = study.run([{"K": 2}, {"K": scale.last}], measure)
    study.write(rows, [Column("mse", "MSE", ".1f")], new_figure(1, 1), "Toy.")
"""


@pytest.mark.slow
def test_runs_in_processes_of_their_own_come_back_in_their_places(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)

    def run(*arguments):
        command = [sys.executable, "toy.py", "--out", "out", *arguments]
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples" / "studies")])}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    assert run("--jobs", "2").returncode == 0
    rows = json.loads((tmp_path / "out" / "toy.json").read_text())["rows"]
    assert [row["figures"]["mse"]["values"] for row in rows] == [[2, 3, 4], [4, 5, 6]]
    assert rows[0]["figures"]["threads"]["values"] == ["1"] * 3
    failed = run("--full", "--jobs", "2")
    assert failed.returncode == 1 and "too large" in failed.stderr


def test_a_table_counts_strings_and_leaves_out_a_spread_of_none():
    row = Row({"beta": 0.25}, [{"a": 1.0, "b": "x"}, {"a": 1.0, "b": "y"}, {"a": 1.0, "b": "x"}])
    made = table({"rows": [row.as_dict()], "columns": [("a", "A", ".1f"), ("b", "B", "")]})
    assert made.splitlines()[2] == "| 0.25 | 1.0 | x (2 of 3); y (1 of 3) |"


@pytest.fixture
def toy(tmp_path):
    """The folder with toy.json: K = 2 and 4, two seeds, mean errors 1.5 and 7.5; and what toy.json holds."""
    settings = ((2, "a", 1), (4, "a", 7))
    rows = [Row({"K": K, "kind": kind}, [{"mse": m}, {"mse": m + 1}]) for K, kind, m in settings]
    saved = {"seeds": 2, "scale": {"epochs": 20, "sizes": [2, 4]}, "rows": [row.as_dict() for row in rows]}
    (tmp_path / "toy.json").write_text(json.dumps(saved))
    return tmp_path, saved


def test_references(toy):
    folder, saved = toy
    assert value("mse K=4", "toy", folder) == 7.5 and value("toy: mse.min K=2", "x", folder) == 1
    assert value("mse K=4 kind=a / toy:mse K=2", "toy", folder) == 5
    assert fill("?<!--mse K=4--> a?", "toy", folder) == "7.50<!--mse K=4--> a?"
    good = "7.5<!--mse K=4-->, 8 %<!--mse.max K=4-->, 7.50<!--mse K=4-->"
    assert wrong(good, "toy", folder) == []
    bad = "7.4<!--mse K=4--> 7<!--mse K=3--> 7<!--mae K=4--> ?<!--mse K=2--> 1<!--no: mse-->"
    assert len(wrong(bad, "toy", folder)) == 5
    assert unreferenced("20 epochs, K = 4, `9`, [a](9.md), arXiv 1711.00937, two", saved) == []
    assert unreferenced("7.5<!--mse K=4--> of 31, 2.5 and 1,000", saved) == ["31", "2.5", "1,000"]
    assert np.isclose(float(fill("?<!--mse K=4 / mse.max K=2-->", "toy", folder)[:4]), 3.75)


LISTED = """## 7.5 in a heading

Of 31 it is 7.5, 1.50 and 5.0 times, `1.5` and $8$ aside; and −7.5 is another number.
<!-- numbers: toy K=4
7.5  mse
1.50  mse K=2
5.0  mse / mse K=2
-->

Then 8.
<!-- numbers
8  toy: mse.max K=4
-->
"""


def test_a_list_binds_the_numbers_above_it_in_order(toy):
    folder, saved = toy
    assert wrong(LISTED, "x", folder) == [] and studies(LISTED) == {"toy"}
    assert unreferenced(LISTED.partition("\n")[2], saved) == ["31", "−7.5"]
    assert [len(numbers) for numbers in bound(LISTED)] == [3, 1]
    for old, new in (
        ("is 7.5,", "is 7.6,"),  # the text
        ("7.5  mse", "7.6  mse"),  # the list
        ("7.5, 1.50", "1.50, 7.5"),  # exchanged in the text
        ("and −7.5", "and 7.5"),  # once more, and not listed
        ("Then 8.", "Then nothing."),
        ("K=4\n7.5", "K=2\n7.5"),
        ("numbers: toy", "numbers: toys"),
    ):
        changed = LISTED.replace(old, new)
        assert changed != LISTED and wrong(changed, "x", folder), (old, new)
    assert unreferenced("7.5\n" + LISTED.partition("-->\n")[2], saved) == ["7.5"], "its list is gone"


def test_pictures_come_back_from_text_and_stand_in_rows(rng):
    images = rng.random((3, 28, 28))
    back = unpack(pack(images))
    assert np.abs(back - images).max() <= 0.5 / 255 + 1e-12 and pack(back) == pack(images)
    axes = new_figure(2, 2).subplots()
    strip(axes, [images, images], ["above", "below"])
    assert axes.get_images()[0].get_array().shape == (58, 88)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["above", "below"]


def faiss_or_skip():
    """faiss. Where it is not installed the test is skipped; with VQNP_REQUIRE_TORCH=1, as in CI, it fails."""
    if os.environ.get("VQNP_REQUIRE_TORCH"):
        return importlib.import_module("faiss")
    return pytest.importorskip("faiss", reason="faiss is not installed: the extra bench")


@pytest.mark.slow
@pytest.mark.parametrize(("M", "K"), [(16, 128), (49, 16), (4, 8)])
def test_product_quantization_is_faiss_s(M, K, rng):
    faiss = faiss_or_skip()
    images = rng.integers(256, size=(300, 28, 28), dtype=np.uint8)
    coder = ProductQuantizer(images, M, K, 0, turned=False)
    k = coder.encode(images)
    assert k.shape == (300, M) and 0 <= k.min() and k.max() == K - 1
    theirs = coder.pq.decode(coder.pq.compute_codes(pixels(images)))
    assert np.array_equal(coder.decode(k).reshape(300, -1), theirs)
    runs = pixels(images).reshape(300, M, -1)
    nearest = ((runs[:, :, None] - coder.centres) ** 2).sum(axis=3).argmin(axis=2)
    assert (nearest == k).mean() > 0.999  # rounding may decide between two as near
    again = ProductQuantizer(images, M, K, 0, turned=False)
    assert np.array_equal(again.centres, coder.centres) and faiss.omp_get_max_threads() == 1
    assert not np.array_equal(ProductQuantizer(images, M, K, 1, turned=False).centres, coder.centres)


@pytest.mark.slow
def test_pca_deals_every_component_out_and_its_codes_reconstruct(rng):
    faiss_or_skip()
    base = rng.random((5, 28, 28))
    images = np.rint(255 * np.tensordot(rng.dirichlet(np.ones(5), 400), base, 1)).astype(np.uint8)
    coder = ProductQuantizer(images, 4, 16, 0, turned=True)
    assert np.allclose(coder.W @ coder.W.T, np.eye(784), atol=1e-4)
    shares = ((pixels(images) - coder.mean) @ coder.W.T).var(axis=0).reshape(4, -1)
    assert (shares.max(axis=1) > 1e-2 * shares.max()).all()  # 4 large components: one in each run
    error = ((coder.decode(coder.encode(images)) - images / 255) ** 2).mean()
    assert error < 0.1 * images.var(axis=0).mean() / 255**2


WORKER = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from _study import end_with

def work():
    print("begun", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("spawn"), end_with, (os.getpid(),)) as pool:
        pool.submit(work).result()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_workers_end_with_the_study_that_was_killed(tmp_path):
    """Their standard output, a pipe, then has no writer left."""
    (tmp_path / "toy.py").write_text(WORKER)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(tmp_path / "toy.py")]
    study = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert study.stdout.readline() == "begun\n"
    study.kill()
    study.communicate(timeout=60)
