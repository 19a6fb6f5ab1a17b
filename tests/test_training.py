"""A run is a function of its seed: stopped and resumed anywhere, it ends in the same bits."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import refused, same

from vqnp import VQVAE, DataSpec, EMAVectorQuantizer, InputError, fit, load, load_dataset, resume, save
from vqnp._check import NonFiniteError
from vqnp.checkpoint import read_arrays, write_arrays
from vqnp.nn import Activation, Flatten, Linear, Reshape, Sequential
from vqnp.optim import Adam
from vqnp.training import Interrupted, Schedule, Trainer, TrainingDiverged

IMAGES = load_dataset("digits").images[:70]
TEST = load_dataset("digits", "test").images[:20]
SMALL = {"num_latents": 3, "embedding_dim": 4, "num_embeddings": 8, "hidden": (10,)}
SHORT = {"epochs": 3, "batch_size": 16, "seed": 5, "progress": False}


def made(codebook="ema", **options):
    return VQVAE.mlp(**{**SMALL, "codebook": codebook, "rng": 2, **options})


def trained(codebook="ema", restart=0.05, codebook_init="data", **options):
    model = made(codebook, restart_dead_codes=restart, codebook_init=codebook_init)
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
    """fit against the same steps written out with the model and the optimizer; see examples/."""
    model, reference = (made(codebook, dtype="float64", restart_dead_codes=0.0) for _ in range(2))
    history = fit(model, IMAGES, **SHORT, lr_schedule="constant")
    x = IMAGES / 255.0
    rng, optimizer = np.random.default_rng(5), Adam(reference.named_parameters(), 1e-3)
    order = rng.permutation(70)
    reference.initialize((x[order],), rng)
    started = reference.quantizer.embeddings.copy()
    for epoch in range(3):
        total = 0.0
        for start in range(0, 70, 16):
            batch = x[order[start : start + 16]]
            losses, cache = reference.loss((batch,), rng, epoch)
            reference.zero_grad()
            reference.backward(cache)
            optimizer.step()
            reference.after_step(cache, rng)
            total += float(losses["loss"]) * len(batch)
        order = rng.permutation(70)
        assert history[epoch]["loss"] == pytest.approx(total / 70, rel=1e-12)
    assert same(model, reference)
    assert np.isin(reference.quantizer.embeddings, started).mean() < 0.5  # the codes were trained too


# A codebook is initialized once in its life.

each_codebook = pytest.mark.parametrize("codebook", ["ema", "gradient"])
each_start = pytest.mark.parametrize("start", ["data", "kmeans", "uniform"])


def initialized(model, images=TEST):
    """The model's arrays after what `fit` does before its first step."""
    Trainer(model, images, Schedule(seed=7)).initialize()
    return model.state_dict()


def equal(a, b):
    return all(np.array_equal(array, b[name]) for name, array in a.items())


@each_codebook
@each_start
def test_a_second_training_keeps_the_codes(tmp_path, codebook, start):
    """Of the model in memory, of its checkpoint, and of a copy to which its arrays were given."""
    model, _ = trained(codebook, restart=0, codebook_init=start)
    state = model.state_dict()
    save(tmp_path / "c.npz", model)
    copy = made(codebook, codebook_init=start)
    copy.load_state_dict(state)
    for one in (model, load(tmp_path / "c.npz"), copy):
        assert one.quantizer.initialized and equal(initialized(one), state)
    vq, z = model.quantizer, model.latents(IMAGES)
    after = vq.next_state(z, vq.encode(z)).E if codebook == "ema" else vq.embeddings.copy()
    fit(model, IMAGES, epochs=1, batch_size=70, lr=1e-12, progress=False)
    np.testing.assert_allclose(vq.embeddings, after, rtol=0, atol=1e-6)  # one step of the codebook's own rule


@each_codebook
def test_a_model_that_waits_for_its_data_still_waits_once_it_is_loaded(tmp_path, codebook):
    model = made(codebook)
    save(tmp_path / "c.npz", model)
    loaded = load(tmp_path / "c.npz")
    assert not model.quantizer.initialized and not loaded.quantizer.initialized
    before = loaded.quantizer.embeddings.copy()
    after = initialized(loaded)
    assert loaded.quantizer.initialized and equal(after, initialized(model))
    assert not np.array_equal(after["quantizer.E"], before)


@each_codebook
def test_a_checkpoint_that_does_not_say_so_has_a_codebook_to_keep(tmp_path, codebook):
    """As version 0.2 wrote it."""
    model = made(codebook)
    save(tmp_path / "c.npz", model)
    meta, arrays = read_arrays(tmp_path / "c.npz")
    assert meta.pop("uninitialized") == ["quantizer."]
    write_arrays(tmp_path / "c.npz", meta, arrays)
    assert equal(initialized(load(tmp_path / "c.npz")), model.state_dict())
    for wrong in (["encoder."], [3], 3, ["no."], [[]]):
        write_arrays(tmp_path / "c.npz", {**meta, "uninitialized": wrong}, arrays)
        with refused("", "must hold a whole model"):
            load(tmp_path / "c.npz")


