"""A question that is answered with a line or a few lines of text; what is wrong with it is told as it is typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from babytui.tui.panes.base import paragraph
from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Lines
from babytui.tui.widgets.prompt import Prompt
from engine.errors import BabyError


class AskScreen(ModalScreen[str]):
    """Dismisses with the text, or None. check: raises BabyError, whose sentence is shown, for what cannot be."""

    CSS_PATH = ["dialogs.tcss", "ask.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c", "dismiss", "Back")]

    def __init__(self, title: str, value: str = "", *, help: str = "", check: Callable[[str], object] | None = None,
                 lines: bool = False):
        super().__init__()
        self._title, self._value, self._help, self._check, self._several = title, value, help, check, lines

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = plain(self._title)
        more = [("^J", "new line")] if self._several else []
        box.border_subtitle = hint_content([("⏎", "keep"), *more, ("Esc", "back")])
        with box:
            if self._several:
                yield Prompt(id="answer")
            else:
                yield Input(self._value, compact=True, id="answer", select_on_focus=False)
            yield Lines(id="ask-words")

    def on_mount(self) -> None:
        if self._several:
            prompt = self.query_one(Prompt)
            prompt.text = self._value
            prompt.move_cursor(prompt.document.end)
        self.query_one("#answer").focus()
        self._tell("")

    def _tell(self, problem: str) -> None:
        self.query_one("#ask-words", Lines).show(
            lambda width: paragraph(problem or self._help, width, "bad" if problem else "label"))

    def _problem(self, text: str) -> str:
        try:
            if self._check is not None:
                self._check(text)
        except BabyError as error:
            return str(error)
        return ""

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._tell(self._problem(event.value))

    @on(Prompt.Changed)
    def _changed(self, event: Prompt.Changed) -> None:
        event.stop()
        self._tell(self._problem(event.text_area.text))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._done(event.value)

    def on_prompt_sent(self, event: Prompt.Sent) -> None:
        event.stop()
        self._done(event.text)

    def _done(self, text: str) -> None:
        if not self._problem(text):
            self.dismiss(text)
