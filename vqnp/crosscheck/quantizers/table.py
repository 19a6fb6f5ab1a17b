"""The table: what is tested of each family, the variants known from public code, and what to do about them.

docs/crosscheck-quantizers.md says more about each; tests keep the two consistent.
"""

# flake8: noqa: E128  (each text begins beside its variant's name)

from vqnp.crosscheck.variants.table import EQUATION_3, GITHUB, Variant

RQ = "Lee et al. 2022, arXiv 2203.01941, section 3.1"
FSQ = "Mentzer et al. 2023, arXiv 2309.15505, appendix A.1"
LFQ = "Yu et al. 2023, arXiv 2310.05737, section 3.1"
BSQ = "Zhao, Xiong & Krähenbühl 2024, arXiv 2406.07548, section 3.2"
VIT = "Yu et al. 2022, arXiv 2110.04627, section 3.2"
ROTATION = "Fifty et al. 2024, arXiv 2410.06424, section 4"
ENCODEC = f"{GITHUB}facebookresearch/encodec/issues/25"

DIMENSIONS = {  # fmt: off
    "vector": ("repeat", "choice", "output", "estimator", "commitment", "codebook_loss", "loss", "decode"),
    "residual": ("repeat", "dropout", "choice", "output", "sharing", "estimator", "commitment",
        "codebook_loss", "loss", "decode"),
    "cosine": ("repeat", "choice", "output", "estimator", "commitment", "codebook_loss", "loss",
        "zero_vector", "decode"),
    "finite_scalar": ("repeat", "levels", "values", "bound", "estimator", "index", "decode"),
    "lookup_free": ("repeat", "code", "sign_of_zero", "estimator", "index", "commitment",
        "sample_entropy", "batch_entropy", "loss", "decode"),
}  # fmt: on
"""Kind -> the dimensions that are tested, in this order."""

NEEDED = {
    "vector": ("repeat", "choice", "output", "estimator", "commitment"),
    "residual": ("repeat", "choice", "output", "estimator", "commitment"),
    "cosine": ("repeat", "choice", "output", "estimator", "commitment"),
    "finite_scalar": ("repeat", "levels", "values", "bound", "estimator"),
    "lookup_free": ("repeat", "code", "estimator", "commitment", "sample_entropy", "batch_entropy"),
}
"""Kind -> what must be determined before a layer conforms."""

TITLES = {
    "repeat": "same input twice", "dropout": "quantizer dropout", "choice": "codes", "output": "z_q",
    "sharing": "codebooks", "estimator": "gradient of z_q", "commitment": "commitment",
    "codebook_loss": "codebook loss", "loss": "value of L", "decode": "decoding", "zero_vector": "z = 0",
    "levels": "levels", "values": "values", "bound": "bound", "index": "index", "code": "z_q",
    "sign_of_zero": "sign of 0", "sample_entropy": "entropy of each", "batch_entropy": "entropy of all",
}  # fmt: skip

