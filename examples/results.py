"""The tables of docs/results.md: train with several seeds, evaluate on the test images, print Markdown.

python examples/results.py                               the defaults, five seeds, about five minutes
python examples/results.py --data mnist --seeds 1 --num-latents 49 --embedding-dim 8 --epochs 25
python examples/results.py --network conv                convolutions: a plane of 7 × 7 codes
python examples/results.py --network pca+pq              no network: product quantization (extra bench)
python examples/results.py --epochs 1 --seeds 2          a quick look
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import vqnp

NETWORKS = ("mlp", "conv", "pq", "pca+pq")


def main() -> None:
    """Train once for each seed; print a row for each, and the median."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", default="digits", help="digits, mnist, fashion-mnist or a path (default: digits)"
    )
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0 (default: 5)")
    parser.add_argument("--network", choices=NETWORKS, default="mlp", help="(default: mlp)")
    parser.add_argument("--epochs", type=int, help="(default: 60; conv: 20)")
    parser.add_argument("--batch-size", type=int, help="(default: 32)")
    parser.add_argument("--lr", type=float, help="(default: 0.001; conv: 0.002)")
    parser.add_argument("--embedding-dim", type=int, help="D (default: 16; conv: 8)")
    parser.add_argument("--num-embeddings", type=int, default=128, help="K (default: 128)")
    parser.add_argument("--codebook-init", default="data", help="data, uniform, ... (default: data)")
    parser.add_argument("--num-latents", type=int, default=16, help="mlp, pq: M (default: 16)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[512], help="mlp: (default: 512)")
    parser.add_argument("--channels", type=int, default=64, help="conv: H (default: 64)")
    parser.add_argument("--residual-channels", type=int, default=32, help="conv: R (default: 32)")
    args = parser.parse_args()
    schedule = {"epochs": 20, "lr": 2e-3} if args.network == "conv" else {}
    schedule |= {name: getattr(args, name) for name in ("epochs", "batch_size", "lr") if getattr(args, name)}
    shared = {"num_embeddings": args.num_embeddings, "codebook_init": args.codebook_init}
    if args.embedding_dim:
        shared["embedding_dim"] = args.embedding_dim

    train, test = vqnp.load_splits(args.data)
    if "pq" in args.network:
        baseline(args, train.images, test.images)
        return
    rows = []
    for seed in range(args.seeds):
        shared |= {"image_shape": train.images.shape[1:], "rng": np.random.default_rng(seed)}
        if args.network == "conv":
            sizes = {"channels": args.channels, "residual_channels": args.residual_channels}
            model = vqnp.VQVAE.conv(**sizes, **shared)
        else:
            model = vqnp.VQVAE.mlp(num_latents=args.num_latents, hidden=tuple(args.hidden), **shared)
        begun = time.perf_counter()
        history = vqnp.fit(model, train.images, seed=seed, **schedule)
        rows.append((time.perf_counter() - begun, vqnp.evaluate(model, test.images)))

    form = f"hidden {args.hidden}" if args.network == "mlp" else f"{args.channels} channels"
    print(f"{args.data}: {len(train)} training and {len(test)} test images; M = {model.num_latents}, "
          f"D = {model.embedding_dim}, K = {args.num_embeddings}, {form}, {len(history)} epochs; "
          f"{os.cpu_count()} processors\n")  # fmt: skip
    print("| seed | test MSE | perplexity | codes used | bits per image | seconds |")
    print("|---|---|---|---|---|---|")
    for seed, (seconds, r) in enumerate(rows):
        used = f"{r.codes_used} of {r.num_embeddings}"
        print(
            f"| {seed} | {r.mse:.5f} | {r.perplexity:.1f} | {used} | {r.bits_per_image:g} | {seconds:.0f} |"
        )
    mse = statistics.median(r.mse for _, r in rows)
    perplexity = statistics.median(r.perplexity for _, r in rows)
    seconds = statistics.median(s for s, _ in rows)
    print(f"| median | {mse:.5f} | {perplexity:.1f} | | | {seconds:.0f} |")


def baseline(args: argparse.Namespace, train: np.ndarray, test: np.ndarray) -> None:
    """The test MSE of product quantization, of pixels or of their principal components."""
    sys.path.insert(0, str(Path(__file__).parent / "studies"))
    from _product import ProductQuantizer

    errors = []
    for seed in range(args.seeds):
        pq = ProductQuantizer(train, args.num_latents, args.num_embeddings, seed, args.network == "pca+pq")
        x_hat = pq.decode(pq.encode(test))
        errors.append(float(((x_hat - test / np.float32(255)) ** 2).mean(dtype=np.float64)))
    bits = args.num_latents * (args.num_embeddings.bit_length() - 1)
    print(f"{args.data}: {args.network}, M = {args.num_latents}, K = {args.num_embeddings}, {bits} bits\n")
    print("test MSE: " + ", ".join(f"{e:.5f}" for e in errors) + f"; median {statistics.median(errors):.5f}")


if __name__ == "__main__":
    main()
