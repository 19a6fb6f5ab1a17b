"""A run is a function of its seed: stopped and resumed anywhere, it ends in the same bits."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from vqnp import VQVAE, InputError, fit, load, load_dataset, resume
from vqnp.optim import Adam
from vqnp.training.fit import Interrupted
from vqnp.training.trainer import Schedule, Trainer, TrainingDiverged

IMAGES = load_dataset("digits").images[:70]
TEST = load_dataset("digits", "test").images[:20]
SMALL = {"num_latents": 3, "embedding_dim": 4, "num_embeddings": 8, "hidden": (10,)}
SHORT = {"epochs": 3, "batch_size": 16, "seed": 5, "progress": False}


def same(a, b):
    assert a.state().keys() == b.state().keys()
    return all(np.array_equal(x, b.state()[name]) for name, x in a.state().items())


def trained(codebook="ema", **options):
    model = VQVAE(**SMALL, codebook=codebook, rng=2)
    history = fit(model, IMAGES, **{**SHORT, **options})
    return model, history


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_the_seed_decides_everything(codebook):
    a, history = trained(codebook)
    b, again = trained(codebook)
    c, _ = trained(codebook, seed=6)
    assert same(a, b) and history == again and not same(a, c)


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_a_trainer_is_the_plain_loop(codebook):
    """fit against the same steps written out with the model and the optimizer."""
    model, reference = (VQVAE(**SMALL, codebook=codebook, dtype="float64", rng=2) for _ in range(2))
    fit(model, IMAGES, **SHORT, lr_schedule="constant", restart_dead_codes=0.0)
    x = IMAGES.reshape(70, -1) / 255.0
    rng, optimizer = np.random.default_rng(5), Adam(reference.named_params(), 1e-3)
    order = rng.permutation(70)
    reference.start_codebook(x[order].reshape(70, 28, 28), rng)
    started = reference.quantizer.embeddings.copy()
    for _epoch in range(3):
        for start in range(0, 70, 16):
            batch = x[order[start : start + 16]]
            _, z, k, cache = reference.loss_forward(batch)
            reference.zero_grad()
            reference.loss_backward(1.0, cache)
            optimizer.step()
            reference.quantizer.update(z, k, rng)
        order = rng.permutation(70)
    assert same(model, reference)
    assert np.isin(reference.quantizer.embeddings, started).mean() < 0.5  # the codes were trained too


def test_training_learns_and_says_how():
    model = VQVAE(**{**SMALL, "hidden": (64,)}, rng=0)
    history = fit(model, IMAGES, TEST, epochs=12, batch_size=8, seed=0, progress=False)
    assert [row["epoch"] for row in history] == list(range(1, 13))
    assert [row["step"] for row in history] == [9 * e for e in range(1, 13)]
    assert history[-1]["mse"] < 0.6 * history[0]["mse"]
    assert history[-1]["test_mse"] < history[0]["test_mse"]
    assert 1e-3 > history[0]["lr"] > history[5]["lr"] > history[-1]["lr"] > 0
    assert all(1 <= row["perplexity"] <= row["codes_used"] <= 8 for row in history)
    assert history[0]["loss"] == pytest.approx(history[0]["mse"] + history[0]["quantization_loss"])


def test_the_epochs_means_are_over_its_images():
    """One epoch in one batch: the means are those of that batch before its step."""
    model = VQVAE(**SMALL, codebook_init="uniform", rng=2)
    losses, _, k, _ = model.loss_forward(IMAGES.reshape(70, -1).astype("f") / np.float32(255))
    row = fit(model, IMAGES, epochs=1, batch_size=100, progress=False)[0]
    assert row["mse"] == pytest.approx(float(losses.reconstruction), rel=1e-5)
    assert row["quantization_loss"] == pytest.approx(float(losses.quantization), rel=1e-5)
    assert row["codes_used"] == len(np.unique(k)) and row["step"] == 1


def test_dead_codes_are_restarted_and_counted():
    rows = {}
    for share in (0.0, 0.5):
        model = VQVAE(**{**SMALL, "num_embeddings": 64}, codebook_init="uniform", decay=0.5, rng=0)
        rows[share] = fit(model, IMAGES, **{**SHORT, "epochs": 6}, restart_dead_codes=share)
    assert sum(row["restarted_codes"] for row in rows[0.0]) == 0
    assert sum(row["restarted_codes"] for row in rows[0.5]) > 0
    assert rows[0.5][-1]["codes_used"] > rows[0.0][-1]["codes_used"]


class Stop(Exception):
    pass


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("stop_at", range(0, 15))
def test_stopped_after_any_step_and_resumed_it_ends_in_the_same_bits(tmp_path, codebook, stop_at):
    whole, history = trained(codebook, restart_dead_codes=0.3)
    schedule = Schedule(epochs=3, batch_size=16, seed=5, restart_dead_codes=0.3)
    trainer = Trainer(VQVAE(**SMALL, codebook=codebook, rng=2), IMAGES, schedule)
    trainer.begin()
    for _ in range(stop_at):
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch(None)
    trainer.save(tmp_path / "c.npz")
    model, resumed = resume(tmp_path / "c.npz", IMAGES, progress=False)
    assert same(whole, model) and resumed == history
    assert same(whole, load(tmp_path / "c.npz"))


def test_a_finished_run_resumes_to_itself(tmp_path):
    whole, history = trained(checkpoint=tmp_path / "c.npz")
    model, again = resume(tmp_path / "c.npz", IMAGES, progress=False)
    assert same(whole, model) and again == history


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_steps_saves_and_gives_the_handlers_back(tmp_path, number):
    whole, _ = trained(epochs=40)
    before = signal.getsignal(number)
    timer = threading.Timer(0.15, os.kill, (os.getpid(), number))
    timer.start()
    with pytest.raises(Interrupted) as stop:
        while True:  # until the signal has come during a run
            trained(epochs=40, checkpoint=tmp_path / "c.npz")
    timer.join()
    assert 0 < stop.value.step < 40 * 5 and isinstance(stop.value, KeyboardInterrupt)
    assert signal.getsignal(number) is before
    model, _ = resume(tmp_path / "c.npz", IMAGES, progress=False)
    assert same(whole, model)


KILLED = """
import sys, numpy as np, vqnp
images = np.load(sys.argv[2])
model = vqnp.VQVAE(num_latents=3, embedding_dim=4, num_embeddings=8, hidden=(10,), rng=2)
print("begin", flush=True)
vqnp.fit(model, images, epochs=400, batch_size=16, seed=5, progress=False, checkpoint=sys.argv[1])
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_checkpoint_is_whole(tmp_path):
    """SIGKILL at random moments of a run that saves after each of many short epochs."""
    np.save(tmp_path / "images.npy", IMAGES)
    path = tmp_path / "c.npz"
    rng, epochs = np.random.default_rng(0), set()
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, path, tmp_path / "images.npy"], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3 + 1.2 * rng.random())
        process.kill()
        process.communicate()
        if path.exists():
            epochs.add(Trainer.restore(path, IMAGES).step)
    assert len(epochs) > 1  # it was caught at several places
    last = Trainer.restore(path, IMAGES)
    assert last.step % last.steps_per_epoch == 0


