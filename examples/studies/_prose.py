"""Numbers in prose, each bound to the table that it comes from; a test compares the two.

A paragraph is plain text. Below it, in an HTML comment that readers do not see, stands the list of its
numbers, in the order of the text:

    With 128 codes the test error is 0.0089, with 32 codes 2.1 times that.
    <!-- numbers: codebook=ema
    0.0089  mse K=128
    2.1  mse K=32 / mse K=128
    -->

A line is a number and its reference: a column of the study, and the settings that pick one row. `mse` is the
mean over the seeds, `mse.min` and `mse.max` are the smallest and the largest value, `a / b` is a ratio. A
setting that has one value throughout the study need not be named. The first line may hold settings that the
references share (a setting in the reference itself takes precedence) and the name of the study (default: that
of the page). A number of another study is written `0.0089  codebook_size: mse K=128`, with all its settings.

A list covers the text back to the previous list or heading. Every occurrence there of a number in the list
must be listed, in order. Write ? for a number, in the text and in the list, and the script of the study fills
it in, to three significant digits. If the results change, the text stays as it was written, and the test
fails.

A single number may also carry its reference itself: 0.0089<!--mse K=128 codebook=ema-->.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

INLINE = re.compile(
    r"(?P<number>\?|[−-]?\d+(?:,\d{3})*(?:\.\d+)?)(?P<unit> %)?<!--(?P<reference>[^ >][^>]*)-->"
)
LIST = re.compile(r"^<!-- numbers(?:: *(?P<shared>.*))?\n(?P<lines>(?:.*\n)*?)-->$", re.MULTILINE)
LINE = re.compile(r"^(?P<number>\?|−?[\d,.]+) +(?P<reference>\S.*)$", re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.])−?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)|(?<=[\s(×])\?(?=[\s,.;:)])")
HEADING = re.compile(r"^#+ .*$", re.MULTILINE)
NOT_PROSE = re.compile(
    r"```.*?```|<!--.*?-->|`[^`]*`|\$[^$]*\$|\]\([^)]*\)|arXiv \d+\.\d+|\(\d{4}\)", re.DOTALL
)


class Bound(NamedTuple):
    """A number of a list: its places in the list and in the text (None if it is not there), its reference."""

    listed: re.Match[str]
    found: re.Match[str] | None
    reference: str


def value(reference: str, study: str, folder: Path) -> float:
    """The number that a reference names; study: the page's own, folder: where the JSON files are."""
    parts = [_one(part, study, folder) for part in reference.split(" / ")]
    return parts[0] if len(parts) == 1 else parts[0] / parts[1]


def bound(text: str) -> Iterator[list[Bound]]:
    """The numbers of each list of a page, paired in order with those of the text that it covers."""
    plain, start = _prose(text), 0
    for block in LIST.finditer(text):
        start = max([start, *(h.end() for h in HEADING.finditer(plain, start, block.start()))])
        lines = list(LINE.finditer(text, block.start("lines"), block.end("lines")))
        names = {line["number"] for line in lines}
        found = [n for n in NUMBER.finditer(plain, start, block.start()) if n[0] in names]
        if [n[0] for n in found] != [line["number"] for line in lines]:
            found = []
        pairs = zip(lines, found or [None] * len(lines), strict=True)
        yield [Bound(line, n, _with(block["shared"] or "", line["reference"])) for line, n in pairs]
        start = block.end()


def fill(text: str, study: str, folder: Path) -> str:
    """The text with every ? that has a reference replaced by the number."""
    edits: list[tuple[int, str]] = []
    for found in INLINE.finditer(text):
        if found["number"] == "?":
            edits.append((found.start("number"), _three(value(found["reference"], study, folder))))
    for numbers in bound(text):
        for listed, found, reference in numbers:
            if found is not None and found[0] == "?":
                number = _three(value(reference, study, folder))
                edits += [(listed.start("number"), number), (found.start(), number)]
    for at, number in sorted(edits, reverse=True):
        text = text[:at] + number + text[at + 1 :]
    return text


def wrong(text: str, study: str, folder: Path) -> list[str]:
    """A sentence for each number that is not the one of its reference, as far as it is written out."""
    sentences = []
    for inline in INLINE.finditer(text):
        sentences += _compare(inline["number"], inline["reference"], study, folder)
    for numbers in bound(text):
        if not numbers or numbers[0].found is None:
            names = ", ".join(number.listed["number"] for number in numbers)
            sentences.append(f"the text does not have just these numbers, in this order: {names}")
        for number in numbers:
            sentences += _compare(number.listed["number"], number.reference, study, folder)
    return sentences


def studies(text: str) -> set[str]:
    """The studies that the references of a text name."""
    references = [inline["reference"] for inline in INLINE.finditer(text)]
    references += [number.reference for numbers in bound(text) for number in numbers]
    return {name for reference in references for name in re.findall(r"(\w+):", reference)}


def unreferenced(text: str, result: dict[str, Any]) -> list[str]:
    """Numbers with no reference that are no settings of the study either; code, formulas, links left out."""
    known = {result["seeds"]} | _numbers(result["scale"])
    for row in result["rows"]:
        known |= _numbers(row["setting"])
    places = {number.found.start() for numbers in bound(text) for number in numbers if number.found}
    plain = _prose(INLINE.sub(lambda inline: " " * len(inline[0]), text))
    loose = [n[0] for n in NUMBER.finditer(plain) if n[0] != "?" and n.start() not in places]
    return [n for n in loose if _float(n) not in known]


def _prose(text: str) -> str:
    """The prose of a page; everything else is replaced by blanks, so that positions agree."""
    return NOT_PROSE.sub(lambda other: re.sub(r"[^\n]", " ", other[0]), text)


def _with(shared: str, reference: str) -> str:
    """The reference, completed with the study and the settings of the first line of its list."""
    words = shared.split()
    study = "".join(f"{word}: " for word in words if "=" not in word)
    parts = []
    for part in reference.split(" / "):
        own = {word.partition("=")[0] for word in part.split() if "=" in word}
        more = [word for word in words if "=" in word and word.partition("=")[0] not in own]
        parts.append(part if ":" in part else study + " ".join([part.strip(), *more]))
    return " / ".join(parts)


def _compare(number: str, reference: str, study: str, folder: Path) -> list[str]:
    """A sentence if the number is not that of its reference, rounded to the digits that it has."""
    try:
        true = value(reference, study, folder)
    except (KeyError, ValueError, OSError) as error:
        return [f"{number} ({reference}): {error}"]
    places = len(number.partition(".")[2])
    if number == "?" or abs(_float(number) - true) > 0.5 * 10**-places * (1 + 1e-6):
        return [f"{number} ({reference}): it is {true:g}"]
    return []


def _float(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def _one(reference: str, study: str, folder: Path) -> float:
    other, colon, rest = reference.strip().rpartition(":")
    name, *conditions = rest.split()
    name, _, statistic = name.partition(".")
    result = _saved(folder / f"{other.strip() if colon else study}.json")
    wanted = [condition.partition("=")[::2] for condition in conditions]
    rows = [row for row in result["rows"] if all(_text(row["setting"].get(k)) == v for k, v in wanted)]
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} settings are {' '.join(conditions) or 'all there are'}")
    return rows[0]["figures"][name][statistic or "mean"]


def _saved(path: Path) -> Any:
    return _parsed(path, path.stat().st_mtime_ns)


@cache
def _parsed(path: Path, changed: int) -> Any:
    """A study's results, once for all the numbers of a page (and anew if the file has changed since)."""
    return json.loads(path.read_text(encoding="utf-8"))


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
