"""Our own priors, asked as anybody's: they conform."""

import numpy as np
import pytest

from vqnp import priors
from vqnp.crosscheck import check_autoregressive
from vqnp.priors.sampling import Choice, probabilities

SHAPE, K = (3, 4), 7


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"tied": True}, {"num_classes": 3, "dropout": 0.5}])
def test_the_transformer_conforms(options, dtype):
    prior = priors.Transformer(K, SHAPE, channels=8, layers=2, heads=2, dtype=dtype, **options)
    for label in range(1 + prior.num_classes):

        def begin(B, label=label):
            return prior.begin(np.full(B, label))

        def starting_with(codes, first):
            E, old = prior.embedding.E.value, prior.start.value.copy()
            rows = []
            for k, one in zip(first, codes, strict=True):
                prior.start.value[...] = E[k]
                rows.append(prior.logits(one[None], condition(label)))
            prior.start.value[...] = old
            return np.concatenate(rows)

        def condition(label):
            return None if label == prior.num_classes else label

        report = check_autoregressive(
            lambda codes: prior.logits(codes, condition(label)), SHAPE, K, cached=(begin, prior.extend),
            starting_with=starting_with, probabilities=lambda a: probabilities(a, Choice()),
        )  # fmt: skip
        told = {d: v for d, v in report.fingerprint.items() if d != "start"}
        assert told == {
            "repeat": "deterministic", "batch": "independent", "order": "causal", "field": "complete",
            "cache": "agrees", "sampling": "softmax",
        } and report.fingerprint["start"] == "own", report  # fmt: skip
        assert report.ok


@pytest.mark.parametrize(("order", "field"), [(0, None), (1, "window")])
def test_the_markov_chain_conforms(order, field, rng):
    """Its conditional probabilities, from those of all sequences."""
    M, size = 4, 3
    chain = priors.Markov(rng.integers(0, size, (50, M)), size, order=order)
    p = np.array([2 ** -chain.code_length([k]) for k in np.ndindex((size,) * M)]).reshape((size,) * M)
    np.testing.assert_allclose(p.sum(), 1)

    def logits(codes):
        prefixes = [p.sum(axis=tuple(range(m + 1, M))) for m in range(M)]
        rows = [[np.log(prefixes[m][tuple(k[:m])]) for m in range(M)] for k in codes]
        a = np.array([[row - np.log(np.exp(row).sum()) for row in one] for one in rows])
        return a.round(12)  # the sums over all sequences round differently after other codes

    report = check_autoregressive(logits, M, size)
    assert report.fingerprint["field"] == field, report
    assert report.verdict == ("conforms" if order else "not enough was asked")


def test_the_pixelcnn_conforms():
    if "PixelCNN" not in priors.__all__:
        pytest.skip("there is no PixelCNN")
    prior = priors.PixelCNN(K, (5, 6))
    report = check_autoregressive(prior.logits, (5, 6), K)
    assert report.ok and report.fingerprint["field"] == "complete", report
