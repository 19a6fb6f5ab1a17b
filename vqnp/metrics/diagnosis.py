"""utilization = perplexity / K in words: is the codebook used, and if not, why not."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vqnp._check import Array, check_float, check_int, fail
from vqnp.metrics.codebook import in_range


@dataclass(frozen=True)
class Diagnosis:
    """A codebook's health: a level, the numbers behind it, a sentence, and advice; str() has all of it.

    Examples
    --------
    >>> found = diagnose(60.0, 128)
    >>> found.level, round(found.utilization, 2), found.advice.split(" or ")[0]
    ('partial collapse', 0.47, 'restart dead codes')
    """

    level: str
    perplexity: float
    num_embeddings: int
    utilization: float
    sentence: str
    advice: str

    def __str__(self) -> str:
        K = self.num_embeddings
        figures = f"perplexity {self.perplexity:.1f} of {K} code{'s' if K > 1 else ''}"
        share = f"utilization {100 * self.utilization:.1f} %"
        return f"{self.level}: {figures}, {share}: {self.sentence}. Advice: {self.advice}."

    def as_dict(self) -> dict[str, Any]:
        """Its fields by name."""
        return asdict(self)


BANDS = (
    (0.2, "severe collapse", "a few codes dominate and most of the codebook goes unused",
     "consider a smaller codebook or more training, though neither removes the cause; restart dead codes, "
     "initialize the codes from data, and check the commitment cost"),
    (0.5, "partial collapse", "more than half of the codebook's capacity goes unused",
     "restart dead codes or initialize the codes from data; a smaller codebook would save bits"),
    (0.8, "uneven use", "the codebook is used, but some codes much more than others",
     "more training or restarting dead codes may even it out"),
    (math.inf, "healthy", "excellent use of the codebook",
     "nothing needs to change; if the reconstructions lack detail, try a larger codebook"),
)  # fmt: skip
"""(upper bound of utilization, level, sentence, advice), the worst band first. The bounds are definitions and
no findings: they name a utilization, and a model of one band need not be better than one of another
(docs/studies/collapse.md counts how often it is not)."""

# More choices of ours. Utilization is at least 1/K, so for a small K only perplexity shows a severe collapse:
# the bound is half-way from one code to two. A drop in the last epoch alone may be chance, as may 1 % of the
# error.
ONE_CODE = 1.5  # the perplexity below which it is severe collapse, whatever the utilization
DROP, DROP_OF_ONE_EPOCH = 0.7, 0.5  # the shares of its peak below which a perplexity has dropped
HIGH = 0.25  # the utilization from which a peak counts as use of the codebook
FALLING = 0.99  # the share of the earlier error below which it has fallen
ROSE = 1.05  # the multiple of the earlier test error above which it has risen
EARLY = 3  # the epochs before which no collapse is named: perplexity drops and recovers in any training
ALARMS = ("severe collapse", "partial collapse", "few codes dominate", "collapse during training",
          "collapse by overfitting to few codes", "no commitment", "no reconstruction")  # fmt: skip
"""The levels that ask for a change."""


CODES_PER_EMBEDDING = 10
"""The number of codes for each of the K from which a perplexity says something about the codebook: over n
codes it is at most n, and below about ten for each it is biased low for any codebook (our measurement)."""


def diagnose(
    perplexity: float, num_embeddings: int, history: Any = None, codes: int | None = None,
    mse: float | None = None, variance: float | None = None, commitment_cost: float | None = None,
) -> Diagnosis:  # fmt: skip
    """utilization = perplexity / K in words; with a history, how it developed during training.

    perplexity: one number, K: an integer, history: a value for each epoch -> Diagnosis

    ====================================================  ====================================
    condition                                             level
    ====================================================  ====================================
    utilization below 20 %, or perplexity below 1.5       severe collapse
    utilization below 50 %                                partial collapse
    utilization below 80 %                                uneven use
    utilization from 80 %                                 healthy
    dropped to less than half of K while the error fell   few codes dominate
    the same, while the test error rose                   collapse by overfitting to few codes
    dropped from a quarter of K or more                   collapse during training
    any of the collapses above, in the first two epochs   too early
    K = 1                                                 no choice
    fewer than 10 K codes, used about as evenly as by     too few codes
    chance
    utilization from 50 %, but mse at least variance      no reconstruction
    utilization from 50 %, but β is 0                     no commitment
    ====================================================  ====================================

    The bounds are definitions, not findings: a level names how the codes are used, and not how good the model
    is. Over the 123 trainings of the study `collapse` (five causes, six remedies) it was silent about 12 % of
    the models whose error was beyond chance above the best (misses) and asked 45 % of the others for a change
    (false alarms), most of them with too many codes for their data.

    Without a history a higher perplexity never has a worse level.

    Parameters
    ----------
    perplexity : float in [1, K]
        Over a data set, best a test set.
    num_embeddings : int
        K.
    history : optional
        The course of the training: a sequence of rows (mappings with "perplexity" and perhaps
        "reconstruction_loss", as `fit` returns them or csv.DictReader reads them), or a mapping of those
        names to sequences, or a sequence of perplexities. Perplexity has dropped if it is now below 70 % of
        its peak. A single epoch is neither a peak nor a drop, except that the first epoch can be the
        peak, and that a fall by more than half is a drop. The error fell if it is now at least 1 % lower
        than at the peak; the test error, if the rows have "test_mse", rose if it is now 5 % higher.
    mse, variance : float, optional
        The error of the reconstructions, and that of the mean image, which is the variance of each pixel over
        the images, averaged. A model that reconstructs anything has a lower error.
    codes : int, optional
        n, the number of codes that were counted. Over few of them no perplexity is near K. If n < 10 K, a
        perplexity of at least half of what n codes at random have, about K (1 − (1 − 1/K)ⁿ), shows nothing.
    commitment_cost : float, optional
        β, of a quantizer whose latents only the commitment loss holds. At 0 nothing bounds them: they spread
        while the perplexity looks healthy.

    Raises
    ------
    InputError
        If perplexity is outside [1, K], K is below 1, or history has another form.

    Examples
    --------
    >>> diagnose(14.2, 128).level
    'severe collapse'
    >>> diagnose(40.0, 128, history=[20.0, 80.0, 81.0, 50.0, 40.0]).level
    'collapse during training'
    """
    K = check_int("diagnose", "num_embeddings", num_embeddings)
    value = in_range("diagnose", perplexity, K)
    course, errors, tests = _history(history, K)
    remark = _useless(mse, variance)
    share = value / K
    if K == 1:
        sentence, advice = "one code carries no information", "use a larger codebook"
        return Diagnosis("no choice", value, K, share, sentence, advice)
    if codes is not None and check_int("diagnose", "codes", codes) < CODES_PER_EMBEDDING * K:
        reach = K * -math.expm1(codes * math.log1p(-1 / K))
        if value >= reach / 2 and share < BANDS[2][0]:
            sentence = f"{codes} codes are too few to judge a codebook of {K}"
            advice = f"use more images, so that there are at least {CODES_PER_EMBEDDING * K} codes"
            return Diagnosis("too few codes", value, K, share, sentence, advice)
    peak = _peak(course)
    high = course[peak] if course.size else value
    lasting = value < DROP * high and bool((course[-2:] < DROP * high).all())
    dropped = value < DROP_OF_ONE_EPOCH * high or lasting
    fell = f"perplexity fell from {high:.1f} to {value:.1f}"
    if dropped and share < 0.5 and _falls(errors, peak):
        level, sentence, advice = _dominated(f"{fell} while the reconstruction error fell too", tests, peak)
    elif dropped and high >= HIGH * K:
        level = "collapse during training"
        sentence = f"{fell}: some codes came to dominate while others went unused"
        advice = "restart dead codes, lower the learning rate, or adjust the commitment cost"
    else:
        band = next(i for i, row in enumerate(BANDS) if share < row[0] or (i == 0 and value < ONE_CODE))
        _, level, sentence, advice = BANDS[band]
        if band == 0 and course.size > 1 and value > course[0] / DROP and value > DROP * high:
            sentence += f", although perplexity is still rising, from {course[0]:.1f} in the first epoch"
            advice = "more training first; if it stays so, look for the cause, such as the commitment cost"
        elif band == 0 and course.size and value < course[0] and _falls(errors, 0):
            level, sentence, advice = _dominated("the reconstruction error fell with fewer codes", tests, 0)
    if remark and share >= BANDS[1][0] and not dropped:
        level, sentence = "no reconstruction", f"the codes are used, but {remark}"
        advice = "train longer, or with another learning rate, and check the range of the data"
    elif commitment_cost == 0 and share >= BANDS[1][0] and not dropped:
        level = "no commitment"
        sentence = "the codes are used, but at β = 0 nothing keeps the latents from spreading"
        advice = "use a commitment cost above 0; the paper's is 0.25"
    elif remark:
        sentence += f"; and {remark}"
    if 0 < course.size < EARLY and level in ALARMS[:5]:
        level = "too early"
        sentence = "perplexity is low, as in the first epochs of most trainings"
        sentence += f"; {remark}" * bool(remark)
        advice = f"train for at least {EARLY} epochs, and look again"
    return Diagnosis(level, value, K, share, sentence, advice)


def _dominated(what: str, tests: Array, start: int) -> tuple[str, str, str]:
    """Level, sentence and advice where few codes are left and the error fell; tests: of each epoch."""
    advice = "look for the cause, such as the commitment cost; restart dead codes"
    if tests.size >= 2 and tests[-1] > ROSE * tests[min(start, tests.size - 2)]:
        why = "and the test error rose: the model is overfitting to few codes"
        return "collapse by overfitting to few codes", f"{what}, {why}", advice
    return "few codes dominate", f"{what}: few codes do most of the work", advice


def _useless(mse: float | None, variance: float | None) -> str:
    """In words that the reconstructions are no better than the mean image; "" if they are."""
    if mse is None or variance is None:
        return ""
    error = check_float("diagnose", "mse", mse, "[0, inf)")
    if not 0 < check_float("diagnose", "variance", variance, "[0, inf)") <= error:
        return ""
    return f"the MSE, {error:.3g}, is not below that of the mean image, {variance:.3g}"


def _peak(course: Array) -> int:
    """The epoch at which the median of three neighbours is largest; the first epoch is its own median."""
    if course.size < 3:
        return int(course.argmax()) if course.size else 0
    middle = np.median([course[:-2], course[1:-1], course[2:]], axis=0)
    smooth = np.concatenate([course[:1], middle])
    top = int(smooth.argmax())
    return next(i for i in (top, top - 1, top + 1) if course[i] == smooth[top])


def _falls(errors: Array, start: int) -> bool:
    """Whether the median of the last three errors is lower than the error in epoch `start`."""
    if errors.size < 2:
        return False
    start = min(start, errors.size - 2)
    return bool(np.median(errors[start + 1 :][-3:]) < FALLING * errors[start])


def _history(history: Any, K: int) -> tuple[Array, Array, Array]:
    """The perplexities, the errors and the test errors of a history, one for each epoch, or none."""
    if history is None:
        return np.empty(0), np.empty(0), np.empty(0)
    try:
        rows = history if isinstance(history, Mapping) else list(history)
        if isinstance(rows, Mapping):
            names = ("perplexity", _error_name(rows), "test_mse")
            columns = [list(rows[names[0]]), *(list(rows.get(name, [])) for name in names[1:])]
        elif any(isinstance(row, Mapping) for row in rows):
            errors = [row[_error_name(row)] for row in rows if _error_name(row) in row]
            tests = [row["test_mse"] for row in rows if "test_mse" in row]
            columns = [[row["perplexity"] for row in rows], errors, tests]
        else:
            columns = [rows, [], []]
        course, mse, test = (np.array(column, np.float64).reshape(len(column)) for column in columns)
    except (KeyError, TypeError, ValueError) as error:
        needed = "must be rows with 'perplexity' and 'mse', or sequences of those names, or perplexities"
        fail("diagnose", "history", needed, f"{type(error).__name__}: {error}")
    if mse.size not in (0, course.size):
        fail("diagnose", "history", f"must have {course.size} values of 'mse', as of 'perplexity'", mse.size)
    for epoch, value in enumerate(course):
        in_range("diagnose", value, K, f"history's perplexity in epoch {epoch + 1}")
    for epoch, value in enumerate(mse):
        check_float("diagnose", f"history's mse in epoch {epoch + 1}", value, "[0, inf)")
    return course, mse, test if test.size == course.size else np.empty(0)


def _error_name(row: Mapping[str, Any]) -> str:
    """The column of the reconstruction error: "mse" in version 0.1, "reconstruction_loss" since."""
    return "mse" if "mse" in row else "reconstruction_loss"
