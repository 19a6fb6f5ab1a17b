"""vqnp report: a page beside the run, one sentence for what is no run or no place for a file."""

import json

import numpy as np
import pytest
from helpers import refused_command

from vqnp import VQVAE, fit, save
from vqnp.cli import main
from vqnp.cli.prior_files import write_chain
from vqnp.cli.runs import Run, create
from vqnp.priors import Markov

from .conftest import SHAPE
from .test_page import Reader, data_of

SIZES = {"num_latents": 3, "embedding_dim": 2, "num_embeddings": 8, "hidden": (5,)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a configuration, data of three classes and a chain."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    images, path = rng.integers(0, 256, (60, *SHAPE), np.uint8), folder / "few.npz"
    np.savez(path, images=images, labels=np.arange(60) % 3)
    one, model = Run(folder / "r"), VQVAE.mlp(SHAPE, **SIZES)
    one.folder.mkdir()
    schedule = {"epochs": 1, "batch_size": 20}
    settings = {"image_shape": SHAPE, **SIZES}
    create(one, {"data": str(path), "model": settings, "schedule": schedule})
    history = fit(model, images[:54], images[54:], progress=False, checkpoint=one.checkpoint, **schedule)
    one.write_metrics(history)
    write_chain(one, Markov(model.encode(images), 8), model)
    return one


def test_a_page_is_written_beside_the_run(run, capsys):
    assert main(["report", str(run.folder), "--quiet"]) == 0
    page, size = run.report.read_text(), run.report.stat().st_size
    assert capsys.readouterr().out == f"{run.report}: {size / 1e6:.2f} MB, to be opened in a browser\n"
    read, data = Reader(page), data_of(page)
    names = [name.split(", ")[1] for name in data["examples"]["names"]]
    assert sorted(set(names)) == ["class 0", "class 1", "class 2"] and names == sorted(names)
    assert data["prior"]["kind"] == "markov" and "few.npz (test)" in read.text
    assert run.report in run.files()  # so that a new training with --force does not leave it behind


def test_another_file_and_other_data(run, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((12, *SHAPE), np.uint8))
    out = tmp_path / "page.html"
    for _ in range(2):  # a page is replaced
        where = ["--data", str(tmp_path / "x.npy"), "--out", str(out)]
        assert main(["report", str(run.checkpoint), *where]) == 0
    assert "x.npy (test)" in out.read_text()


def test_data_that_have_gone_are_no_obstacle(run, tmp_path):
    one = Run(tmp_path / "r")
    one.folder.mkdir()
    one.checkpoint.write_bytes(run.checkpoint.read_bytes())
    config = json.loads(run.config.read_text()) | {"data": str(tmp_path / "gone.npy")}
    one.config.write_text(json.dumps(config))
    assert main(["report", str(one.folder), "--quiet"]) == 0
    page = one.report.read_text()
    assert "The data of the training could not be read" in page and data_of(page)["decoder"]
    assert "vqnp prior RUN trains one" in page


def test_what_is_no_run_or_no_place_gets_one_sentence(run, tmp_path, capsys):
    assert "must be a run folder" in refused_command(capsys, "report", tmp_path / "none")
    assert "must be a folder that vqnp train wrote" in refused_command(capsys, "report", tmp_path)
    (folder := tmp_path / "folder.html").mkdir()
    found = refused_command(capsys, "report", run.folder, "--out", folder)
    assert found == f"--out must be a file; got the folder {folder}"
    assert "--out must end in .html" in refused_command(capsys, "report", run.folder, "--out", "page.txt")
    assert "--data" in refused_command(capsys, "report", run.folder, "--data", tmp_path / "none.npy")


def test_the_prior_of_another_model_is_refused(run, tmp_path, capsys):
    one = Run(tmp_path / "r")
    one.folder.mkdir()
    save(one.checkpoint, VQVAE.mlp(SHAPE, **SIZES, rng=1))
    one.prior.write_bytes(run.prior.read_bytes())
    assert "the prior of the model beside it" in refused_command(
        capsys, "report", one.folder, "--data", json.loads(run.config.read_text())["data"], "--quiet"
    )
