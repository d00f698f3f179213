"""The app: the playground, its keys that work everywhere, and the command palette."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.segment import Segments
from textual import events
from textual.app import SystemCommand
from textual.binding import BindingType
from textual.dom import DOMNode
from textual.driver import Driver
from textual.filter import LineFilter
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, TextArea

from babytui import actions
from babytui.tui.bindings import bindings, key_of
from babytui.tui.governed import GovernedApp
from babytui.tui.in_order import InOrder
from babytui.tui.panes.base import Pane
from babytui.tui.panes.sampling import Sampling
from babytui.tui.safe import MARKS
from babytui.tui.screens.playground import PlaygroundScreen
from babytui.tui.subject import Subject, Subjects
from babytui.tui.widgets.bars import TopBar
from babytui.tui.widgets.chart import LossChart, chosen_options
from babytui.tui.widgets.transcript import Transcript
from babytui.visible import visible
from store.workspace import Workspace

_HERE = Path(__file__).parent
LONGEST_NOTE = 240  # characters; more would hide the screen
REMEMBERED = 50  # commands that can be copied
LONGEST_PASTE = 100_000  # characters, more than any model reads; wrapping them takes its time


class PlaygroundApp(InOrder, GovernedApp):
    """Opens one workspace. Training happens in other processes: leaving the app leaves them alone."""

    TITLE = "babytui"
    ENABLE_COMMAND_PALETTE = True
    CSS_PATH = [_HERE / "screens" / "playground.tcss", *(_HERE / "panes" / f"{name}.tcss" for name in
                ("config", "training", "models", "chat"))]
    COMMAND_PALETTE_BINDING = "unset_palette"  # it has a key of the registry
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")

    def __init__(self, workspace: Workspace, driver_class: type[Driver] | None = None):
        super().__init__(driver_class)
        self.workspace = workspace
        self.done: deque[str] = deque(maxlen=REMEMBERED)  # command lines of what was done, the newest first

    def on_mount(self) -> None:
        # After a suspension the terminal is empty, which Textual does not know when the size is as before.
        self.app_resume_signal.subscribe(self, lambda _: self.screen.refresh())
        for problem in self.chosen.problems[:3]:
            self.notify(problem, severity="warning", timeout=10)

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

    # --- foreign text -----------------------------------------------------------------------------

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [MARKS, *super().get_line_filters()]

    def notify(self, message: str, *, title: str = "", severity: SeverityLevel = "information",
               timeout: float | None = None, markup: bool = False) -> None:
        """As of every app, but never with markup: what is told names files, models and what they say."""
        message = visible(message)
        if len(message) > LONGEST_NOTE:
            message = message[:LONGEST_NOTE] + "…"
        super().notify(message, title=visible(title, newlines=False), severity=severity, timeout=timeout, markup=False)

    def copy_to_clipboard(self, text: str) -> None:
        """As of every app; what is copied may be pasted into a shell, so it has no control characters either."""
        super().copy_to_clipboard(visible(text))

    async def typed(self, event: events.Key | events.Paste) -> None:
        if isinstance(event, events.Paste):  # what is seen is what is sent
            event.text = visible(event.text[:LONGEST_PASTE])
            if isinstance(self.focused, Input):
                event.text = event.text.replace("\t", " ")
        await super().typed(event)

    def _fatal_error(self) -> None:
        """A bug ends the app: its traceback as plain lines. Textual's would hold what errors say as it is."""
        self._exit_renderables.append(traceback.format_exc())
        self._close_messages_no_wait()

    def _print_error_renderables(self) -> None:
        for shown in self._exit_renderables:
            text = "".join(segment.text for segment in shown.segments) if isinstance(shown, Segments) else str(shown)
            print(visible(text), file=sys.stderr)
        self._exit_renderables.clear()

    def keep(self, name: str, value: Any) -> str:
        said = super().keep(name, value)
        self.did("settings", {"name": name, "reset": True} if value is None else {"name": name, "value": value})
        return said

    def setting_changed(self, name: str, value: Any) -> None:
        table, _, key = name.partition(".")
        if table == "sampler":
            self.playground.query_one(Sampling).take(key, value)
        elif name == "chart.dots":
            self.refresh_css(animate=False)
        elif table == "chart":
            for chart in self.playground.query(LossChart):
                chart.set(**chosen_options(self.chosen.__getitem__))
        elif name == "mouse" and (use := getattr(self._driver, "use_mouse", None)):
            use(value)

    def keys_changed(self) -> None:
        self.playground.name_keys()

    def governed(self, said: str) -> None:
        self.playground.query_one(TopBar).tell(pace=said)
        self.playground.training.query_one("#log", Transcript).add(
            said or "full detail again", margin=time.strftime("%H:%M"), role="dim")

    # --- actions ----------------------------------------------------------------------------------

    def node(self, name: str) -> DOMNode | None:
        """The app, the playground, a pane or the screen in front by its name in the registry; None when it is not
        there."""
        found: dict[str, DOMNode] = {"app": self, "playground": self.playground}
        found |= {pane.id: pane for pane in self.playground.query(Pane) if pane.id}
        found[getattr(self.screen, "node", "")] = self.screen
        return found.get(name)

    def act(self, name: str) -> None:
        """Does the registry's action of this name, as its key would. What the app has no way of its own for is run as
        a command: at once when it takes no arguments, else after they were typed."""
        action = actions.find(name)
        node = self.node(action.node)
        if not action.app or (node is None and action.run):
            if action.arguments:
                self.call_later(self.action_command_line, action.name + " ")
            else:
                self.run_line(action.name)
        elif node is not None:
            if isinstance(node, Pane) and self.playground.current != node.id:
                self.playground.action_show(str(node.id))
            self.call_later(self.run_action, action.does, node)

    def did(self, name: str, values: Mapping[str, Any] | None = None) -> None:
        """Remembers what was done, as the command line that does the same. values: as `actions.command_line` takes."""
        self.note(actions.command_line(name, values, workspace=str(self.workspace.root)))

    def note(self, line: str) -> None:
        """As `did`, of what has its command line already."""
        if line in self.done:
            self.done.remove(line)
        self.done.appendleft(line)

    def action_command_line(self, line: str = "") -> None:
        """Opens the command line, with `line` in it."""
        from babytui.tui.screens.command import CommandScreen

        if not isinstance(self.screen, ModalScreen):
            self.push_screen(CommandScreen(line), lambda typed: self.run_line(typed) if typed else None)

    def run_line(self, line: str) -> None:
        """Does what a command says, without its sign."""
        from babytui.tui.running import run_line

        run_line(self, line)

    def action_microscope(self) -> None:
        """Looks into the model that the screen in front is about; into which, is asked where there are several."""
        from babytui.tui.screens.choose import ChooseScreen

        subjects: Callable[[], Subjects] | None = getattr(self.screen, "subjects", None)
        found = subjects() if subjects is not None else "What is open here is about no model; Esc leaves it."
        if isinstance(found, str):
            self.notify(found, severity="warning")
        elif len(found) == 1:
            self.look_into(found[0])
        else:
            named = {f"{subject.name} · {subject.guid[:8]}": subject for subject in found}

            def chosen(name: str | None) -> None:
                if name is not None:
                    self.look_into(named[name])

            self.push_screen(ChooseScreen("Look into", list(named)), chosen)

    def look_into(self, subject: Subject) -> None:
        """Opens the microscope on a model and its text, or else what was said last."""
        from babytui.tui.screens.microscope import MicroscopeScreen

        text = subject.text or self.playground.chat.text_to_look_at()
        self.push_screen(MicroscopeScreen(self.workspace, subject.guid, text, subject.step))

    # --- keys -------------------------------------------------------------------------------------

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
            self.notify(f"Nothing is selected to copy. {key_of('quit')} quits; a training run goes on.", markup=False)
            return
        self.notify("Copied.", timeout=1.5)

    def action_keys(self) -> None:
        self.help()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        from babytui.tui.commands import commands

        yield from commands(self)
        for command in super().get_system_commands(screen):
            if command.title in ("Theme", "Screenshot"):
                yield command


def main(workspace: Workspace | str | os.PathLike[str], mouse: bool = True) -> int:
    """Opens the playground and returns the exit code. mouse False leaves the mouse to the terminal."""
    chosen = workspace if isinstance(workspace, Workspace) else Workspace(Path(workspace))
    in_browser = bool(os.environ.get("TEXTUAL_DRIVER"))
    for name in () if in_browser else ("COLUMNS", "LINES"):  # what a shell once exported is not this terminal's size
        os.environ.pop(name, None)
    sys.setswitchinterval(0.001)  # a reply is written in a thread of this process; keys come first
    from babytui.tui.driver import Terminal

    app = PlaygroundApp(chosen, None if in_browser else Terminal)
    app.run(mouse=mouse)
    return app.return_code or 0


__all__ = ["PlaygroundApp", "main"]
