"""One step of training and all that it needs: L, ∂L/∂θ by hand, θ by Adam, E by its own rule."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vqnp._check import Array, InputError, NonFiniteError, check_choice, check_float, check_int, fail
from vqnp.checkpoint import load_all, save
from vqnp.evaluation.codes import evaluate
from vqnp.metrics.codebook import perplexity
from vqnp.models import VAE, VQVAE, Autoencoder
from vqnp.optim import Adam, cosine

START_IMAGES = 2048
"""Images whose latents may start the codebook: enough for several latents a code at K = 4096."""


class TrainingDiverged(InputError):
    """The loss, or a parameter, became NaN or infinite: at which step of how many, and why."""

    def __init__(self, step: int, steps: int, why: str, kept: str = "") -> None:
        super().__init__("fit", "training", "must stay finite", why)
        self.args = (step, steps, why, kept)
        self.step, self.steps, self.why, self.kept = step, steps, why, kept

    def __str__(self) -> str:
        kept = f"; the last good checkpoint is kept in {self.kept}" if self.kept else ""
        return (
            f"fit: training diverged at step {self.step} of {self.steps}: {self.why}; try a smaller lr{kept}"
        )


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and how to train.

    epochs: passes over the images; batch_size: images a step (the last of an epoch may have fewer);
    lr: Adam's α; lr_schedule: "cosine" (to 0 at the end) or "constant"; restart_dead_codes: a code
    used less than this share of uniform use starts again (0: never); seed: of the minibatches and
    of the restarts.
    """

    epochs: int = 60
    batch_size: int = 32
    lr: float = 1e-3
    lr_schedule: str = "cosine"
    restart_dead_codes: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        plain = {  # a checkpoint's JSON takes no NumPy scalars
            "epochs": check_int("fit", "epochs", self.epochs),
            "batch_size": check_int("fit", "batch_size", self.batch_size),
            "lr": check_float("fit", "lr", self.lr, "(0, inf)"),
            "lr_schedule": check_choice("fit", "lr_schedule", self.lr_schedule, ("cosine", "constant")),
            "restart_dead_codes": check_float("fit", "restart_dead_codes", self.restart_dead_codes, "[0, 1)"),
            "seed": check_int("fit", "seed", self.seed, 0),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)


