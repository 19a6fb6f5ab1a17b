"""fit and resume: step until the epochs are over, and save along the way so that nothing is lost.

data: whatever the model's prepare takes
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from vqnp._check import fail, moved
from vqnp.training.trainer import Schedule, Trainer, TrainingDiverged

STEPS_PER_POSTFIX = 25
"""Steps between updates of the figures beside the bar: often enough to be useful, too rarely to cost time."""


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal between two steps; `step` is the last step taken.

    Examples
    --------
    >>> try:
    ...     raise Interrupted(120)  # what fit does after Ctrl-C, when the run is saved
    ... except KeyboardInterrupt as stop:
    ...     print(stop, stop.step)
    interrupted after step 120 120
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step


@moved("fit", restart_dead_codes="must be given to the quantizer, or to VQVAE.mlp or VQVAE.conv")
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
    weight_decay: float = 0.0,
    clip: float | None = None,
    shards: int = 1,
    comm: Any = None,
    checkpoint: str | Path | None = None,
    about: Mapping[str, Any] | None = None,
    progress: bool = True,
    on_epoch: Callable[[list[dict[str, float]]], None] | None = None,
) -> list[dict[str, float]]:
    """Train a model: θ by Adam on its loss, a codebook by its own rule.

    A new model's codebook is initialized from the data if codebook_init says so. A model that was trained or
    loaded keeps its codes and is trained further, with a new optimizer and schedule.

    data: what the model takes, such as images (n, *data.shape) -> history: one row per epoch

    Parameters
    ----------
    model : VQVAE, VAE, Autoencoder, or any Module that has the methods of nn.trainable.Trainable
        Changed in place.
    data, test_data : ndarray or Dataset
        For a model of images: uint8, or float in the data's range. If test_data is given, the model is
        evaluated on it after each epoch.
    epochs, batch_size, lr, lr_schedule, seed, weight_decay, clip
        See Schedule.
    shards : int, default 1
        Into how many parts each batch is cut. It changes the result, as it changes the order in which
        gradients are added; for one number of shards the result is the same, bit for bit, on any number of
        ranks, and without MPI.
    comm : mpi4py communicator, optional
        Such as MPI.COMM_WORLD: its ranks, at most as many as shards, share the work of each batch, and all of
        them end with the same model and history. Every rank gives the same arguments. Rank 0 alone writes the
        checkpoint, draws the bar and calls on_epoch. See docs/scale.md.
    checkpoint : path, optional
        Where the run is saved, atomically: before the first step, after each epoch, and when a signal
        (Ctrl-C, SIGTERM) stops the run between two steps. `resume` continues from there.
    about : mapping, optional
        Plain values that the checkpoint keeps, such as whose codes a prior is trained on.
    progress : bool
        Whether to draw a bar on standard error, with the step and the losses.
    on_epoch : callable, optional
        Called with the history after each epoch.

    Returns
    -------
    history : list of dict
        epoch, step, lr and loss. For a VQVAE also reconstruction_loss (the MSE), codebook_loss,
        commitment_loss, perplexity (over the epoch), codes_used and restarted_codes and, with test data,
        test_mse and test_perplexity. For a prior also bits_per_image and, with test data, test_loss and
        test_bits_per_image. For a VAE also reconstruction_loss, kl (nats per example) and kl_weight
        and, with test data, test_mse, test_reconstruction_loss, test_kl and test_active_units. For an
        Autoencoder also reconstruction_loss and, with test data, test_mse.

    Raises
    ------
    InputError
        A setting or an image is out of range. TrainingDiverged, which gives the step, if the loss becomes
        NaN or infinite; the last checkpoint is kept.
    Interrupted
        A KeyboardInterrupt: the run was stopped by a signal and, if `checkpoint` was given, saved.
    """
    schedule = Schedule(epochs, batch_size, lr, lr_schedule, seed, weight_decay, clip, shards)
    trainer = Trainer(model, data, schedule, about, comm)
    check_run(trainer, test_data, on_epoch)
    trainer.initialize()
    _save(trainer, checkpoint)
    return run(trainer, test_data, checkpoint, progress, on_epoch)


def resume(
    checkpoint: str | Path,
    data: Any,
    test_data: Any = None,
    *,
    comm: Any = None,
    progress: bool = True,
    on_epoch: Callable[[list[dict[str, float]]], None] | None = None,
) -> tuple[Any, list[dict[str, float]]]:
    """Continue a run that `fit` saved; the result is the same, bit for bit, as if it had never stopped.

    This holds on the same machine with the same NumPy and numba, at any number of threads and, for a run with
    several shards, of ranks.

    -> the trained model, and the history of the whole run

    Parameters
    ----------
    checkpoint : path
        The file that `fit` wrote.
    data, test_data, comm, progress, on_epoch
        As in `fit`; data must be the same.

    Raises
    ------
    InputError
        Not the checkpoint of a training run, or other data; TrainingDiverged as in `fit`.
    Interrupted
        As in `fit`.

    Examples
    --------
    >>> import vqnp
    >>> images = vqnp.load_dataset("digits").images[:64]
    >>> model = vqnp.VQVAE.mlp(num_latents=4, num_embeddings=8, hidden=(16,))
    >>> history = fit(model, images, epochs=2, checkpoint="run.npz", progress=False)
    >>> resume("run.npz", images, progress=False)[1] == history  # it was at its end: nothing is left to do
    True
    """
    trainer = Trainer.restore(checkpoint, data, comm)
    check_run(trainer, test_data, on_epoch)
    trainer.check_ranks()
    return trainer.model, run(trainer, test_data, checkpoint, progress, on_epoch)


def check_run(trainer: Trainer, test_data: Any, on_epoch: Any) -> None:
    """Raise for what would otherwise be found wrong only when the first epoch is over."""
    if on_epoch is not None and not callable(on_epoch):
        fail("fit", "on_epoch", "must be a function that takes the history", repr(on_epoch))
    if test_data is not None and (check := getattr(trainer.model, "check", None)):
        check(test_data)


def run(
    trainer: Trainer,
    test_data: Any,
    checkpoint: str | Path | None,
    progress: bool,
    on_epoch: Callable[[list[dict[str, float]]], None] | None,
) -> list[dict[str, float]]:
    """Step until the schedule is over; shared by fit and resume."""
    with (
        _naming_what_is_kept(checkpoint),
        _stop_signals() as stop,
        tqdm(
            total=trainer.steps, initial=trainer.step, unit="step",
            disable=not progress or trainer.ranks.rank > 0, dynamic_ncols=True,
        ) as bar,
    ):  # fmt: skip
        alone = trainer.ranks.size == 1
        while trainer.step < trainer.steps:
            any_told = trainer.train_step(bool(stop))
            told = stop if alone else any_told  # several ranks stop after the same step; one, when it is told
            bar.update()
            if trainer.step % STEPS_PER_POSTFIX == 0:
                bar.set_postfix(_shown(trainer), refresh=False)
            if trainer.step % trainer.steps_per_epoch == 0:
                trainer.end_epoch(test_data)
                _save(trainer, checkpoint)
                if on_epoch is not None:
                    trainer.ranks.first(partial(on_epoch, trainer.history))
            elif told:
                _save(trainer, checkpoint)
            if told and trainer.step < trainer.steps:
                raise Interrupted(trainer.step)
    return trainer.history


def _save(trainer: Trainer, checkpoint: str | Path | None) -> None:
    if checkpoint is not None:
        trainer.ranks.first(partial(trainer.save, checkpoint))


def _shown(trainer: Trainer) -> dict[str, str]:
    """The loss and the model's own figures for the epoch so far."""
    losses, last = trainer.mean_losses(), trainer.history[-1] if trainer.history else {}
    known = last | losses | trainer.model.row(trainer.statistics, trainer.step - 1)
    shown = {"perplexity": "perplexity", "bits_per_image": "bits", "test_bits_per_image": "test bits"}
    figures = {short: f"{known[name]:.1f}" for name, short in shown.items() if name in known}
    return {"loss": f"{losses['loss']:.4f}"} | figures


@contextlib.contextmanager
def _naming_what_is_kept(checkpoint: str | Path | None) -> Iterator[None]:
    """Add to a TrainingDiverged the place of the last good parameters."""
    try:
        yield
    except TrainingDiverged as error:
        if checkpoint is None:
            raise
        raise TrainingDiverged(error.step, error.steps, error.why, str(checkpoint)) from None


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that stays empty until SIGINT or SIGTERM arrives; a second signal acts at once, as usual.

    So a signal never takes effect in the middle of a step, where parameters and optimizer disagree.
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
