"""The table: each dimension that is tested, the variants known from public code, and what to do about them.

docs/crosscheck-autoregressive.md says more about each; tests keep the two consistent.
"""

# flake8: noqa: E128  (each text begins beside its variant's name)

from vqnp.crosscheck.variants.table import GITHUB, Variant

PIXELCNN = "van den Oord et al. 2016, arXiv 1601.06759, figure 2"
GATED = "van den Oord et al. 2016, arXiv 1606.05328, section 2.2"
ATTENTION = "Vaswani et al. 2017, arXiv 1706.03762, section 3.2.3"
TAMING = f"{GITHUB}CompVis/taming-transformers"

TITLES = {
    "repeat": "same input twice", "batch": "other items", "order": "what is seen", "field": "blind spots",
    "start": "start token", "cache": "cached logits", "sampling": "probabilities",
}  # fmt: skip

# Of each dimension the variants: a label, or a label, advice and reference.
_TABLE: dict[str, dict[str, str | tuple[str, str, str]]] = {  # fmt: off
    "repeat": {
        "deterministic": "the same logits each time",
        "random": ("different logits each time: dropout is active", "Likelihoods and samples come from "
            "another network at each step. Put the model into evaluation mode, or give it no random numbers.",
            "Srivastava et al. 2014, JMLR 15, section 1"),
        "stateful": ("the logits depend on earlier calls", "Something is kept from call to call: a cache "
            "that is not emptied, or a buffer that forward changes.", f"{GITHUB}QwenLM/Qwen/issues/979")},
    "batch": {
        "independent": "an item's logits do not depend on the others",
        "dependent": ("an item's logits depend on the other items", "The model has no likelihood of its own "
            "for an item: look for batch norm in training mode, or a sum over the batch.",
            "Ioffe & Szegedy 2015, arXiv 1502.03167, section 3.1"),
        "axes_exchanged": ("attention over the batch: the axes of batch and positions are exchanged",
            "Each position sees the same position of other items and no other position of its own. Tell the "
            "attention which axis is which (batch_first=True in PyTorch).",
            f"{GITHUB}pytorch/pytorch/issues/100797")},
    "order": {
        "causal": "only codes before the one that is predicted",
        "no_shift": ("also the code that is predicted: the input is not shifted", "Each position reads the "
            "code that it predicts, so the loss falls to 0 and the samples are noise. Put a start token "
            "before the codes and leave out the last one.", ATTENTION),
        "mask_b_first": ("also the code that is predicted: mask B in the first convolution, or mask A lets "
            "the centre through", "The first convolution must not see its centre: mask A there, mask B in "
            "all others.", f"{PIXELCNN}; {GITHUB}j-min/PixelCNN-TF/issues/3"),
        "own_code": ("also the code that is predicted: no shift of the input, or mask B in the first "
            "convolution", "Each position reads the code that it predicts: shift the input by one position, "
            "or give the first convolution mask A.", f"{PIXELCNN}; {ATTENTION}"),
        "mask_off": ("also the code that is predicted, and perhaps some after it: the mask is off by one "
            "position or more",
            "Compare the mask's diagonal with the shift of the input.", ATTENTION),
        "current_row": ("also codes to the right in the same row: the vertical stack contains that row",
            "The vertical stack may hand over only the rows above: shift it down by one row, or leave the "
            "current row out of its first layer.", GATED),
        "channels": ("also later channels of the same place", "The channels of one place are predicted one "
            "after another: mask the later ones in every layer.", f"{PIXELCNN} and section 3.4"),
        "norm_over_positions": ("also all later codes, through a norm over positions", "The mean and "
            "variance of a norm include later positions: normalise over the channels of one position only. "
            "GroupNorm and BatchNorm of an image average over its places.",
            "Ba et al. 2016, arXiv 1607.06450, section 3.1"),
        "batch_norm": ("also all later codes, through a norm over the batch and its positions", "Statistics "
            "of the batch include later positions and other items: use a norm over channels.",
            "Ioffe & Szegedy 2015, arXiv 1502.03167, section 3.2"),
        "no_mask": ("later codes as well as earlier ones: no mask", "The mask is missing, or the function "
            "that receives it ignores it.", ATTENTION),
        "everything": ("also all later codes: no mask, or a norm over positions", "The mask is missing, or "
            "a norm takes its statistics over positions.", ATTENTION),
        "reversed": ("later codes instead of earlier ones: the mask is transposed", "Query and key are "
            "exchanged in the mask, or True means the opposite of what is intended.",
            f"{GITHUB}pytorch/pytorch/issues/92554"),
        "by_columns": ("the codes before, in order of columns instead of rows", "Height and width are "
            "exchanged: the grid is read column by column.", GATED),
        "other": ("also some later codes", "The map shows which.", ATTENTION)},
    "field": {
        "complete": "every code before is seen",
        "window": "every code before is seen up to some distance, none further away",
        "shifted_twice": ("the code just before is never seen: the input is shifted twice", "The input is "
            "shifted, and the mask hides the current position as well: do only one of the two.", ATTENTION),
        "mask_a_everywhere": ("the nearest codes are never seen: mask A in more than one layer, or a shift "
            "as well", "Only the first convolution has mask A; the others have mask B.", PIXELCNN),
        "own_row": ("no code to the left in the same row is seen: mask B zeroes the row of its centre",
            "Mask B keeps the centre and what is to the left of it.",
            f"{PIXELCNN}; {GITHUB}j-min/PixelCNN-TF/issues/4"),
        "blind_spot": ("codes above to the right are never seen: the blind spot of a single masked stack",
            "A vertical and a horizontal stack have no blind spot.", GATED),
        "gaps": ("some codes are never seen, although others further away are", "The map shows which; a "
            "dilation or a stride that skips codes has this effect.", GATED)},
    "start": {
        "own": "no code has the effect of the start token",
        "shared": ("the start token is a code", "The first position cannot tell the start from that code: "
            "give the start token a vector of its own.", TAMING)},
    "cache": {
        "agrees": "equal to those of the whole sequence, however the codes are cut into chunks",
        "mask_skipped": ("codes of a chunk see later ones of it: the mask is left out when the cache is not "
            "empty", "A chunk of several codes needs the mask (t, s + t), aligned at the lower right.",
            f"{TAMING}; {GITHUB}meta-llama/llama/issues/899"),
        "mask_upper_left": ("a part of the prefix is hidden: the mask is aligned at the upper left",
            "Query i of a chunk after s positions sees keys 0 to s + i.",
            f"{GITHUB}pytorch/executorch/issues/21749"),
        "prefix_ignored": ("a chunk does not see the chunks before it", "Keys and values of the prefix are "
            "not kept, or not passed to the attention.", f"{GITHUB}huggingface/candle/issues/3743"),
        "positions_restart": ("the right codes are seen, but the logits depend on how they are cut: "
            "positions restart with each chunk", "A chunk's positions begin at the number of positions in the "
            "cache.",
            f"{GITHUB}QwenLM/Qwen/issues/979"),
        "state_kept": ("other logits the second time: the cache is not emptied at the start", "begin must "
            "return an empty cache.", f"{GITHUB}QwenLM/Qwen/issues/979"),
        "other": ("not equal to those of the whole sequence", "The logits do not depend on how the codes "
            "are cut, but they are not those of the whole sequence: something else differs, such as a norm, "
            "a scale, or dropout.",
            ATTENTION)},
    "sampling": {
        "softmax": "as intended",
        "temperature": ("the softmax at another temperature than intended", "A temperature is applied by "
            "mistake, or left out: nll then measures another distribution than the one that is sampled.",
            "Holtzman et al. 2020, arXiv 1904.09751, section 4"),
        "empty": ("no code is left in some row", "top-p must keep the code that crosses p; otherwise a code "
            "of more than p leaves nothing to draw.", "Holtzman et al. 2020, arXiv 1904.09751, equation 2"),
        "top_p_crossing": ("top-p leaves out the code that crosses p", "The codes that are kept must have at "
            "least p together.", "Holtzman et al. 2020, arXiv 1904.09751, equation 2"),
        "top_k_less": ("top-k keeps one code fewer than intended", "Codes that are as likely as the k-th are "
            "kept.", "Fan et al. 2018, arXiv 1805.04833, section 5.4"),
        "top_k_more": ("top-k keeps one code more than intended", "The threshold is the k-th largest logit.",
            "Fan et al. 2018, arXiv 1805.04833, section 5.4"),
        "not_normalised": ("rows that do not sum to 1", "Divide by the sum again after codes are left out.",
            "Holtzman et al. 2020, arXiv 1904.09751, equation 3"),
        "other": ("not the softmax that is intended", "Compare with vqnp.priors.sampling.probabilities.",
            "Holtzman et al. 2020, arXiv 1904.09751, section 4")},
}  # fmt: on

VARIANTS = {
    dimension: {k: Variant(v) if isinstance(v, str) else Variant(*v) for k, v in variants.items()}
    for dimension, variants in _TABLE.items()
}
"""Dimension -> variant -> Variant, the right ones first."""

NEEDED = ("repeat", "batch", "order", "field")
"""What can be tested for every function of codes, and must be determined before it conforms."""
