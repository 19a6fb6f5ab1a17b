"""Steps until the epochs are over, saved on the way so that nothing can lose them: fit and resume.

images: (n, *image_shape), uint8 or float in [0, 1]
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from vqnp._check import Array
from vqnp.metrics.codebook import perplexity
from vqnp.models import VAE, VQVAE, Autoencoder
from vqnp.training.trainer import Schedule, Trainer, TrainingDiverged


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal, between two steps; `step` says after which."""

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step


def fit(
    model: VQVAE | VAE | Autoencoder,
    images: Array,
    test_images: Array | None = None,
    *,
    epochs: int = 60,
    batch_size: int = 32,
    lr: float = 1e-3,
    lr_schedule: str = "cosine",
    restart_dead_codes: float = 0.05,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    on_epoch: Callable[[list[dict[str, float]]], None] | None = None,
) -> list[dict[str, float]]:
    """Train the model on images: θ by Adam on the model's L, a codebook by its own rule.

    images: (n, *image_shape), uint8 or float in [0, 1] -> history: one row for each epoch

    Parameters
    ----------
    model : VQVAE, VAE or Autoencoder
        Changed in place.
    images, test_images : ndarray
        The second are evaluated after each epoch, if given.
    epochs, batch_size, lr, lr_schedule, restart_dead_codes, seed
        See Schedule.
    checkpoint : path, optional
        Where everything is saved, atomically, before the first step, after each epoch, and when a
        signal (Ctrl-C, SIGTERM) stops the run between two steps; `resume` goes on from there.
    progress : bool
        A bar on standard error: step, loss, perplexity.
    on_epoch : callable, optional
        Called with the history after each epoch.

    Returns
    -------
    history : list of dict
        epoch, step, lr, then of a VQVAE: loss, mse, quantization_loss, perplexity (over the epoch),
        codes_used, restarted_codes, and test_mse and test_perplexity if there are test images; of a
        VAE: loss, reconstruction_loss, kl (nats per image), kl_weight, and test_mse,
        test_reconstruction_loss, test_kl, test_active_units; of an Autoencoder: loss, mse, test_mse.

    Raises
    ------
    InputError
        A setting or an image out of range; TrainingDiverged when the loss becomes NaN or infinite,
        with the step; the last checkpoint is kept.
    Interrupted
        A KeyboardInterrupt: the run was stopped by a signal and, with `checkpoint`, saved.
    """
    trainer = Trainer(model, images, Schedule(epochs, batch_size, lr, lr_schedule, restart_dead_codes, seed))
    trainer.begin()
    if checkpoint is not None:
        trainer.save(checkpoint)
    return run(trainer, test_images, checkpoint, progress, on_epoch)


def resume(
    checkpoint: str | Path,
    images: Array,
    test_images: Array | None = None,
    *,
    progress: bool = True,
    on_epoch: Callable[[list[dict[str, float]]], None] | None = None,
) -> tuple[VQVAE | VAE | Autoencoder, list[dict[str, float]]]:
    """Go on with a run that `fit` saved, to the same end, bit for bit, as if it had never stopped.

    That holds on the same machine with the same NumPy, whose matrix products must also run on as
    many threads as before: they round otherwise on another number.

    -> the trained model, and the history of the whole run; arguments as in `fit`, images the same
    """
    trainer = Trainer.restore(checkpoint, images)
    return trainer.model, run(trainer, test_images, checkpoint, progress, on_epoch)


def run(
    trainer: Trainer,
    test_images: Array | None,
    checkpoint: str | Path | None,
    progress: bool,
    on_epoch: Callable[[list[dict[str, float]]], None] | None,
) -> list[dict[str, float]]:
    """Step until the schedule is over; what fit and resume share."""
    with (
        _telling_what_is_kept(checkpoint),
        _stop_signals() as stop,
        tqdm(
            total=trainer.steps, initial=trainer.step, unit="step", disable=not progress, dynamic_ncols=True
        ) as bar,
    ):
        while trainer.step < trainer.steps:
            trainer.train_step()
            bar.update()
            if trainer.step % 25 == 0:  # often enough for the eye, rare enough to cost nothing
                shown = {"loss": f"{trainer.mean_loss():.4f}"}
                if len(trainer.counts):
                    shown["perplexity"] = f"{perplexity(trainer.counts):.1f}"
                bar.set_postfix(shown, refresh=False)
            if trainer.step % trainer.steps_per_epoch == 0:
                trainer.end_epoch(test_images)
                if checkpoint is not None:
                    trainer.save(checkpoint)
                if on_epoch is not None:
                    on_epoch(trainer.history)
            elif stop and checkpoint is not None:
                trainer.save(checkpoint)
            if stop and trainer.step < trainer.steps:
                raise Interrupted(trainer.step)
    return trainer.history


@contextlib.contextmanager
def _telling_what_is_kept(checkpoint: str | Path | None) -> Iterator[None]:
    """Add to the sentence of a TrainingDiverged where the last good parameters are."""
    try:
        yield
    except TrainingDiverged as error:
        if checkpoint is None:
            raise
        raise TrainingDiverged(error.step, error.steps, error.why, str(checkpoint)) from None


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that is empty until SIGINT or SIGTERM comes; a second one acts at once, as it would have before.

    A signal is so never taken in the middle of a step, where parameters and optimizer disagree.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for one, handler in before.items():
            signal.signal(one, handler)

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        before[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
