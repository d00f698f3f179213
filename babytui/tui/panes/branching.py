"""What can be done with what was said: look at a token's candidates, fork, edit, go to branches, keep it in files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babytui import actions
from babytui.conversation import Conversation, Exchange
from babytui.tui.messages import Failed
from babytui.tui.panes.base import Pane
from babytui.tui.panes.sampling import Sampling
from babytui.tui.subject import Subject
from babytui.tui.threads import in_thread
from babytui.visible import visible

if TYPE_CHECKING:
    from babytui.candidates import Table
    from babytui.library import Baby
    from babytui.tui.widgets.command_prompt import CommandPrompt
    from babytui.tui.widgets.conversation_view import ConversationView


class Branching(Pane):
    """The half of the chat that reads; the other half, which writes, is ChatPane."""

    if TYPE_CHECKING:
        baby: Baby | None
        talk: Conversation
        busy: threading.Lock
        _editing: Exchange | None

        @property
        def transcript(self) -> ConversationView: ...
        @property
        def prompt(self) -> CommandPrompt: ...
        def something_said(self) -> Exchange | None: ...
        def still_writing(self) -> bool: ...
        def keep(self) -> None: ...
        def show_facts(self, facts: list[str]) -> None: ...
        def _say(self, text: str, role: str = "dim") -> None: ...
        def _reply(self, exchange: Exchange, *, beside: Exchange | None = None, hung: bool = False,
                   chosen: int | None = None, seed_anew: bool = False) -> bool: ...

    pointed: tuple[Exchange, int] | None = None  # the token under the cursor

    # --- the cursor -------------------------------------------------------------------------------

    @property
    def chosen_exchange(self) -> Exchange | None:
        """The exchange of the cursor, else the last."""
        if self.pointed is not None and self.pointed[0] in self.talk.path:
            return self.pointed[0]
        return self.talk.last

    def point_at(self, exchange: Exchange | None, index: int = 0) -> None:
        """Puts the cursor on a token, and tells of it; None takes it away."""
        self.pointed = None if exchange is None else (exchange, index)
        self.transcript.point(exchange, index)
        if exchange is not None:
            piece = visible(exchange.vocab[exchange.ids[index]], newlines=False)
            share = exchange.probabilities[index]
            facts = [f"token {index + 1:,} of {len(exchange):,}", f"‘{piece[:20]}’",
                     f"drawn at {100 * share:.1f} %" if share > 0 else "put there by you"]
            place, count = self.talk.place(exchange)
            facts += [f"branch {place} of {count}"] if count > 1 else []
            self.show_facts([*facts, *([exchange.origin.label] if exchange.origin is not None else [])])

    def action_token(self, by: int) -> None:
        """The cursor, so many tokens on."""
        exchange = self.chosen_exchange
        if exchange is None or not exchange.ids or self.still_writing():
            return
        at = len(exchange) if self.pointed is None else self.pointed[1]
        at += by
        if at >= len(exchange):
            self.point_at(None)
            self._say("at the end of the reply")
        else:
            self.point_at(exchange, max(0, at))

    def action_exchange(self, by: int) -> None:
        """The cursor to the first token of another reply."""
        if self.still_writing():
            return
        path = [one for one in self.talk.path if one.ids]
        here = self.chosen_exchange
        if here is None or here not in path:
            return
        at = path.index(here) + (by if self.pointed is not None else 0)
        self.point_at(path[max(0, min(at, len(path) - 1))])

    def same_vocabulary(self, exchange: Exchange) -> bool:
        """Whether the model that talks now can go on with a reply; says so if not."""
        assert self.baby is not None
        vocab = self.baby.tokenizer.vocab
        if exchange.vocab is vocab or list(exchange.vocab) == list(vocab):
            return True
        wrote = exchange.origin.label if exchange.origin is not None else "another model"
        self.post_message(Failed(f"{wrote} wrote this with another vocabulary; choose that model to go on.", "warning"))
        return False

    # --- candidates and forks ---------------------------------------------------------------------

    def action_candidates(self) -> None:
        """The candidates of the token under the cursor, or of the next one, also before anything was said."""
        from babytui.tui.screens.candidates import CandidatesScreen

        if self.baby is None or self.still_writing():
            return
        exchange = self.chosen_exchange
        if exchange is None:
            exchange = Exchange.of(self.baby, self.baby.tokenizer.keep(self.prompt.text))
        if not self.same_vocabulary(exchange):
            return
        settings, mistake = self.query_one(Sampling).settings()
        if mistake:
            self.post_message(Failed(mistake))
            return
        at = self.pointed[1] if self.pointed is not None and self.pointed[0] is exchange else len(exchange)

        def chosen(found: tuple[int, int, float] | None) -> None:
            if found is not None:
                self._put(exchange, *found)

        said = exchange.prompt + "".join(exchange.piece(index) for index in range(at))
        sampling = {name: value for name, value in settings.items() if name not in ("cache", "max_tokens")}
        self.app.did("candidates", {"guid": self.guid, "prompt": said, **sampling})  # type: ignore[attr-defined]
        self.app.push_screen(CandidatesScreen(exchange, at, lambda index, count: self._table(exchange, index, settings,
                                                                                             count)), chosen)

    def _table(self, exchange: Exchange, at: int, settings: dict[str, Any], count: int) -> Table:
        """The candidates of one place of a reply; called in a thread."""
        from babytui import candidates
        from engine.generate import Sampler

        assert self.baby is not None
        sampler = Sampler(**{name: value for name, value in settings.items() if name not in ("max_tokens", "cache")})
        begun, cache = exchange.begun(at)
        with self.busy:
            return candidates.table(self.baby, exchange.prompt_ids, sampler, reply=exchange.ids[:at], begun=begun,
                                    cache=cache, count=count, also=exchange.ids[at] if at < len(exchange) else None)

    def _put(self, exchange: Exchange, at: int, chosen: int, share: float) -> None:
        """Puts a token at a place of a reply and lets the model go on: a branch, or more of the reply at its end."""
        if self.still_writing():
            return
        if at < len(exchange) and exchange.ids[at] == chosen:
            self._say("that token stands there already")
        elif exchange.parent is None and exchange not in self.talk.path:  # a prompt that was not sent yet
            self.prompt.remember(self.prompt.text)
            self.prompt.text = ""
            self.talk.say(exchange)
            self._with(exchange, chosen, share)
        elif at == len(exchange):
            self._with(exchange, chosen, share)
        else:
            self._reply(self.talk.fork(exchange, at, chosen, share), hung=True, chosen=chosen)

    def _with(self, exchange: Exchange, chosen: int, share: float) -> None:
        exchange.ids.append(chosen)
        exchange.probabilities.append(share)
        self._reply(exchange, hung=True, chosen=chosen)

    def action_fork(self) -> None:
        """Writes the token under the cursor and what follows anew, with another seed."""
        exchange = self.something_said()
        if exchange is None or not self.same_vocabulary(exchange):
            return
        if self.pointed is None:
            self.post_message(Failed("Choose the token to write anew first: left and right go over them.", "warning"))
            return
        self._reply(self.talk.fork(exchange, self.pointed[1]), hung=True, seed_anew=True)

    # --- branches ---------------------------------------------------------------------------------

    def action_edit(self) -> None:
        """Puts a prompt back to be changed; sent again it is a branch."""
        if (exchange := self.something_said()) is not None:
            self._editing = exchange
            self.prompt.text = exchange.prompt
            self.prompt.move_cursor(self.prompt.document.end)
            self.prompt.focus()
            self._say("Enter sends it as another branch · Esc leaves it as it was")

    def action_branch(self, by: int) -> None:
        """Another branch at the chosen exchange, or where the path last had several."""
        exchange = self.something_said()
        while exchange is not None and self.talk.place(exchange)[1] == 1 and self.pointed is None:
            before = exchange.parent
            exchange = before if before is not None and before is not self.talk.root else None
        if exchange is None or self.talk.place(exchange)[1] == 1:
            self._say("there is one branch here; again, edit and fork make more")
            return
        self._shown(self.talk.switch(exchange, by))

    def _shown(self, exchange: Exchange) -> None:
        """Shows the conversation after another branch was chosen."""
        assert self.baby is not None
        self.pointed = None
        self.transcript.show_path(self.talk, self.baby.name)
        self.keep()
        place, count = self.talk.place(exchange)
        self.show_facts([f"branch {place} of {count}", f"{len(exchange):,} tokens",
                         *([exchange.origin.label] if exchange.origin is not None else [])])

    def action_branches(self) -> None:
        from babytui.tui.screens.branches import BranchesScreen

        if self.something_said() is None:
            return

        def chosen(exchange: Exchange | None) -> None:
            if exchange is not None:
                self.talk.show(exchange)
                self._shown(exchange)

        self.app.push_screen(BranchesScreen(self.talk), chosen)

    def action_clear(self) -> None:
        """Begins anew, when agreed."""
        from babytui.tui.screens.confirm import ConfirmScreen

        if self.something_said() is None:
            return

        def done(agreed: bool | None) -> None:
            if agreed:
                self.talk.clear()
                self.pointed = None
                self.transcript.clear()
                self.keep()
                self._say("")

        count = len(self.talk.branches())
        self.app.push_screen(ConfirmScreen("Begin anew", [f"{count} {'reply' if count == 1 else 'replies'} will be "
                             "dropped; what was saved in files stays."], "Begin anew"), done)

    # --- files ------------------------------------------------------------------------------------

    def action_save(self) -> None:
        from babytui.tui.screens.save import SaveScreen

        if (exchange := self.something_said()) is not None:
            self.app.push_screen(SaveScreen(self.talk, exchange, self.app.workspace.root))  # type: ignore[attr-defined]

    def action_receipt(self) -> None:
        """Keeps a reply in outputs/ and copies the command that writes it again."""
        exchange = self.something_said()
        if exchange is None:
            return
        if not exchange.parts or exchange.origin is None:
            self.post_message(Failed("This reply has no receipt: nothing was written.", "warning"))
            return
        workspace, guid = self.app.workspace, exchange.origin.guid  # type: ignore[attr-defined]

        def work() -> None:
            from store import artifacts

            path = artifacts.save_completion(workspace, guid, exchange.completion(), stamped=True)
            self.app.call_from_thread(self._kept, path)

        in_thread(self, work, "receipt")

    def _kept(self, path: Path) -> None:
        values = {"replay": str(path)}
        root = str(self.app.workspace.root)  # type: ignore[attr-defined]
        self.app.copy_to_clipboard(actions.command_line("inference", values, workspace=root))
        self.app.did("inference", values)  # type: ignore[attr-defined]
        self.app.notify(f"Kept as {path.name}; the command that writes it again is copied.", markup=False, timeout=6)

    # --- what was typed, and checkpoints ----------------------------------------------------------

    def action_search(self) -> None:
        from babytui.tui.screens.history import HistoryScreen

        def chosen(text: str | None) -> None:
            if text is not None:
                self.prompt.text = text
                self.prompt.move_cursor(self.prompt.document.end)
            self.prompt.focus()

        self.app.push_screen(HistoryScreen(self.prompt.past), chosen)

    def text_to_look_at(self) -> str:
        """What the microscope reads at first: the chosen exchange, else what stands in the prompt or stood there."""
        exchange = self.chosen_exchange
        said = exchange.text if exchange is not None else self.prompt.text
        last = self.app.workspace.last().get("last_prompt")  # type: ignore[attr-defined]
        return said or (last if isinstance(last, str) else "") or "Once upon a time"

    def action_microscope(self) -> None:
        if self.baby is not None:
            self.app.look_into(Subject(self.guid))  # type: ignore[attr-defined]

    def action_scrub(self) -> None:
        """The prompt of the chosen exchange, or the one that is being written, over the checkpoints of the run."""
        from babytui.tui.screens.scrubber import ScrubberScreen

        if self.baby is None or self.still_writing():
            return
        settings, mistake = self.query_one(Sampling).settings()
        if mistake:
            self.post_message(Failed(mistake))
            return
        exchange = self.chosen_exchange
        prompt = exchange.prompt if exchange is not None else self.baby.tokenizer.keep(self.prompt.text)
        workspace = self.app.workspace  # type: ignore[attr-defined]
        self.app.push_screen(ScrubberScreen(workspace, self.baby.guid, prompt, settings))
