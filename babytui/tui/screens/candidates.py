"""What may come at a place of a reply: the likeliest tokens as bars, before and after every filter of the sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen

from babytui.candidates import percent, title
from babytui.tui.bindings import bindings
from babytui.tui.panes.base import paragraph
from babytui.tui.threads import after_refresh, in_thread
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Line, Lines
from babytui.visible import cells, cut, visible
from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.candidates import Candidate, Table
    from babytui.conversation import Exchange

MOST = 200  # candidates
_OTHERS = 12  # rows of the dialog that are no candidates
_TOKEN, _COLUMN = 12, 8  # cells of the token, and of a number
_BEFORE = 160  # characters of the text before it that are shown
_NAMES = {"repetition": "repet.", "temperature": "temp.", "top_k": "top-k", "top_p": "top-p", "min_p": "min-p"}


class CandidatesScreen(ModalScreen["tuple[int, int, float] | None"]):
    """Dismisses with (place in the reply, id, probability) of the token to put there, or None. ask: the table for a
    place and a count, called in a thread."""

    CSS_PATH = ["dialogs.tcss", "talking.tcss"]
    node = "candidates"  # its name in the registry of actions
    HELP = ("Per cent for each token: by the model alone, then after every filter of the sampler that acts, in their "
            "order: repetition, temperature, top-k, top-p, min-p. The last column is what is drawn from; a dash was "
            "filtered out. The green bar is the token that stands there. Another one put there makes a branch.")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,c,q,ctrl+c", "dismiss", "Back"),
        Binding("down,j", "go(1)", show=False),
        Binding("up,k", "go(-1)", show=False),
        Binding("pagedown", "go(10)", show=False),
        Binding("pageup", "go(-10)", show=False),
        Binding("home,g", "go(-10000)", show=False),
        Binding("end,G", "go(10000)", show=False),
        Binding("left,h", "place(-1)", show=False),
        Binding("right,l", "place(1)", show=False),
        *bindings("candidates"),
    ]

    class Found(Message):
        """The table of a place."""

        def __init__(self, at: int, table: Table | None, error: str = ""):
            super().__init__()
            self.at, self.table, self.error = at, table, error

    def __init__(self, exchange: Exchange, at: int, ask: Callable[[int, int], Table]):
        super().__init__()
        self._exchange, self._at, self._ask = exchange, at, ask
        self._table: Table | None = None
        self._error = ""
        self._row = self._top = 0

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = "Candidates"
        with box:
            yield Lines(id="candidates-place")
            yield Lines(id="candidates-rows")
            yield Lines(id="candidates-facts")

    def on_mount(self) -> None:
        self._look()

    def on_resize(self, event: events.Resize) -> None:
        keys = (("↑ ↓", "choose"), ("⏎", "put it there"), ("Esc", "back"), ("← →", "another token"))
        self.query_one(Vertical).border_subtitle = hint_content(keys, min(90, int(event.size.width * 0.96)) - 6)
        after_refresh(self, self._show)

    def _look(self) -> None:
        """Asks for the candidates of the present place."""
        at, ask = self._at, self._ask
        self._table, self._error, self._row, self._top = None, "", 0, 0
        self._show()

        def work() -> None:
            try:
                self.post_message(self.Found(at, ask(at, MOST)))
            except BabyError as error:
                self.post_message(self.Found(at, None, str(error)))

        in_thread(self, work, "candidates", exclusive=True)

    def on_candidates_screen_found(self, event: Found) -> None:
        event.stop()
        if event.at != self._at:
            return
        self._table, self._error = event.table, event.error
        there = self._there
        if self._table is not None and there is not None:
            ids = [row.id for row in self._table.rows]
            self._row = ids.index(there) if there in ids else 0
        self.action_go(0)

    @property
    def _there(self) -> int | None:
        """The token that stands at the place; None at the end."""
        return self._exchange.ids[self._at] if self._at < len(self._exchange) else None

    @property
    def _room(self) -> int:
        """How many candidates fit."""
        return max(3, self.size.height - _OTHERS)

    def _show(self) -> None:
        self.query_one("#candidates-place", Lines).show(self._place)
        self.query_one("#candidates-rows", Lines).show(self._rows)
        self.query_one("#candidates-facts", Lines).show(self._facts)

    def _place(self, width: int) -> list[Line]:
        """The end of the text before the place."""
        exchange = self._exchange
        text = exchange.opening + "".join(exchange.piece(i) for i in range(max(0, self._at - _BEFORE), self._at))
        text = visible(text, newlines=False)
        text = ("…" if len(text) > 2 * width - 2 else "") + text[-(2 * width - 3):]
        where = f"token {self._at + 1:,} of {len(exchange):,}" if self._there is not None else "the next token"
        return [*paragraph(text, width, "text")[-3:], [(where, "dim")]]

    def _rows(self, width: int) -> list[Line]:
        table = self._table
        if table is None:
            return [[(self._error, "bad")] if self._error else [("computing …", "dim")]]
        shown = table.shown
        if len(shown) > 1 and (width - _TOKEN - 4) // _COLUMN < len(shown):  # the first and the last that fit
            shown = [0, *shown[-max(1, (width - _TOKEN - 4) // _COLUMN - 1):]]
        bar = width - _TOKEN - 2 - _COLUMN * len(shown) - 2
        names = [_NAMES.get(table.steps[i].name, table.steps[i].name) for i in shown]
        lines: list[Line] = [[("  " + "token".ljust(_TOKEN) + "".join(name.rjust(_COLUMN) for name in names), "label")]]
        most = max((row.after for row in table.rows), default=0) or 1
        for index in range(self._top, min(self._top + self._room, len(table.rows))):
            lines.append(self._line(table.rows[index], index == self._row, shown, bar, most))
        left = "  " + "tokens left".ljust(_TOKEN) + "".join(f"{table.steps[i].left:,}".rjust(_COLUMN) for i in shown)
        return [*lines, [(left, "dim")]]

    def _line(self, row: Candidate, here: bool, shown: list[int], bar: int, most: float) -> Line:
        """One candidate: a mark, its text, a number for every stage, and a bar of what it is drawn with."""
        called = cut(repr(row.text)[1:-1] if not row.text.isspace() else repr(row.text), _TOKEN - 1)
        token = called + " " * (_TOKEN - cells(called))
        role = "strong" if row.after else "dim"
        line: Line = [("▸ " if here else "  ", "accent"), (token, "accent" if here else role)]
        line += [(percent(row.shares[i]).rjust(_COLUMN), "value" if i == shown[-1] and row.after else "label" if
                  row.shares[i] else "dim") for i in shown]
        if bar >= 4:
            full = "█" * round(bar * row.after / most) or ("▏" if row.after else "")
            line.append(("  " + full, "good" if row.id == self._there else "train"))
        return line

    def _facts(self, width: int) -> list[Line]:
        table = self._table
        if table is None:
            return [[("", "dim")]]
        off = [title(step.name) for step in table.steps[1:] if not step.acts]
        facts = [f"per cent of {table.vocab_size:,} tokens", f"{table.seen} in view"]
        if off:
            facts.append(f"off: {', '.join(off)}")
        return paragraph(" · ".join(facts), width, "dim")

    def action_go(self, by: int) -> None:
        """Another candidate."""
        if self._table is not None:
            self._row = max(0, min(self._row + by, len(self._table.rows) - 1))
            self._top = max(min(self._top, self._row), self._row - self._room + 1, 0)
        self._show()

    def action_place(self, by: int) -> None:
        """Another token of the reply."""
        at = max(0, min(self._at + by, len(self._exchange)))
        if at != self._at:
            self._at = at
            self._look()

    def action_choose(self) -> None:
        if self._table is None:
            return
        row = self._table.rows[self._row]
        self.dismiss((self._at, row.id, row.after))


