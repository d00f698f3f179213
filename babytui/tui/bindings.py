"""Keys, from the registry of actions: the bindings of every pane and screen, and how a key is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from textual.binding import Binding, BindingType
from textual.keys import format_key

from babytui import actions
from babytui.actions import Action

PRIORITY_NODES = ("app", "playground")
"""Where function and control keys come before what a field would do with them; letters never do."""
_LETTERS = "~"  # what ends the id of the half of an action's keys that can be typed as text
_UNSET = "unset_"  # the beginning of the name of a key that no keyboard has: a place for one to be set

_chosen: dict[str, str] = {}


def bindings(node: str) -> list[BindingType]:
    """The bindings of a node ("app", "playground", a pane's or a screen's name), with the ids of their actions."""
    found: list[BindingType] = []
    for id_, keys, does, action in _of(node):
        if node in PRIORITY_NODES:
            strong, typed = split(keys)
            found.append(Binding(strong or _UNSET + id_, does, action.help, show=False, priority=True, id=id_))
            found.append(Binding(typed or _UNSET + id_, does, action.help, show=False, id=id_ + _LETTERS))
        else:
            found.append(Binding(keys, does, action.help, show=False, id=id_))
    return found


def split(keys: str) -> tuple[str, str]:
    """Function, control and alt keys, and those that are characters when a field has the focus."""
    strong: list[str] = []
    typed: list[str] = []
    for key in filter(None, keys.split(",")):
        function = key[:1] == "f" and key[1:].isdigit()
        (strong if function or "ctrl+" in key or "alt+" in key else typed).append(key)
    return ",".join(strong), ",".join(typed)


def _of(node: str) -> Iterator[tuple[str, str, str, Action]]:
    """(id, default keys, Textual action, action) of everything that has keys at a node."""
    for action in actions.offered(actions.APP):
        if action.node == node:
            yield action.id, action.key or _UNSET + action.id, action.does, action
        if node in action.also:
            keys, does = action.also[node]
            yield f"{node}.{action.id}", keys, does, action


def keymap(chosen: Mapping[str, str]) -> dict[str, str]:
    """What `App.set_keymap` takes for a person's choice: action id → keys. Remembered for `keys_of`."""
    _chosen.clear()
    for id_, keys in chosen.items():
        _chosen[id_] = keys
    found: dict[str, str] = {}
    for node in PRIORITY_NODES:
        for id_, _, _, _ in _of(node):
            if id_ in chosen:
                strong, typed = split(chosen[id_])
                found[id_], found[id_ + _LETTERS] = strong or _UNSET + id_, typed or _UNSET + id_
    return {**{id_: keys or _UNSET + id_ for id_, keys in chosen.items()}, **found}


@cache
def ids() -> dict[str, tuple[str, str, Action]]:
    """Every id whose keys can be changed: (node, default keys, action)."""
    nodes = dict.fromkeys(node for action in actions.offered(actions.APP)
                          for node in (*([action.node] if action.node else []), *action.also))
    return {id_: (node, "" if keys.startswith(_UNSET) else keys, action)
            for node in nodes for id_, keys, _, action in _of(node)}


def keys_of(id_: str) -> list[str]:
    """The keys that an id has now, as a person says them, the first one first; empty when none."""
    keys = _chosen.get(id_)
    if keys is None:
        keys = ids()[id_][1] if id_ in ids() else ""  # what the app does by its command alone has none
    return [shown_key(key) for key in keys.split(",") if key]


def key_of(name: str) -> str:
    """The first key of an action now, for a sentence that says what to press: F9. Without a key, how the palette does
    it."""
    keys = keys_of(actions.find(name).id)
    if keys:
        return keys[0]
    palette = keys_of("commands")
    return f"{palette[0] if palette else 'the palette'} {name}"


PANES = ("config", "training", "models", "chat")


def place_of(node: str) -> str:
    """A node as a person says it."""
    return "everywhere" if node in PRIORITY_NODES else node


def meet(one: str, other: str) -> bool:
    """Whether keys of two nodes work at the same time."""
    nodes = {one, other}
    return one == other or "app" in nodes or ("playground" in nodes and bool(nodes & set(PANES)))


def clashes(id_: str, key: str) -> list[str]:
    """The ids, other than this one, whose key it is now where this one works."""
    node = ids()[id_][0]
    return [other for other, (where, default, _) in ids().items() if other != id_ and meet(node, where)
            and key in _chosen.get(other, default).split(",")]


def pane_key(pane: str) -> str:
    """The key that opens a pane from anywhere."""
    return next(iter(keys_of(f"show.{pane}")), "")


def hints(node: str, *names: str) -> list[tuple[str, str]]:
    """For a bar of keys: (key, word) of a node's actions that have a word; names: the ids to show, in this order."""
    found = {id_: (keys_of(id_), action.hint) for id_, _, _, action in _of(node) if action.hint}
    return [(_short(found[id_][0][0]), found[id_][1]) for id_ in (names or found) if id_ in found and found[id_][0]]


def hint_of(*names: str) -> tuple[str, str] | None:
    """For a bar of keys: the keys of actions that belong together, back and forth, with the word of one of them; None
    when none has a key."""
    keys = [_short(keys[0]) for name in names if (keys := keys_of(actions.find(name).id))]
    word = next((actions.find(name).hint for name in names if actions.find(name).hint), "")
    return (" ".join(keys), word) if keys and word else None


def _short(key: str) -> str:
    return "^" + key.removeprefix("ctrl+").upper() if key.startswith("ctrl+") else key


def shown_key(key: str) -> str:
    """ctrl+g, F2, [: as a person says it."""
    if "+" in key:
        return key
    if key == "escape":
        return "Esc"
    return key.upper() if key.startswith("f") and key[1:].isdigit() else format_key(key)