def test_divergence_stops_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "c.npz"
    model = VQVAE(**SMALL, rng=2)
    with pytest.raises(TrainingDiverged) as caught:
        fit(model, IMAGES, **SHORT, lr=1e30, checkpoint=path)
    text = str(caught.value)
    assert text.startswith("fit: training diverged at step 2 of 15: ")
    assert text.endswith(f"; try a smaller lr; the last good checkpoint is kept in {path}")
    assert all(np.isfinite(array).all() for array in load(path).state().values())
    assert Trainer.restore(path, IMAGES).step == 0


def test_a_loss_that_overflows_is_divergence_too():
    """The latents are finite, the squared error is not."""
    model = VQVAE(**SMALL, rng=2)
    model.decoder.layers[-1].b.value[:] = 1e30
    with pytest.raises(TrainingDiverged, match="step 1 of 15: the loss became inf"):
        fit(model, IMAGES, **SHORT)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"epochs": 0}, "fit: epochs must be an integer of at least 1; got 0"),
        ({"batch_size": 0}, "fit: batch_size must be an integer of at least 1; got 0"),
        ({"batch_size": 2.5}, "fit: batch_size must be an integer of at least 1; got 2.5"),
        ({"lr": 0.0}, "fit: lr must be in (0, inf); got 0.0"),
        ({"lr": float("nan")}, "fit: lr must be in (0, inf); got nan"),
        ({"lr_schedule": "step"}, "fit: lr_schedule must be one of 'cosine', 'constant'; got 'step'"),
        ({"restart_dead_codes": 1.0}, "fit: restart_dead_codes must be in [0, 1); got 1.0"),
        ({"seed": -1}, "fit: seed must be an integer of at least 0; got -1"),
    ],
)
def test_settings_out_of_range(setting, sentence):
    with pytest.raises(InputError) as caught:
        trained(**setting)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (IMAGES[:0], r"fit: images must hold at least one image; got shape \(0, 28, 28\)"),
        (IMAGES.astype("i4"), "fit: images must be uint8, or float32 or float64 in .0, 1.; got int32"),
        (IMAGES / 100.0, "fit: images must be in .0, 1. if they are not uint8; got .* at index"),
        (np.full((3, 28, 28), np.nan), r"fit: images must be finite; got nan at index \(0, 0, 0\)"),
        (IMAGES[:, :5], r"fit: images must have shape \(n, 28, 28\) or \(n, 784\); got shape \(70, 5, 28\)"),
    ],
)
def test_images_that_cannot_be_trained_on(images, sentence):
    with pytest.raises(InputError, match=f"^{sentence}"):
        fit(VQVAE(**SMALL), images, **SHORT)


