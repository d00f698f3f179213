"""A command that was typed in the app: done as its key would do it, or run as the command line does, in a thread.

Short output is told in a corner, long output on a page. Runs begin in the background and open their pane; a question
becomes a dialog.
"""

from __future__ import annotations

import argparse
import threading
from typing import TYPE_CHECKING, Any

from babytui import capture, commandline, runs
from babytui.actions import APP, CLI, Action
from babytui.capture import ERR, OUT, Caught
from babytui.cli import asking
from babytui.tui.messages import Failed, ModelsChanged, RunStarted, WatchAsked
from babytui.tui.threads import in_thread
from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.tui.app import PlaygroundApp

NOTE_LINES, NOTE_CHARACTERS = 4, 240  # more is a page
HELP = ("-h", "--help")
BEGINS = ("train", "finetune", "resume")  # runs, which their pane shows


def run_line(app: PlaygroundApp, line: str) -> None:
    """Does what a line says, without its sign; what is wrong with it is told."""
    try:
        action, rest = commandline.match(commandline.split(line), APP)
    except BabyError as error:
        app.playground.post_message(Failed(str(error)))
        return
    takes = CLI in action.where or (action.run and action.arguments)
    if action.app and not (rest and takes) and not set(rest) & set(HELP):
        app.act(action.name)
    elif action.name == "bakeoff attach":
        app.act("bakeoff")
    else:
        in_thread(app.playground, lambda: _Command(app, action, line).run(), "command")


class _Command:
    """One command, in a thread."""

    def __init__(self, app: PlaygroundApp, action: Action, line: str):
        self._app, self._action, self._line = app, action, line
        self._arguments: argparse.Namespace | None = None

    def run(self) -> None:
        if self._action.name == "attach":
            arguments = commandline.parse(self._line, APP, self._app.workspace.root)
            self._post(WatchAsked(runs.find(self._app.workspace, arguments.guid).guid))
            return
        from babytui.tui.screens.text import columns

        width = columns(self._app.size.width)
        with capture.caught(width) as caught, asking.answered_by(lambda question: self._ask(question, caught)):
            code = commandline.run(self._line, APP, self._app.workspace.root, prepare=self._prepare)
        if self._arguments is not None and code == 0 and CLI in self._action.where:
            self._app.call_from_thread(self._noted, self._arguments)
        self._post(ModelsChanged())
        if code == 0 and self._action.name in BEGINS and (begun := self._run_of(caught)) is not None:
            self._post(RunStarted(begun))
        elif code == 0 and self._action.name in ("bakeoff", "bakeoff resume"):
            self._app.call_from_thread(self._app.act, "bakeoff")
        else:
            self._tell(code, caught)

    def _prepare(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        if hasattr(arguments, "detach"):
            arguments.detach = True  # its pane watches it
        arguments.no_color = True

    def _noted(self, arguments: argparse.Namespace) -> None:
        values = {argument.name: getattr(arguments, argument.name) for argument in self._action.arguments}
        self._app.did(self._action.name, values)

    def _run_of(self, caught: Caught) -> runs.Run | None:
        """The run that a command has begun."""
        reference = caught.text(OUT).strip()
        if self._action.name == "resume" and self._arguments is not None:
            reference = self._arguments.guid
        try:
            return runs.find(self._app.workspace, reference)
        except BabyError:
            return None

    def _ask(self, question: str, caught: Caught) -> bool:
        """Puts a question with yes and no to whoever sits here; waits in the thread."""
        from babytui.tui.screens.confirm import ConfirmScreen

        answered, answer = threading.Event(), [False]

        def done(agreed: bool | None) -> None:
            answer[0] = bool(agreed)
            answered.set()

        lines = [*caught.text(ERR).splitlines(), "", question]
        self._app.call_from_thread(self._app.push_screen, ConfirmScreen(self._action.name, lines, "Yes"), done)
        while not answered.wait(0.2):
            if not self._app.is_running:
                return False
        caught.pieces.clear()  # it was read
        return answer[0]

    def _tell(self, code: int, caught: Caught) -> None:
        text = caught.text().strip("\n")
        lines = text.split("\n")
        if code:
            said = caught.text(ERR).strip().replace("babytui: ", "")
            self._post(Failed(said or "It failed.") if len(said) <= NOTE_CHARACTERS else Failed(said.split("\n")[-1]))
            if not caught.text(OUT).strip():
                return
        elif len(lines) <= NOTE_LINES and len(text) <= NOTE_CHARACTERS and (
                "  " not in text or not caught.text(OUT).strip()):
            self._app.call_from_thread(self._app.notify, text or "Done.", markup=False, timeout=6)
            return
        self._app.call_from_thread(self._page, lines)

    def _page(self, lines: list[str]) -> None:
        from babytui.tui.screens.text import TextScreen

        self._app.push_screen(TextScreen(self._line, [[(line, "text")] for line in lines]))

    def _post(self, message: Any) -> None:
        self._app.playground.post_message(message)
