"""Steps until the epochs are over, saved on the way so that nothing is lost: fit and resume.

data: whatever the model prepares minibatches from
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from vqnp.training.trainer import Schedule, Trainer, TrainingDiverged

STEPS_PER_POSTFIX = 25
"""Steps between two updates of the figures beside the bar: often enough to read, too rare to cost time."""


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal, between two steps; `step` says after which."""

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step


def fit(
    model: Any,
    data: Any,
    test_data: Any = None,
    *,
    epochs: int = 60,
    batch_size: int = 32,
    lr: float = 1e-3,
    lr_schedule: str = "cosine",
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    on_epoch: Callable[[list[dict[str, float]]], None] | None = None,
) -> list[dict[str, float]]:
    """Train a model: θ by Adam on its loss, a codebook by its own rule.

    data: what the model takes, such as images (n, *data.shape) -> history: one row for each epoch

    Parameters
    ----------
    model : VQVAE, VAE, Autoencoder, or anything that has the methods of nn.trainable.Trainable
        Changed in place.
    data, test_data : ndarray
        Of a model of images: uint8, or float in the data's range. test_data are evaluated after each epoch,
        if given.
    epochs, batch_size, lr, lr_schedule, seed
        See Schedule.
    checkpoint : path, optional
        Where everything is saved, atomically, before the first step, after each epoch, and when a
        signal (Ctrl-C, SIGTERM) stops the run between two steps; `resume` goes on from there.
    progress : bool
        A bar on standard error: step, losses.
    on_epoch : callable, optional
        Called with the history after each epoch.

    Returns
    -------
    history : list of dict
        epoch, step, lr and loss; of a VQVAE also reconstruction_loss (the MSE), codebook_loss,
        commitment_loss, perplexity (over the epoch), codes_used and restarted_codes, and with test data
        test_mse and test_perplexity; of a VAE reconstruction_loss, kl (nats an example) and kl_weight, and
        test_mse, test_reconstruction_loss, test_kl, test_active_units; of an Autoencoder
        reconstruction_loss and test_mse.

    Raises
    ------
    InputError
        A setting or an image out of range; TrainingDiverged when the loss becomes NaN or infinite,
        with the step; the last checkpoint is kept.
    Interrupted
        A KeyboardInterrupt: the run was stopped by a signal and, with `checkpoint`, saved.
    """
    trainer = Trainer(model, data, Schedule(epochs, batch_size, lr, lr_schedule, seed))
    trainer.initialize()
    if checkpoint is not None:
        trainer.save(checkpoint)
    return run(trainer, test_data, checkpoint, progress, on_epoch)


def resume(
    checkpoint: str | Path,
    data: Any,
    test_data: Any = None,
    *,
    progress: bool = True,
    on_epoch: Callable[[list[dict[str, float]]], None] | None = None,
) -> tuple[Any, list[dict[str, float]]]:
    """Go on with a run that `fit` saved, to the same end, bit for bit, as if it had never stopped.

    That holds on the same machine with the same NumPy, whose matrix products must also run on as
    many threads as before: they round differently on another number.

    -> the trained model, and the history of the whole run

    Parameters
    ----------
    checkpoint : path
        What `fit` wrote.
    data, test_data, progress, on_epoch
        As in `fit`; data must be the same.

    Raises
    ------
    InputError
        No checkpoint of a training run, or other data; TrainingDiverged as in `fit`.
    Interrupted
        As in `fit`.
    """
    trainer = Trainer.restore(checkpoint, data)
    return trainer.model, run(trainer, test_data, checkpoint, progress, on_epoch)


def run(
    trainer: Trainer,
    test_data: Any,
    checkpoint: str | Path | None,
    progress: bool,
    on_epoch: Callable[[list[dict[str, float]]], None] | None,
) -> list[dict[str, float]]:
    """Step until the schedule is over; what fit and resume share."""
    with (
        _naming_what_is_kept(checkpoint),
        _stop_signals() as stop,
        tqdm(
            total=trainer.steps, initial=trainer.step, unit="step", disable=not progress, dynamic_ncols=True
        ) as bar,
    ):
        while trainer.step < trainer.steps:
            trainer.train_step()
            bar.update()
            if trainer.step % STEPS_PER_POSTFIX == 0:
                bar.set_postfix(_shown(trainer), refresh=False)
            if trainer.step % trainer.steps_per_epoch == 0:
                trainer.end_epoch(test_data)
                if checkpoint is not None:
                    trainer.save(checkpoint)
                if on_epoch is not None:
                    on_epoch(trainer.history)
            elif stop and checkpoint is not None:
                trainer.save(checkpoint)
            if stop and trainer.step < trainer.steps:
                raise Interrupted(trainer.step)
    return trainer.history


def _shown(trainer: Trainer) -> dict[str, str]:
    """The loss, and the model's own figures, of the epoch so far."""
    row = trainer.model.row(trainer.statistics, trainer.step - 1)
    figures = {"loss": f"{trainer.mean_losses()['loss']:.4f}"}
    return figures | {name: f"{value:.1f}" for name, value in row.items() if name == "perplexity"}


@contextlib.contextmanager
def _naming_what_is_kept(checkpoint: str | Path | None) -> Iterator[None]:
    """Add to a TrainingDiverged where the last good parameters are."""
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
