"""What network.js is asked, in node and in a browser, and what NumPy answers in float64.

A case is (question, expected, bound): the question is plain data for ANSWER, the expected numbers are
computed in float64 from the same float32 weights, and the bound is what rounding can explain.
"""

import numpy as np

from vqnp import VQVAE
from vqnp.nn import (
    ACTIVATIONS, Activation, Conv, ConvTranspose, EMAVectorQuantizer, Flatten, LayerNorm, Linear, Reshape,
    Residual, Sequential, build, describe,
)
from vqnp.nn.quantizers.residual import ResidualVectorQuantizer
from vqnp.priors import Markov, PixelCNN, TextTransformer, Transformer
from vqnp.priors.sampling import Choice, draw, guide, probabilities
from vqnp.report import decoder, priors
from vqnp.report.packing import compressed_all, packed

ULP = 2.0**-23  # twice the error of one rounding to float32, relative to the number

ANSWER = """
function answer(q) {
  if (q.layers) return Array.from(vqnp.build(q.layers, vqnp.unpackAll(q.arrays))(vqnp.unpack(q.x)).data);
  if (q.norm) {
    const [gamma, beta, x] = q.norm.map(vqnp.unpack);
    return Array.from(vqnp.layerNorm(x, gamma, beta, q.epsilon).data);
  }
  if (q.decoder) return Array.from(new vqnp.Decoder(q.decoder).decode(q.codes).data);
  if (q.prior) {
    const prior = new vqnp.PRIORS[q.prior.kind](q.prior);
    return q.prefixes.flatMap((codes) => Array.from(prior.logits(codes, q.condition ?? undefined)));
  }
  if (q.erf) return q.erf.map(vqnp.erf);
  if (q.drawn) return q.drawn.map((u) => vqnp.draw(vqnp.softmax(q.a, q.temperature), u));
  if (q.guided) return vqnp.guide(...q.guided);
}
"""


def double(module):
    """The module with the same weights in float64."""
    text = describe(module)

    def changed(value):
        if isinstance(value, dict):
            return {k: "float64" if k == "dtype" else changed(v) for k, v in value.items()}
        return [changed(v) for v in value] if isinstance(value, list) else value

    other = build(changed(text))
    state = module.state_dict()
    other.load_state_dict({k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in state.items()})
    return other


def lively(module, rng, scale=1.0):
    """The module with random parameters: an initial bias of 0 would hide a mistake."""
    for param in module.parameters():
        n = param.value.shape[-2] if param.value.ndim > 1 else 4
        param.value[...] = scale * rng.standard_normal(param.value.shape) / np.sqrt(n)
    return module


def layer_case(layer, shape, rng, rounding=1.0):
    """rounding: how many ulps of the largest number; the sums themselves are exact to 1e-15."""
    lively(layer, rng)
    x = rng.standard_normal(shape).astype(np.float32)
    y = double(layer).forward(x[None].astype(np.float64))[0][0]
    arrays = compressed_all(layer.state_dict(), "float32")
    question = {"layers": describe(layer), "arrays": arrays, "x": packed(x, "float32")}
    return question, y.ravel(), rounding * ULP * np.abs(y).max() + 1e-12


def convolutions(rng, count=24):
    """Convolutions and transposed ones of random geometry, in one dimension and in two."""
    for i in range(count):
        n = 1 + i % 2
        k, s, d = (rng.integers(1, end, n).tolist() for end in (5, 4, 3))
        pads = rng.integers(0, 2, (n, 2)).tolist()
        C, O = rng.integers(1, 4, 2).tolist()
        form = {"kernel_size": k, "stride": s, "padding": pads, "dilation": d, "ndim": n, "rng": rng}
        size = [int(dd * (kk - 1) + 1 + rng.integers(1, 4)) for kk, dd in zip(k, d, strict=True)]
        if i % 4 < 2:
            yield f"conv {i}", layer_case(Conv(C, O, **form), (*size, C), rng)
        else:
            more = [int(rng.integers(ss)) for ss in s]
            yield f"transposed conv {i}", layer_case(
                ConvTranspose(C, O, output_padding=more, **form), (*size, C), rng
            )


def quantized(rng, **options):
    """A small convolutional model with random weights."""
    model = VQVAE.conv((8, 4), 4, 3, 1, 1, rng=rng, **options)
    lively(model.decoder, rng)
    return model


def decoder_case(model, rng):
    k = rng.integers(0, model.num_embeddings, (1, *model.code_shape))
    z = model.quantizer.decode(k).astype(np.float64)
    raw = double(model.decoder).forward(z)[0]
    x = model.to_data(raw)[0]
    question = {"decoder": decoder.decoder_part(model, "float32"), "codes": k.ravel().tolist()}
    return question, x.ravel(), 8 * ULP * max(1.0, np.abs(raw).max())


