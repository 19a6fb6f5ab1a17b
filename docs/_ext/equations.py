"""q = "e_j = m_j / Ñ_j"  ->  e_{j} = m_{j} / \\tilde{N}_{j}: the first line of a docstring, typeset.

The docstrings have their equation in plain text, for who reads the source. The site sets it by MathJax.
"""

from __future__ import annotations

import re
import unicodedata

ACCENTS = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar"}
GREEK = {"ℓ": r"\ell", "ε": r"\varepsilon", "µ": r"\mu", "Σ": r"\sum", "Π": r"\prod"}
SYMBOLS = {
    "−": "-", "·": r"\cdot ", "×": r"\times ", "±": r"\pm ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
    "≈": r"\approx ", "∝": r"\propto ", "∞": r"\infty ", "∈": r"\in ", "∃": r"\exists ", "⊙": r"\odot ",
    "←": r"\leftarrow ", "→": r"\to ", "‖": r"\Vert ", "⟨": r"\langle ", "⟩": r"\rangle ",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "…": r"\ldots ", "⋯": r"\cdots ", "½": r"\tfrac{1}{2}",
    "~": r"\sim ", "#": r"\#", "%": r"\%", "*": r"{*}", "&": r"\&",
}  # fmt: skip
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀ", [*"0123456789+-", r"\top"]))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789"))
CLOSING = {"(": ")", "[": "]", "{": "}", "⌊": "⌋", "|": "|", "⟨": "⟩", "‖": "‖"}
RELATION = re.compile(r"[=←≈∝]| ~ | ≤ ")
WORD = re.compile(r"[A-Za-zµͰ-Ͽℓ][\u0302-\u0304]?")
WORDS = re.compile(rf"(?:{WORD.pattern})+")
# What follows an equation on the line: a sentence, a condition, or the shapes.
PROSE = re.compile(
    r"; |: (?![^(){}]*[)}])|\. |\.$| -> "
    r"|, (?=(?:and|or|with|where|as|the|then|so|in|by) |[a-z]{3,} [a-z]{2,}|\w+: )"
    r"| (?:over|for|in|of|between|decibels)\b(?![^=]*=)"
)
FUNCTIONS = set("log exp Var sg mean argmin argmax softmax stft KL rate mask drop".split())
OPERATOR = set("=←≈∝+−·/~≤≥≠×")
ADVERBS = set("initially where with else over for each and at of is the between by".split())


def typeset(line: str) -> tuple[list[str], str]:
    """The equations of a line as TeX, and the prose after them; no equations if the line is a sentence."""
    line = "".join(map(_parts, unicodedata.normalize("NFC", line)))
    equations, rest = [], []
    for part in re.split(r"[,;]  ", line):
        end = _end(part)
        equation, prose = part[:end].strip(), part[end:].strip(" ;:,.")
        if not RELATION.search(equation) or _is_sentence(equation):
            if not equations:
                return [], line
            rest.append(part.strip())
            continue
        equations.append(tex(equation))
        if prose:
            rest.append(prose)
    return equations, unicodedata.normalize("NFC", "; ".join(rest))


def _end(part: str) -> int:
    """Where the equation ends: at the first mark of prose that is outside of all brackets."""
    for mark in PROSE.finditer(part):
        before = part[: mark.start()]
        if all(before.count(a) <= before.count(b) for a, b in ("()", "[]", "{}")):
            return mark.start()
    return len(part)


def _parts(c: str) -> str:
    """A letter with an accent as the letter and the accent; any other character as it is."""
    parts = unicodedata.normalize("NFD", c)
    return parts if parts[1:] in ACCENTS else c


def _is_sentence(equation: str) -> bool:
    """Whether there are many words in it that are no names, or it begins with one."""
    prose = [w for w in WORDS.finditer(equation) if _is_prose(equation, w.start(), w.end())]
    return len(prose) > 4 or any(w.start() == 0 and w[0] != "initially" for w in prose)


