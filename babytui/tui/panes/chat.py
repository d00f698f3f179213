"""Chat: talk to a model while it types."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget

from babytui.tui import backend
from babytui.tui.messages import Failed
from babytui.tui.panes.base import Pane, paragraph
from babytui.tui.panes.sampling import Sampling
from babytui.tui.talk import Pace, Spoke, Talk
from babytui.tui.threads import in_thread
from babytui.tui.widgets.lines import Line, Lines
from babytui.tui.widgets.prompt import Prompt
from babytui.tui.widgets.transcript import Transcript
from babytui.visible import visible

if TYPE_CHECKING:
    from babytui.library import Baby

MARGIN = 8
WELCOME = "Write; the baby goes on."


class ChatPane(Pane):
    """The fourth pane."""

    key, title = "F5", "Chat"
    hints = (("⏎", "send"), ("Esc", "stop"), ("F7", "again"), ("F8", "go on"), ("^J", "new line"), ("↑", "earlier"),
             ("Tab", "sampling"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f7,ctrl+y", "regenerate", "Reply again with another seed"),
        Binding("f8,ctrl+n", "go_on", "Let the last reply go on"),
        Binding("escape", "stop", "Stop the reply"),
    ]

    class Loaded(Message):
        """A thread has read a model, or says why not."""

        def __init__(self, guid: str, name: str, baby: Baby | None, error: str = ""):
            super().__init__()
            self.guid, self.name, self.baby, self.error = guid, name, baby, error

    def __init__(self) -> None:
        super().__init__("chat")
        self.baby: Baby | None = None
        self.guid = ""
        self._talk: Talk | None = None
        self._serial = 0
        self._last_prompt: str | None = None
        self._last_text = ""
        self._waiting: str | None = None
        self._skip_for: str | None = None
        self._timer: Timer | None = None
        self._stuck = True

    def compose(self) -> ComposeResult:
        with Container(id="chat-body"):
            with Vertical(id="chat-main"):
                yield Transcript(margin=MARGIN, keep_lines=4000, placeholder=WELCOME, jump=4, id="talk")
                yield Lines([[]], id="pace")
                yield Prompt(id="prompt", placeholder="Once upon a time …")
            yield Sampling()

    @property
    def transcript(self) -> Transcript:
        return self.query_one("#talk", Transcript)

    @property
    def prompt(self) -> Prompt:
        return self.query_one(Prompt)

    @property
    def writing(self) -> bool:
        """Whether a reply is being written."""
        return self._talk is not None

    def first_focus(self) -> Widget | None:
        return self.prompt

    def on_unmount(self) -> None:
        if self._talk:
            self._talk.stop()

    async def begin(self) -> None:
        """Loads the model that was used last, or the one that ships."""
        self.load("")
        await self.query_one(Sampling).build()

    def load(self, guid: str, name: str = "") -> None:
        """Reads a model in a thread; an empty guid finds one."""
        workspace = self.app.workspace  # type: ignore[attr-defined]
        self._say(f"reading {visible(name, newlines=False)} …" if name else "reading a model …")

        def work() -> None:
            found, called = guid, name
            try:
                if not found:
                    found, called = backend.newest(workspace)
                self.post_message(self.Loaded(found, called, backend.load(workspace, found)))
            except (backend.BabyError, OSError) as error:
                self.post_message(self.Loaded(found, called, None, str(error)))

        in_thread(self, work, "load", exclusive=True)

    def on_chat_pane_loaded(self, event: Loaded) -> None:
        if event.baby is None:
            self._waiting = None
            self._say(visible(event.error, newlines=False), "bad" if event.guid else "warn")
            return
        if self._talk:
            self._talk.stop()
        if self.guid and event.guid != self.guid:
            self.transcript.add(f"now talking to {visible(event.name, newlines=False)}", role="dim")
        changed = event.guid != self.guid
        self.baby, self.guid = event.baby, event.guid
        if changed:
            self._last_prompt, self._last_text = None, ""
            for remark in event.baby.remarks:
                self.transcript.add(remark, role="warn")
        config = event.baby.config
        self.set_note(f"{visible(event.name, newlines=False)}, context {config.n_ctx}")
        self._say(f"ready · {event.baby.model.n_parameters:,} parameters, {event.baby.model.vocab_size} tokens known")
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._send(waiting)

    # --- what is typed ----------------------------------------------------------------------------

    @on(Prompt.Changed)
    def _typed(self, event: Prompt.Changed) -> None:
        event.stop()
        self._skip_for = None
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(0.1, self._check)

    def _check(self) -> None:
        """Shows the symbols that the model does not know, before they are sent."""
        missing = self._missing(self.prompt.text)
        if missing:
            self._warn_of(missing)
        elif not self.writing and self.query_one("#pace", Lines).plain.startswith("not in"):
            self._say("")

    def _warn_of(self, missing: str) -> None:
        """Names the unknown symbols; what to press depends on whether Enter has been pressed for this text."""
        asked = self._skip_for == self.prompt.text
        self._say(f"not in its vocabulary: {missing} · "
                  + ("Enter again skips them" if asked else "Enter twice sends without them"), "warn")

    def _missing(self, text: str) -> str:
        if self.baby is None or not text:
            return ""
        symbols = [visible(symbol, newlines=False) for symbol in self.baby.tokenizer.missing(text)]
        return " ".join(symbols[:12]) + (f" and {len(symbols) - 12} more" if len(symbols) > 12 else "")

    @on(Prompt.Sent)
    def _sent(self, event: Prompt.Sent) -> None:
        event.stop()
        text = event.text
        if self.writing:
            self.post_message(Failed("The baby is still talking; Esc stops it.", "warning"))
            return
        if self.baby is None:
            self._waiting = text
            self._say("it will answer as soon as it is read …")
            return
        missing = self._missing(text)
        if missing and self._skip_for != text:
            self._skip_for = text
            self._warn_of(missing)
            return
        self._send(text)

    def _send(self, text: str) -> None:
        assert self.baby is not None
        self.prompt.remember(text)
        kept = self.baby.tokenizer.keep(text)
        if self._begin(kept):
            self.prompt.text = ""

    # --- the reply --------------------------------------------------------------------------------

    def _begin(self, prompt: str, *, go_on: bool = False) -> bool:
        """Starts a reply; False when the sampling controls are wrong."""
        assert self.baby is not None
        settings, mistake = self.query_one(Sampling).settings()
        if mistake:
            self.post_message(Failed(mistake))
            return False
        self._stuck = True
        if not go_on:
            self._last_prompt = prompt
            self.transcript.add(visible(prompt) if prompt else "(nothing)", margin="you", margin_role="accent",
                                role="strong" if prompt else "dim")
            name = visible(self.baby.name, newlines=False)
            self.transcript.add("", margin=name[: MARGIN - 1] if len(name) < MARGIN else "baby", margin_role="good")
            self.transcript.scroll_end(animate=False, immediate=True)
        self._serial += 1
        self._talk = Talk(self.baby, prompt, settings, self._serial, self.post_message)
        in_thread(self, self._talk.run, "talk")
        return True

    def on_spoke(self, event: Spoke) -> None:
        event.stop()
        talk = self._talk
        if talk is None or event.serial != self._serial:
            return
        if event.text:
            self.transcript.extend(event.text)
        if not event.done:
            self._show_pace(event.pace, "Esc stops")
            self.call_after_refresh(talk.painted)
            return
        self._talk, self._last_text = None, talk.text
        if event.done in ("end", "stopped"):
            self._show_pace(event.pace, "stopped · F8 goes on" if event.done == "stopped" else "F8 goes on")
        else:
            self._say(visible(event.done, newlines=False), "bad")

    def _show_pace(self, pace: Pace, hint: str) -> None:
        speed = f"{pace.tokens_per_second:,.0f}" if pace.tokens_per_second else "–"
        facts = [f"{pace.tokens} tokens", f"{speed}/s", hint, f"prefill {pace.prefill * 1000:.0f} ms",
                 f"context {pace.context}/{pace.n_ctx}", f"seed {pace.seed}"]

        def build(width: int) -> list[Line]:
            line: Line = [(facts[0], "value")]
            for fact in facts[1:]:
                if sum(len(text) for text, _ in line) + 3 + len(fact) <= width:
                    line.append((f" · {fact}", "dim"))
            return [line]

        self.query_one("#pace", Lines).show(build)

    def _say(self, text: str, role: str = "dim") -> None:
        """A sentence above the prompt, at most three lines of it."""
        self.query_one("#pace", Lines).show(lambda width: paragraph(text, max(20, width), role)[:3])

    def action_stop(self) -> None:
        if self._talk:
            self._talk.stop()
        elif self.prompt.has_focus:
            self.transcript.focus()
        else:
            self.prompt.focus()

    def action_regenerate(self) -> None:
        if self.writing or self.baby is None:
            return
        if self._last_prompt is None:
            self.post_message(Failed("Nothing was said yet; write something first.", "warning"))
            return
        self._begin(self._last_prompt)

    def action_go_on(self) -> None:
        if self.writing or self.baby is None:
            return
        if not self._last_text:
            self.post_message(Failed("Nothing was said yet; write something first.", "warning"))
            return
        self._begin(self._last_text, go_on=True)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.set_class(event.size.width < 50, "-slim")

    def last_reply(self) -> str:
        """The last reply with its prompt, as it was written."""
        return self._last_text