class Trainer:
    """Everything that a training run is made of: the next step depends on nothing else.

    model, optimizer, rng, step (done so far), order: (n,) this epoch's permutation, counts: (K,) and
    sums: of L and its parts (model.columns) over this epoch, history: a row for each epoch that is
    over. A model without a codebook has K = 0, and no counts.
    """

    def __init__(self, model: VQVAE | VAE | Autoencoder, images: Array, schedule: Schedule) -> None:
        self.model, self.schedule = model, schedule
        self.x = model.pixels(images, "fit")
        if len(self.x) == 0:
            fail("fit", "images", "must hold at least one image", f"shape {images.shape}")
        self.batch = np.empty((min(schedule.batch_size, len(self.x)), self.x.shape[1]), self.x.dtype)
        self.steps_per_epoch = math.ceil(len(self.x) / schedule.batch_size)
        self.steps = schedule.epochs * self.steps_per_epoch
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.rng = np.random.default_rng(schedule.seed)
        self.optimizer = Adam(model.named_params(), schedule.lr)
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.order = self.rng.permutation(len(self.x))
        self.counts = np.zeros(self.model.num_embeddings, np.int64)
        self.sums = np.zeros(len(self.model.columns))
        self.restarted = 0

    def begin(self) -> None:
        """What the model does first with random images: the codebook starts where codebook_init says."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.model.train_start(self.x[self.order[:START_IMAGES]], self.rng)

    def train_step(self) -> None:
        """One minibatch: L forward, its gradients backward, Adam, then the codebook's own update.

        Raises
        ------
        TrainingDiverged
            L is NaN or infinite; the parameters are then as they were before this step.
        """
        model, size = self.model, self.schedule.batch_size
        start = self.step % self.steps_per_epoch * size
        rows = self.order[start : start + size]
        x = np.take(
            self.x, rows, axis=0, out=self.batch[: len(rows)], mode="clip"
        )  # "raise" would copy twice
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                losses, z, k, cache = model.train_forward(x, self.rng, self.step)
            except NonFiniteError as error:
                raise self._diverged(str(error)) from None
            if not np.isfinite(losses.total):
                raise self._diverged(f"the loss became {losses.total}")
            model.zero_grad()
            model.loss_backward_params(1.0, cache)
            self.optimizer.step(self.lr(self.step))
            restarted = model.train_update(z, k, self.rng, self.schedule.restart_dead_codes)
        if "quantizer.E" in self.optimizer.params:
            self.optimizer.forget("quantizer.E", restarted)
        self.restarted += len(restarted)
        self.counts += np.bincount(k.reshape(-1), minlength=len(self.counts))
        self.sums += np.array(losses, np.float64) * len(x)
        self.step += 1

    def lr(self, step: int) -> float:
        """α of a step, counted from 0."""
        if self.schedule.lr_schedule == "constant":
            return self.schedule.lr
        return cosine(step, self.steps, self.schedule.lr)

    def mean_loss(self) -> float:
        """L, averaged over the images that this epoch has seen so far, at least one."""
        seen = min(self.step % self.steps_per_epoch * self.schedule.batch_size or len(self.x), len(self.x))
        return float(self.sums[0] / seen)

    def end_epoch(self, test_images: Array | None) -> dict[str, float]:
        """Close the epoch: its row of the history (means over its images), and a new permutation."""
        row: dict[str, float] = {
            "epoch": len(self.history) + 1,
            "step": self.step,
            "lr": self.lr(self.step - 1),
        }
        row |= dict(zip(self.model.columns, (self.sums / len(self.x)).tolist(), strict=True))
        row |= self.model.train_row(self.step - 1)
        if len(self.counts):
            row |= {
                "perplexity": perplexity(self.counts),
                "codes_used": int(np.count_nonzero(self.counts)),
                "restarted_codes": self.restarted,
            }
        if test_images is not None:
            try:
                result = evaluate(self.model, test_images)
            except NonFiniteError as error:
                raise self._diverged(str(error)) from None
            row |= result.row()
        self.history.append(row)
        self._begin_epoch()
        return row

    def _diverged(self, why: str) -> TrainingDiverged:
        return TrainingDiverged(self.step + 1, self.steps, why)

    def save(self, path: str | Path) -> None:
        """Write all of it to a checkpoint, atomically; parameters that are not finite are never written."""
        for name, array in self.model.state().items():
            if not np.isfinite(array).all():
                raise self._diverged(f"{name} is no longer finite")
        trainer = {
            "schedule": asdict(self.schedule),
            "step": self.step,
            "history": self.history,
            "restarted": self.restarted,
            "rng": self.rng.bit_generator.state,
            "images": self._fingerprint(),
        }
        arrays = {f"optimizer.{name}": array for name, array in self.optimizer.state().items()}
        arrays |= {"trainer.order": self.order, "trainer.counts": self.counts, "trainer.sums": self.sums}
        save(path, self.model, {"trainer": trainer}, arrays)

    @classmethod
    def restore(cls, path: str | Path, images: Array) -> Trainer:
        """The trainer as it was when it saved; its next steps are those that it would have made."""
        model, meta, arrays = load_all(path)
        try:
            saved = meta["trainer"]
            self = cls(model, images, Schedule(**saved["schedule"]))
            if saved["images"] != self._fingerprint():
                fail(f"resume {path}", "the images", "must be those that training began with", "others")
            state = {n.removeprefix("optimizer."): a for n, a in arrays.items() if n.startswith("optimizer.")}
            self.optimizer.load_state(state)
            self.rng.bit_generator.state = saved["rng"]
            self.step, self.history, self.restarted = saved["step"], saved["history"], saved["restarted"]
            self.order, self.counts, self.sums = (arrays[f"trainer.{n}"] for n in ("order", "counts", "sums"))
        except (KeyError, TypeError) as error:
            needed = "must hold a training run, not a model alone"
            fail(f"resume {path}", "the checkpoint", needed, f"no {error}")
        return self

    def _fingerprint(self) -> str:
        return hashlib.sha256(repr(self.x.shape).encode() + self.x.tobytes()).hexdigest()
