"""What was wrong with how a layer answered, in sentences: of one cause one, whatever it has touched.

A sentence is "where: what must be so; got that". Two are of one cause if they need the same, or if the same
exception was raised, numbers aside; the second only adds its place to the first.
"""

import re


class Faults:
    """Sentences by their cause, in the order in which they came."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}  # cause -> the first sentence, then the other places
        self._hindering: set[str] = set()

    def add(self, sentence: str, cause: str | None = None, *, hinders: bool = False) -> None:
        """Keep it; cause: if its words do not tell; hinders: it is no mistake, but stopped a question."""
        where, cause_of_words = place_and_cause(sentence)
        cause = cause or cause_of_words
        kept = self._found.setdefault(cause, [sentence])
        if kept[0] != sentence and where not in (place_and_cause(kept[0])[0], *kept[1:]):
            kept.append(where)
        if hinders:
            self._hindering.add(cause)

    def __contains__(self, cause: str) -> bool:
        return cause in self._found

    def __len__(self) -> int:
        return len(self._found)

    def drop(self, cause: str) -> None:
        """Forget a cause that was explained otherwise."""
        self._found.pop(cause, None)

    @property
    def sentences(self) -> list[str]:
        """All of them."""
        return [_sentence(kept) for kept in self._found.values()]

    @property
    def hindrances(self) -> list[str]:
        """Those that only say why something could not be asked."""
        return [_sentence(kept) for cause, kept in self._found.items() if cause in self._hindering]


def place_and_cause(sentence: str) -> tuple[str, str]:
    """("backward: dz", "must be float64, as what it was given") of "backward: dz must be …; got float32"."""
    where, _, rest = sentence.partition(": ")
    if rest.startswith("raised "):
        return where, _without_numbers(rest.split(" (given")[0])
    name, must, needed = rest.split("; ")[0].partition("must ")
    same = re.match(r"give the same (\w+) for", needed)
    if same:
        name, needed = same[1], needed.replace(f" {same[1]}", "", 1)
    place = f"{where}: {name.strip()}" if name.strip() else where
    return place, _without_numbers(must + needed)


def _without_numbers(text: str) -> str:
    return re.sub(r"\(?[-+\d][\d., ×x]*\)?", "#", text)


def _sentence(kept: list[str]) -> str:
    first, *others = kept
    return f"{first}; likewise {', '.join(others)}" if others else first
