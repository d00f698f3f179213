"""The app: the playground, its keys that work everywhere, and the command palette."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, TextArea

from babytui.tui.screens.playground import PlaygroundScreen
from store.workspace import Workspace

_HERE = Path(__file__).parent


class PlaygroundApp(App[int]):
    """Opens one workspace. Training happens in other processes: leaving the app leaves them alone."""

    TITLE = "babytui"
    ENABLE_COMMAND_PALETTE = True
    CSS_PATH = [_HERE / "screens" / "playground.tcss", *(_HERE / "panes" / f"{name}.tcss" for name in
                ("config", "training", "models", "chat"))]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit; runs go on", priority=True),
        Binding("ctrl+c", "cancel_or_copy", "Stop the reply, or copy what is selected", priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend (fg comes back)", priority=True),
        Binding("f1", "keys", "All keys", priority=True),
    ]

    def __init__(self, workspace: Workspace):
        super().__init__()
        self.workspace = workspace

    def on_mount(self) -> None:
        # After a suspension the terminal is empty, which Textual does not know when the size is as before.
        self.app_resume_signal.subscribe(self, lambda _: self.screen.refresh())

    def get_default_screen(self) -> Screen[Any]:
        return PlaygroundScreen()

    @property
    def playground(self) -> PlaygroundScreen:
        """The screen with the panes, whatever is in front of it."""
        return next(screen for screen in self.screen_stack if isinstance(screen, PlaygroundScreen))

    @property
    def _background_screens(self) -> list[Screen[Any]]:
        """None behind a screen that hides them: Textual takes the one below along even then, and every change in the
        playground would paint the whole terminal again."""
        screen = self.screen
        hidden = not isinstance(screen, ModalScreen) and screen.styles.background.a == 1
        return [] if hidden else super()._background_screens

    def action_maximise(self) -> None:
        self.playground.action_maximise()

    def action_cancel_or_copy(self) -> None:
        """Stops the reply that is being written; else copies; else says how to leave."""
        focused = self.focused
        if isinstance(focused, (Input, TextArea)) and focused.selected_text:
            self.copy_to_clipboard(focused.selected_text)
        elif text := self.screen.get_selected_text():
            self.copy_to_clipboard(text)
        elif self.screen is self.playground and self.playground.chat.writing:
            self.playground.chat.action_stop()
            return
        elif self.screen is not self.playground:
            self.screen.dismiss()
            return
        else:
            self.notify("Nothing is selected to copy. ctrl+q quits; a training run goes on.", markup=False)
            return
        self.notify("Copied.", timeout=1.5)

    def action_keys(self) -> None:
        from babytui.tui.screens.keys import keys_screen

        if not isinstance(self.screen, ModalScreen):
            self.push_screen(keys_screen(self.playground))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        from babytui.tui.commands import commands

        yield from commands(self)
        for command in super().get_system_commands(screen):
            if command.title in ("Theme", "Screenshot"):
                yield command



def main(workspace: Workspace | str | os.PathLike[str], mouse: bool = True) -> int:
    """Opens the playground and returns the exit code. mouse False leaves the mouse to the terminal."""
    chosen = workspace if isinstance(workspace, Workspace) else Workspace(Path(workspace))
    for name in ("COLUMNS", "LINES"):  # what a shell once exported is not the size of this terminal
        os.environ.pop(name, None)
    sys.setswitchinterval(0.001)  # a reply is written in a thread of this process; keys come first
    app = PlaygroundApp(chosen)
    app.run(mouse=mouse)
    return app.return_code or 0


__all__ = ["PlaygroundApp", "main"]