def test_resuming_with_other_images_or_from_a_model_alone_is_refused(tmp_path):
    trained(checkpoint=tmp_path / "c.npz")
    with pytest.raises(InputError, match="the images must be those that training began with; got others"):
        resume(tmp_path / "c.npz", IMAGES[::-1], progress=False)
    from vqnp import save

    save(tmp_path / "m.npz", VQVAE(**SMALL))
    with pytest.raises(InputError, match="must hold a training run, not a model alone"):
        resume(tmp_path / "m.npz", IMAGES, progress=False)


THREADS = """
import hashlib, vqnp
model = vqnp.VQVAE(num_latents=16, embedding_dim=16, num_embeddings=512, hidden=(32,), rng=2)
vqnp.fit(model, vqnp.load_dataset("digits").images[:512], epochs=1, batch_size=256, seed=5, progress=False)
print(hashlib.sha256(b"".join(a.tobytes() for a in model.state().values())).hexdigest())
"""


@pytest.mark.slow
def test_the_number_of_threads_does_not_show():
    """The batch is large enough for the parallel nearest-code kernel."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", THREADS],
            env={**os.environ, "NUMBA_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1


def test_numpy_scalars_are_settings_too(tmp_path):
    """They are stored as plain numbers, which a checkpoint's JSON can hold."""
    options = {"epochs": np.int64(1), "batch_size": np.int32(16), "seed": np.int64(5), "lr": np.float32(1e-3)}
    model = VQVAE(**SMALL, quantizer_options={"zero_debias": np.bool_(True)}, rng=2)
    fit(model, IMAGES, **options, progress=False, checkpoint=tmp_path / "c.npz")
    assert load(tmp_path / "c.npz").config["quantizer_options"] == {"zero_debias": True}


@pytest.mark.parametrize("batch_size", [16, 40, 100])
def test_the_loss_in_the_bar_is_the_mean_over_the_images_seen(batch_size):
    trainer = Trainer(VQVAE(**SMALL, rng=2), IMAGES, Schedule(epochs=2, batch_size=batch_size))
    for _ in range(trainer.steps_per_epoch):
        trainer.train_step()
        seen = min(trainer.step * batch_size, 70)
        assert trainer.mean_loss() == pytest.approx(trainer.sums[0] / seen)
    assert trainer.end_epoch(None)["loss"] == pytest.approx(trainer.history[0]["loss"])
