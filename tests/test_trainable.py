"""The trainer takes whatever has the methods of Trainable: here a linear regression, and a table of rows."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from helpers import refused, same

from vqnp import VQVAE, fit, load, load_dataset, resume
from vqnp.nn import Linear, Module, Param, register
from vqnp.nn.description import MODULES
from vqnp.ops import mse_backward, mse_forward
from vqnp.training import Schedule, Trainer, TrainingDiverged

RNG = np.random.default_rng(3)
X = RNG.standard_normal((50, 4))
Y = X @ RNG.standard_normal((4, 2)) + 1 + 0.01 * RNG.standard_normal((50, 2))
DATA, TEST = (X[:40], Y[:40]), (X[40:], Y[40:])
SHORT = {"epochs": 3, "batch_size": 16, "seed": 5, "progress": False}


class Report:
    def __init__(self, error):
        self.error = error

    def row(self):
        return {"test_error": self.error}


class Regression(Module):
    """y = x W + b for pairs (x, y): neither images nor a quantizer; noise on x, to have something random."""

    def __init__(self, features, outputs):
        self.linear = Linear(features, outputs, rng=1, dtype="float64")
        self.started_with = None

    def config(self):
        features, outputs = self.linear.W.value.shape
        return {"features": features, "outputs": outputs}

    def prepare(self, data):
        return tuple(np.ascontiguousarray(array) for array in data)

    def initialize(self, batch, rng):
        self.started_with = [len(array) for array in batch]
        self.linear.b.value[...] = batch[1].mean(axis=0)

    def loss(self, batch, rng, step):
        x, y = batch
        y_hat, cache = self.linear.forward(x + 0.01 * rng.standard_normal(x.shape))
        L, mse_cache = mse_forward(y_hat, y)
        return {"loss": L, "step_loss": L + step}, (cache, mse_cache, y_hat)

    def backward(self, cache):
        dy, _ = mse_backward(1.0, cache[1])
        self.linear.backward(dy, cache[0], need_dx=False)

    def after_step(self, cache, rng):
        return {}

    def statistics(self, cache):
        return {"positive": (cache[2] > 0).sum(axis=0), "examples": np.array(len(cache[2]))}

    def row(self, statistics, step):
        positive, seen = int(statistics["positive"].sum()), int(statistics["examples"])
        return {"positive": positive, "seen": seen, "last": step}

    def evaluate(self, data, history=None, progress=False):
        y_hat, _ = self.linear.forward(data[0])
        return Report(float(((y_hat - data[1]) ** 2).mean()))


class Restarting(Regression):
    """Starts row 1 of W again after each step: at 0 and, if it says so, with a fresh optimizer."""

    says_so = True

    def after_step(self, cache, rng):
        self.linear.W.value[1] = 0
        return {"linear.W": np.array([1]), "no.parameter": np.array([2, 3])} if self.says_so else {}


@pytest.fixture(autouse=True)
def registered():
    """Both classes are known to vqnp.nn.build for the time of a test."""
    for cls in (Regression, Restarting):
        register(cls)
    yield
    for cls in (Regression, Restarting):
        del MODULES[cls.__name__]


def test_it_trains_and_reports():
    model = Regression(4, 2)
    history = fit(model, DATA, TEST, epochs=200, batch_size=8, lr=0.02, progress=False)
    assert history[-1]["loss"] < 1e-3 * history[0]["loss"] and history[-1]["test_error"] < 1e-2
    assert model.started_with == [40, 40]
    expected = ["epoch", "step", "lr", "loss", "step_loss", "positive", "seen", "last", "test_error"]
    assert list(history[0]) == expected
    assert history[-1]["test_error"] == model.evaluate(TEST).error


def test_statistics_are_summed_over_the_epoch_and_given_to_row():
    model = Regression(4, 2)
    trainer = Trainer(model, DATA, Schedule(epochs=2, batch_size=16))
    positive = []
    for epoch in range(2):
        for _ in range(3):
            before = {name: np.array(value) for name, value in trainer.statistics.items()}
            trainer.train_step()
            positive.append((trainer.statistics["positive"] - before.get("positive", 0)).sum())
        row = trainer.end_epoch()
        assert row["seen"] == 40 and row["last"] == 3 * epoch + 2
        assert row["positive"] == sum(positive[-3:]) and trainer.statistics == {}
        steps = np.array([3 * epoch, 3 * epoch + 1, 3 * epoch + 2])
        assert row["step_loss"] - row["loss"] == pytest.approx((steps * [16, 16, 8]).sum() / 40)
        assert "restarted_codes" not in row


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", range(9))
@pytest.mark.parametrize("kind", [Regression, Restarting])
def test_stopped_after_any_step_and_resumed_it_ends_in_the_same_bits(kind, stop_at, tmp_path):
    whole = kind(4, 2)
    history = fit(whole, DATA, TEST, **SHORT)
    trainer = Trainer(kind(4, 2), DATA, Schedule(epochs=3, batch_size=16, seed=5))
    trainer.initialize()
    for _ in range(stop_at):
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch(TEST)
    trainer.save(tmp_path / "c.npz")
    model, again = resume(tmp_path / "c.npz", DATA, TEST, progress=False)
    assert type(model) is kind and same(whole, model) and again == history
    assert same(whole, load(tmp_path / "c.npz"))


def test_all_arrays_are_shuffled_together_and_belong_to_the_run(tmp_path):
    trainer = Trainer(Regression(4, 2), DATA, Schedule(epochs=1, batch_size=16))
    for _ in range(3):
        x, y = trainer.take()
        rows = [int(np.flatnonzero((X == row).all(axis=1))[0]) for row in x]
        np.testing.assert_array_equal(y, Y[rows])
        trainer.step += 1
    trainer = Trainer(Regression(4, 2), DATA, Schedule(epochs=1, batch_size=16))
    trainer.save(tmp_path / "c.npz")
    with refused("the data", "those that training began with"):
        resume(tmp_path / "c.npz", (DATA[0], DATA[1] + 1), progress=False)


def test_a_module_that_is_not_registered_cannot_be_saved(tmp_path):
    class Other(Regression):
        pass

    with refused("Other", "must be registered", where="describe"):
        fit(Other(4, 2), DATA, **SHORT, checkpoint=tmp_path / "c.npz")
    assert list(tmp_path.iterdir()) == []


def test_restarted_rows_are_counted_and_start_with_fresh_moments():
    """Rows of a name that the optimizer does not have are counted and nothing else."""
    model = Restarting(4, 2)
    trainer = Trainer(model, DATA, Schedule(epochs=1, batch_size=16))
    for step in range(3):
        trainer.train_step()
        for moments in (trainer.optimizer.m, trainer.optimizer.v):
            assert not moments["linear.W"][1].any() and moments["linear.W"][[0, 2, 3]].all()
            assert moments["linear.b"].all()
        assert trainer.restarted == 3 * (step + 1)
    assert trainer.end_epoch()["restarted_codes"] == 9
    model.says_so = False
    trainer.train_step()
    assert trainer.optimizer.m["linear.W"][1].all() and trainer.restarted is None


def test_the_first_loss_is_minimised_and_must_be_finite():
    class Cursed(Regression):
        def loss(self, batch, rng, step):
            losses, cache = super().loss(batch, rng, step)
            return {"what": losses["loss"] if step < 4 else np.float64("nan"), "other": np.inf}, cache

    trainer = Trainer(Cursed(4, 2), DATA, Schedule(epochs=2, batch_size=16))
    for _ in range(4):
        trainer.train_step()
    before = trainer.model.linear.W.value.copy()
    with pytest.raises(TrainingDiverged) as caught:
        trainer.train_step()
    assert (caught.value.step, caught.value.steps) == (5, 6) and "nan" in caught.value.why
    np.testing.assert_array_equal(trainer.model.linear.W.value, before)


def test_a_parameter_of_the_trainables_own_is_trained_and_saved(tmp_path):
    """A Param beside the layers: registered by its attribute, in the optimizer and in the checkpoint."""

    class Scaled(Regression):
        def __init__(self, features, outputs):
            super().__init__(features, outputs)
            self.shift = Param(np.zeros(outputs))

        def loss(self, batch, rng, step):
            x, y = batch
            return super().loss((x, y - self.shift.value), rng, step)

        def backward(self, cache):
            super().backward(cache)
            self.shift.add_grad(mse_backward(1.0, cache[1])[0].sum(axis=0))

    register(Scaled)
    try:
        model = Scaled(4, 2)
        fit(model, DATA, **SHORT, checkpoint=tmp_path / "c.npz")
        assert model.shift.value.all() and same(load(tmp_path / "c.npz"), model)
    finally:
        del MODULES["Scaled"]


# --- the loop written out, for people ---


def example():
    path = Path(__file__).parents[1] / "examples" / "train_by_hand.py"
    spec = importlib.util.spec_from_file_location("train_by_hand", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_training_by_hand_is_fit(codebook, capsys):
    images = load_dataset("digits").images[:70]
    options = {"num_latents": 3, "embedding_dim": 4, "num_embeddings": 8, "hidden": (10,), "rng": 2}
    options |= {"codebook": codebook, "decay": 0.6, "restart_dead_codes": 0.6}
    by_hand, fitted = VQVAE.mlp(**options), VQVAE.mlp(**options)
    example().train(by_hand, images, epochs=3, batch_size=16, seed=5)
    history = fit(fitted, images, **SHORT, lr_schedule="constant")
    assert sum(row["restarted_codes"] for row in history)
    assert same(by_hand, fitted)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"epoch {row['epoch']}: loss {row['loss']:.5f}" for row in history]
