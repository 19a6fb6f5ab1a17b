"""I(x; k) = H(k),  I(c; k) = Σ p(c, k) log₂ p(c, k)/(p(c) p(k)): information in codes, in bits.

k: (n, M) the codes of n images, each in [0, K); c: (n,) their classes
"""

import math
from typing import Any, NamedTuple

import numpy as np

from vqnp._check import Array, as_array, check_code_rows, fail
from vqnp.metrics.codebook import perplexity

LARGEST_TABLE = 10**8  # entries of a table of classes and codes, 800 MB: a label far beyond is no class


class CodeInformation(NamedTuple):
    """I(x; k) in bits, three ways.

    per_position: (M,) H(k_m), of each position alone; upper: Σ_m H(k_m) ≥ I(x; k);
    joint: H(k) of whole rows, estimated from these n images; limit: log₂ n, the largest possible joint

    Examples
    --------
    >>> codes = [[0, 0], [1, 1], [0, 0], [1, 1]]  # the second repeats the first
    >>> found = code_information(codes, 2)
    >>> found.per_position.round(6).tolist(), round(found.upper, 6), round(found.joint, 6)
    ([1.0, 1.0], 2.0, 1.0)
    """

    per_position: Array
    upper: float
    joint: float
    limit: float


class ClassInformation(NamedTuple):
    """The information of codes on the class, and which classes use which codes.

    per_position: (M,) I(c; k_m) in bits; bias: (M,) the estimate that chance alone would give;
    class_entropy: H(c), an upper bound; usage: (C, K) p(j | c) over all positions;
    classes_per_code: (K,) exp H(c | j), the effective number of classes that share code j (0: never used)
    if all classes were equally frequent; overlap: (C, C) Σ_j min(p(j | c), p(j | c')), from 0, no common
    codes, to 1, the same use of codes

    Examples
    --------
    >>> found = class_information([[0, 0], [0, 1], [1, 0], [1, 1]], labels=[0, 0, 1, 1], num_embeddings=2)
    >>> found.per_position.round(6).tolist(), round(found.class_entropy, 6)  # the class, and chance
    ([1.0, 0.0], 1.0)
    >>> found.usage.tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """

    per_position: Array
    bias: Array
    class_entropy: float
    usage: Array
    classes_per_code: Array
    overlap: Array


def code_information(codes: Any, num_embeddings: int) -> CodeInformation:
    """I(x; k) = H(k) − H(k | x) = H(k) ≤ Σ_m H(k_m) ≤ M log₂ K: codes are a function of the image.

    k: (n, M) -> bits

    Parameters
    ----------
    codes : array_like of integers, shape (n, M) or (n, *latent_shape)
        At least one image and one position.
    num_embeddings : int
        K.

    Returns
    -------
    CodeInformation
        H(k_m) is estimated from counts and accurate if n is well above K (the bias is about
        −(U − 1)/(2n ln 2) for U codes in use). H(k) of whole rows is not: n images show at most log₂ n
        bits, and if no two images have the same codes, `joint` is that limit and only a lower bound.

    Raises
    ------
    InputError
        If codes are not integers in [0, K) of this shape.

    References
    ----------
    Cover & Thomas 2006, Elements of Information Theory, equation 2.43 and theorem 2.6.6.
    The bias: Miller 1955, Note on the bias of information estimates.
    """
    k = check_code_rows("code_information", codes, num_embeddings)
    per_position = np.array([_entropy(np.bincount(column)) for column in k.T])
    rows = np.unique(k, axis=0, return_counts=True)[1]
    return CodeInformation(per_position, float(per_position.sum()), _entropy(rows), math.log2(len(k)))


def class_information(codes: Any, labels: Any, num_embeddings: int) -> ClassInformation:
    """I(c; k_m) = H(c) + H(k_m) − H(c, k_m), and p(j | c): which codes each class uses, or shares.

    k: (n, M), c: (n,) -> bits and tables

    Parameters
    ----------
    codes : array_like of integers, shape (n, M) or (n, *latent_shape)
    labels : array_like of integers, at least 0, shape (n,)
        C is one more than the largest.
    num_embeddings : int
        K.

    Returns
    -------
    ClassInformation
        If code and class are independent, the estimate from counts exceeds I by about
        (C' − 1)(U − 1)/(2n ln 2), with C' classes and U codes in the data. This is `bias`: an estimate
        that is not larger shows nothing. It is not a correction: with few counts in a cell, n < 5 C' U,
        chance gives more (17 % more at n = 1.6 C' U), and if some classes never have some codes it gives
        less, below 0 if the code determines the class. Shuffled labels show what chance gives.

    Raises
    ------
    InputError
        If codes are not integers in [0, K) of this shape, or labels not integers of theirs.

    References
    ----------
    Cover & Thomas 2006, equation 2.45. The bias: Miller 1955.
    """
    where = "class_information"
    k = check_code_rows(where, codes, num_embeddings)
    c = as_array(where, "labels", labels)
    if c.dtype.kind not in "iu" or c.shape != (len(k),):
        fail(where, "labels", f"must be integers of shape ({len(k)},)", f"{c.dtype} of shape {c.shape}")
    if c.min() < 0:
        fail(where, "labels", "must not be negative", c.min())
    if (int(c.max()) + 1) * num_embeddings > LARGEST_TABLE:
        most = LARGEST_TABLE // num_embeddings
        needed = f"must be below {most} (np.unique with return_inverse numbers the classes from 0)"
        fail(where, "labels", needed, c.max())
    c = c.astype(np.int64)  # labels are often uint8, in which c·K would overflow
    K, C = num_embeddings, int(c.max()) + 1
    tables = np.stack([np.bincount(c * K + column, minlength=C * K).reshape(C, K) for column in k.T])
    H_c = _entropy(np.bincount(c))
    per_position = np.array([H_c + _entropy(t.sum(axis=0)) - _entropy(t) for t in tables])
    used, classes = (tables.sum(axis=1) > 0).sum(axis=1), np.count_nonzero(np.bincount(c))
    bias = (classes - 1) * (used - 1) / (2 * len(k) * math.log(2))
    together = tables.sum(axis=0).astype(np.float64)
    usage = together / np.maximum(together.sum(axis=1, keepdims=True), 1)
    per_code = np.array([perplexity(column) if column.any() else 0.0 for column in usage.T])
    overlap = np.array([np.minimum(row, usage).sum(axis=1) for row in usage])
    return ClassInformation(np.maximum(per_position, 0), bias, H_c, usage, per_code, overlap)


def code_changes(codes: Any) -> Array:
    """#{m : k_m(t + 1) ≠ k_m(t)}: how many positions change at each step of a path.

    k: (T, *latent_shape) -> (T − 1,) integers
    """
    k = as_array("code_changes", "codes", codes)
    if k.dtype.kind not in "iu" or k.ndim < 2 or len(k) < 1:
        needed = "must be integers of shape (T, *latent_shape)"
        fail("code_changes", "codes", needed, f"{k.dtype} of shape {k.shape}")
    return np.sum(k[1:] != k[:-1], axis=tuple(range(1, k.ndim)))


def _entropy(counts: Array) -> float:
    """H = −Σ p log₂ p, in bits."""
    return math.log2(perplexity(counts.reshape(-1)))
