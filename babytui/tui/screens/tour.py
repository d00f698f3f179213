"""The tour: four steps over the real panes. Whatever is not one of its keys ends it and does what it does."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.geometry import Offset, Region
from textual.screen import ModalScreen

from babytui.tui.bindings import ids, key_of, keys_of, shown_key
from babytui.tui.panes.base import Pane, paragraph
from babytui.tui.safe import plain
from babytui.tui.threads import after_refresh
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Line, Lines


class Step(NamedTuple):
    """What is said about a pane, and the actions whose keys are told."""

    pane: str
    title: str
    text: str
    actions: tuple[str, ...]


STEPS = (
    Step("config", "choose", "A model is made of these parameters. Pick a preset, or change a few; beside them is what "
         "it costs in size, memory and time.", ("train", "help")),
    Step("training", "train", "The run appears here: its loss falls, and samples show what it has learned so far. It "
         "goes on when you leave.", ("pause", "stop", "chart.log")),
    Step("models", "keep", "Every model you have made, with its loss and size. Look into one, compare, teach it "
         "another text, delete.", ("info", "talk", "delete")),
    Step("chat", "talk", "Write, and the model goes on. One that ships is here already; a model can talk while it is "
         "still being trained.", ("regenerate", "continue", "commands")),
)
_NEXT, _BACK, _SKIP = ("enter", "right", "space", "tab"), ("left", "backspace", "shift+tab"), ("escape", "q", "ctrl+c")


class _Panel(Vertical):
    """Has its place again whenever its size has changed: what is after a refresh may still be before its layout."""

    def on_resize(self, event: events.Resize) -> None:
        if isinstance(self.screen, TourScreen):
            self.screen.place()


class TourScreen(ModalScreen[None]):
    """Dismisses when it is over; the app remembers that it was shown."""

    CSS_PATH = ["dialogs.tcss", "tour.tcss"]
    TYPED: ClassVar[bool] = True
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    @property
    def step(self) -> Step:
        return STEPS[self._at]

    def compose(self) -> ComposeResult:
        with _Panel(classes="dialog"):
            yield Lines(id="tour")

    def on_mount(self) -> None:
        self._before: str = self.app.playground.current  # type: ignore[attr-defined]
        self._show()

    def on_resize(self, event: events.Resize) -> None:
        after_refresh(self, self.place)

    def _show(self) -> None:
        step = self.step
        playground = self.app.playground  # type: ignore[attr-defined]
        playground.action_show(step.pane)
        box = self.query_one(_Panel)
        box.border_title = plain(f"{self._at + 1} of {len(STEPS)}: {step.title}")
        box.border_subtitle = hint_content([("⏎", "done" if step is STEPS[-1] else "next"),
                                            *([("←", "back")] if self._at else []), ("Esc", "skip")])

        def build(width: int) -> list[Line]:
            told = {key_of(ids()[id_][2].name): ids()[id_][2].help
                    for id_ in ("show." + step.pane, *step.actions) if keys_of(id_)}
            side = max(map(len, told), default=0) + 2
            lines = [*paragraph(step.text, width, "text"), []]
            for key, help in told.items():
                first, *more = paragraph(help, width - side, "label")
                lines += [[(f"{key:<{side}}", "key"), *first], *([(" " * side, "label"), *line] for line in more)]
            return lines

        self.query_one("#tour", Lines).show(build)
        after_refresh(self, self.place)

    def place(self) -> None:
        """Beside the pane where there is room, else in a corner of it; never over its title."""
        playground = self.app.playground  # type: ignore[attr-defined]
        panes = playground.query_one("#panes")
        alone = panes.has_class("-tabs")  # a pane that was behind a tab until now has no place yet
        pane: Region = (panes if alone else playground.query_one(f"#{self.step.pane}", Pane)).region
        box = self.query_one(_Panel)
        box.styles.offset = beside(pane, self.size.region, box.outer_size.width, box.outer_size.height)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        key = event.key
        panes = {shown: n for n, step in enumerate(STEPS) for shown in keys_of("show." + step.pane)}
        if key in _SKIP or (key in _NEXT and self.step is STEPS[-1]):
            if key in _SKIP:  # as if it had not been
                self.app.playground.action_show(self._before)  # type: ignore[attr-defined]
            self.dismiss()
        elif key in _NEXT or key in _BACK:
            self._at = max(0, self._at + (1 if key in _NEXT else -1))
            self._show()
        elif shown_key(key) in panes:
            self._at = panes[shown_key(key)]
            self._show()
        else:
            self.dismiss()
            after_refresh(self.app, partial(self.app.post_message, events.Key(key, event.character)))


def beside(pane: Region, screen: Region, width: int, height: int) -> Offset:
    """Where a panel goes that speaks of a pane: right of it, left of it, or inside at its bottom; on the screen."""
    if pane.right + width <= screen.width:
        x, y = pane.right, pane.y + 1
    elif pane.x >= width:
        x, y = pane.x - width, pane.y + 1
    else:
        x, y = pane.right - width - 2, pane.bottom - height - 1
    return Offset(max(0, min(x, screen.width - width)), max(0, min(y, screen.height - height - 1)))