@each_codebook
@each_start
def test_a_codebook_is_drawn_anew_when_one_asks_for_it(codebook, start):
    model, _ = trained(codebook, codebook_init=start)
    old, z = model.state_dict(), model.latents(TEST)
    for _ in range(2):  # however often
        model.quantizer.reinitialize(z, 3)
        E = model.quantizer.embeddings.copy()
        assert model.quantizer.initialized and not np.isin(E, old["quantizer.E"]).any()
        assert np.isin(E, z).all() == (start == "data")
    again = made(codebook, codebook_init=start)
    again.quantizer.reinitialize(z, 3)
    assert equal(again.quantizer.state_dict(), model.quantizer.state_dict())  # with N, m and t
    assert equal(model.encoder.state_dict(), {n.removeprefix("encoder."): a for n, a in old.items()})


def test_training_learns_and_says_how():
    model = VQVAE.mlp(**{**SMALL, "hidden": (64,)}, rng=0)
    history = fit(model, IMAGES, TEST, epochs=12, batch_size=8, seed=0, progress=False)
    assert [row["epoch"] for row in history] == list(range(1, 13))
    assert [row["step"] for row in history] == [9 * e for e in range(1, 13)]
    assert history[-1]["reconstruction_loss"] < 0.6 * history[0]["reconstruction_loss"]
    assert history[-1]["test_mse"] < history[0]["test_mse"]
    assert 1e-3 > history[0]["lr"] > history[5]["lr"] > history[-1]["lr"] > 0
    assert all(1 <= row["perplexity"] <= row["codes_used"] <= 8 for row in history)
    terms = ("reconstruction_loss", "codebook_loss", "commitment_loss")
    assert history[0]["loss"] == pytest.approx(sum(history[0][name] for name in terms))


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_the_epochs_means_are_over_its_images(codebook):
    """One epoch in one batch: the means are those of that batch before its step."""
    model = made(codebook, codebook_init="uniform")
    losses, cache = model.loss((IMAGES.astype("f") / np.float32(255),))
    k = model.encode(IMAGES)
    row = fit(model, IMAGES, epochs=1, batch_size=100, progress=False)[0]
    for name, value in losses.items():
        assert row[name] == pytest.approx(float(value), rel=1e-5), name
    assert (row["codebook_loss"] > 0) == (codebook == "gradient")
    assert row["codes_used"] == len(np.unique(k)) and row["step"] == 1


def test_dead_codes_are_restarted_and_counted():
    rows = {}
    for share in (0.0, 0.5):
        many = {"num_embeddings": 64, "codebook_init": "uniform", "decay": 0.5, "rng": 0}
        model = made(**many, restart_dead_codes=share)
        rows[share] = fit(model, IMAGES, **{**SHORT, "epochs": 6})
    assert sum(row["restarted_codes"] for row in rows[0.0]) == 0
    assert sum(row["restarted_codes"] for row in rows[0.5]) > 0
    assert rows[0.5][-1]["codes_used"] > rows[0.0][-1]["codes_used"]


def plane():
    """A VQ-VAE of parts whose latents are a plane, (2, 3, 4); nothing that mlp() would have made."""
    rng = np.random.default_rng(2)
    encoder = Sequential(Flatten(), Linear(784, 24, rng), Activation("tanh"), Reshape(2, 3, 4))
    decoder = Sequential(Flatten(), Linear(24, 784, rng), Reshape(28, 28))
    options = {"codebook_init": "kmeans", "restart_dead_codes": 0.3, "rng": rng}
    return VQVAE(encoder, EMAVectorQuantizer(8, 4, **options), decoder, DataSpec((28, 28)))