def _is_prose(text: str, start: int, end: int) -> bool:
    word = text[start:end]
    letters = [c for c in word if c not in ACCENTS]
    if len(letters) < 2 or not word.isascii() and len(letters) < 4 or (word[0] == "d" and len(letters) == 2):
        return False
    following = text[end : end + 1]
    if following and following in "([_^'0123456789" or following in RAISED or following in LOWERED:
        return False
    if word in ADVERBS:
        return True
    if start and text[start - 1] in "_^":
        return False
    before, after = text[:start].rstrip(), text[end:].lstrip()
    if word in FUNCTIONS:
        return False
    return not (before[-1:] in OPERATOR or after[:1] in OPERATOR or not before and not after)


def tex(text: str) -> str:
    """TeX of one equation in plain text."""
    out, i = [], 0
    while i < len(text):
        c = text[i]
        if c in "_^":
            inner, i = _group(text, i + 1)
            index = re.fullmatch("[a-z]{2,3}", inner) and inner not in ("in", "max", "min")
            out.append(f"{c}{{{' '.join(inner) if index else tex(inner)}}}")
        elif c == "√":
            inner, i = _group(text, i + 1)
            out.append(rf"\sqrt{{{tex(inner)}}}")
        elif c in RAISED or c in LOWERED:
            table, mark = (RAISED, "^") if c in RAISED else (LOWERED, "_")
            run = ""
            while i < len(text) and text[i] in table:
                run, i = run + table[text[i]], i + 1
            out.append(f"{mark}{{{run}}}")
        elif c in "{}":
            out.append("\\" + c)
            i += 1
        elif WORD.match(text, i):
            word = WORDS.match(text, i)
            assert word
            out.append(_word(text, word.start(), word.end()))
            i = word.end()
        elif c == "`":
            i += 1
        elif text.startswith("  ", i):
            out.append(r"\quad ")
            i += 2
        else:
            out.append(SYMBOLS.get(c, c))
            i += 1
    return "".join(out)


def _word(text: str, start: int, end: int) -> str:
    word = text[start:end]
    if _is_prose(text, start, end):
        left = "~" if text[:start].endswith(" ") else ""
        right = "~" if text[end:].startswith(" ") else ""
        return rf"{left}\text{{{word}}}{right}"
    letters = [unit[0] for unit in WORD.finditer(word)]
    if len(letters) == 1:
        return _letter(letters[0])
    if letters[0] == "d" and len(letters) == 2:
        return r"\mathrm{d}" + _letter(letters[1])
    if not word.isascii() or len(set(letters)) == 1:  # a product of letters, such as γN
        return "".join(map(_letter, letters))
    return rf"\operatorname{{{word}}}"


def _letter(unit: str) -> str:
    letter, accent = unit[0], ACCENTS.get(unit[1:], "")
    name = unicodedata.name(letter, "")
    if letter in GREEK:
        letter = GREEK[letter] + " "
    elif name.startswith("GREEK"):
        greek = name.rsplit(" ", 1)[1].lower().replace("lamda", "lambda")
        letter = "\\" + (greek.capitalize() if "CAPITAL" in name else greek) + " "
    return rf"\{accent}{{{letter.strip()}}}" if accent else letter


def _group(text: str, i: int) -> tuple[str, int]:
    """The index, exponent or radicand at i, without outer parentheses or braces, and where it ends."""
    if i < len(text) and text[i] in CLOSING:
        close, depth, j = CLOSING[text[i]], 1, i + 1
        while j < len(text) and depth:
            depth += -1 if text[j] == close else text[j] == text[i]
            j += 1
        inner = text[i:j] if text[i] in "⌊|⟨‖[" else text[i + 1 : j - 1]
        return inner, j
    run = re.compile(r"(?:\w[\u0302-\u0304]?)+|½").match(text, i)
    plain = run[0] if run else text[i : i + 1]
    if "_" in plain:
        plain = plain[: plain.index("_")]
    for at, c in enumerate(plain):
        if at and (c in RAISED or c in LOWERED):
            plain = plain[:at]
            break
    return plain, i + len(plain)
