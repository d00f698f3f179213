"""The scrubber: the same prompt and seed at every checkpoint of a run, with the first token that differs marked."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from babytui.checkpoint_models import KEEP_MORE
from babytui.tui.bindings import bindings, hints
from babytui.tui.panes.base import paragraph
from babytui.tui.subject import Subject, Subjects
from babytui.tui.threads import in_thread
from babytui.tui.widgets.lines import Line, Lines
from babytui.tui.widgets.transcript import Transcript, _safe
from babytui.visible import cut
from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.scrubbing import Frame, Scrubber
    from store.workspace import Workspace

_LOOK = 2.0  # seconds between two looks for new checkpoints
MOST = 400  # tokens of a reply


class Reply(Transcript, inherit_bindings=False):
    """Left and right, first and last are the checkpoints'."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", show=False),
        Binding("down,j", "scroll_down", show=False),
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
    ]


class ScrubberScreen(Screen[None]):
    """Left and right go over the checkpoints. settings: of the sampler, as `Baby.generate` takes them."""

    CSS_PATH = ["talking.tcss"]
    AUTO_FOCUS = "#scrub-text"
    node = "scrubber"  # its name in the registry of actions
    HELP = ("One sign stands for every checkpoint that the run keeps, the last for the model that it left. The marked "
            "token is the first that the checkpoint before wrote otherwise: from there on the two tell different "
            f"stories. A run keeps its last 3 checkpoints and the best; to keep more, {KEEP_MORE}.")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,t,q,ctrl+c", "leave", "Back"), *bindings("scrubber")]

    class Opened(Message):
        """The places of the run are known, or why there are none."""

        def __init__(self, scrubber: Scrubber | None, error: str = ""):
            super().__init__()
            self.scrubber, self.error = scrubber, error

    class Written(Message):
        """The reply of a place, and then with that of the one before it."""

        def __init__(self, index: int, frame: Frame | None, before: Frame | None, error: str = ""):
            super().__init__()
            self.index, self.frame, self.before, self.error = index, frame, before, error

    def __init__(self, workspace: Workspace, guid: str, prompt: str, settings: dict[str, Any]):
        super().__init__()
        self._workspace, self._guid, self._prompt = workspace, guid, prompt
        self._sampling = {name: value for name, value in settings.items() if name != "max_tokens"}
        self._sampling["seed"] = 1 if settings.get("seed") is None else settings["seed"]
        self._tokens = min(MOST, int(settings.get("max_tokens", 200)))
        self.scrubber: Scrubber | None = None
        self.index = 0
        self.frame: Frame | None = None
        self._gone = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._wanted = -1

    def compose(self) -> ComposeResult:
        yield Lines([[]], id="scrub-head")
        yield Lines([[]], id="scrub-track")
        yield Lines([[]], id="scrub-place")
        yield Reply(id="scrub-text", keep_lines=2000)
        yield Lines([[]], id="scrub-facts")

    def on_mount(self) -> None:
        self._open()
        self.set_interval(_LOOK, self._look_again)

    def on_unmount(self) -> None:
        self._gone.set()

    def action_leave(self) -> None:
        self._gone.set()
        self.dismiss()

    def subjects(self) -> Subjects:
        """The model as it was at the checkpoint that is shown, with what it writes there."""
        if self.scrubber is None:
            return "There is no checkpoint here to look into."
        place = self.scrubber.places[self.index]
        text = self._prompt + (self.frame.reply if self.frame is not None else "")
        return [Subject(self._guid, text=text, step="now" if place is None else place.step)]

    def _open(self) -> None:
        def work() -> None:
            from babytui.scrubbing import Scrubber

            try:
                found = Scrubber(self._workspace, self._guid, self._prompt, tokens=self._tokens, **self._sampling)
                self.post_message(self.Opened(found))
            except (BabyError, OSError) as error:
                self.post_message(self.Opened(None, str(error)))

        self._show_place("looking for checkpoints …", "dim")
        in_thread(self, work, "scrubber", exclusive=True)

    def on_scrubber_screen_opened(self, event: Opened) -> None:
        event.stop()
        if event.scrubber is None:
            self._show_place(event.error, "bad")
            self.query_one("#scrub-facts", Lines).show(lambda width: paragraph(f"To keep more: {KEEP_MORE}. Esc goes "
                                                                               "back.", width, "dim"))
            return
        first = self.scrubber is None
        self.scrubber = event.scrubber
        sampling = {name: value for name, value in self._sampling.items() if name != "cache"}  # the text is the same
        self.app.did("scrub", {"guid": self._guid, "prompt": self._prompt, "tokens": self._tokens,  # type: ignore[attr-defined]
                               **sampling})
        self.index = len(event.scrubber.places) - 1 if first else min(self.index, len(event.scrubber.places) - 1)
        self._show_facts()
        self._write()

    def _look_again(self) -> None:
        """New checkpoints of a run that goes on, and those that are given up."""
        scrubber = self.scrubber
        if scrubber is None or not scrubber.run.alive or self._one_at_a_time.locked():
            return
        here = scrubber.label(self.index)
        scrubber.look()
        labels = [scrubber.label(index) for index in range(len(scrubber.places))]
        self.index = labels.index(here) if here in labels else min(self.index, len(labels) - 1)
        self._show_track()

    # --- a place --------------------------------------------------------------------------------------

    def action_go(self, by: int) -> None:
        """Another checkpoint."""
        if self.scrubber is not None:
            self.index = max(0, min(self.index + by, len(self.scrubber.places) - 1))
            self._write()

    def action_seed(self, by: int) -> None:
        """The same over all of them with another seed."""
        self._sampling["seed"] = max(0, self._sampling["seed"] + by)
        if self.scrubber is not None:
            self._open()

    def _write(self) -> None:
        """Shows the reply of the present place; writes it in a thread if it was not yet."""
        scrubber, index = self.scrubber, self.index
        assert scrubber is not None
        self._wanted = index
        self._show_track()
        before = scrubber.ready(index - 1) if index else None
        frame = scrubber.ready(index)
        if frame is not None:
            self._show_frame(frame, before)
            if before is not None or not index:
                return
        else:
            self._show_place(f"{scrubber.label(index)} writes …", "dim")

        def unwanted() -> bool:
            return self._gone.is_set() or self._wanted != index or self.scrubber is not scrubber

        def work() -> None:
            with self._one_at_a_time:
                if unwanted():
                    return
                try:
                    found = scrubber.frame(index, unwanted)
                    if unwanted():
                        return
                    self.post_message(self.Written(index, found, None))
                    if index:
                        earlier = scrubber.frame(index - 1, unwanted)
                        if not unwanted():
                            self.post_message(self.Written(index, found, earlier))
                except (BabyError, OSError) as error:
                    self.post_message(self.Written(index, None, None, str(error)))

        in_thread(self, work, "frame")

    def on_scrubber_screen_written(self, event: Written) -> None:
        event.stop()
        if event.index != self.index:
            return
        if event.frame is None:
            self._show_place(event.error, "bad")
            self.query_one("#scrub-text", Transcript).clear()
        else:
            self._show_frame(event.frame, event.before)

    def _show_frame(self, frame: Frame, before: Frame | None) -> None:
        self.frame = frame
        place = frame.differs(before)
        text = self.query_one("#scrub-text", Transcript)
        text.clear()
        block = text.add(frame.opening + frame.reply)
        facts = [frame.label, f"{len(frame.ids):,} tokens"]
        if self.index and before is None:
            facts.append("compared with the one before …")
        elif before is not None:
            if place is None:
                facts.append(f"the same as {before.label}")
            elif place < len(frame.ids):
                facts.append(f"token {place + 1:,} is the first that {before.label} wrote otherwise")
                start = len(_safe(frame.opening + "".join(frame.pieces[:place])))
                text.mark(block, start, start + max(1, len(_safe(frame.pieces[place]))))
            else:
                facts.append(f"shorter than {before.label}")
        self._show_place(" · ".join(facts))

    # --- lines ----------------------------------------------------------------------------------------

    def on_resize(self, _event: events.Resize) -> None:
        self._show_track()

    def _show_place(self, text: str, role: str = "text") -> None:
        self.query_one("#scrub-place", Lines).show(lambda width: paragraph(text, max(20, width), role)[:3])

    def _show_track(self) -> None:
        """One sign for every checkpoint, the present one filled."""
        scrubber = self.scrubber
        if scrubber is None:
            return
        head = f"{scrubber.name} · {self._prompt or '(no prompt)'}"
        self.query_one("#scrub-head", Lines).show(lambda width: [[(cut(head, width), "strong")]])
        self.query_one("#scrub-track", Lines).show(self._track)

    def _track(self, width: int) -> list[Line]:
        scrubber = self.scrubber
        assert scrubber is not None
        count = len(scrubber.places)
        tail = f"  {self.index + 1} of {count}"
        room = max(4, width - len(tail))
        each = 3 if 3 * count <= room else 2 if 2 * count <= room else 1
        shown = room // each
        first = max(0, min(self.index - shown // 2, count - shown))
        line: Line = []
        for index in range(first, min(count, first + shown)):
            here, written = index == self.index, scrubber.ready(index) is not None
            line.append(("◆" if here else "●" if written else "○", "accent" if here else "good" if written else "dim"))
            if index < count - 1 and each > 1:
                line.append(("─" * (each - 1), "dim"))
        return [[*line, (tail, "dim")]]

    def _show_facts(self) -> None:
        assert self.scrubber is not None
        keys: Line = []
        for key, word in (*hints("scrubber"), ("Esc", "back")):
            keys += [(key, "key"), (f" {word}  ", "label")]
        keys.append((f"seed {self._sampling['seed']}", "value"))
        more = f"To keep more: {KEEP_MORE}."
        self.query_one("#scrub-facts", Lines).show(lambda width: [
            *paragraph(more, width, "dim")[:2], keys])
