"""mpiexec -n 4 python tests/training/mpi_program.py DRAWS SEED: drawn trainings, on R ranks and on one.

Each draw is a model, its data, a batch size, a number of shards and of ranks, which may be another from some
step on, after a stop in the middle. Rank 0 trains the same without MPI; prints how many draws had equal bits.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from mpi4py import MPI

from vqnp import VAE, VQVAE
from vqnp.priors import PixelCNN, Transformer
from vqnp.training import Schedule, Trainer


def drawn(rng, most):
    """A function that makes the model; its data; the schedule; numbers of ranks before and after the stop."""
    rows, side = int(rng.integers(1, 40)), int(rng.choice([4, 8]))
    x, seed = rng.random((rows, side, side)).astype(np.float32), int(rng.integers(1000))
    init = str(rng.choice(["data", "kmeans", "uniform"]))
    options = {
        "rng": seed, "codebook_init": init, "codebook": str(rng.choice(["ema", "gradient"])),
        "num_embeddings": int(rng.integers(1, 20)), "embedding_dim": int(rng.integers(1, 5)),
        "restart_dead_codes": float(rng.choice([0, 0.3, 0.9])),
    }  # fmt: skip
    conv = {"channels": 4, "residual_channels": 2, "residual_blocks": 1}
    codes = rng.integers(0, 6, (rows, 2, 3))
    prior = {"channels": 8, "layers": 1, "rng": seed, "dropout": 0.2}
    makes = [
        (lambda: VQVAE.mlp((side, side), num_latents=3, hidden=(9,), **options), x),
        (lambda: VQVAE.conv((side, side), **conv, **options), x),
        (lambda: VAE.mlp((side, side), latent_dim=3, hidden=(9,), rng=seed), x),
        (lambda: Transformer(6, (2, 3), heads=2, **prior), codes),
        (lambda: PixelCNN(6, (2, 3), **{**prior, "layers": 3}), codes),
    ]
    make, data = makes[rng.integers(len(makes))]
    shards = int(rng.integers(2, 9))
    schedule = Schedule(
        int(rng.integers(1, 4)), int(rng.integers(1, 20)), float(rng.choice([0.001, 0.01])), seed=seed,
        weight_decay=float(rng.choice([0, 0.1])), clip=[None, 0.5][rng.integers(2)], shards=shards,
    )  # fmt: skip
    return make, data, schedule, *rng.integers(1, min(most, shards) + 1, 2)


def steps(trainer, stop):
    """Train up to the step at which to stop, or to the end."""
    while trainer.step < min(stop, trainer.steps):
        trainer.train_step()
        if trainer.step % trainer.steps_per_epoch == 0:
            trainer.end_epoch()
    return trainer


def state(trainer):
    arrays = {**trainer.model.state_dict(), **trainer.optimizer.state_dict()}
    return {name: array.tobytes() for name, array in arrays.items()}, trainer.history


def trained(make, data, schedule, stop, path, before, after):
    """The state of this rank after the run, on `before` ranks and, from the stop on, on `after`."""
    trainer, world = None, MPI.COMM_WORLD
    comm = world.Split(0 if world.rank < before else 1)
    if world.rank < before:
        trainer = Trainer(make(), data, schedule, None, comm)
        trainer.initialize()
        steps(trainer, stop)
        trainer.ranks.first(lambda: trainer.save(path))
    world.Barrier()
    comm = world.Split(0 if world.rank < after else 1)
    own = state(steps(Trainer.restore(path, data, comm), 10**9)) if world.rank < after else None
    return [each for each in world.allgather(own) if each is not None]


def main(draws, seed):
    world, equal = MPI.COMM_WORLD, 0
    for number in range(draws):
        rng = np.random.default_rng((seed, number))
        make, data, schedule, before, after = drawn(rng, world.size)
        stop = int(rng.integers(0, 12))
        with tempfile.TemporaryDirectory() as folder:
            folder = world.bcast(folder)
            found = trained(make, data, schedule, stop, Path(folder) / "run.npz", before, after)
            world.Barrier()
        if world.rank == 0:
            alone = Trainer(make(), data, schedule)
            alone.initialize()
            expected = state(steps(alone, 10**9))
            equal += all(each == expected for each in found)
            if not all(each == expected for each in found):
                print(f"draw {number} of seed {seed} differs: {before} then {after} ranks, {schedule}")
    if world.rank == 0:
        print(f"equal bits in {equal} of {draws} draws, on up to {world.size} ranks")
    return int(world.bcast(equal) != draws)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
