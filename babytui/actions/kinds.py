"""What an action is, and what its arguments are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

CLI, SHELL, APP = "cli", "shell", "app"
EVERYWHERE = (CLI, SHELL, APP)


@dataclass(frozen=True)
class Argument:
    """One argument of an action.

    name: the name it has in code. flags: empty for a positional one.
    kind: text, int, float, flag (present or not), duration (60s, 5m, 1h → seconds), path, and the kinds that a face can
        complete: model, run, trashed, input, known_text, assignment (parameter=value), preset.
    nargs: as argparse's ("?", "+", "*"); repeat: may be given several times and gathers a list (of all values).
    low, high: the smallest and largest number. setting: the one (see babytui.settings) that takes the default's place.
    """

    name: str
    flags: tuple[str, ...] = ()
    kind: str = "text"
    help: str = ""
    default: Any = None
    nargs: str | None = None
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    repeat: bool = False
    low: float | None = None
    high: float | None = None
    setting: str = ""


@dataclass(frozen=True)
class Action:
    """One thing a user can do: command, slash command, palette entry and key.

    name: one or two words, as they are typed ("inputs add"). run: "module:function" for the command line and the shell,
    called with the parsed arguments and returning an exit code; empty for what only the app does. where: the faces that
    offer it.

    app: how the app does it, "node.action" (`training.command('pause')`): node is "app", "playground", a pane's name
    or a screen's, the rest one of its Textual actions. Without it the app opens its command line with the name typed.
    key: the app's default keys, separated by commas; they work where the node is. also: more nodes, with keys and
    actions of their own, {"bakeoff": ("i", "info")}. hint: the word in the bar of keys; without one it is not shown
    there. same: for what only the app does, the command that shows the same.
    """

    name: str
    help: str
    run: str = ""
    arguments: tuple[Argument, ...] = ()
    key: str = ""
    app: str = ""
    hint: str = ""
    also: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    where: tuple[str, ...] = EVERYWHERE
    details: str = ""
    same: str = ""

    @property
    def id(self) -> str:
        """The name by which its keys are changed in the settings: "inputs.add"."""
        return self.name.replace(" ", ".")

    @property
    def node(self) -> str:
        """Where in the app it lives: "app", "playground", a pane's or a screen's name; empty when nowhere."""
        return self.app.partition(".")[0]

    @property
    def does(self) -> str:
        """The Textual action of that node."""
        return self.app.partition(".")[2]

    def function(self) -> Callable[[Any], int]:
        """The code behind the action (imports its module)."""
        module, _, name = self.run.partition(":")
        return getattr(importlib.import_module(module), name)

    def argument(self, name: str) -> Argument:
        """The argument called `name`; KeyError when there is none."""
        for argument in self.arguments:
            if argument.name == name:
                return argument
        raise KeyError(name)
