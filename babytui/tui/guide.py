"""What help says, from the registries: parameters, variants with their equations, settings, and keys by place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rich.cells import cell_len

import engine
from babytui.settings import SETTINGS
from babytui.tui.bindings import ids, keys_of, place_of, shown_key
from babytui.tui.widgets.lines import Line
from babytui.tui.wrap import wrap
from babytui.visible import visible
from engine import registry
from engine.config import PARAMETERS, Parameter

KEY, TEXT, FORMULA = "key", "text", "formula"
LEFT = 15  # cells of the column of keys
ABOUT = {
    "config": "Every parameter of a model and of its training. What it costs is worked out while you type. On a field, "
              "help begins with that parameter.",
    "training": "One run: its curve, its numbers, its log and its samples. The run is a process of its own; leaving "
                "the app leaves it alone.",
    "models": "Everything in the workspace, and every run that is alive.",
    "chat": "A conversation with a model: it goes on with what you write. The controls at the side decide how its next "
            "token is chosen.",
    "bakeoff": "Many architectures, trained alike and compared.",
    "info": "What is known about one model.",
    "compare": "Two models or more beside each other.",
    "microscope": "What a model does with a text, layer by layer and head by head.",
}
OWN_KEYS: dict[str, Sequence[tuple[str, str]]] = {
    "config": (("↑ ↓ / Tab", "the field before or after"), ("+ -", "step a number, a choice or a switch"),
               ("Enter", "the list of a choice"), ("PgUp PgDn", "a page of fields")),
    "chat": (("Enter", "send"), ("ctrl+j", "a new line in the prompt"), ("↑ ↓", "what was sent before"),
             ("Esc", "from the prompt to the conversation, and back")),
    "models": (("Enter", "what is known about it"),),
}
"""Keys of widgets, which are not actions and stay as they are."""
TITLES = {"bakeoff": "Bake-off"}


class Row(NamedTuple):
    """One entry. kind: "key" (left says which, text what it does), "text", or "formula" (as it is where it fits)."""

    kind: str
    text: str
    left: str = ""


class Section(NamedTuple):
    """Rows under a title."""

    title: str
    rows: list[Row]


def title_of(node: str) -> str:
    """A pane or screen as its heading."""
    return "Everywhere" if place_of(node) == "everywhere" else TITLES.get(node, node.capitalize())


def keys(node: str) -> list[Row]:
    """The keys of a node with what they do, and those of its widgets."""
    found = [Row(KEY, action.help, " ".join(of)) for id_, (where, _, action) in ids().items()
             if where == node and (of := keys_of(id_))]
    return found + [Row(KEY, text, key) for key, text in OWN_KEYS.get(node, ())]


def everywhere() -> Section:
    """The keys that work on every pane."""
    return Section("Everywhere", [*keys("playground"), *keys("app")])


def place(node: str, about: str = "") -> Section:
    """What a pane or screen is for, and its keys."""
    text = about or ABOUT.get(node, "")
    return Section(title_of(node), [*([Row(TEXT, text)] if text else []), *keys(node)])


def others(but: Iterable[str]) -> list[Section]:
    """The panes and screens that have keys, without some."""
    left = dict.fromkeys(node for node, _, _ in ids().values())
    return [place(node) for node in left if place_of(node) != "everywhere" and node not in set(but)]


# --- parameters -----------------------------------------------------------------------------------


def parameter(name: str, value: str = "") -> list[Section]:
    """A parameter: meaning, range, default, effects; for an attention or a network its variants, the present first.

    [] when there is no parameter of this name.
    """
    found = PARAMETERS.get(name)
    if found is None:
        return []
    rows = [Row(TEXT, found.help), *_facts(found)]
    kind = {"c_attention": registry.attention, "c_network": registry.network}.get(name)
    if kind is None:
        return [Section(name, rows)]
    names = sorted(kind.names(), key=lambda other: other != value)
    return [Section(name, rows), *(Section(other + (", the present one" if other == value else ""),
                                           variant(kind.package, other)) for other in names)]


def _facts(found: Parameter) -> list[Row]:
    default = str(found.default).lower() if isinstance(found.default, bool) else str(found.default)
    effects = [(what, getattr(found, what)) for what in ("size", "speed", "quality")]
    return [Row(KEY, found.allowed, "values"), Row(KEY, default, "default"),
            *(Row(KEY, effect, what) for what, effect in effects if effect != "none"),
            *(Row(KEY, text, str(value)) for value, text in found.remarks.items())]


def setting(name: str) -> list[Section]:
    """A setting: meaning, values, default, variable; [] when there is none of this name."""
    found = SETTINGS.get(name)
    if found is None:
        return []
    return [Section(name, [Row(TEXT, found.help), Row(KEY, found.allowed, "values"),
                           Row(KEY, str(found.default) or "none", "default"),
                           Row(KEY, f"${found.variable}", "variable")])]


@cache
def variant(package: str, name: str) -> list[Row]:
    """A variant's equations, source and cost, as its file has them. Reads the file and imports nothing."""
    path = Path(engine.__file__).parent.joinpath(*package.split(".")[1:], f"{name}.py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    rows: list[Row] = []
    for block in text.split("\n\n"):
        lines = block.split("\n")
        if any(line.startswith("    ") for line in lines):
            rows += [Row(FORMULA, line.removeprefix("    ")) for line in lines]
        else:
            rows.append(Row(TEXT, " ".join(lines)))
    return rows


# --- lines ----------------------------------------------------------------------------------------


def lines(sections: Iterable[Section], width: int, wanted: str = "") -> list[Line]:
    """The sections as lines of at most `width` cells; with `wanted`, only rows that hold each of its words, or all of
    a section whose title does."""
    words = wanted.lower().split()
    found: list[Line] = []
    for section in sections:
        whole = all(word in section.title.lower() for word in words)
        rows = [row for row in section.rows
                if whole or all(word in f"{section.title} {row.left} {row.text}".lower() for word in words)]
        if rows:
            found += [*([[]] if found else []), [(visible(section.title, newlines=False), "strong")]]
            for row in rows:
                found += _row(row, width)
    return found or [[(f"Nothing here says '{wanted}'.", "dim")]]


def _row(row: Row, width: int) -> list[Line]:
    text = visible(row.text, newlines=False)
    if row.kind == KEY:
        side = min(LEFT, width // 3)
        first, *more = wrap(text, width - side - 2)
        left = f"  {row.left:<{side - 1}} "
        if cell_len(left) > side + 2:  # many keys: what they do goes below
            head, below = [[(left.rstrip(), "key")]], [first, *more]
        else:
            head, below = [[(left, "key"), (first.rstrip(), "text")]], more
        return [*head, *([(" " * (side + 2) + line.rstrip(), "text")] for line in below)]
    if row.kind == FORMULA:
        if len(text) > width - 4:  # shapes stand far to the right
            text = re.sub(r"(?<=\S) {3,}", "  ", text)
        first, *more = [text] if cell_len(text) <= width - 4 else wrap(text, max(8, width - 6))
        return [[("    " + first.rstrip(), "value")], *([("      " + line.rstrip(), "value")] for line in more)]
    return [[("  " + line.rstrip(), "text")] for line in wrap(text, max(8, width - 2))]


__all__ = ["Row", "Section", "everywhere", "keys", "lines", "others", "parameter", "place", "setting", "shown_key",
           "variant"]
