"""What version 0.1 wrote is read, used and continued as version 0.1 would have; make.py made the files."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from format1.make import RUNS
from helpers import refused, refused_command

from vqnp import VQVAE, export, load, resume
from vqnp.checkpoint import load_all, read_arrays, write_arrays
from vqnp.cli import main
from vqnp.models import MODELS, format1
from vqnp.nn import EMAVectorQuantizer, Flatten, VectorQuantizer
from vqnp.training import Schedule, Trainer

FILES = Path(__file__).parent
IMAGES = np.load(FILES / "images.npy")
KINDS = {"ema": "vqvae", "gradient": "vqvae", "vae": "vae", "autoencoder": "autoencoder"}
VQVAES = ("ema", "gradient")
each_run = pytest.mark.parametrize("name", RUNS)


def assert_same(ours, theirs):
    """Codes exactly; numbers to 1e-6, since version 0.1 had NumPy's products, which round differently."""
    if ours.dtype.kind in "iu":
        np.testing.assert_array_equal(ours, theirs)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert ours.dtype == theirs.dtype


def encoded(name):
    with np.load(FILES / name / "codes.npz") as arrays:
        return arrays["codes" if name in VQVAES else "latents"]


@pytest.fixture
def run(name, tmp_path):
    """A copy of a run folder, whose config.json names the images where they are."""
    folder = tmp_path / "run"
    shutil.copytree(FILES / name, folder)
    config = json.loads((folder / "config.json").read_text())
    config["data"] = str(FILES / config["data"])
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def columns(path):
    """The header of a metrics.csv, and its columns."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def assert_history_is_renamed(new, old, name):
    """mse is reconstruction_loss now; quantization_loss is the sum of two terms, of which EMA has one."""
    if name in VQVAES:
        codebook, commitment = new.pop("codebook_loss"), new.pop("commitment_loss")
        np.testing.assert_allclose(codebook + commitment, old.pop("quantization_loss"), rtol=1e-6)
        np.testing.assert_allclose(0.25 * codebook, commitment * (name == "gradient"), rtol=1e-6)
    if KINDS[name] != "vae":
        old["reconstruction_loss"] = old.pop("mse")
    assert new.keys() == old.keys()
    np.testing.assert_allclose(new.pop("loss"), old.pop("loss"), rtol=1e-6)  # now a float32 sum of more terms
    for column in old:
        np.testing.assert_allclose(new[column], old[column], rtol=1e-5)


# --- models ---


@each_run
def test_a_model_loads_with_the_same_parameters(name):
    model = load(FILES / name)
    assert type(model) is MODELS[KINDS[name]] and model.data.shape == (7, 7)
    assert isinstance(model.encoder.layers[0], Flatten)
    _, arrays = read_arrays(FILES / name / "checkpoint.npz")
    state = model.state_dict()
    old = {n.removeprefix("model."): a for n, a in arrays.items() if n.startswith("model.")}
    assert len(old) == len(state)
    for theirs, array in old.items():
        part, _, rest = theirs.partition(".")
        number, _, layers_own = rest.partition(".")
        ours = theirs if part == "quantizer" else f"{part}.{int(number) + 1}.{layers_own}"
        np.testing.assert_array_equal(state[ours], array)


@each_run
def test_it_encodes_and_decodes_as_before(name):
    model = load(FILES / name)
    assert_same(model.encode(IMAGES).astype(encoded(name).dtype), encoded(name))
    assert_same(model.decode(encoded(name)), np.load(FILES / name / "images.npy"))


def test_the_arguments_are_kept():
    _, meta, _ = load_all(FILES / "ema" / "checkpoint.npz")
    assert meta["format_version"] == 1
    ema, gradient = (load(FILES / name).quantizer for name in VQVAES)
    assert type(ema) is EMAVectorQuantizer and type(gradient) is VectorQuantizer
    for quantizer in (ema, gradient):
        assert (quantizer.decay, quantizer.restart_dead_codes) == (0.6, 0.6)
        assert (quantizer.codebook_init, quantizer.commitment_cost) == ("data", 0.25)
    vae = load(FILES / "vae")
    assert (vae.likelihood, vae.noise_std, vae.kl_weight, vae.kl_warmup) == ("gaussian", 0.3, 1, 7)


@pytest.mark.parametrize("name", VQVAES)
def test_a_further_training_keeps_the_codes(name):
    model = load(FILES / name)
    E = model.quantizer.embeddings.copy()
    Trainer(model, IMAGES, Schedule()).initialize()
    np.testing.assert_array_equal(model.quantizer.embeddings, E)


@each_run
def test_exported_weights_load(name):
    model, same = export.load_torch(FILES / name / "weights.npz"), load(FILES / name)
    assert type(model) is type(same)
    for array, other in zip(model.state_dict().values(), same.state_dict().values(), strict=True):
        np.testing.assert_array_equal(array, other)


# --- training goes on ---


@pytest.mark.slow
@each_run
def test_training_goes_on_to_the_same_end(name, tmp_path):
    path = tmp_path / "c.npz"
    shutil.copy(FILES / name / "checkpoint.npz", path)
    training = IMAGES[:63]  # vqnp train kept the last tenth for testing
    trainer = Trainer.restore(path, training)
    assert trainer.step == RUNS[name][0] and trainer.optimizer.t == trainer.step
    model, history = resume(path, training, IMAGES[63:], progress=False)
    state = model.state_dict()
    with np.load(FILES / name / "final.npz") as final:
        assert len(final.files) == len(state)
        for theirs in final.files:
            assert_same(state[format1.renamed(theirs)], final[theirs])
    new = {column: np.array([row[column] for row in history]) for column in history[0]}
    assert_history_is_renamed(new, columns(FILES / name / "final.csv"), name)
    assert read_arrays(path)[0]["format_version"] == 2


@each_run
def test_it_is_saved_as_format_2_in_mid_epoch_and_still_ends_the_same(name, tmp_path):
    path = tmp_path / "c.npz"
    trainer = Trainer.restore(FILES / name / "checkpoint.npz", IMAGES[:63])
    trainer.train_step()
    trainer.save(path)
    model, _ = resume(path, IMAGES[:63], progress=False)
    with np.load(FILES / name / "final.npz") as final:
        for theirs in final.files:
            assert_same(model.state_dict()[format1.renamed(theirs)], final[theirs])


# --- the command line ---


@pytest.mark.slow
@each_run
def test_vqnp_train_goes_on_with_a_run_folder(name, run, capsys):
    assert main(["train", "--out", str(run), "--resume", "--quiet"]) == 0
    assert "test MSE" in capsys.readouterr().out and (run / "training.png").exists()
    with np.load(FILES / name / "final.npz") as final:
        for theirs, array in load(run).state_dict().items():
            assert_same(array, final[theirs_of(theirs)])
    assert_history_is_renamed(columns(run / "metrics.csv"), columns(FILES / name / "final.csv"), name)


def theirs_of(ours):
    part, number, *rest = ours.split(".")
    return ours if part == "quantizer" else ".".join([part, str(int(number) - 1), *rest])


@each_run
def test_a_run_folder_holds_on_to_its_settings(name, run, capsys):
    sentence = refused_command(capsys, "train", "--out", run, "--resume", "--lr", "0.5")
    assert sentence == "--resume: --lr must be what the run began with, 0.002; got 0.5"
    option = "--restart-dead-codes"
    sentence = refused_command(capsys, "train", "--out", run, "--resume", option, "0.1")
    assert option in sentence and ("began with, 0.6; got 0.1" in sentence) == (name in VQVAES)


@each_run
def test_codes_are_known_to_be_of_their_model(name):
    """By the fingerprint of version 0.1, which another model's is not; networks it did not have got none."""
    with np.load(FILES / name / "codes.npz") as arrays:
        stored = arrays["model"].tobytes().hex()
    owners = [other for other in RUNS if format1.fingerprint_of(load(FILES / other)) == stored]
    assert owners == [name] and format1.fingerprint_of(VQVAE.conv((8, 8))) is None


