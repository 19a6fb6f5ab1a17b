"""A batch in shards: the gradient of the whole batch, and the same bits on 1, 2, 3 and 4 ranks."""

import numpy as np
import pytest
from helpers import refused, same
from hypothesis import given, settings
from hypothesis import strategies as st
from threads_as_ranks import on_ranks

from vqnp import VAE, VQVAE, HierarchicalVQVAE, fit, resume
from vqnp.nn import EMAVectorQuantizer, Linear, Module, ResidualVectorQuantizer
from vqnp.priors import Transformer
from vqnp.training import Schedule, Trainer, TrainingDiverged
from vqnp.training.ranks import Ranks
from vqnp.training.shards import Shards

X = np.random.default_rng(2).random((23, 4, 4)).astype(np.float32)
LEVELS = {"channels": 4, "residual_channels": 2, "residual_blocks": 1, "embedding_dim": 2}
QUIET = {"progress": False, "epochs": 2, "lr": 0.01, "seed": 3}


def vqvae(dtype="float32", **options):
    sizes = {"num_latents": 2, "embedding_dim": 2, "num_embeddings": 8, "hidden": (8,)}
    return VQVAE.mlp((4, 4), **sizes | {"rng": 1, "dtype": dtype} | options)


MODELS = {
    "kmeans, restarts": lambda: vqvae(codebook_init="kmeans", restart_dead_codes=0.5),
    "gradient codebook": lambda: vqvae(codebook="gradient", restart_dead_codes=0.5),
    "residual codes, dropout": lambda: vqvae(
        embedding_dim=None, num_embeddings=None,
        quantizer=ResidualVectorQuantizer(2, 4, 2, restart_dead_codes=0.4, quantizer_dropout=0.5),
    ),
    "levels": lambda: HierarchicalVQVAE.conv((4, 4), num_embeddings=(4, 8), downsampling=(2, 1), **LEVELS),
    "noise": lambda: VAE.mlp((4, 4), latent_dim=2, hidden=(8,), rng=1),
}  # fmt: skip


def trained(model, comm=None, data=X, test=X[:3], **options):
    history = fit(model, data, test, comm=comm, **QUIET | options)
    return model, history


@pytest.mark.slow
@settings(max_examples=6)
@given(
    name=st.sampled_from(sorted(MODELS)), size=st.integers(1, 4), more=st.integers(0, 4),
    batch_size=st.integers(1, 23), rows=st.integers(1, 23),
)  # fmt: skip
def test_any_number_of_ranks_gives_the_same_bits(name, size, more, batch_size, rows):
    """Also for batches with fewer rows than shards, and for shards that no power of two divides."""
    options = {"shards": max(2, size) + more, "batch_size": batch_size, "data": X[:rows]}
    alone, history = trained(MODELS[name](), **options)
    for model, own in on_ranks(size, lambda comm: trained(MODELS[name](), comm, **options)):
        assert same(model, alone) and own == history


@pytest.mark.parametrize("size", [2, 3])
def test_two_and_three_ranks_give_the_bits_of_one_process(size):
    """The same for one model, whose codes restart at vectors of the whole batch."""
    options = {"shards": 4, "batch_size": 9}
    alone, history = trained(MODELS["kmeans, restarts"](), **options)
    assert sum(row["restarted_codes"] for row in history) > 0
    for model, own in on_ranks(size, lambda comm: trained(MODELS["kmeans, restarts"](), comm, **options)):
        assert same(model, alone) and own == history


def test_a_prior_with_dropout_too():
    codes = np.random.default_rng(0).integers(0, 5, (20, 2, 2))

    def prior(comm=None):
        model = Transformer(5, (2, 2), channels=8, layers=1, heads=2, num_classes=2, dropout=0.3, rng=0)
        return trained(model, comm, (codes, codes[:, 0, 0] % 2), None, shards=4, batch_size=6, clip=0.1)

    alone, history = prior()
    for model, own in on_ranks(3, prior):
        assert same(model, alone) and own == history


@pytest.mark.parametrize("shards", [2, 3, 7])
def test_the_sum_over_shards_is_the_gradient_of_the_batch(shards, rng):
    """In float64, to rounding; so are the losses, and the codebook after the step."""
    x = rng.random((19, 4, 4))
    one, several = vqvae("float64"), vqvae("float64")
    for model, count in ((one, 1), (several, shards)):
        trainer = Trainer(model, x, Schedule(1, 19, 1e-9, "constant", 0, shards=count))
        trainer.initialize()
        trainer.train_step()
        model.losses = trainer.mean_losses()
    for (name, param), other in zip(one.named_parameters(), several.parameters(), strict=True):
        np.testing.assert_allclose(other.grad, param.grad, rtol=1e-9, atol=1e-13, err_msg=name)
    assert several.losses == pytest.approx(one.losses, rel=1e-12)
    assert np.array_equal(one.quantizer.ema.E, several.quantizer.ema.E)  # the same vectors in the same order


