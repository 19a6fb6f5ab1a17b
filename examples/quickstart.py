"""Train a small VQ-VAE on the embedded digits, print some codes, and draw ten reconstructions.

python examples/quickstart.py [--epochs 5] [--out quickstart.png]
"""

import argparse

import numpy as np

import vqnp
from vqnp.plots import save_sheet


def main() -> None:
    """Ten lines with vqnp; the rest parses arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=5, help="(default: 5)")
    parser.add_argument("--out", default="quickstart.png", help="(default: quickstart.png)")
    args = parser.parse_args()

    train, test = vqnp.load_splits("digits")
    model = vqnp.VQVAE.mlp(num_latents=16, embedding_dim=16, num_embeddings=128)
    vqnp.fit(model, train.images, epochs=args.epochs)
    print(vqnp.evaluate(model, test.images))

    codes = model.encode(test.images[:10])
    print(f"codes of the first test image, a {test.labels[0]} ({model.bits_per_image:g} bits): {codes[0]}")
    with open(args.out, "wb") as file:
        save_sheet(file, np.concatenate([test.images[:10] / np.float32(255), model.decode(codes)]))
    print(f"originals above reconstructions: {args.out}")


if __name__ == "__main__":
    main()
