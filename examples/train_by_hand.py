"""Train a VQ-VAE with your own loop: every step that vqnp.fit takes, written out.

python examples/train_by_hand.py [--epochs 5]

The model's parts come from vqnp, each with a forward and a backward pass. With the same seeds, vqnp.fit with
lr_schedule="constant" ends with the same parameters, bit for bit.
"""

import argparse

import numpy as np

import vqnp
from vqnp.ops import mse_backward, mse_forward
from vqnp.optim import Adam


def train(model: vqnp.VQVAE, images: np.ndarray, epochs: int, batch_size: int = 32, seed: int = 0) -> None:
    """L = ⟨(x̂ − x)²⟩ + β⟨(z − sg e_k)²⟩: θ by Adam, the codebook by moving averages; images: uint8."""
    encoder, quantizer, decoder = model.encoder, model.quantizer, model.decoder
    x = images / np.float32(255)
    rng = np.random.default_rng(seed)
    optimizer = Adam(model.named_parameters(), lr=1e-3)
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        if epoch == 0:  # initialize the codes at random latents of training images
            quantizer.initialize(model.encode_raw(x[order[:2048]]), rng)
        total = 0.0
        for start in range(0, len(x), batch_size):
            batch = x[order[start : start + batch_size]]

            # Forward: image -> latents -> the nearest codes -> reconstruction; each pass keeps a cache.
            z, encoder_cache = encoder.forward(batch)
            z_q, codebook_loss, commitment_loss, k, quantizer_cache = quantizer.forward(z)
            x_hat, decoder_cache = decoder.forward(z_q)
            reconstruction_loss, mse_cache = mse_forward(x_hat, batch)
            loss = reconstruction_loss + codebook_loss + commitment_loss

            # Backward, in reverse order. The quantizer passes dz_q straight through to z and adds the
            # gradient of its own loss; each layer adds to its parameters' gradients.
            model.zero_grad()
            dx_hat, _ = mse_backward(1.0, mse_cache)
            dz_q = decoder.backward(dx_hat, decoder_cache)
            dz = quantizer.backward(dz_q, quantizer_cache, dL=1.0)
            encoder.backward(dz, encoder_cache, need_dx=False)

            # Two updates: the networks by gradient, then the codes as moving averages of their latents.
            optimizer.step()
            restarted = quantizer.update(z, k, rng)  # rarely used codes restart at latents of the batch
            if "quantizer.E" in optimizer.parameters:  # a codebook trained by gradient
                optimizer.reset("quantizer.E", restarted)
            total += float(loss) * len(batch)
        print(f"epoch {epoch + 1}: loss {total / len(x):.5f}")


def main() -> None:
    """Train on the embedded digits and evaluate on the test images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=5, help="(default: 5)")
    training, test = vqnp.load_splits("digits")
    model = vqnp.VQVAE.mlp(num_latents=16, embedding_dim=16, num_embeddings=128)
    train(model, training.images, parser.parse_args().epochs)
    print(vqnp.evaluate(model, test.images))


if __name__ == "__main__":
    main()
