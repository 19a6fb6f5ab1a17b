"""The pages of the reference: every public name once, where one imports it from.

A page for each package, and for each module of vqnp.ops. They are written to docs/api before Sphinx reads.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import vqnp

BY_MODULE = ("vqnp.ops",)
Names = dict[str, str]  # vqnp.ops.ema_update: vqnp.ops.ema, where it is defined


def public(module: ModuleType) -> list[str]:
    """What a module offers: __all__, or the functions and classes that are defined in it."""
    if hasattr(module, "__all__"):
        names = module.__all__
        return [name for name in names if not isinstance(getattr(module, name), ModuleType)]
    return [
        name for name, value in vars(module).items()
        if name[0] != "_" and callable(value) and getattr(value, "__module__", "") == module.__name__
    ]  # fmt: skip


def packages() -> list[str]:
    """The packages that have names of their own: those at the top first, then those inside them."""
    inside = [info.name for info in pkgutil.walk_packages(vqnp.__path__, "vqnp.") if info.ispkg]
    deeper = [name for name in inside if name.count(".") > 1 and not name.startswith("vqnp.cli")]
    deeper = [name for name in deeper if hasattr(importlib.import_module(name), "__all__")]
    return [f"vqnp.{name}" for name in vqnp.SUBPACKAGES] + deeper


@lru_cache(maxsize=1)
def names() -> dict[str, Names]:
    """The public names by package; a name that several packages offer is in the first of them only.

    vqnp itself comes last: it has what no package offers.
    """
    seen: set[int] = set()
    found: dict[str, Names] = {}
    for package in [*packages(), "vqnp"]:
        module = importlib.import_module(package)
        found[package] = {}
        for name in sorted(public(module), key=str.casefold):
            value = getattr(module, name)
            if id(value) not in seen or isinstance(value, (str, int, float, tuple)):
                seen.add(id(value))
                found[package][name] = getattr(value, "__module__", None) or package
    return {package: own for package, own in found.items() if own}


def entry(package: str, name: str) -> str:
    """The directive that documents a name."""
    value = getattr(importlib.import_module(package), name)
    if inspect.isclass(value):
        hidden = ", ".join([*getattr(value, "_fields", ()), "_fields", "count", "index"])
        options = ["   :members:", "   :member-order: bysource", "   :show-inheritance:"]
        if hasattr(value, "_fields"):
            options.append(f"   :exclude-members: {hidden}")
        return "\n".join([f".. autoclass:: {package}.{name}", *options, ""])
    if callable(value):
        return f".. autofunction:: {package}.{name}\n"
    return f".. py:data:: {package}.{name}\n\n{constant(package, name, value)}\n"


def constant(package: str, name: str, value: Any) -> str:
    """What a constant is: its docstring in the source, or its value."""
    shown = ", ".join(map(str, value)) if isinstance(value, (tuple, list, dict)) else str(value)
    return f"   ``{shown}``\n" if len(shown) < 2000 else f"   A {type(value).__name__}.\n"


def first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n", 1)[0]


def page(title: str, about: str, package: str, own: list[str], below: str = "") -> str:
    """The text of a page: what the package is for, and its names."""
    parts = [title, "=" * len(title), "", about, "", f".. currentmodule:: {package}", "", below]
    return "\n".join(parts + [entry(package, name) for name in own])


def plain(text: str) -> str:
    """Text for reStructuredText, with nothing in it marked up."""
    for mark in "\\*|_`":
        text = text.replace(mark, "\\" + mark)
    return text


def tree(documents: list[str]) -> str:
    return "\n".join([".. toctree::", "   :maxdepth: 1", "", *(f"   {name}" for name in documents), ""])


def pages() -> dict[str, str]:
    """The files of docs/api: their names and their text."""
    out, top = {}, []
    for package, own in names().items():
        if package == "vqnp":
            continue
        module = importlib.import_module(package)
        about = plain(first_line(module))
        if package in BY_MODULE:
            below = []
            for home in sorted(set(own.values())):
                file = f"{package.removeprefix('vqnp.')}/{home.rpartition('.')[2]}"
                members = [name for name in own if own[name] == home]
                title = home.rpartition(".")[2].replace("_", " ").capitalize()
                out[f"{file}.rst"] = page(title, f"``{home}``", package, ordered(home, members))
                below.append(file)
            out[f"{package}.rst"] = page(package, about, package, [], tree(below))
        else:
            out[f"{package}.rst"] = page(package, about, package, list(own))
        top.append(package)
    moved = [f"- :py:obj:`vqnp.{name} <{where(name)}>`" for name in vqnp.__all__ if where(name)]
    intro = "Every public name, once. ``vqnp`` itself has the names that are used most:"
    title = "Reference"
    rest = [entry("vqnp", name) for name in names()["vqnp"]]
    out["index.rst"] = "\n".join([title, "=" * len(title), "", intro, "", *moved, "", tree(top), *rest])
    return out


def ordered(home: str, members: list[str]) -> list[str]:
    """Names in the order of the source: forward, then backward."""
    source = inspect.getsource(importlib.import_module(home))
    return sorted(members, key=lambda name: source.find(f" {name}("))


def where(name: str) -> str:
    """The full name under which the reference has a name of vqnp itself; empty for a subpackage."""
    value = getattr(vqnp, name)
    if isinstance(value, (ModuleType, str)):
        return ""
    for package, own in names().items():
        for each in own:
            if getattr(importlib.import_module(package), each) is value:
                return f"{package}.{each}"
    raise KeyError(f"no package of vqnp offers vqnp.{name}")


def write(folder: Path) -> None:
    """Write what has changed, so that Sphinx reads only this again."""
    wanted = pages()
    for name, text in wanted.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.rst"):
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
