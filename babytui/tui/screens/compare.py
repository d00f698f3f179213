"""Models beside each other: facts and what differs in their configurations, their curves in one chart, and what each
writes from the same prompt and seed.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from babytui import comparison
from babytui.tui.bindings import bindings, hints
from babytui.tui.messages import Failed
from babytui.tui.panes.base import paragraph
from babytui.tui.subject import Subject, Subjects
from babytui.tui.threads import after_refresh, in_thread
from babytui.tui.widgets.bars import KeyBar
from babytui.tui.widgets.chart import LossChart
from babytui.tui.widgets.fields import Limited
from babytui.tui.widgets.lines import Line, Lines
from babytui.tui.wrap import wrap
from babytui.visible import cells, cut, visible
from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.comparison import Comparison
    from babytui.curve.curve import Curve
    from babytui.library import Baby, Generation
    from store.workspace import Workspace

PARTS = (("facts", "1 facts"), ("curves", "2 curves"), ("replies", "3 replies"))
ALL_FROM = (140, 36)  # the smallest size that shows all parts
_NAMES = 18  # cells of the names of facts and parameters
_NARROWEST = 14  # cells of a model's column
_BESIDE = 28  # cells of a reply that stands beside others
_PERIOD = 0.1  # seconds between two looks at what was written
DIFFERS = "▸"
"""Stands before the first token that differs."""


class Reply:
    """What one model writes. A thread adds pieces; the screen looks at them."""

    def __init__(self) -> None:
        self.opening = ""
        self.pieces: list[str] = []
        self.state = ""
        self.problem = ""
        self.over = True
        self.generation: Generation | None = None


class CompareScreen(Screen[None]):
    """Shows two or more models; the ones that write do so in threads, one for each core."""

    node = "compare"  # its name in the registry of actions
    CSS_PATH = "compare.tcss"
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("compare"),
        *(Binding(str(n), f"part('{name}')", show=False) for n, (name, _) in enumerate(PARTS, 1)),
        Binding("escape,q,ctrl+c", "back", "Back", show=False),
        Binding("left", "column(-1)", show=False),
        Binding("right", "column(1)", show=False),
        Binding("up,k", "scroll(-1)", show=False),
        Binding("down,j", "scroll(1)", show=False),
    ]

    class Found(Message):
        """A thread has read what is known of the models, and their curves."""

        def __init__(self, found: Comparison, curves: list[Curve]):
            super().__init__()
            self.found, self.curves = found, curves

    def __init__(self, workspace: Workspace, guids: Sequence[str]):
        super().__init__()
        self._workspace, self._guids = workspace, list(guids)
        self.found: Comparison | None = None
        self.replies: list[Reply] = []
        self._babies: dict[int, Baby] = {}
        self._queue: deque[int] = deque()
        self._drawn: list[Any] = []
        self._part, self._everything, self._column = "facts", False, 0
        self._serial = 0

    def compose(self) -> ComposeResult:
        yield Lines([[("Compare", "strong")]], id="compare-head")
        with Container(id="compare-parts"):
            with VerticalScroll(id="facts", can_focus=True):
                yield Lines([[("reading …", "dim")]], id="compare-facts")
            with Vertical(id="right"):
                yield LossChart(can_focus=True, id="curves")
                with Vertical(id="replies"):
                    with Horizontal(id="ask"):
                        yield Static("prompt", classes="ask-label")
                        yield Input(placeholder="what each of them continues", compact=True, id="ask-prompt")
                        yield Static("seed", classes="ask-label")
                        yield Limited("1", compact=True, id="ask-seed", max_length=19)
                        yield Static("tokens", classes="ask-label")
                        yield Limited("120", compact=True, id="ask-tokens", max_length=5)
                    yield Lines(id="ask-words")
                    with VerticalScroll(id="texts", can_focus=True):
                        yield Container(id="columns")
        yield KeyBar([])

    def on_mount(self) -> None:
        workspace, guids = self._workspace, self._guids

        def work() -> None:
            from babytui.curve import loading
            from babytui.curve.curve import Curve

            found = comparison.compare(workspace, guids)
            curves = []
            for model in found.models:
                try:
                    curves.append(loading.load(model.workspace, model.entry.guid))
                    curves[-1].name = model.label
                except BabyError:
                    curves.append(Curve(model.label, model.entry.guid))
            self.post_message(self.Found(found, curves))

        in_thread(self, work, "compare")
        self._arrange()

    async def on_compare_screen_found(self, event: Found) -> None:
        self.found = event.found
        self.replies = [Reply() for _ in self.found.models]
        self._drawn = [None] * len(self.replies)
        await self.query_one("#columns").mount_all(
            Lines(id=f"reply-{n}", classes="reply") for n in range(len(self.replies)))
        chart = self.query_one(LossChart)
        chart.empty = "None of them has a curve."
        chart.show([curve for curve in event.curves if not curve.empty])
        self._arrange()

    def subjects(self) -> Subjects:
        """All that are compared."""
        if self.found is None:
            return "The models are still being read."
        text = self.query_one("#ask-prompt", Input).value
        return [Subject(model.entry.guid, model.label, text) for model in self.found.models]

    @on(Failed)
    def _failed(self, event: Failed) -> None:
        event.stop()
        if self.found is None:
            self.query_one("#compare-facts", Lines).show(lambda width: paragraph(event.text, width, "bad"))
        else:
            self._say(event.text)

    # --- how it is arranged -----------------------------------------------------------------------

    @property
    def tabbed(self) -> bool:
        """Whether one part is shown at a time."""
        return self.size.width < ALL_FROM[0] or self.size.height < ALL_FROM[1]

    def on_resize(self, _event: events.Resize) -> None:
        self._arrange()

    def _arrange(self) -> None:
        tabbed = self.tabbed
        self.set_class(tabbed, "-tabbed")
        for name, _ in PARTS:
            self.query_one(f"#{name}").display = not tabbed or name == self._part
        self.query_one("#right").display = not tabbed or self._part != "facts"
        self._head()
        self._facts()
        keys = [("Esc", "back"), ("1-3", "part"), *hints("compare"), ("←→", "models" if self._shifts else "")]
        self.query_one(KeyBar).hints = [key for key in keys if key[1]]
        self.query_one(KeyBar).on_resize(events.Resize(self.size, self.size))
        after_refresh(self, self._columns)
        if self.focused is None or not self.focused.display or self.focused.parent is None:
            self._focus_part()

    def _head(self) -> None:
        labels = " · ".join(model.label for model in self.found.models) if self.found else ""

        def build(width: int) -> list[Line]:
            line: Line = [("Compare ", "strong")]
            if self.tabbed:
                for name, title in PARTS:
                    line.append((f"▌{title}▐" if name == self._part else f" {title} ",
                                 "strong" if name == self._part else "label"))
            used = sum(cells(text) for text, _ in line)
            return [[*line, (" " + cut(labels, max(0, width - used - 1)), "label")]]

        self.query_one("#compare-head", Lines).show(build)

    def _focus_part(self) -> None:
        target = {"facts": "#facts", "curves": "#curves", "replies": "#ask-prompt"}[self._part]
        self.set_focus(self.query_one(target))

    def action_part(self, name: str) -> None:
        self._part = name
        self._arrange()
        self._focus_part()

    def action_scroll(self, by: int) -> None:
        part = "#facts" if self._part == "facts" else "#texts"
        self.query_one(part, VerticalScroll).scroll_relative(y=by, animate=False)

    # --- facts ------------------------------------------------------------------------------------

    def action_everything(self) -> None:
        """All parameters, or only those that differ."""
        self._everything = not self._everything
        self._facts()

    @property
    def _fit(self) -> int:
        """How many models' columns fit."""
        width = max(1, self.query_one("#compare-facts").size.width)
        return max(1, (width - _NAMES) // (_NARROWEST + 2))

    @property
    def _shifts(self) -> bool:
        return self.found is not None and self._fit < len(self.found.models)

    def action_column(self, by: int) -> None:
        """Shows the next models where not all have room."""
        if self.found is not None:
            self._column = max(0, min(len(self.found.models) - self._fit, self._column + by))
            self._facts()

    def _facts(self) -> None:
        if self.found is not None:
            found, everything = self.found, self._everything
            self.query_one("#compare-facts", Lines).show(
                lambda width: fact_lines(found, width, everything=everything, first=self._column))

    # --- replies ----------------------------------------------------------------------------------

    def _columns(self) -> None:
        """Replies stand beside each other where there is room."""
        if not self.replies or not self.is_mounted:
            return
        columns, count = self.query_one("#columns"), len(self.replies)
        beside = columns.size.width // count >= _BESIDE
        columns.set_class(beside, "-beside")
        if beside:
            columns.styles.grid_size_columns = count
        self._paint(force=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.write()

    def action_again(self) -> None:
        """The same prompt with another seed."""
        self.query_one("#ask-seed", Input).value = str(secrets.randbits(31))
        self.write()

    def action_write(self) -> None:
        if self._part != "replies" and self.tabbed:
            self.action_part("replies")
        self.write()

    def write(self) -> None:
        """Lets every model write from the same prompt and seed; what was being written is stopped."""
        prompt = self.query_one("#ask-prompt", Input).value
        try:
            seed, tokens = (int(self.query_one(f"#ask-{name}", Input).value) for name in ("seed", "tokens"))
        except ValueError:
            self._say("Seed and tokens are whole numbers.")
            return
        if seed < 0 or not 1 <= tokens <= 5000:
            self._say("The seed is 0 or more, and tokens are 1 to 5000.")
            return
        if self.found is None:
            return
        self.stop()
        self._say("")
        self._serial += 1
        self.replies = [Reply() for _ in self.found.models]
        self._queue = deque(range(len(self.replies)))
        for reply in self.replies:
            reply.over, reply.state = False, "waiting"
        self.app.did("compare", {"guid": self._guids, "prompt": prompt, "seed": seed,  # type: ignore[attr-defined]
                                 "tokens": tokens, "temperature": 0.8})
        for _ in range(min(len(self.replies), max(1, os.cpu_count() or 1))):
            in_thread(self, partial(self._work, self._serial, self._queue, self.replies, prompt, tokens, seed), "write")
        if not hasattr(self, "_timer"):
            self._timer = self.set_interval(_PERIOD, self._paint)
        self._timer.resume()

    def _work(self, serial: int, queue: deque[int], replies: list[Reply], prompt: str, tokens: int, seed: int) -> None:
        """In a thread: writes what is first in the queue, until it is empty."""
        worker = get_current_worker()
        assert self.found is not None
        while serial == self._serial and not worker.is_cancelled:
            try:
                number = queue.popleft()
            except IndexError:
                return
            reply = replies[number]
            try:
                reply.state = "loading"
                if getattr(self._babies.get(number), "step", 0) is not None:  # not loaded, or of a run that goes on
                    self._babies[number] = comparison.open_model(self.found.models[number])
                reply.generation = self._babies[number].generate(prompt, tokens, seed=seed, temperature=0.8)
                reply.opening, reply.state = reply.generation.opening, ""
                for piece in reply.generation:
                    reply.pieces.append(piece)
                    if serial != self._serial or worker.is_cancelled:
                        reply.generation.close()
                        break
            except BabyError as error:
                reply.problem = str(error)
            finally:
                reply.over = True

    def stop(self) -> None:
        """Ends what is being written; what is there stays."""
        self._serial += 1
        self._queue.clear()
        for reply in self.replies:
            if reply.generation is not None:
                reply.generation.close()

    def action_stop(self) -> None:
        self.stop()

    @property
    def writing(self) -> bool:
        """Whether any of them still writes."""
        return any(not reply.over for reply in self.replies)

    def _paint(self, force: bool = False) -> None:
        """Shows what was written since the last look."""
        if self.found is None:
            return
        over = not self.writing
        written = [list(reply.pieces) for reply in self.replies if not reply.problem]
        differ = comparison.first_difference(written, whole=over) if all(written) else None
        for number, reply in enumerate(self.replies):
            key = (len(reply.pieces), reply.state, reply.problem, reply.over, differ)
            if force or key != self._drawn[number]:
                self._drawn[number] = key
                self.query_one(f"#reply-{number}", Lines).show(partial(self._reply_lines, number, reply, differ))
        if over and hasattr(self, "_timer"):
            self._timer.pause()
            if written and any(written):
                self._say("They write the same." if differ is None else
                          f"{DIFFERS} token {differ + 1} is the first that differs.")

    def _reply_lines(self, number: int, reply: Reply, differ: int | None, width: int) -> list[Line]:
        assert self.found is not None
        width = max(8, width)
        head: Line = [(cut(self.found.models[number].label, width), "strong")]
        if reply.problem:
            return [head, *paragraph(reply.problem, width, "bad"), []]
        speed = reply.generation.tokens_per_second if reply.generation is not None and reply.pieces else 0
        state = reply.state or (f"{len(reply.pieces)} tokens" + (f", {speed:,.0f}/s" if speed else "")
                                if reply.pieces or reply.opening else "")
        step = getattr(self._babies.get(number), "step", None)
        state += f", as of step {step:,}" if step is not None and reply.pieces else ""
        return [head, [(cut(state, width), "dim")], *reply_lines(reply.opening, reply.pieces, differ, width), []]

    def _say(self, text: str) -> None:
        self.query_one("#ask-words", Lines).show(lambda width: paragraph(text, width, "warn") if text else [])

    # --- leaving ----------------------------------------------------------------------------------

    def action_back(self) -> None:
        """Stops what is being written; else leaves a field; else the screen."""
        if self.writing:
            self.stop()
        elif isinstance(self.focused, Input):
            self.set_focus(self.query_one("#texts"))
        else:
            self.dismiss()

    def on_unmount(self) -> None:
        self.stop()
        self._babies.clear()


def fact_lines(found: Comparison, width: int, *, everything: bool = False, first: int = 0) -> list[Line]:
    """Facts and parameters, a column for each model from number `first` on, as many as fit."""
    fit = max(1, (width - _NAMES) // (_NARROWEST + 2))
    chosen = list(range(len(found.models)))[first:first + fit]
    each = max(4, (width - _NAMES) // max(1, len(chosen)) - 2)

    def row(name: str, values: Sequence[str], role: str = "value") -> Line:
        line: Line = [(f"{cut(name, _NAMES - 1):<{_NAMES}}", "label")]
        for number in chosen:
            text = cut(values[number], each)
            line.append((text + " " * (each - cells(text) + 2), role))
        return line

    hidden = len(found.models) - len(chosen)
    labels = [model.label for model in found.models]
    lines = [row(f"← {hidden} more →" if hidden else "", labels, "strong")]
    lines += [row(name, values) for name, values in comparison.told(found)]
    differences = found.differences(everything=everything)
    lines += [[], [("All parameters" if everything else "What differs", "strong")]]
    if not differences:
        lines.append([("Their configurations are the same.", "dim")])
    for one in differences:
        shown = [comparison.shown(value) for value in one.values]
        lines.append(row(one.name, shown, "value" if everything and one.same else "warn" if everything else "value"))
    return lines


def reply_lines(opening: str, pieces: Sequence[str], differ: int | None, width: int) -> list[Line]:
    """A reply as lines: the prompt dim, and a mark before the first piece that differs."""
    at = len(pieces) if differ is None else differ
    parts = [(opening, "dim"), ("".join(pieces[:at]), "text")]
    if at < len(pieces):
        parts += [(DIFFERS + pieces[at], "bad"), ("".join(pieces[at + 1:]), "text")]
    elif differ is not None:
        parts.append((DIFFERS, "bad"))  # it has ended, and others have not
    shown = [(visible(text.expandtabs(4)), role) for text, role in parts]
    lines: list[Line] = []
    rest = deque(shown)
    for text in wrap("".join(text for text, _ in shown), width):
        line: Line = []
        need = len(text)
        while need and rest:
            head, role = rest.popleft()
            line.append((head[:need], role))
            if len(head) > need:
                rest.appendleft((head[need:], role))
            need -= min(need, len(head))
        while rest and not rest[0][0]:
            rest.popleft()
        if rest and rest[0][0].startswith("\n"):  # the line break itself belongs to no line
            head, role = rest.popleft()
            rest.appendleft((head[1:], role))
        lines.append([(piece.rstrip() if n == len(line) - 1 else piece, role) for n, (piece, role) in enumerate(line)])
    return lines


