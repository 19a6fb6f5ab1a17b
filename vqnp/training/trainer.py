"""Training, step by step: a minibatch, its loss, the gradient, a step of Adam, the model's own update."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from vqnp._check import Array, InputError, NonFiniteError, check_choice, check_float, check_int, fail
from vqnp._files import one_line
from vqnp.checkpoint import load_all, save
from vqnp.nn.description import describe
from vqnp.nn.module import Cache, Module
from vqnp.nn.trainable import Batch, Losses, Trainable
from vqnp.optim import Adam, cosine
from vqnp.training.ranks import Ranks
from vqnp.training.shards import Shards

START_EXAMPLES = 2048
"""Examples from which a codebook may be initialized: enough for several latents per code at K = 4096."""


class TrainingDiverged(InputError):
    """The loss or a parameter became NaN or infinite: at which step of how many, and why."""

    def __init__(self, step: int, steps: int, why: str, kept: str = "") -> None:
        super().__init__("fit", "training", "must stay finite", why)
        self.args = (step, steps, why, kept)
        self.step, self.steps, self.why, self.kept = step, steps, why, kept

    def __str__(self) -> str:
        kept = f"; the last good checkpoint is kept in {self.kept}" if self.kept else ""
        place = f"step {self.step} of {self.steps}"
        return f"fit: training diverged at {place}: {self.why}; try a smaller lr{kept}"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    epochs: passes over the data; batch_size: examples per step (the last step of an epoch may have fewer);
    lr: Adam's α; lr_schedule: "cosine" (down to 0 at the end) or "constant"; seed: for the minibatches and
    whatever the model draws; weight_decay, clip: see Adam, 0 and None for none; shards: into how many parts a
    batch is cut, whose gradients are computed one by one, or on several ranks, and added in a fixed order.
    """

    epochs: int = 60
    batch_size: int = 32
    lr: float = 1e-3
    lr_schedule: str = "cosine"
    seed: int = 0
    weight_decay: float = 0.0
    clip: float | None = None
    shards: int = 1

    def __post_init__(self) -> None:
        plain = {  # a checkpoint's JSON takes no NumPy scalars
            "epochs": check_int("fit", "epochs", self.epochs),
            "batch_size": check_int("fit", "batch_size", self.batch_size),
            "lr": check_float("fit", "lr", self.lr, "(0, inf)"),
            "lr_schedule": check_choice("fit", "lr_schedule", self.lr_schedule, ("cosine", "constant")),
            "seed": check_int("fit", "seed", self.seed, 0),
            "weight_decay": check_float("fit", "weight_decay", self.weight_decay, "[0, inf)"),
            "clip": None if self.clip is None else check_float("fit", "clip", self.clip, "(0, inf)"),
            "shards": check_int("fit", "shards", self.shards),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)  # the only way in a frozen dataclass


