"""Damaged files with right checksums, and files that are none: a sentence each, and nothing is believed."""

import copy
import json
import math
import os

import numpy as np
import pytest
from helpers import refused, refused_command

from vqnp import VQVAE, InputError, export, fit, load, load_dataset, resume, save
from vqnp.checkpoint import read_arrays, write_arrays
from vqnp.cli import main
from vqnp.training import Schedule, Trainer

IMAGES = load_dataset("digits").images[:40]
SMALL = {"num_latents": 3, "embedding_dim": 4, "num_embeddings": 8, "hidden": (10,)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("c") / "checkpoint.npz"
    fit(VQVAE.mlp(**SMALL), IMAGES, epochs=2, batch_size=16, progress=False, checkpoint=path)
    return path


def with_state(finished, path, change):
    """The checkpoint with its trainer's entries and its arrays as change(trainer, arrays) leaves them."""
    meta, arrays = read_arrays(finished)
    trainer = change(meta["trainer"], arrays)
    write_arrays(path, {**meta, "trainer": meta["trainer"] if trainer is None else trainer[0]}, arrays)
    return path


def entries(**new):
    return lambda trainer, arrays: trainer.update(new)


def order(new):
    return lambda trainer, arrays: arrays.update({"trainer.order": new})


def counts(new):
    return lambda trainer, arrays: arrays.update({"statistics.quantizer": new})


def generator(**new):
    return lambda trainer, arrays: trainer["rng"].update(new)


ORDER = np.random.default_rng(0).permutation(40)
STATES = {
    "a list": lambda trainer, arrays: ([],),
    "a number": lambda trainer, arrays: (3,),
    "a text": lambda trainer, arrays: ("state",),
    "a schedule that is null": entries(schedule=None),
    "a schedule of something else": entries(schedule={"epoch": 3}),
    "a schedule out of range": entries(schedule={"epochs": 0}),
    "a step out of range": entries(step=1_000_000),
    "a negative step": entries(step=-3),
    "a step that is none": entries(step=2.5),
    "a step of another epoch": entries(step=3),
    "seen out of range": entries(seen=17),
    "no history": entries(history=None),
    "a short history": entries(history=[]),
    "a history of lists": entries(history=[[1], [2]]),
    "a history of text": entries(history=[{"epoch": 1, "loss": "low"}, {"epoch": 2}]),
    "a history of NaN": entries(history=[{"epoch": 1, "loss": float("nan")}, {"epoch": 2}]),
    "losses of text": entries(losses={"loss": "low"}),
    "losses that are null": entries(losses=None),
    "restarted codes of text": entries(restarted="x"),
    "no generator": entries(rng=None),
    "a generator of another kind": generator(bit_generator="MT19937"),
    "a generator's state of text": generator(state="x"),
    "a generator's state too large": generator(state={"state": 2**130, "inc": 1}),
    "a generator's state below zero": generator(state={"state": -1, "inc": 1}),
    "a generator's flag too large": generator(has_uint32=2**70),
    "an order out of range": order(ORDER + 1),
    "an order with one image twice": order(np.zeros(40, int)),
    "an order of another length": order(ORDER[:-1]),
    "an order of numbers": order(ORDER.astype(float)),
    "an order of more axes": order(ORDER[None]),
    "no order": lambda trainer, arrays: arrays.pop("trainer.order") is None or None,
    "statistics of numbers": counts(np.ones(8)),
    "statistics below zero": counts(-np.ones(8, int)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
def test_resume_believes_nothing_that_it_has_not_checked(finished, tmp_path, name):
    path = with_state(finished, tmp_path / "checkpoint.npz", STATES[name])
    with pytest.raises(InputError) as caught:
        resume(path, IMAGES, progress=False)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
    assert main(["evaluate", str(tmp_path), "--json"]) in (0, 2)  # the model alone may still be read


@pytest.fixture(scope="module")
def state(finished):
    meta, arrays = read_arrays(finished)
    return load(finished), meta, {name: a for name, a in arrays.items() if not name.startswith("model.")}


@pytest.mark.parametrize("name", STATES)
def test_a_trainer_believes_nothing_that_it_has_not_checked(state, monkeypatch, name):
    """As resume, without files."""
    model, meta, arrays = copy.deepcopy(state)
    changed = STATES[name](meta["trainer"], arrays)
    meta |= {} if changed is None else {"trainer": changed[0]}
    monkeypatch.setattr("vqnp.training.trainer.load_all", lambda path: (model, meta, arrays))
    with pytest.raises(InputError) as caught:
        Trainer.restore("c.npz", IMAGES)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize("step", [0, 1, 2, 3, 4, 6])
def test_a_state_of_any_step_passes(step):
    """Also of the first and of the last, and in the middle of an epoch, where only its sums are there."""
    trainer = Trainer(VQVAE.mlp(**SMALL), IMAGES, Schedule(epochs=2, batch_size=16))
    trainer.initialize()
    for _ in range(step):
        trainer.train_step()
        if trainer.step % 3 == 0:
            trainer.end_epoch()
    trainer._check_state("here")
    for name, value in {
        "step": step + 7, "seen": trainer.seen + 1, "history": [*trainer.history, {"epoch": 1}],
        "losses": {} if trainer.seen else {"loss": 1.0}, "restarted": math.inf,
        "statistics": {"quantizer": np.array([3, -1])},
    }.items():  # fmt: skip
        before = getattr(trainer, name)
        setattr(trainer, name, value)
        with pytest.raises(InputError, match="must be that of a run of its schedule"):
            trainer._check_state("here")
        setattr(trainer, name, before)
    trainer.step = -3
    with refused("the trainer's step"):
        trainer._check_state("here")


def test_a_state_that_was_not_changed_passes(finished, tmp_path):
    path = with_state(finished, tmp_path / "c.npz", lambda trainer, arrays: None)
    assert Trainer.restore(path, IMAGES).step == 6


@pytest.mark.parametrize("trainer", [None, [], [1], 3, "state"])
def test_evaluate_needs_no_trainer_but_takes_no_other_thing_for_one(finished, tmp_path, capsys, trainer):
    path = with_state(finished, tmp_path / "c.npz", lambda *state: (trainer,))
    assert load(path).num_embeddings == 8
    assert "must hold a model, and a training's" in refused_command(capsys, "evaluate", path)


def test_data_given_for_a_checkpoint_are_called_what_they_are(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x_train=IMAGES, x_test=IMAGES)
    with refused("", "must be a checkpoint written by vqnp", "an .npz file of x_train, x_test"):
        load(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz")
    with refused("", "must be a checkpoint written by vqnp", "an .npz file of nothing"):
        load(tmp_path / "e.npz")
    np.savez(tmp_path / "f.npz", **{f"{'x' * 100}{i}": IMAGES[0] for i in range(100)})
    with refused("") as caught:
        load(tmp_path / "f.npz")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("meta", ["", "[]", "3", "{}", '"x"', '{"format": "vqnp-checkpoint"}', "[" * 10**5])
def test_a_meta_of_something_else(tmp_path, meta):
    np.savez(tmp_path / "c.npz", meta=np.array(meta))
    with refused("", "must be a checkpoint written by vqnp") as caught:
        load(tmp_path / "c.npz")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("version", [True, 0, -1, 1.5, "2", None, 10**100], ids=repr)
def test_a_format_of_no_version(finished, tmp_path, version):
    meta, arrays = read_arrays(finished)
    write_arrays(tmp_path / "c.npz", {**meta, "format_version": version}, arrays)
    with refused("") as caught:
        load(tmp_path / "c.npz")
    assert len(str(caught.value)) < 500


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_a_pipe_or_a_device_is_no_file(finished, tmp_path, capsys):
    """A pipe would hang for ever, a device fill the memory."""
    pipe, zero = tmp_path / "pipe", tmp_path / "zero.npz"
    os.mkfifo(pipe)
    zero.symlink_to("/dev/zero")
    for path in (pipe, zero):
        for read in (load, lambda path: resume(path, IMAGES), load_dataset, export.load_torch):
            with pytest.raises(InputError, match="must"):
                read(path)
        assert "no regular file" in refused_command(capsys, "evaluate", path)
        assert "must be" in refused_command(capsys, "evaluate", finished, "--data", path)
        assert "no regular file" in refused_command(capsys, "decode", finished, path)
        run = tmp_path / f"run{path.name}"
        run.mkdir()
        (run / "checkpoint.npz").write_bytes(finished.read_bytes())
        (run / "config.json").symlink_to(path)
        for args in (["evaluate", run], ["train", "--resume", "--out", run]):
            assert "no regular file" in refused_command(capsys, *args)


def test_members_that_overlap_take_no_more_memory_than_the_file_is_long(tmp_path):
    """300 entries of the directory, all of them the same bytes."""
    import struct
    import zipfile

    path = tmp_path / "c.npz"
    save(path, VQVAE.mlp(**SMALL), {"more": "x" * 100_000})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start, infos = archive.start_dir, archive.infolist()
    end = whole.rindex(b"PK\5\6")
    directory = whole[start:end] * 20
    n = len(infos) * 20
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, n, n, len(directory), start, 0)
    path.write_bytes(whole[:start] + directory + tail)
    with refused("") as caught:
        load(path)
    assert "members" in str(caught.value)


def test_json_is_written_as_json(finished):
    meta, _ = read_arrays(finished)
    json.dumps(meta, allow_nan=False)
