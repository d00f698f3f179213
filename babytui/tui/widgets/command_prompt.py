"""The chat's prompt: a text for the model, or after a slash a command, with what can be typed next."""

from __future__ import annotations

from textual import events, on
from textual.message import Message
from textual.widgets import TextArea

from babytui import commandline
from babytui.actions import APP
from babytui.tui.completing import Completing
from babytui.tui.widgets.completions import CompletionList
from babytui.tui.widgets.prompt import Prompt


class CommandPrompt(Prompt):
    """As Prompt, but a line that begins with / posts `Command` when it can be run. A text for the model that begins
    with a slash is typed with two. Its list is the CompletionList with the id "completions" beside it."""

    class Command(Message):
        """Enter was pressed; text is the command without its slash."""

        def __init__(self, text: str):
            super().__init__()
            self.text = text

    class Hint(Message):
        """What is meant at the cursor, or with the role "bad" why the command cannot be run; empty for neither."""

        def __init__(self, text: str, role: str = "dim"):
            super().__init__()
            self.text, self.role = text, role

    _completing: Completing | None = None
    _was_command = False

    @property
    def command(self) -> str | None:
        """The command as it is typed, without its slash; None when a text is typed."""
        text = self.text
        return text[1:] if text.startswith("/") and not text.startswith("//") else None

    def on_mount(self) -> None:
        self._completing = Completing(
            self, self.app.workspace,  # type: ignore[attr-defined]
            lambda: self.screen.query_one("#completions", CompletionList), self._read, self._write,
            self._hint)

    def on_blur(self) -> None:
        if self._completing is not None and self._completing.open:
            self._completing.close()

    def _hint(self, text: str) -> None:
        self.post_message(self.Hint(text))

    def _read(self) -> tuple[str, int] | None:
        command = self.command
        at = len(self.get_text_range((0, 0), self.cursor_location))
        return None if command is None else (command, max(0, at - 1))

    def _write(self, text: str, at: int) -> None:
        self.text = "/" + text
        before = "/" + text[:at]
        self.move_cursor((before.count("\n"), len(before) - before.rfind("\n") - 1))

    @on(TextArea.Changed)
    def _command_typed(self) -> None:
        if self._completing is None or not (self.has_focus or self._was_command):
            return
        now = self.command is not None
        if now and not self._was_command:
            self._completing.look()
        if now or self._was_command:
            self._completing.typed()
        self._was_command = now

    def on_key(self, event: events.Key) -> None:
        open_ = self._completing is not None and self._completing.open
        if event.key == "enter" and self.text.startswith("//"):
            self.post_message(self.Sent(self.text[1:]))
        elif event.key == "enter" and (command := self.command) is not None:
            self._enter(command)
        elif event.key in ("tab", "shift+tab") and open_ and self._completing is not None:
            self._completing.move(1 if event.key == "tab" else -1)
        elif event.key == "escape" and open_ and self._completing is not None:
            self._completing.close()
        else:
            return
        event.stop()
        event.prevent_default()

    def _enter(self, command: str) -> None:
        if problem := commandline.problem(command or "help", APP):
            self.post_message(self.Hint(problem, "bad"))
            return
        self.remember(self.text)
        self.text = ""
        if self._completing is not None:
            self._completing.typed()
        self.post_message(self.Command(command or "help"))

    def action_older(self) -> None:
        if self._completing is not None and self._completing.open:
            self._completing.move(-1)
        else:
            super().action_older()
            self._recalled()

    def action_newer(self) -> None:
        if self._completing is not None and self._completing.open:
            self._completing.move(1)
        else:
            super().action_newer()
            self._recalled()

    def _recalled(self) -> None:
        if self._completing is not None and self.command is not None:
            self._completing.close()
            self._was_command = True