# Of each dimension the variants: a label, or a label, advice and reference.
_TABLE: dict[str, dict[str, str | tuple[str, str, str]]] = {  # fmt: off
    "repeat": {
        "deterministic": "the same answer each time",
        "dropped": "the same but for the number of codes, which is drawn",
        "random": "answers that differ: something is drawn at random, or a state is kept"},
    "dropout": {
        "none": "no code is left out", "prefix": "the last codes of a vector are left out",
        "gaps": ("a code is left out before one that is kept", "Each depth quantizes what those before it "
            "leave, so that only the last can be missing.",
            "Zeghidour et al. 2021, arXiv 2107.03312, section III-C"),
        "nothing_left": ("all codes of a vector may be left out", "At least the first code must stay, or z_q "
            "says nothing about z.", "Zeghidour et al. 2021, arXiv 2107.03312, section III-C")},
    "choice": {
        "nearest": "the nearest code", "cosine": "the largest cosine",
        "by_direction": "the largest cosine, though the code is used as it is",
        "fine_first": ("the indices are in reverse order, the finest first", "A prior or a quantizer dropout "
            "takes the first index to be the coarsest.", RQ),
        "no_residual": ("each depth quantizes z itself", "Subtract the codes of the depths before from z "
            "before the next code is chosen.", RQ),
        "distance": ("the nearest code to z, not the largest cosine", "Normalise z and the codes before they "
            "are compared.", VIT),
        "distance_of_unit": ("the nearest code to z/‖z‖, and codes are not normalised", "Normalise the codes, "
            "too, before they are compared: codes far from length 1 are chosen less often.", VIT),
        "product": ("the largest product z·e, and codes are not normalised", "Normalise the codes before they "
            "are compared: longer codes are chosen more often.", VIT)},
    "output": {
        "sum": "the sum of the codes",
        "after": ("codes of the codebook after its update", "The codes are looked up after the codebook has "
            "moved: k and z_q do not belong together. Quantize first, update afterwards.", EQUATION_3),
        "between_depths": ("a shared codebook moves between the depths", "Each depth is looked up in another "
            "codebook, so that k does not tell z_q. Update once, after all depths.",
            f"{GITHUB}kakaobrain/rq-vae-transformer"),
        "without_last": ("the last code is missing", "z_q must be the sum of all codes that k has.", RQ),
        "last_only": ("the last code alone", "z_q must be the sum of the codes of all depths.", RQ),
        "mean": ("the mean of the codes, not their sum", "The codes of a residual quantizer are added.", RQ),
        "dropped_kept": ("codes that k leaves out are in it", "A code that is dropped must not reach the "
            "decoder.", "Zeghidour et al. 2021, arXiv 2107.03312, section III-C"),
        "unit_code": "the code, of length 1", "code": "the code as it is stored, not of length 1",
        "length_of_z": "the code's direction with z's length"},
    "sharing": {"own": "one for each depth", "shared": "one for all depths, or equal ones"},
    "estimator": {
        "straight_through": "straight-through: copied once", "rotation": "rotation from z to z_q",
        "n_times": ("the identity times the number of depths", "Each depth is straight-through, and its "
            "output is added: the encoder's gradient is n times too large beside that of the losses. Take "
            "one straight-through step around the sum.", "docs/math/residual_quantize.md"),
        "rotation_each": ("the sum of a rotation for each depth", "Each depth rotates, and its output is "
            "added: the gradient is that of n steps. Rotate once, from z to the sum.", ROTATION),
        "rotation_through": "rotations that also pass through the residuals",
        "first_rotated": "rotation from z to the first code",
        "rotation_unscaled": ("a rotation without ‖q‖/‖z‖", "λ = ‖q‖/‖z‖ is part of the gradient.", ROTATION),
        "rotation_transposed": ("a rotation the wrong way round", "The gradient is Rᵀ G, where R takes z to "
            "q.", ROTATION),
        "scale_not_detached": ("a rotation whose ‖q‖/‖z‖ is differentiated", "R and λ are constants in the "
            "backward pass.", ROTATION),
        "multiple": ("a multiple of the identity", "The decoder's gradient must reach z as it is.", EQUATION_3),
        "zero": ("none", "The encoder learns nothing from the decoder: z_q = z + sg(z_q − z) is missing, "
            "or everything is detached.", EQUATION_3),
        "through_norm": "through the normalisation, then copied",
        "rotation_through_norm": "rotated, then through the normalisation",
        "skips_norm": "copied past the normalisation", "rotation_skips_norm": "rotated past the normalisation",
        "rotation_of_code": "rotation from z to the code as it is stored",
        "through_bound": "copied past the rounding alone",
        "through_bound_unscaled": ("the slope of the bound without the division of the levels", "z_q and its "
            "gradient have different units: divide inside the straight-through step, too.", FSQ),
        "skips_bound": ("copied past rounding and bound", "The bound's slope is missing: a saturated "
            "coordinate is pushed further out. Only the rounding is straight-through.", FSQ),
        "clipped": "copied where |z| ≤ 1", "through_tanh": "through tanh"},
    "commitment": {
        "each": "there, at each depth with the same weight", "none": "none", "weighted": "depths with different weights",
        "through_rotation": "of rotated residuals, through the rotations",
        "first_only": ("the first depth alone", "From the second depth on the commitment has no gradient: "
            "the residual is detached as a whole, or the straight-through output was subtracted, which "
            "carries z's gradient away. Subtract the detached code.", ENCODEC),
        "last_only": ("the last depth alone", "Nothing keeps the residuals of the other depths small: add "
            "the term of each depth.", RQ),
        "negative": ("with a negative weight", "It drives z away from its code.", EQUATION_3),
        "of_unit": "between the unit vectors", "of_unit_past_norm": "between the unit vectors, past the norm",
        "of_vectors": ("between the vectors as they are, though codes are chosen by cosine", "Lookup and loss "
            "disagree: a vector of another length than its code is moved though its direction is right.", VIT),
        "of_vector_and_unit_code": ("between z as it is and the unit code, though codes are chosen by cosine",
            "The loss pulls z's length to 1, which no code depends on. Compare unit vectors.", VIT)},
    "codebook_loss": {
        "each": "there, at each depth with the same weight", "none": "none: the codebook has no gradient",
        "weighted": "depths with different weights",
        "first_only": ("the first depth alone", "The other codebooks are not trained by the loss.", RQ),
        "from_decoder": ("the decoder's gradient reaches the codes", "Without sg on the codes the decoder "
            "moves them; straight-through gives it to z alone.", EQUATION_3),
        "negative": ("with a negative weight", "It drives codes away from their vectors.", EQUATION_3),
        "of_unit": "between the unit vectors",
        "of_vectors": "between the vectors as they are"},
    "loss": {"terms": "the sum of the terms found", "undetached": "one term without stop-gradients"},
    "decode": {
        "agrees": "z_q is what its codes decode to",
        "differs": ("z_q is not what its codes decode to", "What a decoder sees in training is not what it "
            "sees when it is given codes.", EQUATION_3)},
    "zero_vector": {
        "none": "no gradient", "finite": "a finite gradient", "huge": "a huge gradient: ‖z‖ is bounded by a tiny ε",
        "nan": ("NaN", "z/‖z‖ of a vector of length 0: bound the length from below.", VIT)},
    "levels": {
        "as_asked": "as many values as levels",
        "more": ("more values than levels", "Without the half step an even L gives L + 1 values or L − 1, and "
            "without a bound their number is not limited: codes collide or leave the range.", FSQ),
        "fewer": ("fewer values than levels", "Some levels are never chosen: look at the bound, at the half step "
            "that an even L needs, and at rounding towards 0.", FSQ),
        "not_monotonic": ("values that fall as z rises", "A coordinate must rise with z.", FSQ)},
    "values": {
        "published": "multiples of 1/⌊L/2⌋, from −1", "symmetric": "evenly from −1 to 1",
        "integers": "integers from −⌊L/2⌋, not divided by it", "from_0": "integers from 0",
        "centred": "steps of 1, centred at 0", "other": "others"},
    "bound": {
        "published": "h tanh(z + s) − o, h = (L − 1)(1 − ε)/2, s = tan(o/h), ε = 0.001",
        "wider": "the same with h = (L − 1)(1 + ε)/2 and s = artanh(o/h)",
        "narrower_artanh": "the same with s = artanh(o/h)", "wider_tan": "the same with h = (L − 1)(1 + ε)/2",
        "symmetric": "round((L − 1)(tanh z + 1)/2)", "no_epsilon": "the same with ε = 0 and s = artanh(o/h)",
        "no_shift": ("h tanh(z) − o without the shift s", "For even L z = 0 lies on the border of two levels. "
            "Shift by s = artanh(o/h), or tan(o/h) as in the paper's code.", FSQ),
        "no_shift_wider": ("h tanh(z) − o without the shift s, h = (L − 1)(1 + ε)/2", "For even L z = 0 lies "
            "on the border of two levels. Shift by s = artanh(o/h).", FSQ),
        "clipped_shifted": "as wider, with a clip in place of tanh",
        "clipped": "z clipped to [−1, 1], evenly divided", "logistic": "the logistic function, evenly divided"},
    "index": {
        "first_lowest": "the first coordinate is the least significant",
        "first_highest": "the first coordinate is the most significant",
        "descending": "as first_lowest, but the largest value is digit 0",
        "one_to_one": "one number for each vector, in another order",
        "out_of_range": ("numbers outside [0, K)", "An embedding of K codes cannot take them. Shift the "
            "digits to start at 0, and check the number of levels.", FSQ),
        "collides": ("different vectors have one number, or one vector several", "Multiply each digit by the "
            "product of the levels before it.", FSQ)},
    "code": {
        "signs": "s·sign(z)",
        "flipped": ("−s·sign(z)", "The commitment loss and the codes disagree.", LFQ),
        "not_quantized": ("z itself", "Nothing is quantized.", LFQ), "zeros": ("0", "z_q does not depend on z.", LFQ),
        "other": ("not s·sign(z) for one s", "Each coordinate has two values, s and −s.", LFQ)},
    "sign_of_zero": {
        "minus": "−", "plus": "+",
        "no_code": ("0, which is no code", "sign(0) = 0 is a third value: use where(z > 0, s, −s).", LFQ)},
    "sample_entropy": {
        "minimised": "minimised", "absent": "none",
        "maximised": ("maximised", "Each vector's choice becomes uncertain: the sign of ⟨H(p)⟩ is wrong.", LFQ)},
    "batch_entropy": {
        "exact": "maximised, over all codes", "bound": "maximised, as the sum of the entropies of single bits",
        "absent": "none",
        "minimised": ("minimised", "All vectors are driven to one code: the sign of H(⟨p⟩) is wrong.", BSQ)},
}  # fmt: on

VARIANTS = {
    dimension: {k: Variant(v) if isinstance(v, str) else Variant(*v) for k, v in variants.items()}
    for dimension, variants in _TABLE.items()
}
"""Dimension -> variant -> Variant, the right ones first."""
