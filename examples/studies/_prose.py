"""0.0089<!--mse K=128-->: a number in prose, and where it comes from; a test compares the two.

A reference stands in an HTML comment, which readers do not see, directly behind the number:

    0.0089<!--mse K=128 codebook=ema-->          the mean over seeds, in this page's study
    0.0090<!--mse.max K=128 codebook=ema-->      the largest (or .min) over seeds
    2.1<!--mse K=32 / mse K=1024-->              a ratio of two
    0.0089<!--codebook_size: mse K=128-->        of another study, by its name

A setting that has one value throughout need not be named. Write ? for the number, and the script of the
study fills it in, to three significant digits. Text stays as it was written: if figures change, the test
fails, and a person reads whether what is said still holds.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

NUMBER = re.compile(r"(?P<number>\?|[−-]?\d+(?:,\d{3})*(?:\.\d+)?)(?P<unit> %)?<!--(?P<reference>[^>]*?)-->")


def value(reference: str, study: str, folder: Path) -> float:
    """The number that a reference names; study: the page's own, folder: where the JSON files are."""
    parts = [_one(part, study, folder) for part in reference.split(" / ")]
    return parts[0] if len(parts) == 1 else parts[0] / parts[1]


def fill(text: str, study: str, folder: Path) -> str:
    """The text with every ? before a reference replaced by the number."""

    def replace(found: re.Match[str]) -> str:
        if found["number"] != "?":
            return found[0]
        number = value(found["reference"], study, folder)
        return found[0].replace("?", _three(number), 1)

    return NUMBER.sub(replace, text)


def wrong(text: str, study: str, folder: Path) -> list[str]:
    """A sentence for each number that is not the one of its reference, as far as it is written out."""
    sentences = []
    for found in NUMBER.finditer(text):
        try:
            true = value(found["reference"], study, folder)
        except (KeyError, ValueError, OSError) as error:
            sentences.append(f"{found[0]}: {error}")
            continue
        digits = found["number"].replace(",", "").replace("−", "-")
        places = len(digits.partition(".")[2])
        if found["number"] == "?" or abs(float(digits) - true) > 0.5 * 10**-places * (1 + 1e-6):
            sentences.append(f"{found[0]}: it is {true:g}")
    return sentences


def unreferenced(text: str, result: dict[str, Any]) -> list[str]:
    """Numbers with no reference that are no settings of the study either; code, formulas, links left out."""
    text = re.sub(
        r"```.*?```|`[^`]*`|\$[^$]*\$|\]\([^)]*\)|arXiv \d+\.\d+|\(\d{4}\)", " ", text, flags=re.DOTALL
    )
    text = re.sub(r"<!--.*?-->", " ", NUMBER.sub(" ", text), flags=re.DOTALL)
    known = {result["seeds"]} | _numbers(result["scale"])
    for row in result["rows"]:
        known |= _numbers(row["setting"])
    found = re.findall(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)", text)
    return [n for n in found if float(n.replace(",", "")) not in known]


def _one(reference: str, study: str, folder: Path) -> float:
    other, colon, rest = reference.strip().rpartition(":")
    name, *conditions = rest.split()
    name, _, statistic = name.partition(".")
    result = json.loads((folder / f"{other.strip() if colon else study}.json").read_text(encoding="utf-8"))
    wanted = [condition.partition("=")[::2] for condition in conditions]
    rows = [row for row in result["rows"] if all(_text(row["setting"].get(k)) == v for k, v in wanted)]
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} settings are {' '.join(conditions) or 'all there are'}")
    return rows[0]["figures"][name][statistic or "mean"]


def _numbers(values: Any) -> set[float]:
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        return set().union(*(_numbers(v) for v in values)) if values else set()
    return {float(values)} if isinstance(values, (int, float)) else set()


def _text(setting: Any) -> str:
    return f"{setting:g}" if isinstance(setting, float) else str(setting)


def _three(number: float) -> str:
    """Three significant digits, or all before the point, and no exponent: 0.00892, 12.3, 1234."""
    places = 2 - math.floor(math.log10(abs(number))) if number else 2
    return f"{number:.{max(places, 0)}f}"
