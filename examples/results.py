"""The README's table of results: train with several seeds, evaluate on the test images, print Markdown.

python examples/results.py                               the defaults, five seeds, about five minutes
python examples/results.py --data mnist --seeds 1 --num-latents 49 --embedding-dim 8 --epochs 25
python examples/results.py --epochs 1 --seeds 2          a quick look
"""

import argparse
import os
import statistics
import time

import numpy as np

import vqnp


def main() -> None:
    """Train once for each seed; print a row for each, and the median."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", default="digits", help="digits, mnist, fashion-mnist or a path (default: digits)"
    )
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0 (default: 5)")
    parser.add_argument("--epochs", type=int, default=60, help="(default: 60)")
    parser.add_argument("--num-latents", type=int, default=16, help="M (default: 16)")
    parser.add_argument("--embedding-dim", type=int, default=16, help="D (default: 16)")
    parser.add_argument("--num-embeddings", type=int, default=128, help="K (default: 128)")
    parser.add_argument("--codebook-init", default="data", help="data, uniform, ... (default: data)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[512], help="(default: 512)")
    args = parser.parse_args()

    train, test = vqnp.load_splits(args.data)
    rows = []
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        model = vqnp.VQVAE.mlp(
            train.images.shape[1:],
            args.num_latents,
            args.embedding_dim,
            args.num_embeddings,
            tuple(args.hidden),
            codebook_init=args.codebook_init,
            rng=rng,
        )
        begun = time.perf_counter()
        vqnp.fit(model, train.images, epochs=args.epochs, seed=seed)
        rows.append((time.perf_counter() - begun, vqnp.evaluate(model, test.images)))

    print(f"{args.data}: {len(train)} training and {len(test)} test images; M = {args.num_latents}, "
          f"D = {args.embedding_dim}, K = {args.num_embeddings}, hidden {args.hidden}, {args.epochs} epochs; "
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


if __name__ == "__main__":
    main()
