"""vqnp COMMAND: the options, their help, and one sentence for every error.

What a command does is in vqnp.cli.commands, which is imported when one runs: help is instant.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from vqnp._version import __version__

EXAMPLES = """examples:
  vqnp train                                       train on the embedded digits, a minute or two
  vqnp train --data mnist --num-latents 49 --embedding-dim 8 --out runs/big
  vqnp train --model vae                           a VAE of the same size, to compare with
  vqnp evaluate runs/digits-1 --json
  vqnp encode runs/digits-1 --data digits --out codes.npz
  vqnp decode runs/digits-1 codes.npz --out images.png
  vqnp inspect runs/digits-1
  vqnp export runs/digits-1 --out weights.npz      parameters for PyTorch
  vqnp bench                                       how fast this machine is, about a minute"""

DATA_HELP = (
    "digits (embedded: 10,000 + 2,000 images of MNIST), mnist, fashion-mnist, or a path: an IDX file "
    "(gzipped or not), a folder of them, a .npy or .npz of images, uint8 or float in [0, 1]"
)


class Parser(argparse.ArgumentParser):
    """argparse, its errors being one sentence."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; exit status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> Parser:
    """The command line, with every default in its help."""
    parser = Parser(
        prog="vqnp",
        description="The reference VQ-VAE in NumPy and Numba: train, encode, decode, look, measure.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vqnp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, help: str, description: str) -> Parser:
        # What is not given is not in the namespace: the defaults are those of the Python functions.
        made: Parser = commands.add_parser(
            name, help=help, description=description, argument_default=argparse.SUPPRESS, allow_abbrev=False
        )
        return made

    _train_options(
        command(
            "train",
            "train a VQ-VAE, a VAE or an autoencoder, and write a run folder",
            "Train an MLP VQ-VAE (or, to compare, a VAE or an autoencoder) and write a run folder: "
            "checkpoint.npz, config.json, metrics.csv, training.png. Ctrl-C saves; --resume goes on, to the "
            "same result bit for bit.",
        )
    )
    p = command(
        "evaluate",
        "MSE, perplexity, utilization and diagnosis; a VAE's likelihood and KL",
        "Reconstruct a data set, in constant memory, and print the figures.",
    )
    _run_and_data(p)
    p.add_argument("--json", action="store_true", default=False, help="print one JSON object")

    p = command(
        "encode",
        "images to codes (a VAE's or an autoencoder's: to latents)",
        "Encode images into an .npz: codes (n, M) in the narrowest unsigned dtype, num_embeddings, and "
        "the SHA-256 of the model they belong to; of a VAE latents (n, D), the posterior's means. "
        "Reads, encodes and writes a batch at a time.",
    )
    _run_and_data(p)
    _output(p, "codes.npz", "the .npz to write")

    p = command(
        "decode",
        "codes to images",
        "Decode what vqnp encode wrote (or an .npy of integers, or of latents) into a float .npy "
        "(n, *image shape), or the first 100 of them into a .png sheet.",
    )
    p.add_argument("model", metavar="RUN", help="a run folder, or a checkpoint")
    p.add_argument("codes", metavar="CODES", help="an .npz from vqnp encode, or an .npy of integers (n, M)")
    _output(p, "images.npy", "the .npy or .png to write")

    p = command(
        "inspect",
        "the health of the codebook, and a picture of every code (or of a VAE's units)",
        "Perplexity, utilization, dead codes and a usage histogram over a data set; the diagnosis with "
        "advice; and codebook.png: every code decoded in context. Of a VAE: KL and use of each unit, what "
        "they say about the image, and latents.png: the strongest units, each moved through its range.",
    )
    _run_and_data(p)
    p.add_argument(
        "--out", metavar="PNG", help="where the figure goes (default: RUN/codebook.png or latents.png)"
    )

    p = command(
        "bench",
        "how fast this machine is, and how near to it vqnp comes",
        "Time the machine's fused multiply-adds, NumPy's matrix products, the kernels, a training step and "
        "the start-up; print a table; write bench.json and bench.png. About a minute; let nothing else run.",
    )
    p.add_argument(
        "--threads",
        type=int,
        nargs="+",
        metavar="T",
        help="numbers of threads, each measured in a process of its own (default: 1, and all cores)",
    )
    p.add_argument(
        "--rounds", type=int, default=7, metavar="N", help="timings of each, for the median (default: 7)"
    )
    p.add_argument("--out", metavar="DIR", default="bench", help="the folder to write (default: bench)")

    p = command(
        "export",
        "parameters under PyTorch's names and in its layouts",
        "Write the model's parameters as PyTorch names and lays them out (encoder.0.weight: (out, in)), with "
        "the configuration that rebuilds it. The way back is vqnp.export.load_torch in Python.",
    )
    p.add_argument("model", metavar="RUN", help="a run folder, or a checkpoint")
    p.add_argument(
        "--format",
        choices=("torch-npz", "safetensors"),
        default="torch-npz",
        help="an .npz of plain arrays, or .safetensors, which needs that package (default: torch-npz)",
    )
    p.add_argument("--out", metavar="FILE", help="the file to write (default: weights.npz or .safetensors)")
    p.add_argument("--force", action="store_true", default=False, help="replace FILE if it exists")
    _crosscheck(
        command(
            "crosscheck",
            "is this VQ layer right, and if not, which known variant or bug is it?",
            "Compare somebody's VQ layer with vqnp, quantity by quantity, and name the variant or bug that "
            "it has in each respect, from its behaviour alone. docs/crosscheck.md is the guide.",
        )
    )
    return parser


def _crosscheck(p: Parser) -> None:
    ways = p.add_subparsers(dest="way", metavar="WAY", required=True, parser_class=Parser)

    def way(name: str, help: str, description: str) -> Parser:
        made: Parser = ways.add_parser(
            name, help=help, description=description, argument_default=argparse.SUPPRESS, allow_abbrev=False
        )
        return made

    status = "Exit status 0 if it conforms, 1 if not, 2 if it could not be asked."
    p = way(
        "run", "check a layer that Python reaches", f"Check the adapter that a Python file defines. {status}"
    )
    p.add_argument(
        "adapter",
        metavar="FILE.py:NAME",
        help="a file, and in it an adapter, or a function or class that makes one without arguments",
    )
    _judging(p)
    p = way(
        "vectors",
        "inputs and expected answers as files, for other languages",
        "Write inputs, expected outputs and gradients as .npy files, with manifest.json: what each is, its "
        "equation, the tolerance. The same bytes at every run.",
    )
    p.add_argument("--out", metavar="DIR", required=True, help="a new or empty folder")
    p.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="(default: float64)")
    p = way(
        "compare",
        "check the answers that a program in another language wrote",
        "Compare THEIRS/CASE/OUTPUT.npy, which their program made from DIR/inputs/CASE, with the reference; "
        f"what is missing is not checked. {status}",
    )
    p.add_argument("vectors", metavar="DIR", help="what vqnp crosscheck vectors wrote")
    p.add_argument("theirs", metavar="THEIRS", help="the folder of their answers")
    _judging(p)