@settings(max_examples=10)
@given(size=st.integers(1, 6), more=st.integers(0, 5), n=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_tree_adds_halves(size, more, n, seed):
    """Σ(first S/2) + Σ(rest), down to single shards; shards without rows are no terms."""
    S = size + more
    leaves = np.random.default_rng(seed).standard_normal((S, 3)).astype(np.float32)
    bounds = Shards(S, Ranks()).bounds(n)

    def expected(first, count):
        if bounds[first] == bounds[first + count]:
            return None
        if count == 1:
            return leaves[first]
        parts = [expected(first, count // 2), expected(first + count // 2, count - count // 2)]
        parts = [part for part in parts if part is not None]
        return parts[0] + parts[1] if len(parts) == 2 else parts[0]

    def on_rank(comm):
        shards, sums = Shards(S, Ranks(comm)), {}
        shards._sum_own((0, S), bounds, lambda shard: leaves[shard].copy(), sums)
        return shards._sum_all((0, S), bounds, sums, np.empty(3, np.float32))

    total, *others = on_ranks(size, on_rank)
    assert np.array_equal(total, expected(0, S)) and others == [None] * (size - 1)


SLOW = [pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((1, 3), (2, 4))]


@pytest.mark.parametrize(("before", "after"), [(3, 1), *SLOW])
def test_a_run_that_is_stopped_is_resumed_on_other_ranks(before, after, tmp_path):
    """In the middle of an epoch, after the same step on all ranks, though one alone was told to stop."""
    options = {"shards": 4, "batch_size": 6}
    whole, history = trained(vqvae(restart_dead_codes=0.5), **options)

    def stopped(comm=None):
        schedule = Schedule(2, 6, 0.01, seed=3, shards=4)
        trainer = Trainer(vqvae(restart_dead_codes=0.5), X, schedule, None, comm)
        trainer.initialize()
        for step in range(5):
            told = trainer.train_step(step == 2 and trainer.ranks.rank == before - 1)
            if (step + 1) % 4 == 0:
                trainer.end_epoch(X[:3])
            if told:
                trainer.ranks.first(lambda: trainer.save(tmp_path / "run.npz"))
                break
        return trainer.step

    assert on_ranks(before, stopped) == [3] * before
    path, quiet = tmp_path / "run.npz", {"progress": False}
    for model, own in on_ranks(after, lambda comm: resume(path, X, X[:3], comm=comm, **quiet)):
        assert same(model, whole) and own == history


def test_all_ranks_diverge_together(tmp_path):
    """At the step and with the words of one process, and with its last good parameters on disk."""
    x = X.copy()
    errors = []

    def diverging(comm=None):
        options = {"lr": 1e30, "lr_schedule": "constant", "checkpoint": tmp_path / "run.npz"}
        with pytest.raises(TrainingDiverged) as caught:
            trained(vqvae(), comm, x, shards=3, batch_size=9, **options)
        errors.append(str(caught.value))
        return caught.value.step

    alone = diverging()
    assert on_ranks(3, diverging) == [alone] * 3 and len(set(errors)) == 1
    assert "run.npz" in errors[0]


def test_what_rank_0_does_alone_fails_on_all():
    """Only rank 0 writes; where it cannot, no rank waits for it for ever."""

    def writing(comm):
        try:
            trained(vqvae(), comm, shards=2, checkpoint="/nowhere/at/all/run.npz")
        except OSError as error:
            return type(error).__name__

    assert on_ranks(2, writing) == ["FileNotFoundError"] * 2

    def calling(comm):
        seen = []
        trained(vqvae(), comm, shards=2, on_epoch=lambda history: seen.append(len(history)))
        return seen

    assert on_ranks(2, calling) == [[1, 2], []]


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("the data", lambda rank: {"data": X + np.float32(0.01 * rank)}),
        ("the schedule", lambda rank: {"lr": 0.01 + rank}),
    ],
)
def test_ranks_that_differ_are_refused(what, change):
    def differing(comm):
        with refused(what, "the same on all ranks", "rank 1"):
            trained(vqvae(), comm, shards=2, **change(comm.rank))

    on_ranks(2, differing)


def test_parameters_that_drift_apart_are_found():
    """As on processors that round differently."""

    def drifting(comm):
        trainer = Trainer(vqvae(), X, Schedule(1, 23, shards=2), None, comm)
        trainer.initialize()
        trainer.train_step()
        trainer.model.encoder.layers[1].W.value[0, 0] += comm.rank
        with refused("the parameters", "the same on all ranks"):
            trainer.end_epoch()

    on_ranks(2, drifting)


def test_more_ranks_than_shards_and_other_communicators_are_refused():
    def few(comm):
        with refused("shards", "the number of ranks, 3", "2"):
            trained(vqvae(), comm, shards=2)

    on_ranks(3, few)
    with refused("comm", "mpi4py", "str"):
        trained(vqvae(), "MPI.COMM_WORLD")
    with refused("shards", "at least 1"):
        trained(vqvae(), shards=0)


def test_a_loss_that_is_a_sum_cannot_be_cut():
    quantizer = EMAVectorQuantizer(8, 2, reduction="sum")
    model = vqvae(embedding_dim=None, num_embeddings=None, quantizer=quantizer)
    with refused("the loss", "a mean over the batch", "EMAVectorQuantizer"):
        trained(model, shards=2)
    trained(model)


class Updating(Module):
    """A model with an after_step of its own, and without batch_arrays."""

    def __init__(self):
        self.linear = Linear(2, 2)

    def prepare(self, data):
        return (data,)

    def after_step(self, cache, rng):
        return {}


def test_a_model_whose_update_cannot_be_given_arrays_is_named():
    with refused("model", "batch_arrays and cache_of", "Updating"):
        fit(Updating(), X, shards=2)