MODELS = {
    "ema": lambda: made("ema", restart_dead_codes=0.3),
    "gradient": lambda: made("gradient", restart_dead_codes=0.3),
    "a plane of latents": plane,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("stop_at", range(0, 15))
def test_stopped_after_any_step_and_resumed_it_ends_in_the_same_bits(tmp_path, name, stop_at):
    whole = MODELS[name]()
    history = fit(whole, IMAGES, **SHORT)
    trainer = Trainer(MODELS[name](), IMAGES, Schedule(epochs=3, batch_size=16, seed=5))
    trainer.initialize()
    for _ in range(stop_at):
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch()
    trainer.save(tmp_path / "c.npz")
    model, resumed = resume(tmp_path / "c.npz", IMAGES, progress=False)
    assert same(whole, model) and resumed == history
    assert same(whole, load(tmp_path / "c.npz"))


FAST = [(signal.SIGTERM, 7)]
SIGNALS = [
    case if case in FAST else pytest.param(*case, marks=pytest.mark.slow)
    for case in itertools.product((signal.SIGINT, signal.SIGTERM), (1, 7, 10, 15))
]


def test_a_finished_run_resumes_to_itself(tmp_path):
    whole, history = trained(checkpoint=tmp_path / "c.npz")
    model, again = resume(tmp_path / "c.npz", IMAGES, progress=False)
    assert same(whole, model) and again == history


@pytest.mark.parametrize(("number", "step"), SIGNALS)
def test_a_signal_stops_between_steps_saves_and_gives_the_handlers_back(tmp_path, monkeypatch, number, step):
    """Within a step in mid-epoch (1, 7), the last of an epoch (10), and the last of all (15)."""
    whole, history = trained()
    before, backward = signal.getsignal(number), VQVAE.backward
    model, steps = made(), 0

    def signalled(self, cache):
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), number)
        return backward(self, cache)

    monkeypatch.setattr(VQVAE, "backward", signalled)
    if step == 15:
        assert fit(model, IMAGES, **SHORT, checkpoint=tmp_path / "c.npz") == history
    else:
        with pytest.raises(Interrupted) as stop:
            fit(model, IMAGES, **SHORT, checkpoint=tmp_path / "c.npz")
        assert str(stop.value) == f"interrupted after step {step}"
        assert stop.value.step == step == steps and isinstance(stop.value, KeyboardInterrupt)
    assert signal.getsignal(number) is before
    assert Trainer.restore(tmp_path / "c.npz", IMAGES).step == step
    model, _ = resume(tmp_path / "c.npz", IMAGES, progress=False)
    assert same(whole, model)


def test_a_second_signal_acts_at_once(monkeypatch):
    def twice(self, cache):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(VQVAE, "backward", twice)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore SIGINT
    try:
        with pytest.raises(KeyboardInterrupt) as stop:
            trained()
        assert not isinstance(stop.value, Interrupted)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_trains_too():
    """Only the main thread may have handlers of signals."""
    results = []
    thread = threading.Thread(target=lambda: results.append(trained()))
    thread.start()
    thread.join()
    assert same(results[0][0], trained()[0])