def _judging(p: Parser) -> None:
    p.add_argument("--json", action="store_true", default=False, help="print one JSON object")
    p.add_argument(
        "--allow",
        action="append",
        metavar="DIMENSION[=VARIANT]",
        default=[],
        help="a deviation that is intended, by its name in docs/crosscheck-variants.md, as reduction=sum; "
        "may be given again",
    )
    for name, symbol in (("beta", "β"), ("decay", "γ"), ("epsilon", "ε")):
        p.add_argument(
            f"--{name}", type=float, metavar="X", help=f"the {symbol} that is meant (default: found)"
        )


def _run_and_data(p: Parser) -> None:
    p.add_argument("model", metavar="RUN", help="a run folder, or a checkpoint")
    p.add_argument("--data", metavar="NAME|PATH", help=f"{DATA_HELP} (default: what the run was trained on)")
    p.add_argument(
        "--split",
        choices=("train", "test"),
        default="test",
        help="which part of a data set with two (default: test)",
    )


def _output(p: Parser, name: str, help: str) -> None:
    p.add_argument("--out", metavar="FILE", default=name, help=f"{help} (default: {name})")
    p.add_argument("--force", action="store_true", default=False, help="replace FILE if it exists")


MODEL_OPTIONS = {
    "num_latents": (int, "M", "latents, and so codes, an image (default: 16)"),
    "embedding_dim": (int, "D", "dimensions of a latent and of a code (default: 16)"),
    "num_embeddings": (int, "K", "codes in the codebook (default: 128)"),
    "commitment_cost": (float, "BETA", "weight of the commitment loss (default: 0.25)"),
    "decay": (float, "GAMMA", "share of the old average that an EMA update keeps (default: 0.99)"),
    "epsilon": (float, "EPS", "Laplace smoothing of the EMA cluster sizes (default: 1e-05)"),
}
LATENT_OPTIONS = {
    "latent_dim": (int, "D", "numbers of an image's latent (default: 256)"),
    "noise_std": (float, "S", "standard deviation of a pixel, gaussian likelihood (default: 0.1)"),
    "kl_weight": (float, "W", "weight of the KL (default: 1.0)"),
    "kl_warmup": (int, "STEPS", "steps over which the weight grows from 0 (default: 0)"),
}
SCHEDULE_OPTIONS = {
    "epochs": (int, "N", "passes over the training images (default: 60)"),
    "batch_size": (int, "B", "images a step (default: 32)"),
    "lr": (float, "LR", "Adam's learning rate (default: 0.001)"),
    "restart_dead_codes": (
        float,
        "SHARE",
        "restart a code used less than this share of uniform use; 0: never (default: 0.05)",
    ),
    "seed": (int, "SEED", "of parameters, minibatches and restarts (default: 0)"),
}