def prior_case(prior, rng, condition=None):
    """Logits after several prefixes, some of which do not continue the one before."""
    if not isinstance(prior, Markov):
        lively(prior, rng)
    k = rng.integers(0, prior.num_embeddings, prior.latent_shape)
    flat, M = k.ravel().tolist(), k.size
    question = {"prior": priors.prior_part(prior, "float32"), "condition": condition}
    lengths = [0, 1, M - 1, M // 2, M // 2 + 1]
    question["prefixes"] = [flat[:m] for m in lengths]
    if isinstance(prior, Markov):
        before = [np.array(flat[m - 1 : m]) if m and prior.order else None for m in lengths]
        rows = [prior.conditional(m, k)[0] for m, k in zip(lengths, before, strict=True)]
        return question, np.log(np.concatenate(rows)), 1e-12
    given = None if condition is None else np.array([condition])
    a = double(prior).logits(k[None], given).reshape(M, -1)
    return question, a[lengths].ravel(), 60 * ULP * np.abs(a).max()


def all_cases():
    rng = np.random.default_rng(20)
    found = dict(convolutions(rng))
    found["linear"] = layer_case(Linear(5, 3, rng), (5,), rng)
    for name in ACTIVATIONS:
        found[name] = layer_case(Sequential(Linear(6, 40, rng), Activation(name)), (6,), rng, 3)
    shapes = Sequential(Reshape(3, 2), Flatten(), Linear(6, 2, rng), Reshape(1, 2))
    found["shapes"] = layer_case(shapes, (2, 3), rng)
    residual = Residual(Sequential(Activation("relu"), Conv(2, 2, 1, rng=rng)))
    found["residual"] = layer_case(residual, (3, 2, 2), rng, 2)
    shared = Linear(4, 4, rng)
    twice = Sequential(shared, Activation("tanh"), shared, Linear(4, 2, rng))
    found["a shared layer"] = layer_case(twice, (4,), rng, 6)
    norm = lively(LayerNorm(6), rng)
    x = rng.standard_normal((3, 6)).astype(np.float32)
    y = double(norm).forward(x.astype(np.float64))[0]
    parts = [packed(a, "float32") for a in (norm.gamma.value, norm.beta.value, x)]
    found["layer norm"] = {"norm": parts, "epsilon": norm.epsilon}, y.ravel(), ULP * np.abs(y).max()

    found["decoder: convolutional"] = decoder_case(quantized(rng, embedding_dim=3, num_embeddings=9), rng)
    mlp = VQVAE.mlp((4, 5, 3), 6, 3, 7, (11, 8), "gelu", rng=rng)
    lively(mlp.decoder, rng)
    found["decoder: MLP in colour"] = decoder_case(mlp, rng)
    two = ResidualVectorQuantizer(2, 5, 3)
    found["decoder: two codebooks"] = decoder_case(quantized(rng, quantizer=two, embedding_dim=3), rng)
    encoder = Sequential(Flatten(), Linear(12, 6, rng), Reshape(3, 2))
    network = lively(Sequential(Flatten(), Linear(6, 24, rng), Reshape(4, 3, 2)), rng)
    laplace = VQVAE(encoder, EMAVectorQuantizer(5, 2, rng=rng), network, {"shape": (4, 3)}, "logit_laplace")
    found["decoder: logit-Laplace"] = decoder_case(laplace, rng)

    small = {"channels": 8, "layers": 2, "heads": 2, "rng": rng}
    found["transformer"] = prior_case(Transformer(6, (3, 3), **small), rng)
    classes = Transformer(6, (2, 3), num_classes=4, tied=True, **small)
    found["transformer of a class"] = prior_case(classes, rng, 2)
    words = ["blue", "one", "red"]
    text = TextTransformer(6, (2, 2), words, 4, **small)
    found["transformer of a text"] = prior_case(text, rng, [2, 1, 3, 3])
    grid = {"channels": 5, "layers": 2, "first_kernel": 5, "rng": rng}
    found["PixelCNN"] = prior_case(PixelCNN(6, (3, 4), **grid), rng)
    found["PixelCNN of a class"] = prior_case(PixelCNN(6, (3, 4), num_classes=3, **grid), rng, 1)
    found["PixelCNN of one stack"] = prior_case(PixelCNN(6, (3, 4), stacks=1, num_classes=3, **grid), rng, 0)
    codes = rng.integers(0, 5, (30, 4))
    found["Markov"] = prior_case(Markov(codes, 5), rng)
    found["Markov of order 0"] = prior_case(Markov(codes, 5, order=0), rng)

    a, u = rng.standard_normal(7), rng.random(50)
    p = probabilities(np.tile(a, (50, 1)), Choice(0.7))
    found["draws"] = {"drawn": u.tolist(), "a": a.tolist(), "temperature": 0.7}, draw(p, u), 0
    b = rng.standard_normal(7)
    found["guidance"] = {"guided": [a.tolist(), b.tolist(), 2.5]}, guide(a, b, 2.5), 1e-12
    return found


def check(name, found, expected, bound):
    """Raise unless the answer is the expected one up to rounding."""
    assert len(found) == expected.size, name
    difference = np.abs(np.array(found, dtype=np.float64) - expected).max()
    assert difference <= bound, f"{name}: {difference:.2e} is more than {bound:.2e}"
