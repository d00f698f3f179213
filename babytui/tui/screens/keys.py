"""Every key, read from the bindings themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import format_key

from babytui.tui.panes.base import Pane
from babytui.tui.screens.bakeoff import BakeOffScreen
from babytui.tui.screens.text import TextScreen
from babytui.tui.widgets.lines import Line

if TYPE_CHECKING:
    from babytui.tui.screens.playground import PlaygroundScreen

_FIELDS = (("↑ ↓ / Tab", "the field before or after"), ("+ -", "step a number, a choice or a switch"),
           ("Enter", "the list of a choice"), ("PgUp PgDn", "a page of fields"))
_CHAT = (("Enter", "send"), ("ctrl+j", "a new line in the prompt"), ("↑ ↓", "what was sent before"))


def keys_screen(playground: PlaygroundScreen) -> TextScreen:
    """The page of all keys, by where they work."""
    lines: list[Line] = _section("Everywhere", [*_of(playground), *_of(playground.app)])
    extra = {"config": _FIELDS, "chat": _CHAT, "models": (("Enter", "what is known about it"),)}
    for pane in playground.query(Pane):
        lines += _section(pane.title, [*_of(pane), *extra.get(pane.id or "", ())])
    lines += _section("Bake-off", _of_class(BakeOffScreen))
    return TextScreen("All keys", lines)


def _of(node: DOMNode) -> list[tuple[str, str]]:
    """The keys of one node with what they do; bindings of one action in one line."""
    return _of_class(type(node))


def _of_class(kind: type[DOMNode]) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for cls in kind.__mro__:
        if not cls.__module__.startswith("babytui."):
            continue
        for binding in cls.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding) and binding.description:
                keys = [shown_key(key) for key in binding.key.split(",")]
                there = found.setdefault(binding.description, [])
                there += [key for key in keys if key not in there]
    return [(" ".join(keys), text) for text, keys in found.items()]


def shown_key(key: str) -> str:
    """ctrl+g, F2, [: as a person says it."""
    if "+" in key:
        return key
    return key.upper() if key.startswith("f") and key[1:].isdigit() else format_key(key)


def _section(title: str, keys: list[tuple[str, str]]) -> list[Line]:
    rows: list[Line] = [[(f"  {key:<14} ", "key"), (text, "text")] for key, text in keys]
    return [[(title, "strong")], *rows, []]
