"""What a page says about a run, as HTML: configuration, diagnosis, figures with alternative texts."""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

MOST_FIGURE_BYTES = 600_000
"""Of one figure: several of them, and the weights of a decoder, must be in one file."""

FIGURES = (
    ("training.png", "The training", "How the training went"),
    ("codebook.png", "The codebook", "Each code drawn into an image in which it is used, beside its use"),
    ("latents.png", "The latents", "Images that change while one latent unit varies over its range"),
    ("levels.png", "The levels", "Images, each with one level of codes taken from the next image"),
    ("sounds.png", "Sounds", "Waveforms and spectrograms of sounds and of their reconstructions"),
    ("samples.png", "Samples", "A sheet of images that were drawn from the prior and decoded"),
)
"""A file of the run's folder, its heading, and what it shows."""

NAME_WIDTH = 21  # of the names in the lines of a report: vqnp.evaluation.error.aligned

SOUNDS = ("samples.wav", "Samples", "Sounds that were drawn from the prior and decoded")


def escape(text: Any) -> str:
    """The text in a form that may stand between tags and in quotation marks."""
    return html.escape(str(text), quote=True)


def table(rows: Iterable[tuple[str, Any]], caption: str) -> str:
    """Names and values; a name that begins with a space is a part of the row above."""
    body = ""
    for name, value in rows:
        part = ' class="part"' if name.startswith(" ") else ""
        body += f'<tr{part}><th scope="row">{escape(name.strip())}</th><td>{escape(value)}</td></tr>'
    return f'<table class="pairs"><caption>{escape(caption)}</caption><tbody>{body}</tbody></table>'


def configuration(config: Mapping[str, Any]) -> str:
    """A table of the settings outside of any group, and one for each group."""
    if not config:
        return "<p>There is no config.json beside this checkpoint.</p>"
    groups = {name: value for name, value in config.items() if isinstance(value, Mapping)}
    alone = [(name, _plain(value)) for name, value in config.items() if name not in groups]
    tables = [table(alone, "run")]
    tables += [table([(k, _plain(v)) for k, v in group.items()], name) for name, group in groups.items()]
    return f'<div class="tables">{"".join(tables)}</div>'


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " × ".join(map(_plain, value)) or "none"
    return {None: "none", True: "yes", False: "no"}.get(value, value) if _is_word(value) else f"{value:g}"


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, (bool, str))


def diagnosis(report: Any, source: str) -> str:
    """The figures of a report on the test images, and its diagnosis as a paragraph."""
    rows = [(line[:NAME_WIDTH].rstrip(), line[NAME_WIDTH:].strip()) for line in str(report).splitlines()]
    found = getattr(report, "diagnosis", None)
    rows = [row for row in rows if row[0] != "diagnosis"] + [("data", source)]
    text = f'<p class="verdict">{escape(_capital(str(found)))}</p>' if found is not None else ""
    return text + table(rows, "figures over the test data")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def history(rows: Sequence[Mapping[str, float]], caption: str) -> str:
    """The table of a training: a row for each epoch."""
    if not rows:
        return ""
    names = list(rows[0])
    head = "".join(f'<th scope="col">{escape(name.replace("_", " "))}</th>' for name in names)
    cells = ("".join(f"<td>{_number(row.get(name, math.nan))}</td>" for name in names) for row in rows)
    body = "".join(f"<tr>{each}</tr>" for each in cells)
    inner = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    scroll = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">{inner}</div>'
    return f"<details><summary>{escape(caption)}</summary>{scroll}</details>"


def _number(value: Any) -> str:
    return escape(f"{value:.4g}" if isinstance(value, float) else value)


def figures(folder: Path, rows: Sequence[Mapping[str, float]]) -> str:
    """The figures of the run's folder that exist, each with a text that says what it shows."""
    parts = []
    for name, heading, shows in FIGURES:
        text = f"{shows}{_course(rows) if name == 'training.png' else ''}."
        parts.append(_media(folder / name, heading, text, "image/png"))
    parts.append(_media(folder / SOUNDS[0], SOUNDS[1], f"{SOUNDS[2]}.", "audio/wav"))
    return "".join(parts) or "<p>There are no figures in the folder of this run.</p>"


def _media(path: Path, heading: str, text: str, kind: str) -> str:
    if not path.is_file():
        return ""
    size = path.stat().st_size
    words = f"<strong>{escape(heading)}.</strong> {escape(text)} ({escape(path.name)})"
    caption = f"<figcaption>{words}</figcaption>"
    if size > MOST_FIGURE_BYTES:
        return f"<figure>{caption}<p>It has {size / 1e6:.1f} MB, too many for this page.</p></figure>"
    data = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    if kind.startswith("audio"):
        return f'<figure><audio controls src="{data}" aria-label="{escape(text)}"></audio>{caption}</figure>'
    return f'<figure><img src="{data}" alt="{escape(text)}">{caption}</figure>'


def _course(rows: Sequence[Mapping[str, float]]) -> str:
    """From where to where the loss, the test error and the perplexity went, in words."""
    if not rows:
        return ""
    first, last, parts = rows[0], rows[-1], []
    for name, words in (("loss", "the loss"), ("test_mse", "the test MSE"), ("perplexity", "the perplexity")):
        if name in first and name in last:
            parts.append(f"{words} from {first[name]:.4g} to {last[name]:.4g}" if last is not first
                         else f"{words} {last[name]:.4g}")  # fmt: skip
    epochs = f" in {len(rows)} epoch{'s' * (len(rows) > 1)}"
    course = f": {', '.join(parts)}" if parts else ""
    return f"{epochs}{course}; beside the curves, images and their reconstructions"