def _train_options(p: Parser) -> None:
    p.add_argument("--data", metavar="NAME|PATH", help=f"{DATA_HELP} (default: digits)")
    p.add_argument("--out", metavar="DIR", help="the run folder to write (default: runs/DATA-1, or -2, ...)")
    p.add_argument("--force", action="store_true", default=False, help="replace the run that DIR has")
    p.add_argument(
        "--resume",
        action="store_true",
        default=False,
        help="go on with the run in DIR, or start it if there is none",
    )
    p.add_argument("--quiet", action="store_true", default=False, help="no progress bar")
    p.add_argument(
        "--model", dest="kind", choices=("vqvae", "vae", "autoencoder"), help="what to train (default: vqvae)"
    )
    model = p.add_argument_group("the model")
    for name, (kind, metavar, help) in MODEL_OPTIONS.items():
        model.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=help)
    model.add_argument(
        "--hidden",
        type=int,
        nargs="+",
        metavar="H",
        help="widths of the encoder's hidden layers, the decoder's reversed (default: 512)",
    )
    model.add_argument("--activation", choices=("relu", "gelu", "tanh", "sigmoid"), help="(default: relu)")
    model.add_argument(
        "--codebook", choices=("ema", "gradient"), help="how the codebook follows (default: ema)"
    )
    model.add_argument(
        "--codebook-init",
        choices=("uniform", "normal", "scaled_uniform", "data", "kmeans"),
        help="how the codes start: drawn, or random latents of the images, or their k-means (default: data)",
    )
    latent = p.add_argument_group("a VAE, and an autoencoder's latent")
    for name, (kind, metavar, help) in LATENT_OPTIONS.items():
        latent.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=help)
    latent.add_argument(
        "--likelihood", choices=("bernoulli", "gaussian"), help="of a pixel (default: bernoulli)"
    )
    schedule = p.add_argument_group("the training")
    for name, (kind, metavar, help) in SCHEDULE_OPTIONS.items():
        schedule.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=help)
    schedule.add_argument("--lr-schedule", choices=("cosine", "constant"), help="(default: cosine)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 2 and a sentence on standard error, 130 when interrupted, 1: does not conform."""
    args = build_parser().parse_args(argv)
    from vqnp._check import InputError

    status = 0
    try:
        if args.command == "crosscheck":  # by itself: it needs neither models nor pictures
            status = importlib.import_module("vqnp.crosscheck.command").run(args)
        else:
            getattr(importlib.import_module("vqnp.cli.commands"), args.command)(args)
        sys.stdout.flush()
    except InputError as error:
        say(f"vqnp {args.command}: error: {error}")
        return 2
    except MemoryError as error:
        what = str(error) or "out of memory"
        say(f"vqnp {args.command}: error: {what}; the model, the batch or the data must be smaller")
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: there is nobody left to tell
        return 1
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        say(f"vqnp {args.command}: error: {what}")
        return 2
    except KeyboardInterrupt as stop:
        say(f"vqnp {args.command}: {str(stop) or 'interrupted'}")
        return 130
    return status


def say(text: str) -> None:
    """A line to the person, on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)