@pytest.mark.slow
@each_run
def test_every_other_command_takes_a_run_folder(name, run, tmp_path, capsys):
    codes, images = run / "codes.npz", np.load(FILES / name / "images.npy")
    assert main(["evaluate", str(run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    x = IMAGES[63:] / 255
    assert figures["mse"] == pytest.approx(np.mean((load(run).reconstruct(IMAGES[63:]) - x) ** 2), rel=1e-5)
    assert main(["decode", str(run), str(codes), "--out", str(tmp_path / "x.npy")]) == 0
    assert_same(np.load(tmp_path / "x.npy"), images)
    again = tmp_path / "codes.npz"
    assert main(["encode", str(run), "--out", str(again), "--data", str(FILES / "images.npy")]) == 0
    with np.load(again) as arrays:
        assert_same(arrays[load(run).encoding.name], encoded(name))
    assert main(["inspect", str(run)]) == 0
    assert main(["export", str(run), "--out", str(tmp_path / "w.npz")]) == 0


@each_run
def test_codes_of_another_run_are_refused(name, run, tmp_path, capsys):
    other = {"ema": "gradient", "gradient": "ema", "vae": "autoencoder", "autoencoder": "vae"}[name]
    out = tmp_path / "x.npy"
    sentence = refused_command(capsys, "decode", run, FILES / other / "codes.npz", "--out", out)
    assert "of this model; got" in sentence and not out.exists()


# --- what is gone ---


def with_options(path, name, **options):
    """The checkpoint of a run whose quantizer had these options."""
    meta, arrays = read_arrays(FILES / name / "checkpoint.npz")
    meta["model"]["quantizer_options"] = options
    write_arrays(path, meta, arrays)
    return path


GONE = [
    {"beta_on": "codebook"},
    {"write_back": True},
    {"codes": "after"},
    {"start": "zero_counts"},
    {"start": "independent"},
    {"start": "zero"},  # without zero_debias
]


@pytest.mark.parametrize("options", GONE, ids=str)
def test_a_variant_that_was_removed_is_refused(options, tmp_path):
    path = with_options(tmp_path / "c.npz", "ema", **options)
    (option,) = options
    for read in (load, lambda path: resume(path, IMAGES[:63], progress=False)):
        why = f"the quantizer's {option} must be"
        with refused("", "must hold a whole model", why, where=f"checkpoint {path}"):
            read(path)


def test_what_was_not_removed_is_kept(tmp_path):
    same = {"beta_on": "commitment", "write_back": False, "codes": "before", "start": "consistent"}
    kept = {"reduction": "sum", "smoothing": "additive"}
    quantizer = load(with_options(tmp_path / "c.npz", "ema", **same, **kept)).quantizer
    assert (quantizer.reduction, quantizer.smoothing, quantizer.zero_debias) == ("sum", "additive", False)
    sonnets = {"start": "zero", "zero_debias": True}
    assert load(with_options(tmp_path / "c.npz", "ema", **sonnets)).quantizer.zero_debias
    gradient = load(with_options(tmp_path / "c.npz", "gradient", reduction="mean_of_sums")).quantizer
    assert gradient.reduction == "mean_of_sums"


def test_the_first_checkpoints_named_no_kind(tmp_path):
    meta, arrays = read_arrays(FILES / "ema" / "checkpoint.npz")
    del meta["kind"]
    write_arrays(tmp_path / "c.npz", meta, arrays)
    assert type(load(tmp_path / "c.npz")) is VQVAE


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"kind": "gan"}, "kind must be one of"),
        ({"model": {"hidden": [8]}}, "embedding"),
        ({"model": None}, ""),
        ({"trainer": {"step": 1}}, "schedule"),
    ],
)
def test_a_damaged_description_is_refused(change, got, tmp_path):
    meta, arrays = read_arrays(FILES / "ema" / "checkpoint.npz")
    write_arrays(tmp_path / "c.npz", {**meta, **change}, arrays)
    with refused("", "must hold a whole model", got):
        load(tmp_path / "c.npz")


@pytest.mark.parametrize("value", [0.3, 2.5, 7.0])
@pytest.mark.parametrize("beta", [0.0, 0.25, 1.5])
def test_the_loss_of_a_history_is_divided_in_the_ratio_1_to_beta(value, beta):
    """The loss of an EMA codebook was the commitment loss alone."""
    row = {"epoch": 3, "mse": 0.1, "quantization_loss": value}
    new = format1._row(row, beta, gradient=True)
    assert new.keys() == {"epoch", "reconstruction_loss", "codebook_loss", "commitment_loss"}
    assert new["codebook_loss"] + new["commitment_loss"] == pytest.approx(value)
    assert new["commitment_loss"] == pytest.approx(beta * new["codebook_loss"])
    new = format1._row(row, beta, gradient=False)
    assert (new["codebook_loss"], new["commitment_loss"]) == (0, value)
