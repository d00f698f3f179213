"""The command palette: the registry's actions, as far as they can be done where one is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual.app import SystemCommand

from babytui import actions
from babytui.tui.bindings import keys_of

if TYPE_CHECKING:
    from babytui.tui.app import PlaygroundApp


def commands(app: PlaygroundApp) -> Iterator[SystemCommand]:
    """Every action that is offered to the app, by its registered name and help. Those of a screen that is not in front
    are left out, unless they can be run as a command."""
    for action in actions.offered(actions.APP):
        if action.run or app.node(action.node) is not None:
            keys = keys_of(action.id)[:1] if action.key else []
            yield SystemCommand(action.name, " · ".join([action.help, *keys]), partial(app.act, action.name))
