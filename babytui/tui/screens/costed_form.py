"""A form in a dialog that starts something: what that takes is shown as it is typed, mistakes stand in their place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button

from babytui.tui import backend
from babytui.tui.messages import Failed
from babytui.tui.panes.base import paragraph
from babytui.tui.panes.form import Rows
from babytui.tui.safe import plain
from babytui.tui.threads import Inquiry, in_thread
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.fields import FormButton
from babytui.tui.widgets.lines import Line, Lines
from engine.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from store.workspace import Workspace

Wish = TypeVar("Wish")
Answer = TypeVar("Answer")
Begun = TypeVar("Begun")
T = TypeVar("T")


class CostedForm(ModalScreen[Begun | None], Generic[Wish, Answer, Begun]):
    """Dismisses with what has begun, or None.

    Wish: what the form says. Answer: what that would be and take, worked out in a thread. A subclass gives the
    widgets, a Rows with the fields text and name and a Lines of class `cost` among them, and the abstract
    methods; those that get a workspace run in a thread.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss", "Back"),
        Binding("f9,ctrl+t", "start", "Start", priority=True),
        Binding("f8,ctrl+y", "copy", "Copy as a command", priority=True),
    ]
    debounce: ClassVar[float] = 0.15  # seconds without another change before it is worked out again

    class Texts(Message):
        """A thread has listed the texts."""

        def __init__(self, texts: list[str]):
            super().__init__()
            self.texts = texts

    class Costed(Message):
        """A thread has worked out the answer; or `error` in `field`. serial: of the question, None when it was to be
        started."""

        def __init__(self, serial: int | None, answer: Any, error: str = "", field: str = ""):
            super().__init__()
            self.serial, self.answer, self.error, self.field = serial, answer, error, field

    class Started(Message):
        """A thread has started it."""

        def __init__(self, begun: Any):
            super().__init__()
            self.begun = begun

    def __init__(self, title: str, hints: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._heading, self._hints = title, hints
        self._inquiry = Inquiry(self, self._compute)
        self._answer: Answer | None = None
        self._line = ""  # the command that does what was begun
        self._error = ""
        self._starting = False

    # --- what a subclass gives --------------------------------------------------------------------

    @abstractmethod
    def body(self) -> ComposeResult:
        """Everything above the button."""

    @abstractmethod
    def first_focus(self) -> Widget:
        """The widget that gets the keys when the form is opened."""

    def edited(self, name: str) -> None:
        """The person changed this field."""

    @abstractmethod
    def wishes(self) -> Wish:
        """What the form says; ConfigError with the field that cannot be understood."""

    @abstractmethod
    def answers(self, workspace: Workspace, wishes: Wish, wanted: Callable[[], None]) -> Iterator[Answer]:
        """What this would be and take, perhaps ever more exactly. BabyError. `wanted` raises when it is wanted no
        more."""

    @abstractmethod
    def begin(self, workspace: Workspace, wishes: Wish) -> Begun:
        """Starts it. BabyError."""

    @abstractmethod
    def command(self, workspace: Workspace, wishes: Wish) -> str:
        """The command line that starts the same; ConfigError when there is none."""

    @abstractmethod
    def suggestions(self, answer: Answer) -> dict[str, str]:
        """What fields stand for while they are empty."""

    @abstractmethod
    def told(self, answer: Answer | None, width: int) -> list[Line]:
        """The answer in words, or what is said while there is none."""

    def above(self, width: int) -> list[Line]:
        """What stands above the cost, whatever that is."""
        return []

    def field_of(self, error: Exception) -> str:
        """The field under which a mistake is told; empty when none fits."""
        return getattr(error, "field", "") or ""

    # --- the form ---------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title, box.border_subtitle = plain(self._heading), hint_content(self._hints)
        with box:
            yield from self.body()
            with Horizontal(classes="buttons"):
                yield FormButton("Start (F9)", id="start", variant="success", compact=True)

    @property
    def form(self) -> Rows:
        return self.query_one(Rows)

    @property
    def workspace(self) -> Workspace:
        return self.app.workspace  # type: ignore[attr-defined]

    def on_mount(self) -> None:
        self._show()
        workspace = self.workspace
        in_thread(self, lambda: self.post_message(self.Texts(backend.texts(workspace))), "texts")
        self.first_focus().focus()

    def on_costed_form_texts(self, event: Texts) -> None:
        self.form.fields["text"].set_options(event.texts)  # type: ignore[attr-defined]
        self._inquiry.again()

    @on(Rows.Edited)
    def _edited(self, event: Rows.Edited) -> None:
        event.stop()
        self.edited(event.name)
        self._inquiry.again(self.debounce)

    # --- what it takes ----------------------------------------------------------------------------

    def _understood(self, read: Callable[[], T], go: bool = False) -> T | None:
        """What `read` finds in the form; None with the mistake told in its field, to which the keys `go`."""
        try:
            return read()
        except ConfigError as error:
            self._take(None, str(error), self.field_of(error))
            if go:
                self._refuse(str(error), self.field_of(error))
            return None

    def _refuse(self, error: str, where: str) -> None:
        """Says why it is not started, and brings the keys to the field that is wrong."""
        if where in self.form.fields:
            self.form.fields[where].focus()
        self.notify(error, severity="error", markup=False)

    def _work(self, work: Callable[[], None], serial: int | None, group: str) -> None:
        """Does it in a thread; a mistake is posted as the answer to this question."""

        def guarded() -> None:
            try:
                work()
            except backend.BabyError as error:
                self.post_message(self.Costed(serial, None, str(error), self.field_of(error)))

        in_thread(self, guarded, group, exclusive=serial is not None)

    def _compute(self) -> None:
        serial, workspace = self._inquiry.serial, self.workspace
        wishes = self._understood(self.wishes)
        if wishes is None:
            return

        def wanted() -> None:
            if serial != self._inquiry.serial:
                raise UsageError("This is asked no more.")

        def work() -> None:
            for answer in self.answers(workspace, wishes, wanted):
                self.post_message(self.Costed(serial, answer))

        self._work(work, serial, "cost")

    def on_costed_form_costed(self, event: Costed) -> None:
        if event.serial is None:
            self._be_starting(False)
            self._refuse(event.error, event.field)
        if event.serial in (None, self._inquiry.serial):
            self._take(event.answer, event.error, event.field)

    def _take(self, answer: Answer | None, error: str = "", where: str = "") -> None:
        """Shows what it takes, or the mistake under its field (with the cost if it has none)."""
        form = self.form
        for name in form.fields:
            form.show_problem(name, error if name == where else None)
        self._answer, self._error = answer, "" if where in form.fields else error
        if answer is not None:
            for name, text in self.suggestions(answer).items():
                form.suggest(name, text)
        self._show()

    def _show(self) -> None:
        answer, error = self._answer, self._error

        def build(width: int) -> list[Line]:
            wrong = paragraph(error, width, "bad") if error else None
            return [*self.above(width), *(wrong or self.told(answer, width))]

        self.query_one(".cost", Lines).show(build)

    # --- starting ---------------------------------------------------------------------------------

    @on(Button.Pressed, "#start")
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_start()

    def action_start(self) -> None:
        """Starts it, or goes to the field that is wrong."""
        if self._starting or (wishes := self._understood(self.wishes, go=True)) is None:
            return
        self._inquiry.drop()  # what is still being worked out must not take an error away
        workspace = self.workspace
        self._line = self.command(workspace, wishes)
        self._be_starting(True)
        self._work(lambda: self._begin(workspace, wishes), None, "start")

    def _begin(self, workspace: Workspace, wishes: Wish) -> None:
        self.post_message(self.Started(self.begin(workspace, wishes)))

    def _be_starting(self, starting: bool) -> None:
        self._starting = starting
        button = self.query_one("#start", Button)
        button.disabled = starting
        button.label = "Starting …" if starting else "Start (F9)"

    def on_costed_form_started(self, event: Started) -> None:
        self.app.note(self._line)  # type: ignore[attr-defined]
        self.dismiss(event.begun)

    @on(Failed)
    def _failed(self, event: Failed) -> None:
        event.stop()
        self._be_starting(False)
        self._take(None, event.text)
        self._refuse(event.text, "")

    def action_copy(self) -> None:
        """The same as a command line, to the clipboard."""
        workspace = self.workspace
        line = self._understood(lambda: self.command(workspace, self.wishes()))
        if line is not None:
            self.app.copy_to_clipboard(line)
            self.app.notify(line, title="Copied", markup=False, timeout=8)
