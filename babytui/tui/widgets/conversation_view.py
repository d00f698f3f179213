"""A conversation on the screen: prompts and replies as they are written, and a cursor on one of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from babytui.conversation import Conversation, Exchange
from babytui.tui.widgets.transcript import Block, Transcript, _safe
from babytui.visible import cut, visible

MARGIN = 8


class ConversationView(Transcript, inherit_bindings=False):
    """Left and right are the tokens', not those of a scroll bar. `extend` streams into the last reply."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", show=False),
        Binding("down,j", "scroll_down", show=False),
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
        Binding("home,g", "scroll_home", show=False),
        Binding("end,G", "scroll_end", show=False),
    ]

    def begin(self, talk: Conversation, exchange: Exchange, name: str, *, open_: bool = True) -> None:
        """A prompt with what there is of its reply. name: of the model, while it has not written. open_: make a place
        for the reply; without it `open_reply` does when it is known from which step it comes."""
        place, count = talk.place(exchange)
        branch = f"{place}/{count}" if count > 1 else ""
        you = f"you {branch}".rstrip() if len(branch) < MARGIN - 4 else branch
        self.add(exchange.prompt or "(nothing)", margin=you, margin_role="accent",
                 role="strong" if exchange.prompt else "dim")
        origin = exchange.origin
        if open_ or exchange.ids:
            self.open_reply(exchange, origin.name if origin else name, origin.step if origin else None)

    def open_reply(self, exchange: Exchange, name: str, step: int | None = None) -> None:
        """A place for a reply, with what is there of it. step: of the run that it comes from."""
        called = visible(name, newlines=False)
        if step is not None:
            self.add(f"{called}, step {step:,}", role="dim")
        text = exchange.reply
        longest = self.keep_lines * max(20, self._room)
        short = text[-longest:] if len(text) > longest else text
        block = self.add(("…" if short is not text else "") + short, margin_role="good",
                         margin=cut(called, MARGIN - 1))
        if short is not text:
            block.dropped = len(_safe(text)) - len(block.text)
        block.about = exchange

    def show_path(self, talk: Conversation, name: str, *, open_: bool = True) -> None:
        """The conversation anew: of a long one, as much of its end as is kept. open_: as for `begin`, of the last."""
        self.clear()
        path, shown, lines = talk.path, 0, 0
        for exchange in reversed(path):
            shown += 1
            lines += 2 + len(exchange) // max(20, self._room)
            if lines > self.keep_lines:
                break
        for exchange in path[len(path) - shown:]:
            self.begin(talk, exchange, name, open_=open_ or exchange is not path[-1])
        self.refresh()
        self.scroll_end(animate=False, immediate=True, force=True)

    def block_of(self, exchange: Exchange) -> Block | None:
        """Where its reply stands; None when it is not shown."""
        return next((block for block in reversed(self.blocks) if block.about is exchange), None)

    def point(self, exchange: Exchange | None, index: int = 0) -> None:
        """Puts the cursor on a token of a reply, or takes it away."""
        block = self.block_of(exchange) if exchange is not None else None
        if exchange is None or block is None:
            self.mark(None)
            return
        start = _length([exchange.piece(i) for i in range(index)])
        self.mark(block, start, start + _length([exchange.piece(index)]))


def _length(pieces: Sequence[str]) -> int:
    """Characters of pieces as they are shown."""
    return len(_safe("".join(pieces)))