KILLED = """
import sys, numpy as np, vqnp
images = np.load(sys.argv[2])
model = vqnp.VQVAE.mlp(num_latents=3, embedding_dim=4, num_embeddings=8, hidden=(10,), rng=2)
options = {"epochs": 4000, "batch_size": 16, "seed": 5, "progress": False, "checkpoint": sys.argv[1]}
vqnp.fit(model, images, **options, on_epoch=lambda history: print(len(history), flush=True))
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_checkpoint_is_whole(tmp_path):
    """SIGKILL at random moments of a run that saves after each of many short epochs."""
    np.save(tmp_path / "images.npy", IMAGES)
    path = tmp_path / "c.npz"
    rng, steps = np.random.default_rng(0), set()
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, path, tmp_path / "images.npy"], stdout=subprocess.PIPE
        )
        epochs = rng.integers(1, 60)
        while int(process.stdout.readline()) < epochs:
            pass
        time.sleep(0.02 * rng.random())  # an epoch and its checkpoint take about as long
        process.kill()
        process.communicate()
        trainer = Trainer.restore(path, IMAGES)
        assert trainer.step >= 5 * epochs and trainer.step == 5 * len(trainer.history)
        steps.add(trainer.step)
    assert len(steps) > 1  # it was caught at several places


def test_divergence_stops_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "c.npz"
    with pytest.raises(TrainingDiverged) as caught:
        fit(made(), IMAGES, **SHORT, lr=1e30, checkpoint=path)
    e = caught.value
    assert (e.step, e.steps, e.kept) == (2, 15, str(path)) and isinstance(e, InputError) and e.why
    text = str(e)
    assert text.startswith("fit: training diverged at step 2 of 15: ")
    assert text.endswith(f"; try a smaller lr; the last good checkpoint is kept in {path}")
    assert all(np.isfinite(array).all() for array in load(path).state_dict().values())
    assert Trainer.restore(path, IMAGES).step == 0


@pytest.mark.parametrize("more", [{}, {"checkpoint": "c.npz"}, {"test_data": IMAGES}])
def test_a_last_step_that_overflows_is_divergence_though_no_loss_follows(tmp_path, more):
    """With a checkpoint or without; and it was step 1, not a second one of one."""
    more = {name: tmp_path / value if name == "checkpoint" else value for name, value in more.items()}
    settings = {"batch_size": len(IMAGES), "lr": 1e39, "lr_schedule": "constant", "progress": False}
    with pytest.raises(TrainingDiverged, match="at step 1 of 1: encoder.1.W is no longer finite"):
        fit(made(), IMAGES, epochs=1, **settings, **more)


def test_a_loss_that_overflows_is_divergence_too():
    """The latents are finite, the squared error is not; and the parameters stay as they were."""
    model = made()
    model.decoder.layers[-2].b.value[:] = 1e30
    trainer = Trainer(model, IMAGES, Schedule(epochs=3, batch_size=16))
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(TrainingDiverged) as caught:
        trainer.train_step()
    assert (caught.value.step, caught.value.why, caught.value.kept) == (1, "the loss became inf", "")
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())


@pytest.mark.parametrize(
    ("argument", "value", "needed"),
    [
        ("epochs", 0, "an integer of at least 1"),
        ("batch_size", 0, "an integer of at least 1"),
        ("batch_size", 2.5, "an integer of at least 1"),
        ("lr", 0.0, "(0, inf)"),
        ("lr", float("nan"), "(0, inf)"),
        ("lr_schedule", "step", "'cosine', 'constant'"),
        ("seed", -1, "an integer of at least 0"),
    ],
)
def test_settings_out_of_range(argument, value, needed):
    with refused(argument, needed, str(value), where="fit"):
        trained(**{argument: value})


def test_the_share_of_uniform_use_is_the_quantizers_setting():
    with refused("restart_dead_codes", "[0, 1)", "1.0", where="EMAVectorQuantizer"):
        trained(restart=1.0)


@pytest.mark.parametrize(
    ("images", "needed", "got", "error"),
    [
        (IMAGES[:0], "at least one image", "shape (0, 28, 28)", InputError),
        (IMAGES.astype("i4"), "uint8, or float32 or float64 in [0, 1]", "int32", InputError),
        (IMAGES / 100.0, "[0, 1]", "at index", InputError),
        (np.full((3, 28, 28), np.nan), "finite", "nan at index (0, 0, 0)", NonFiniteError),
        (IMAGES[:, :5], "shape (n, 28, 28) or (n, 784)", "shape (70, 5, 28)", InputError),
    ],
)
def test_images_that_cannot_be_trained_on(images, needed, got, error):
    with refused("data", needed, got, where="fit", error=error):
        fit(made(), images, **SHORT)


def test_resuming_with_other_images_or_from_a_model_alone_is_refused(tmp_path):
    path = tmp_path / "c.npz"
    trained(checkpoint=path)
    changed = IMAGES.copy()
    changed[69, 14, 14] ^= 1
    for other in (IMAGES[::-1], IMAGES[:-1], changed):
        with refused("the data", "those that training began with", "others", where=f"resume {path}"):
            resume(path, other, progress=False)
    save(path, made())
    with refused("the checkpoint", "a training run, not a model alone", where=f"resume {path}"):
        resume(path, IMAGES, progress=False)


THREADS = """
import hashlib, vqnp
model = vqnp.VQVAE.mlp(num_latents=16, embedding_dim=16, num_embeddings=512, hidden=(32,), rng=2)
vqnp.fit(model, vqnp.load_dataset("digits").images[:512], epochs=1, batch_size=256, seed=5, progress=False)
print(hashlib.sha256(b"".join(a.tobytes() for a in model.state_dict().values())).hexdigest())
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
    sizes = {"num_embeddings": np.int64(8), "embedding_dim": np.int16(4), "commitment_cost": np.float32(0.5)}
    quantizer = EMAVectorQuantizer(**sizes, zero_debias=np.bool_(True), decay=np.float64(0.9))
    model = VQVAE.mlp(num_latents=np.int64(3), hidden=np.array([10]), quantizer=quantizer, rng=np.int64(2))
    fit(model, IMAGES, **options, progress=False, checkpoint=tmp_path / "c.npz")
    again = load(tmp_path / "c.npz")
    assert again.quantizer.zero_debias is True and again.quantizer.config() == quantizer.config()
    assert all(type(value) in (int, float, bool, str) for value in quantizer.config().values())


@pytest.mark.parametrize("batch_size", [16, 40, 100])
def test_the_loss_in_the_bar_is_the_mean_over_the_images_seen(batch_size):
    trainer = Trainer(made(), IMAGES, Schedule(epochs=2, batch_size=batch_size))
    total = 0.0
    for _ in range(trainer.steps_per_epoch):
        first = trainer.step * batch_size
        batch = (trainer.arrays[0][trainer.order[first : first + batch_size]],)
        total += float(trainer.model.loss(batch)[0]["loss"]) * len(batch[0])
        trainer.train_step()
        assert trainer.seen == min(first + batch_size, 70)
        assert trainer.mean_losses()["loss"] == pytest.approx(total / trainer.seen)
    assert trainer.end_epoch()["loss"] == pytest.approx(total / 70) == trainer.history[0]["loss"]
