"""Everything a user can do, once: name, arguments, help, keys. Imports nothing heavy.

The command line, the shell's slash commands, the app's keys, palette and help, and "copy as command" are read from
`ACTIONS`. A verb's code is imported only when it runs. To add an action, add it to the file of its subject.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from babytui.actions import bakeoffs, looking, machine, models, screens, shell, talking, texts, training
from babytui.actions.kinds import APP, CLI, EVERYWHERE, SHELL, Action, Argument

__all__ = ["ACTIONS", "APP", "CLI", "EVERYWHERE", "SHELL", "Action", "Argument", "command_line", "find", "offered"]

ACTIONS: tuple[Action, ...] = (*training.ACTIONS, *talking.ACTIONS, *models.ACTIONS, *looking.ACTIONS, *texts.ACTIONS,
                               *bakeoffs.ACTIONS, *machine.ACTIONS, *shell.ACTIONS, *screens.ACTIONS)


def find(name: str) -> Action:
    """The action called `name`; KeyError when there is none."""
    for action in ACTIONS:
        if action.name == name:
            return action
    raise KeyError(name)


def offered(face: str) -> Iterator[Action]:
    """The actions that a face ("cli", "shell", "app") offers, in order."""
    return (action for action in ACTIONS if face in action.where)


def command_line(name: str, values: Mapping[str, Any] | None = None, *, workspace: str | None = None) -> str:
    """The shell command that does the same: `command_line("train", {"preset": "6m", "set": ["n_layers=2"]})`.

    Values equal to the default are left out; `set` also takes a mapping of parameters.
    """
    action, values = find(name), dict(values or {})
    words = ["babytui", *name.split()]
    positional: list[str] = []
    for argument in action.arguments:
        value = values.pop(argument.name, None)
        if value is None or value is False or (value == argument.default and not _replaced(argument)):
            continue
        if isinstance(value, Mapping):
            value = [f"{key}={_word(item)}" for key, item in value.items()]
        several = [str(item) for item in value] if isinstance(value, (list, tuple)) else [_word(value)]
        if not argument.flags:
            positional += several
        elif argument.kind == "flag":
            words.append(argument.flags[-1])
        else:
            for item in several:  # a value that starts with a dash must be glued on, or it reads as an option
                glue = item.startswith("-") and item != "-"
                words += [f"{argument.flags[-1]}={item}"] if glue else [argument.flags[-1], item]
    if values:
        raise KeyError(f"{name} has no argument {', '.join(values)}")
    if workspace is not None:
        words += ["--workspace", workspace]
    return " ".join(map(_quoted, [*words, *positional]))


def _replaced(argument: Argument) -> bool:
    """Whether a setting has taken the place of its default, which must then be written out."""
    from babytui import settings

    return bool(argument.setting) and settings.default_of(argument) != argument.default


def _quoted(word: str) -> str:
    """A word for a shell. What is not printable is written as escapes, so that it can be shown, copied and pasted."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = "".join(c if c.isprintable() and c not in "\\'" else "".join(f"\\x{byte:02x}" for byte in _bytes(c))
                      for c in word)
    # a hexadecimal escape takes as many digits as follow, in some shells more than two
    return "$'" + re.sub(r"(\\x[0-9a-f]{2})(?=[0-9a-fA-F])", r"\1'$'", escaped) + "'"


def _bytes(character: str) -> bytes:
    # U+DC80 and what follows stand for a byte of a file name that is not UTF-8
    return character.encode("utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass")


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
