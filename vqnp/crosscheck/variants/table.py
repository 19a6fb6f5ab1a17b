"""The table: every dimension in which VQ layers differ, every variant met in public code, and what to do.

docs/crosscheck-variants.md says more of each; tests keep the two together.
"""

# flake8: noqa: E128  (each text begins beside its variant's name)

from typing import NamedTuple


class Variant(NamedTuple):
    """What a variant is, in words; and, for a known bug or hazard, advice and where it was discussed."""

    label: str
    advice: str = ""
    reference: str = ""


PAPER = "van den Oord et al. 2017, arXiv 1711.00937"
EQUATION_3 = f"{PAPER}, equation 3"
IRIE = "Irie et al. 2023, arXiv 2302.07950"
GITHUB = "https://github.com/"

# Of each dimension the variants: a label, or a label, advice and reference.
_TABLE: dict[str, dict[str, str | tuple[str, str, str]]] = {  # fmt: off
    "distance": {
        "exact": "exact: no code differs from direct sums in float64",
        "direct_float32": "direct, in float32: only near-ties differ",
        "expanded_float32": ("expanded, in float32", "‖z‖² − 2z·e + ‖e‖² cancels when the data sit off the "
            "origin: centre the encoder's output, or compute Σ(z − e)² directly.",
            f"{GITHUB}pytorch/pytorch/issues/42479"),
        "expanded_float64": "expanded, in float64: wrong only very far from the origin",
        "half": "in half precision, which decides near-ties by rounding whatever the form",
        "cosine": "cosine similarity: another rule than the nearest code",
        "other": ("not the nearest code", "Codes are not the nearest ones even at the origin: look for a "
            "wrong axis, a maximum in place of a minimum, or sampled codes.", f"{PAPER}, equation 1")},
    "ties": {
        "lowest": "the lowest index", "highest": "the highest index",
        "other": "neither the lowest nor the highest index always"},
    "beta_on": {
        "commitment": "the commitment term",
        "codebook": ("swapped: on the codebook term", "β multiplies the codebook term: the encoder is pulled "
            "1/β times as hard as intended and the codebook β times. Exchange the two detached arguments.",
            f"{GITHUB}CompVis/taming-transformers/issues/57"),
        "complement": ("(1 − β) on the commitment term, β on the codebook term", "The weights are tied to "
            "each other: the codebook's is not 1, as in the paper's equation 3.", EQUATION_3),
        "both": ("one weight on both terms", "The commitment weight scales the codebook term too: the "
            "codebook's gradient is β times the paper's.", EQUATION_3),
        "none": "the commitment term alone, as for a codebook that follows by EMA",
        "undetached": ("one term without stop-gradients", "One squared error pulls z and E with the same "
            "weight: the classical loss at β = 1 has these gradients and twice the value, and no other β has "
            "them.", EQUATION_3),
        "other": ("no known weighting", "The gradients are not those of the loss value with any known "
            "placing of β.", EQUATION_3)},
    "reduction": {
        "mean": "mean over all entries",
        "mean_of_sums": "sum over D, mean over vectors, as the paper writes it",
        "sum": ("sum over everything, the batch included", "The loss grows with the batch: at another batch "
            "size the same β means another balance. Divide by the number of vectors.",
            "docs/decisions/0003-reduction-mean.md"),
        "sum_of_means": ("mean over D, sum over vectors", "The loss grows with the batch: at another batch "
            "size the same β means another balance.", "docs/decisions/0003-reduction-mean.md")},
    "loss_from": {
        "codes": "from e, before straight-through",
        "straight_through": ("after straight-through", "The loss is computed from z + sg(z_q − z): the "
            "codebook gets no gradient from it, and the encoder the difference of the two terms, while the "
            "reconstruction still improves. Take the loss from E[k], before that line. (No gradient at all "
            "may also come from .item().)", f"{GITHUB}andylolu2/jax-vqvae-gpt/issues/2")},
    "straight_through": {
        "copy": "copied: z + sg(z_q − z)", "rotation": "the rotation trick (arXiv 2410.06424)",
        "none": ("no gradient passes", "The decoder's gradient does not reach the encoder, which then learns "
            "from the commitment alone.", f"{PAPER}, section 3.2"),
        "other": ("another estimator", "The decoder's gradient reaches z neither copied nor rotated.",
            f"{PAPER}, section 3.2")},
    "leak": {
        "no": "none of it reaches E",
        "yes": ("the reconstruction's gradient leaks into E", "z_q hangs on E outside the loss: the decoder "
            "moves the codebook, too. Detach it: z + (e − z).detach().",
            f"{GITHUB}ritheshkumar95/pytorch-vqvae/issues/7")},
    "codes": {
        "before": "those before the update",
        "after": ("those after the update", "z_q and the loss look up codes that have just moved towards "
            "this batch, so the training loss flatters the codebook. Quantize first, update afterwards.",
            f"{GITHUB}zalandoresearch/pytorch-vq-vae/issues/5"),
        "mixed": ("z_q of one side of the update, the loss of the other", "z_q and the loss come from two "
            "different codebooks: quantize first, update afterwards.",
            f"{GITHUB}zalandoresearch/pytorch-vq-vae/issues/5"),
        "other": ("rows of no codebook", "z_q consists of no rows of E: is anything applied after the "
            "look-up?", PAPER)},
    "evaluation_loss": {"same": "the same as in training", "zero": "0", "other": "another than in training"},
    "start": {
        "consistent": "consistent: N = 1, m = e",
        "zero_counts": ("N = 0, m = e", "Every code that the first batch does not use becomes some 1e5 times "
            "too long and is lost. Start with N = 1.", f"{GITHUB}google-deepmind/sonnet/issues/272; {IRIE}"),
        "zero": ("N = m = 0", "Every code that the first batch does not use becomes the zero vector; they "
            "are all one code from then on. Start with N = 1, m = e.", IRIE),
        "independent": ("N = 0, m independent of e", "The codebook that was drawn is thrown away in step 1, "
            "and unused codes become some 1e5 times too long. Start with N = 1, m = e.", IRIE),
        "one_count_independent": ("N = 1, m independent of e", "Step 1 replaces the codebook by m. Start "
            "with m = e.", IRIE),
        "other": ("not a known moving average", "The codebook after a step is no quotient of moving averages "
            "of sums and counts.", f"{PAPER}, appendix A")},
    "zero_debias": {"no": "no", "yes": "yes: N and m are divided by 1 − γᵗ"},
    "write_back": {
        "no": "raw",
        "yes": ("smoothed, written back", "The smoothed N is stored, so that smoothing compounds: an unused "
            "N never falls below about ε/(1 − γ) while m does, and the code shrinks to 0. Keep the raw N.",
            f"{GITHUB}schmidtdominik/LAPO/issues/5")},
    "smoothing": {
        "laplace": "Laplace, normalised",
        "additive": ("ε added, not normalised", "Adding ε without normalising shrinks all codes a little "
            "towards 0.", f"{GITHUB}google-deepmind/sonnet/issues/248"),
        "none": ("none", "A code whose N has faded is a quotient of two tiny numbers: in the end 0/0, unless N is "
            "kept from falling below a bound.", "docs/math/ema.md")},
    "perplexity": {
        "exact": "exact, of the batch", "log_offset": "with log(p + 1e-10), of the batch",
        "entropy": ("the entropy in nats, not its exponential", "What is called perplexity is an entropy: "
            "take exp of it.", "docs/math/perplexity.md"),
        "entropy_bits": ("the entropy in bits, not 2 to its power", "What is called perplexity is an "
            "entropy: take 2 to its power.", "docs/math/perplexity.md"),
        "utilization": "perplexity / K", "used": "the number of codes in use",
        "other": ("not the perplexity of the batch", "The number is not exp(−Σ p log p) of this batch's "
            "codes.", "docs/math/perplexity.md")},
    "dead_codes": {
        "never": "never restarted", "restart": "restarted, to stay",
        "undone": ("restarted, and undone by the next update", "A restart sets e, but the next update "
            "computes e = m/N from the old m. Reset e, N and m together.",
            f"{GITHUB}lucidrains/vector-quantize-pytorch/issues/45")},
    "kmeans_start": {
        "stays": "codes start from the first batch, and stay",
        "collapses": ("codes collapse at the second step", "After k-means m must be n·μ, not μ: the next "
            "update divides it by N = n.", f"{GITHUB}lucidrains/vector-quantize-pytorch/issues/66"),
        "unused": "the codebook does not wait for data"},
    "codebook_init": {
        "uniform": "U(−1/K, 1/K)", "normal": "N(0, 1)", "scaled_uniform": "U(±√(3/D))",
        "waits": "waits for the first batch", "other": "another law"},
}  # fmt: on

VARIANTS = {
    dimension: {name: Variant(v) if isinstance(v, str) else Variant(*v) for name, v in variants.items()}
    for dimension, variants in _TABLE.items()
}
# Variants that many layers have and that change no training: they conform, with a note.
BENIGN = {"perplexity": ("log_offset",), "evaluation_loss": ("zero",)}

# How the report names each dimension.
TITLES = {dimension: dimension.replace("_", " ") for dimension in VARIANTS} | {
    "beta_on": "β on", "loss_from": "loss computed", "straight_through": "straight-through",
    "leak": "gradient into E", "codes": "codes in forward", "evaluation_loss": "loss in evaluation",
    "start": "EMA start", "zero_debias": "zero-debias", "write_back": "stored N",
    "kmeans_start": "k-means start",
}
