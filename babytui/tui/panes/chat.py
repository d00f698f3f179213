"""Chat: talk to a model while it types, also to one that is still training."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.widget import Widget

from babytui.conversation import AGAIN, EDITED, KEPT_TOKENS, SAID, Conversation, Exchange
from babytui.tui import backend
from babytui.tui.backend.conversations import Keeper
from babytui.tui.bindings import bindings, key_of, keys_of
from babytui.tui.messages import Failed
from babytui.tui.panes.base import paragraph
from babytui.tui.panes.branching import Branching
from babytui.tui.panes.sampling import Sampling
from babytui.tui.talk import Pace, Spoke, Talk
from babytui.tui.threads import after, after_refresh, in_thread
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.command_prompt import CommandPrompt
from babytui.tui.widgets.completions import CompletionList
from babytui.tui.widgets.conversation_view import MARGIN, ConversationView
from babytui.tui.widgets.lines import Line, Lines
from babytui.tui.widgets.prompt import Prompt
from babytui.visible import visible
from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.library import Baby

WELCOME = "Write; the baby goes on."
# while the conversation has the keys: what is shown of them, the most needed first
_READING = (("previous.token", "token"), ("candidates", "next?"), ("fork", "fork"), ("edit.prompt", "edit"),
            ("previous.branch", "branch"), ("branches", "all"), ("scrub", "scrub"), ("receipt", "receipt"),
            ("save.conversation", "save"), ("search.history", "history"), ("new.conversation", "new"))


class ChatPane(Branching):
    """The fourth pane."""

    title = "Chat"
    keys_before = (("⏎", "send"),)
    keys_after = (("^J", "new line"), ("↑", "earlier"), ("Tab", "sampling"))
    BINDINGS: ClassVar[list[BindingType]] = bindings("chat")

    class Loaded(Message):
        """A thread has read a model, or says why not."""

        def __init__(self, guid: str, name: str, baby: Baby | None, error: str = "",
                     kept: tuple[Conversation | None, str] = (None, "")):
            super().__init__()
            self.guid, self.name, self.baby, self.error = guid, name, baby, error
            self.talk, self.trouble = kept  # what was said to it, and why that cannot be read

    def __init__(self) -> None:
        super().__init__("chat")
        self.baby: Baby | None = None
        self.guid = ""
        self.talk = Conversation()
        self._trouble = ""  # why the conversation with this model is not kept
        self.busy = threading.Lock()  # a model computes for one thread at a time
        self._talk: Talk | None = None
        self._serial = 0
        self._waiting: str | None = None
        self._loaded: ChatPane.Loaded | None = None  # a model that waits for the end of a reply
        self._skip_for: str | None = None
        self._editing: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None

    def compose(self) -> ComposeResult:
        with Container(id="chat-body"):
            with Vertical(id="chat-main"):
                yield ConversationView(margin=MARGIN, keep_lines=4000, placeholder=WELCOME, jump=4, id="talk")
                yield Lines([[]], id="pace")
                yield CompletionList(id="completions")
                yield CommandPrompt(id="prompt", placeholder="Once upon a time …")
            yield Sampling()

    @property
    def transcript(self) -> ConversationView:
        return self.query_one("#talk", ConversationView)

    @property
    def prompt(self) -> CommandPrompt:
        return self.query_one(CommandPrompt)

    @property
    def writing(self) -> bool:
        """Whether a reply is being written."""
        return self._talk is not None

    def first_focus(self) -> Widget | None:
        return self.prompt

    def on_unmount(self) -> None:
        if self._talk:
            self._talk.stop()
        with suppress(BabyError, OSError):
            self.keeper.write()

    @cached_property
    def keeper(self) -> Keeper:
        """Keeps what is said."""
        return Keeper(self.app.workspace)  # type: ignore[attr-defined]

    def keep(self) -> None:
        """Keeps the conversation with its model as it is now."""
        from babytui.conversation_file import snapshot

        if self.baby is not None and not self._trouble:
            self.keeper.take(self.baby.guid, snapshot(self.talk))
            in_thread(self, self.keeper.write, "keep")

    def decorate(self) -> None:
        super().decorate()
        if self.is_mounted and self.transcript.has_focus:
            keys = [(keys_of(id_)[0], word) for id_, word in _READING if keys_of(id_)]
            self.border_subtitle = hint_content([("Esc", "write"), *keys], self.outer_size.width - 6)

    def on_descendant_focus(self, _event: events.DescendantFocus) -> None:
        after_refresh(self, self.decorate)

    def on_descendant_blur(self, _event: events.DescendantBlur) -> None:
        after_refresh(self, self.decorate)

    async def begin(self) -> None:
        """Loads the model that was used last, or the one that ships."""
        self.load("")
        in_thread(self, self.prompt.read_history, "history")
        await self.query_one(Sampling).build()

    def load(self, guid: str, name: str = "") -> None:
        """Reads a model in a thread; an empty guid finds one. Of a run that is training, its present weights."""
        workspace, keeper = self.app.workspace, self.keeper  # type: ignore[attr-defined]
        self._say(f"reading {name} …" if name else "reading a model …")

        def work() -> None:
            found, called = guid, name
            try:
                if not found:
                    found, called = backend.newest(workspace)
                baby = backend.load(workspace, found)
                with suppress(BabyError, OSError):
                    keeper.write()  # what is read may be what was said a moment ago
                self.post_message(self.Loaded(found, called, baby, kept=backend.kept(workspace, baby)))
            except (backend.BabyError, OSError) as error:
                self.post_message(self.Loaded(found, called, None, str(error)))

        in_thread(self, work, "load", exclusive=True)

    def on_chat_pane_loaded(self, event: Loaded) -> None:
        if event.baby is None:
            self._waiting = None
            self._say(event.error, "bad" if event.guid else "warn")
            return
        if self._talk:
            self._talk.stop()
            self._loaded = event  # when the reply has ended
            return
        changed = event.guid != self.guid
        if self.talk.path and changed:  # of what was said to another; else the name above says enough
            self.transcript.add(f"now talking to {event.name}", role="dim")
        self.baby, self.guid = event.baby, event.guid
        if changed:
            self._trouble = event.trouble
            if event.talk is not None and event.talk.path:
                self.talk, self.pointed, self._editing = event.talk, None, None
                self.transcript.show_path(self.talk, event.baby.name)
            for remark in (*event.baby.remarks, *([event.trouble] if event.trouble else [])):
                self.transcript.add(remark, role="warn")
        self._name_model()
        step = "" if event.baby.step is None else f"step {event.baby.step:,}, newer weights for each reply · "
        self._say(f"ready · {step}{event.baby.model.n_parameters:,} parameters, {event.baby.model.vocab_size} tokens "
                  "known")
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._send(waiting)

    def rename(self, names: dict[str, str]) -> None:
        """Takes the new name of its model; by GUID."""
        if self.baby is not None and self.guid in names:
            self.baby.name = names[self.guid]
            self._name_model()

    def _name_model(self) -> None:
        assert self.baby is not None
        step = "" if self.baby.step is None else f", step {self.baby.step:,}"
        self.set_note(f"{visible(self.baby.name, newlines=False)}{step}, context {self.baby.config.n_ctx}")

    # --- what is typed ----------------------------------------------------------------------------

    @on(Prompt.Changed)
    def _typed(self, event: Prompt.Changed) -> None:
        event.stop()
        self._skip_for = None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = after(self, 0.1, self._check)

    def _check(self) -> None:
        """Shows the symbols that the model does not know, before they are sent."""
        if self.prompt.command is not None:
            return
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

    @on(CommandPrompt.Hint)
    def _hinted(self, event: CommandPrompt.Hint) -> None:
        event.stop()
        self._say(event.text, event.role)

    @on(CommandPrompt.Command)
    def _command(self, event: CommandPrompt.Command) -> None:
        event.stop()
        self._say("")
        self.app.run_line(event.text)  # type: ignore[attr-defined]

    @on(Prompt.Sent)
    def _sent(self, event: Prompt.Sent) -> None:
        event.stop()
        text = event.text
        if self.still_writing():
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
        other, self._editing = self._editing, None
        exchange = Exchange.of(self.baby, self.baby.tokenizer.keep(text), EDITED if other else SAID)
        if self._reply(exchange, beside=other):
            self.prompt.text = ""
        else:
            self._editing = other

    # --- the reply --------------------------------------------------------------------------------

    def still_writing(self) -> bool:
        """Whether nothing else can be begun now; says what to press."""
        if self.writing:
            stop = key_of("stop reply")
            self.post_message(Failed(f"The baby is still talking; {stop} stops it.", "warning"))
        return self.writing

    def _reply(self, exchange: Exchange, *, beside: Exchange | None = None, hung: bool = False,
               chosen: int | None = None, seed_anew: bool = False) -> bool:
        """Lets the model reply to a new exchange, or go on with one that has its place already (`hung`); False when the
        sampling controls are wrong. beside: the one whose place it takes. chosen: the token a person put at its end."""
        assert self.baby is not None
        settings, mistake = self.query_one(Sampling).settings()
        if mistake:
            self.post_message(Failed(mistake))
            return False
        if seed_anew:
            settings["seed"] = None
        self.pointed = None
        if beside is not None:
            self.talk.beside(beside, exchange)
        elif not hung:
            self.talk.say(exchange)
        if beside is not None or hung:
            self.transcript.show_path(self.talk, self.baby.name, open_=self.baby.step is None or bool(exchange.ids))
        else:
            self.transcript.begin(self.talk, exchange, self.baby.name, open_=self.baby.step is None)
            self.transcript.scroll_end(animate=False, immediate=True)
        self._serial += 1
        fetch = None
        if (baby := self.baby).step is not None:
            self._say("asking the run for its present weights …")
            if not exchange.ids:
                def fetch(cancelled: Any) -> Baby:
                    return backend.present(baby, cancelled)
        talk = self._talk = Talk(self.baby, exchange, settings, self._serial, self.post_message, chosen=chosen,
                                 fetch=fetch)

        def work() -> None:
            with self.busy:
                talk.run()

        in_thread(self, work, "talk")
        return True

    def on_spoke(self, event: Spoke) -> None:
        event.stop()
        talk = self._talk
        if talk is None or event.serial != self._serial:
            return
        if event.baby is not None:
            self.baby = event.baby
            self._name_model()
        exchange = talk.exchange
        if event.ids:
            if event.pace.step is not None and self.transcript.block_of(exchange) is None:
                self.transcript.open_reply(exchange, talk.baby.name, event.pace.step)
            exchange.ids.extend(event.ids)
            exchange.probabilities.extend(event.probabilities)
        if event.text:
            self.transcript.extend(event.text)
        if not event.done:
            if event.baby is None:
                self._show_pace(event.pace, "Esc stops")
            after_refresh(self, talk.painted)
            return
        self._talk = None
        if event.part is not None:
            exchange.parts.append(event.part)
            self._note_command(exchange)
        if gone := self.talk.prune():
            went = "reply" if gone == 1 else f"{gone:,} replies"
            self.transcript.add(f"the oldest {went} went: a conversation keeps {KEPT_TOKENS:,} tokens", role="dim")
        self.keep()
        if event.done in ("end", "stopped"):
            more = f"{key_of('continue')} goes on"
            self._show_pace(event.pace, f"stopped · {more}" if event.done == "stopped" else more)
        else:
            self._say(event.done, "bad")
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            self.on_chat_pane_loaded(loaded)

    def _note_command(self, exchange: Exchange) -> None:
        """What was said as a command line; one with forks has its receipt."""
        part = exchange.parts[-1]
        if len(exchange.parts) == 1 and part.keep == 0 and part.chosen is None:
            values = {"guid": self.guid, "prompt": exchange.prompt or None, "tokens": max(1, part.tokens),
                      "no_cache": not part.cache, **asdict(part.sampler)}
            self.app.did("inference", values)  # type: ignore[attr-defined]

    def _show_pace(self, pace: Pace, hint: str) -> None:
        speed = f"{pace.tokens_per_second:,.0f}" if pace.tokens_per_second else "–"
        facts = [f"{pace.tokens} tokens", f"{speed}/s", hint, f"prefill {pace.prefill * 1000:.0f} ms",
                 f"context {pace.context}/{pace.n_ctx}", f"seed {pace.seed}"]
        if pace.step is not None:
            facts.insert(2, f"step {pace.step:,}")
        self.show_facts(facts)

    def show_facts(self, facts: list[str]) -> None:
        """As many of these as fit above the prompt, the first as a value."""

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
        elif self._editing is not None:
            self._editing = None
            self.prompt.text = ""
            self._say("not edited")
        elif self.prompt.has_focus:
            self.transcript.focus()
        else:
            self.point_at(None)
            self.prompt.focus()

    def something_said(self) -> Exchange | None:
        """The exchange that a key is about: that of the cursor, else the last; says so when there is none."""
        if self.still_writing() or self.baby is None:
            return None
        found = self.chosen_exchange
        if found is None:
            self.post_message(Failed("Nothing was said yet; write something first.", "warning"))
        return found

    def action_regenerate(self) -> None:
        if (other := self.something_said()) is not None and self.baby is not None:
            again = Exchange.of(self.baby, self.baby.tokenizer.keep(other.prompt), AGAIN)
            self._reply(again, beside=other)

    def action_go_on(self) -> None:
        if (exchange := self.something_said()) is not None and self.same_vocabulary(exchange):
            self._reply(exchange, hung=True)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.set_class(event.size.width < 50, "-slim")

    def last_reply(self) -> str:
        """The last reply with its prompt, as it was written; empty while it is being written."""
        last = self.talk.last
        return last.text if last is not None and not self.writing else ""
