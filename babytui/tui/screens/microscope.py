"""The microscope: what happens in one model while it reads one text."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from babytui import actions, pictures
from babytui.looking import percent, symbol
from babytui.tui.bindings import bindings
from babytui.tui.panes.base import paragraph
from babytui.tui.screens.microscope_lines import (
    VIEWS,
    Said,
    at_most,
    gate_reading,
    heading,
    key_line,
    lens_reading,
    loss_reading,
    map_reading,
    small_multiples,
    stream_reading,
    tabs,
)
from babytui.tui.screens.norms import last_norms, norm_lines
from babytui.tui.subject import Subjects
from babytui.tui.threads import in_thread
from babytui.tui.widgets.heatmap import HeatMap
from babytui.tui.widgets.lines import Line, Lines
from babytui.tui.widgets.surprise import SurpriseText
from babytui.tui.widgets.tensors import BINS, TensorTable
from babytui.visible import cut, visible
from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.microscope import Losses, Microscope
    from engine.observation import Observation
    from engine.probe import Lens
    from store.workspace import Workspace

_LOOK = 3.0  # seconds between two looks at a run's journal
_LAYERED = ("attention", "gates")


class MicroscopeScreen(Screen[None]):
    """Shows the model `guid` of a workspace while it reads `text`. step: as `library.load` takes it; "now", of a live
    run its newest weights."""

    CSS_PATH = ["dialogs.tcss", "microscope.tcss"]
    AUTO_FOCUS = ""
    node = "microscope"
    HELP = ("A cell's shade is the square root of its share of the largest; the lines below read the exact number "
            "under the cursor, which the arrows move.")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,ctrl+c", "leave", "Back"), *bindings("microscope"),
        Binding("tab", "turn(1)", show=False), Binding("shift+tab", "turn(-1)", show=False)]

    class Ready(Message):
        """A thread has found what was asked for."""

        def __init__(self, serial: int, key: tuple[Any, ...], found: Any):
            super().__init__()
            self.serial, self.key, self.found = serial, key, found

    def __init__(self, workspace: Workspace, guid: str, text: str, step: int | str = "now"):
        super().__init__()
        self._workspace, self._guid, self._text, self._step = workspace, guid, text, step
        self.view = "attention"
        self.at_layer = self.head = self.which = 0
        self.overview = False
        self.scope: Microscope | None = None
        self._found: dict[tuple[Any, ...], Any] = {}
        self._asked: set[tuple[Any, ...]] = set()
        self._serial = 0
        self._gone = threading.Event()
        self._one_at_a_time = threading.Lock()

    def compose(self) -> ComposeResult:
        with Vertical(id="scope"):
            yield Lines([[]], id="scope-head")
            yield Lines([[]], id="scope-views")
            yield Lines([[]], id="scope-what")
            yield HeatMap(id="scope-map")
            yield SurpriseText(id="scope-text")
            yield TensorTable(id="scope-tensors")
            with VerticalScroll(id="scope-scroll"):
                yield Lines([[]], id="scope-page")
            yield Lines([[]], id="scope-reading")
            yield Lines([[]], id="scope-keys")

    def on_mount(self) -> None:
        self.query_one("#scope-head", Lines).show(self._heading)
        self.query_one("#scope-views", Lines).show(self._tabs)
        self.query_one("#scope-keys", Lines).show(self._key_line)
        self.set_interval(_LOOK, self._newer_norms)
        self._read(self._text)

    def on_unmount(self) -> None:
        self._gone.set()

    def action_leave(self) -> None:
        self._gone.set()
        self.dismiss()

    def subjects(self) -> Subjects:
        return "This is the microscope; Esc leaves it."

    # --- what is asked of threads ---------------------------------------------------------------------

    def _read(self, text: str, again: bool = False) -> None:
        """Reads the model (unless it is there) and another text; what was found before is dropped."""
        self._text, self._serial = text, self._serial + 1
        self._found.clear()
        self._asked.clear()
        baby = None if again or self.scope is None else self.scope.baby
        self.scope = None
        workspace, guid, step = self._workspace, self._guid, self._step

        def work() -> Any:
            from babytui import library
            from babytui.microscope import Microscope

            return Microscope(baby or library.load(guid, workspace, step=step), text)

        self._ask(("scope",), work)
        self._draw()

    def _ask(self, key: tuple[Any, ...], work: Callable[[], Any]) -> None:
        """Runs `work` in a thread, once; what it gives (or the mistake) is found under `key`."""
        if key in self._asked:
            return
        self._asked.add(key)
        serial, lock, gone = self._serial, self._one_at_a_time, self._gone

        def guarded() -> None:
            with lock:
                if gone.is_set() or serial != self._serial:
                    return
                try:
                    found = work()
                except (BabyError, OSError) as error:
                    found = error
            if not gone.is_set():
                self.post_message(self.Ready(serial, key, found))

        in_thread(self, guarded, "microscope")

    def on_microscope_screen_ready(self, event: Ready) -> None:
        event.stop()
        if event.serial != self._serial:
            return
        self._found[event.key] = event.found
        if event.key == ("scope",) and not isinstance(event.found, Exception):
            self.scope = event.found
            self.at_layer = min(self.at_layer, self.scope.baby.config.n_layers - 1)
            self.query_one("#scope-head", Lines).show(self._heading)
            self._note()
        self._draw()

    def _get(self, key: tuple[Any, ...], work: Callable[[], Any]) -> Any:
        """What is found under `key`; None, and a line that says why, while it is not there."""
        if key not in self._found:
            self._ask(key, work)
            self._say([[("computing …", "dim")]])
            return None
        found = self._found[key]
        if isinstance(found, Exception):
            text = str(found)
            self.query_one("#scope-reading", Lines).show(lambda width: paragraph(text, width, "bad"))
            return None
        return found

    # --- keys -----------------------------------------------------------------------------------------

    def action_view(self, name: str) -> None:
        """Another view."""
        if name != self.view:
            self.view, self.which, self.overview = name, 0, False
            self._note()
            self._draw()

    def action_turn(self, by: int) -> None:
        self.action_view(VIEWS[(VIEWS.index(self.view) + by) % len(VIEWS)])

    def action_layer(self, by: int) -> None:
        """The layer before or after; of the lens and the stream, the row."""
        if self.scope is not None and self.view in _LAYERED:
            self.at_layer = (self.at_layer + by) % self.scope.baby.config.n_layers
            self._draw()
        elif self.view in ("lens", "stream"):
            self.query_one(HeatMap).action_move(by, 0)

    def action_head(self, by: int) -> None:
        """The head (group, channel) before or after; among gates, the row."""
        if self.view == "gates":
            self.query_one(HeatMap).action_move(by, 0)
        elif self.view == "attention" and (seen := self._observation()) is not None:
            self.head = (self.head + by) % seen.count
            self._draw()

    def action_other(self, by: int) -> None:
        """The next or the last thing that this layer has to show."""
        if self.view in _LAYERED:
            self.which += by
            self._draw()

    def action_heads(self) -> None:
        """All heads beside each other, or one."""
        if self.view == "attention":
            self.overview = not self.overview
            self._draw()

    def action_surprising(self, by: int) -> None:
        """The next or last most surprising token."""
        if self.view != "loss":
            self.action_view("loss")
        elif self._found.get(("loss",)) is not None:
            self.query_one(SurpriseText).surprising(by)

    def action_again(self) -> None:
        """The newest weights, of a run that trains."""
        self._read(self._text, again=True)

    def action_edit(self) -> None:
        """Another text."""
        from babytui.tui.screens.ask import AskScreen

        def chosen(text: str | None) -> None:
            if text:
                self._read(text)

        self.app.push_screen(AskScreen("What it reads", self._text, lines=True,
                                       help="What it does not know is left out."), chosen)

    def _note(self) -> None:
        what = {"stream": "norms"}.get(self.view, self.view)
        if what in actions.find("look").argument("what").choices and self.view != "norms":  # type: ignore[operator]
            step = None if self._step == "now" else str(self._step)
            self.app.did("look", {"guid": self._guid, "prompt": self._text, "what": what,  # type: ignore[attr-defined]
                                  "step": step})

    # --- what is shown --------------------------------------------------------------------------------

    def _heading(self, width: int) -> list[Line]:
        if self.scope is None:
            return [[(cut(f"{self._guid[:8]} · {visible(self._text, newlines=False)}", width), "strong")]]
        return [heading(self.scope, width)]

    def _tabs(self, width: int) -> list[Line]:
        return [tabs(self.view, width)]

    def _key_line(self, width: int) -> list[Line]:
        return [key_line(self.view, width)]

    def _say(self, lines: list[Line]) -> None:
        self.query_one("#scope-reading", Lines).show(lambda _width: lines)

    def _draw(self) -> None:
        """Everything of the present view."""
        shown: dict[str, Any] = {name: self.query_one(name) for name in
                                 ("#scope-map", "#scope-text", "#scope-tensors", "#scope-scroll")}
        wanted = {"loss": "#scope-text", "tensors": "#scope-tensors", "norms": "#scope-scroll"}.get(
            self.view, "#scope-scroll" if self.overview else "#scope-map")
        ready = self.scope is not None
        for name, widget in shown.items():
            widget.display = name == wanted and ready
        self.query_one("#scope-views", Lines).show(self._tabs)
        self.query_one("#scope-keys", Lines).show(self._key_line)
        self.query_one("#scope-what", Lines).show(lambda _width: [])
        self._say([])
        if not ready:
            self._get(("scope",), lambda: None)
            return
        shown[wanted].call_later(self._focus_on, shown[wanted])  # behind a Hide that may be on its way to it
        getattr(self, f"_draw_{self.view}")()

    def _focus_on(self, widget: Widget) -> None:
        if widget.display and self.focused is not widget:
            widget.focus()

    def _tell_what(self, title: str, about: str) -> None:
        self.query_one("#scope-what", Lines).show(
            lambda width: [*paragraph(title, width, "strong")[:2], *at_most(paragraph(about, width, "dim"), 2)])

    def _observation(self) -> Observation | None:
        """What is chosen of the present layer; None while it is computed, or when there is nothing."""
        from babytui.microscope import shown

        assert self.scope is not None
        scope, layer = self.scope, self.at_layer
        look = self._get(("layer", layer), lambda: scope.layer(layer))
        if look is None:
            return None
        there = shown(look, self.view == "attention")
        if not there:
            self._say([[("This layer has nothing of the kind to show.", "dim")]])
            return None
        self.which %= len(there)
        part, seen = there[self.which]
        self.head = min(self.head, seen.count - 1)
        variant = scope.baby.config.values["c_attention" if part == "attention" else "c_network"]
        head = f", {seen.labels()[self.head]}" if self.view == "attention" and seen.labels()[0] != "layer" else ""
        many = f" ({self.which + 1} of {len(there)})" if len(there) > 1 else ""
        self._tell_what(f"layer {layer} of {scope.baby.config.n_layers}{'' if self.overview else head} · {part} "
                        f"({variant}): {seen.title}{many}", seen.about)
        return seen

    def _draw_attention(self) -> None:
        assert self.scope is not None
        seen = self._observation()
        map_ = self.query_one(HeatMap)
        if seen is None:
            map_.display = False
        elif self.overview:
            head = self.head
            self.query_one("#scope-page", Lines).show(lambda width: small_multiples(seen, head, width))
            where = seen.labels()[head]
            page = self.query_one("#scope-page", Lines)
            at = next((y for y, line in enumerate(page.lines) if any("▸" in text for text, _ in line)), 0)
            self.query_one("#scope-scroll", VerticalScroll).scroll_to(y=at, animate=False)
            self._say([[(where, "value"), (f"  mean {seen.means()[head]:.6g}, largest "
                                           f"{np.abs(seen.values[head]).max():.6g}", "label")],
                       [("Each is drawn from 0 to the largest of all.", "dim")]])
        else:
            names = [f"{place} {piece}" for place, piece in enumerate(self.scope.pieces, self.scope.start)]
            map_.show(seen.values[self.head], names, self.scope.pieces)
            self._reading()

    def _draw_gates(self) -> None:
        assert self.scope is not None
        seen = self._observation()
        if seen is None:
            self.query_one(HeatMap).display = False
            return
        self.query_one(HeatMap).show(seen.values, seen.labels(), self.scope.pieces)
        self._reading()

    def _lenses(self) -> list[tuple[str, Lens]] | None:
        from babytui.microscope import lenses

        assert self.scope is not None
        look = self._get(("lens",), self.scope.lens)
        return None if look is None else lenses(look)

    def _draw_lens(self) -> None:
        assert self.scope is not None
        self._tell_what("logit lens: the likeliest next token after each layer",
                        "Underlined: it is the token that really comes. Columns: what was read last.")
        if (rows := self._lenses()) is None:
            self.query_one(HeatMap).display = False
            return
        vocab = self.scope.baby.tokenizer.vocab
        self.query_one(HeatMap).show(
            np.array([lens.probabilities[:, 0] for _, lens in rows]), [name for name, _ in rows], self.scope.pieces,
            full=1.0, texts=[[symbol(vocab[token]) for token in lens.ids[:, 0]] for _, lens in rows],
            marked=np.array([lens.rank == 1 for _, lens in rows]))
        self._reading()

    def _draw_stream(self) -> None:
        from babytui.microscope import streams

        assert self.scope is not None
        self._tell_what("residual stream: its L2 norm, and of what each part adds",
                        "Rows are layers and their parts, columns tokens.")
        look = self._get(("lens",), self.scope.lens)
        if look is None:
            self.query_one(HeatMap).display = False
            return
        rows = streams(look)
        self.query_one(HeatMap).show(np.array([norms for _, norms in rows]), [name for name, _ in rows],
                                     self.scope.pieces)
        self._reading()

    def _losses(self) -> Losses | None:
        assert self.scope is not None
        scope, gone = self.scope, self._gone
        return self._get(("loss",), lambda: scope.losses(gone))

    def _draw_loss(self) -> None:
        assert self.scope is not None
        found = self._losses()
        text = self.query_one(SurpriseText)
        if found is None:
            text.display = False
            return
        facts, baby = found.sums.facts(), self.scope.baby
        self._tell_what(f"loss of each token: mean {facts['mean_loss']:.4f} nats, {percent(facts['foreseen'])} "
                        "foreseen",
                        f"A full bar is {math.log(max(2, baby.model.vocab_size)):.2f} nats: no better than guessing.")
        text.show([symbol(baby.tokenizer.vocab[token]) for token in self.scope.ids], found.losses,
                  math.log(max(2, baby.model.vocab_size)))
        self._reading()

    def _draw_tensors(self) -> None:
        assert self.scope is not None
        params = self.scope.baby.params
        found = self._get(("tensors",), lambda: list(pictures.summaries(params, BINS)))
        if found is None:
            return
        self._tell_what(f"{len(found)} tensors, {self.scope.baby.model.n_parameters:,} parameters",
                        "Enter shows one as a heat map and a histogram.")
        self.query_one(TensorTable).show(found)

    def _draw_norms(self) -> None:
        workspace, guid = self._workspace, self._guid
        if ("norms",) not in self._found:
            self._get(("norms",), lambda: last_norms(workspace, guid) or {})
            return
        found = self._found[("norms",)]
        norms = None if isinstance(found, Exception) else found
        self._tell_what("gradient and update norms of the last evaluation while it was trained",
                        "How much each part would have to change, and how much one step changes it.")
        self.query_one("#scope-page", Lines).show(lambda width: norm_lines(norms, width))

    def _newer_norms(self) -> None:
        if self.view == "norms" and ("norms",) in self._found:
            workspace, guid = self._workspace, self._guid
            self._asked.discard(("norms",))
            self._ask(("norms",), lambda: last_norms(workspace, guid) or {})

    # --- what the cursor reads ------------------------------------------------------------------------

    @on(HeatMap.Moved)
    @on(SurpriseText.Moved)
    def _moved(self, event: Message) -> None:
        event.stop()
        self._reading()

    @on(TensorTable.RowSelected, "#scope-tensors")
    def _tensor(self, event: TensorTable.RowSelected) -> None:
        from babytui.tui.screens.tensor import TensorScreen

        if self.scope is not None and (name := event.row_key.value) in self.scope.baby.params:
            from engine.backend import host

            self.app.push_screen(TensorScreen(str(name), host(self.scope.baby.params[str(name)])))

    def _reading(self) -> None:
        """The exact numbers under the cursor, in words."""
        if self.scope is None:
            return
        map_ = self.query_one(HeatMap)
        lines = getattr(self, f"_read_{self.view}")(map_.row, map_.column)
        self.query_one("#scope-reading", Lines).show(
            lambda width: [line for text, role in lines for line in paragraph(text, width, role)][:6])

    def _read_attention(self, row: int, column: int) -> Said:
        seen = self._observation()
        return [] if seen is None or self.scope is None else map_reading(self.scope, seen, self.head, row, column)

    def _read_gates(self, row: int, column: int) -> Said:
        seen = self._observation()
        return [] if seen is None or self.scope is None else gate_reading(self.scope, seen, row, column)

    def _read_lens(self, row: int, column: int) -> Said:
        rows = self._lenses()
        return [] if rows is None or self.scope is None else lens_reading(self.scope, *rows[row], column)

    def _read_stream(self, row: int, column: int) -> Said:
        from babytui.microscope import streams

        look = self._found.get(("lens",))
        return [] if look is None or self.scope is None else stream_reading(self.scope, *streams(look)[row], column)

    def _read_loss(self, _row: int, _column: int) -> Said:
        found = self._found.get(("loss",))
        if found is None or self.scope is None:
            return []
        text = self.query_one(SurpriseText)
        return loss_reading(self.scope, found, text.place, text.rank(text.place))