class Trainer:
    """The whole state of a training run: the next step depends on nothing else.

    model, optimizer, rng; step: the number of steps done; order: (n,) this epoch's permutation; losses and
    statistics: sums over this epoch, by name; restarted: the number of rows restarted in this epoch; history:
    a row for each completed epoch; about: plain values that a checkpoint keeps, such as where data came from;
    ranks: this process among those that train together, all of which have the same state.
    """

    def __init__(
        self, model: Any, data: Any, schedule: Schedule, about: Mapping[str, Any] | None = None,
        comm: Any = None,
    ) -> None:  # fmt: skip
        if not isinstance(model, Module) or not hasattr(model, "prepare"):
            needed = "must be a model: a Module with the methods of vqnp.nn.trainable.Trainable"
            fail("fit", "model", needed, type(model).__name__)
        self.model: Any = model
        self.ranks = Ranks(comm)
        self.shards = Shards(schedule.shards, self.ranks)
        if schedule.shards > 1:
            check_shardable(model)
        self.schedule, self.about = schedule, dict(about or {})
        self.arrays = model.prepare(data)
        self.n = len(self.arrays[0])
        rows = min(schedule.batch_size, self.n)
        self.buffers = [np.empty((rows, *array.shape[1:]), array.dtype) for array in self.arrays]
        self.steps_per_epoch = math.ceil(self.n / schedule.batch_size)
        self.steps = schedule.epochs * self.steps_per_epoch
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.rng = np.random.default_rng(schedule.seed)
        self.optimizer = Adam(
            model.named_parameters(), schedule.lr, weight_decay=schedule.weight_decay, clip=schedule.clip
        )
        self._begin_epoch()

    def initialize(self) -> None:
        """Before the first step, show the model random examples, from which it may initialize a codebook."""
        self.check_ranks()
        some = self.order[:START_EXAMPLES]
        with np.errstate(over="ignore", invalid="ignore"):
            self.model.initialize(tuple(array[some] for array in self.arrays), self.rng)

    def train_step(self, told: bool = False) -> bool:
        """One minibatch: its loss, the gradient, a step of Adam, then the model's own update.

        told: whether this rank has been told to stop -> whether any rank has been

        Raises
        ------
        TrainingDiverged
            The loss is NaN or infinite; the parameters are then unchanged by this step.
        """
        if self.schedule.shards > 1:
            return self._sharded_step(told)
        batch = self.take()
        with np.errstate(over="ignore", invalid="ignore"):
            losses, cache = self._finite_loss(batch)
            self.optimizer.zero_grad(defer=True)
            self.model.backward(cache)
            self.optimizer.step(self.lr(self.step))
            restarted = self.model.after_step(cache, self.rng)
        self._record(losses, cache, restarted)
        self.step += 1
        return told

    def _sharded_step(self, told: bool) -> bool:
        """The same, the gradient being a sum over shards of the batch, on one rank or several."""
        rows = self._rows()
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                losses, arrays, told = self.shards.step(
                    self.model, partial(self._examples, rows), len(rows), self.schedule.seed, self.step, told
                )
            except NonFiniteError as error:
                raise self._diverged(str(error), self.step + 1) from None
            self._check_loss(losses)
            self.optimizer.step(self.lr(self.step))
            cache = self.model.cache_of(arrays)
            restarted = self.model.after_step(cache, self.rng)
        self._record(losses, cache, restarted)
        self.step += 1
        return told

    def _examples(self, rows: Array, start: int, stop: int) -> Batch:
        return tuple(array[rows[start:stop]] for array in self.arrays)

    def take(self) -> Batch:
        """The next minibatch, in buffers that the following one will reuse."""
        rows = self._rows()
        return tuple(
            np.take(array, rows, axis=0, out=buffer[: len(rows)], mode="clip")  # "raise" would copy twice
            for array, buffer in zip(self.arrays, self.buffers, strict=True)
        )

    def _rows(self) -> Array:
        """Which examples the next minibatch has."""
        first = self.step % self.steps_per_epoch * self.schedule.batch_size
        return self.order[first : first + self.schedule.batch_size]

    def lr(self, step: int) -> float:
        """α at a step, counted from 0."""
        if self.schedule.lr_schedule == "constant":
            return self.schedule.lr
        return cosine(step, self.steps, self.schedule.lr)

    def _finite_loss(self, batch: Batch) -> tuple[Losses, Cache]:
        try:
            losses, cache = self.model.loss(batch, self.rng, self.step)
        except NonFiniteError as error:
            raise self._diverged(str(error), self.step + 1) from None
        self._check_loss(losses)
        return losses, cache

    def _check_loss(self, losses: Losses) -> None:
        minimised = next(iter(losses.values()))
        if not np.isfinite(minimised):
            raise self._diverged(f"the loss became {minimised}", self.step + 1)

    # What adds up over an epoch.

    def _begin_epoch(self) -> None:
        self.order = self.rng.permutation(self.n)
        self.seen = 0
        self.losses: dict[str, float] = {}
        self.statistics: dict[str, Array] = {}
        self.restarted: int | None = None

    def _record(self, losses: Losses, cache: Cache, restarted: Mapping[str, Array]) -> None:
        size = min(self.schedule.batch_size, self.n - self.seen)
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + float(value) * size
        for name, count in self.model.statistics(cache).items():
            self.statistics[name] = self.statistics.get(name, 0) + count
        for name, rows in restarted.items():
            self.restarted = (self.restarted or 0) + len(rows)
            if name in self.optimizer.parameters:
                self.optimizer.reset(name, rows)
        self.seen += size

    def mean_losses(self) -> dict[str, float]:
        """Each loss, averaged over the examples that this epoch has seen so far."""
        return {name: total / self.seen for name, total in self.losses.items()}

    def end_epoch(self, test_data: Any = None) -> dict[str, float]:
        """End the epoch: add its row (means over its examples) to the history, and draw a new permutation.

        Raises
        ------
        TrainingDiverged
            A parameter is NaN or infinite: the next loss would show it, but there may be none.
        """
        self._check_finite()
        self.check_parameters()
        last = self.step - 1
        row: dict[str, float] = {"epoch": len(self.history) + 1, "step": self.step, "lr": self.lr(last)}
        row |= self.mean_losses() | self.model.row(self.statistics, last)
        if self.restarted is not None:
            row["restarted_codes"] = self.restarted
        if test_data is not None:
            try:
                row |= self.model.evaluate(test_data).row()
            except NonFiniteError as error:
                raise self._diverged(str(error), self.step) from None
        self.history.append(row)
        self._begin_epoch()
        return row

    def check_ranks(self) -> None:
        """Raise on every rank unless all have the same data, schedule and parameters."""
        if self.ranks.size > 1:
            self.ranks.check_same("the data", self._fingerprint())
            self.ranks.check_same("the schedule", self.schedule)
            self.ranks.check_same("the model", json.dumps(describe(self.model), sort_keys=True))
            self.check_parameters()

    def check_parameters(self) -> None:
        """Raise on every rank unless all have the same parameters: processors of different kinds may round
        differently."""
        if self.ranks.size > 1:
            digest = hashlib.sha256()
            for array in self.model.state_dict().values():
                digest.update(array.tobytes())
            self.ranks.check_same("the parameters", digest.hexdigest(), f"fit, step {self.step}")

    def _check_finite(self) -> None:
        for name, array in self.model.state_dict().items():
            if not np.isfinite(array).all():
                raise self._diverged(f"{name} is no longer finite", self.step)

    def _diverged(self, why: str, step: int) -> TrainingDiverged:
        return TrainingDiverged(step, self.steps, why)

    # What a checkpoint holds.

    def save(self, path: str | Path) -> None:
        """Write the whole state to a checkpoint, atomically; non-finite parameters are never written."""
        self._check_finite()
        trainer = {
            "schedule": asdict(self.schedule), "step": self.step, "seen": self.seen, "history": self.history,
            "losses": self.losses, "restarted": self.restarted,
            "rng": self.rng.bit_generator.state, "data": self._fingerprint(),
        }  # fmt: skip
        arrays = {f"optimizer.{name}": array for name, array in self.optimizer.state_dict().items()}
        arrays |= {f"statistics.{name}": array for name, array in self.statistics.items()}
        meta = {"trainer": trainer} | ({"about": self.about} if self.about else {})
        save(path, self.model, meta, {**arrays, "trainer.order": self.order})

    @classmethod
    def restore(cls, path: str | Path, data: Any, comm: Any = None) -> Self:
        """The trainer as it was when it was saved; it continues with the steps that it would have taken."""
        model, meta, arrays = load_all(path)
        where, saved = f"resume {path}", meta.get("trainer")
        if saved is None:
            fail(where, "the checkpoint", "must hold a training run, not a model alone", "no trainer")
        try:
            self = cls(model, data, Schedule(**saved["schedule"]), meta.get("about"), comm)
            if saved["data"] != self._fingerprint():
                fail(where, "the data", "must be those that training began with", "others")
            self.optimizer.load_state_dict(_below("optimizer.", arrays))
            self.statistics = dict(_below("statistics.", arrays))
            self.rng.bit_generator.state = saved["rng"]
            self.order, self.losses = arrays["trainer.order"], dict(saved["losses"])
            self.step, self.seen, self.restarted = saved["step"], saved["seen"], saved["restarted"]
            self.history = [dict(row) for row in saved["history"]]
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            got = f"no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            fail(where, "the checkpoint", "must hold the whole state of a training run", one_line(got))
        self._check_state(where)
        return self

    def _check_state(self, where: str) -> None:
        """Raise unless what was read of the state is one that a run of this schedule comes to."""

        def check(name: str, right: bool, got: Any) -> None:
            if not right:
                fail(where, f"the trainer's {name}", "must be that of a run of its schedule", one_line(got))

        check("step", type(self.step) is int and 0 <= self.step <= self.steps, self.step)
        epochs, steps = divmod(self.step, self.steps_per_epoch)
        check("seen", self.seen == steps * self.schedule.batch_size, self.seen)
        order = self.order
        whole = order.dtype.kind == "i" and np.array_equal(np.sort(order, axis=None), np.arange(self.n))
        check("order", order.ndim == 1 and whole, f"no permutation: {order.dtype}, shape {order.shape}")
        numbered = [row.get("epoch") for row in self.history] == list(range(1, epochs + 1))
        check("history", numbered, self.history)
        numbers = [value for row in (*self.history, self.losses) for value in row.values()]
        numbers += [] if self.restarted is None else [self.restarted]
        check("figures", all(type(n) in (int, float) and math.isfinite(n) for n in numbers), numbers)
        counts = list(self.statistics.values())
        check("statistics", all(n.dtype.kind in "iu" and (n >= 0).all() for n in counts), counts)
        check("sums", bool(self.losses) == bool(steps), self.losses)

    def _fingerprint(self) -> str:
        """SHA-256 of the prepared data, with each example as one row."""
        digest = hashlib.sha256()
        for array in self.arrays:
            rows = array.reshape(self.n, -1)
            digest.update(repr(rows.shape).encode() + rows.tobytes())
        return digest.hexdigest()


def check_shardable(model: Any) -> None:
    """Raise unless the model's gradient is a mean over examples, and its own update can be given arrays."""
    summed = [module for _, module in model.named_modules() if getattr(module, "reduction", "") == "sum"]
    if summed:
        needed = 'must be a mean over the batch, not reduction="sum", if a batch is cut into shards'
        fail("fit", "the loss", needed, type(summed[0]).__name__)
    methods = ("after_step", "statistics", "batch_arrays", "cache_of")
    own = {name for name in methods if _overrides(model, name)}
    needs = bool(own & {"after_step", "statistics"}) or not hasattr(model, "batch_arrays")
    if needs and not own >= {"batch_arrays", "cache_of"}:
        needed = "must have the methods batch_arrays and cache_of of Trainable if a batch is cut into shards"
        fail("fit", "model", needed, f"{type(model).__name__} with {', '.join(sorted(own))}")


def _overrides(model: Any, name: str) -> bool:
    return getattr(type(model), name, None) not in (None, getattr(Trainable, name))


def _below(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with the prefix, which is removed."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
