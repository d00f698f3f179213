"""A bounded, wrapped, selectable stream of text: the chat, the log and the samples.

Text arrives in blocks; the last block can grow. Only lines that changed are painted, the view follows the end only
while it is at the end, and the oldest text is dropped when there is too much. Markup is never parsed, and text is
expected to have passed `babytui.visible.visible`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from babytui.tui.widgets.lines import Roles
from babytui.tui.wrap import wrap


@dataclass
class Block:
    """A paragraph with a margin text before its first line (who speaks, or the time)."""

    margin: str
    role: str
    margin_role: str
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        if len(self.parts) > 1:
            self.parts[:] = ["".join(self.parts)]
        return self.parts[0] if self.parts else ""


class Row(NamedTuple):
    """One line on the screen."""

    margin: str
    text: str
    role: str
    margin_role: str


class Transcript(Roles, ScrollView, can_focus=True):
    """Call `add` for a new block, `extend` to stream into the last one."""

    DEFAULT_CSS = """
    Transcript { height: 1fr; background: $surface; scrollbar-size-vertical: 1; scrollbar-gutter: stable;
        overflow-x: hidden; overflow-y: auto; }
    """
    ALLOW_SELECT = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home,g", "scroll_home", "First", show=False),
        Binding("end,G", "scroll_end", "Last", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("j", "scroll_down", show=False),
    ]

    def __init__(self, *, margin: int = 0, keep_lines: int = 2000, placeholder: str = "", jump: int = 1,
                 id: str | None = None):
        """margin: cells before the text. keep_lines: how many lines are kept. jump: lines by which a full view moves
        up; a stream that moves it line by line costs a whole view of bytes for each."""
        super().__init__(id=id)
        self.jump = max(1, jump)
        self.margin_width = margin
        self.keep_lines = keep_lines
        self.placeholder = placeholder
        self._blocks: list[Block] = []
        self._rows: list[Row] = []
        self._wrapped_at = 0
        self._following = True

    @property
    def blocks(self) -> list[Block]:
        return self._blocks

    @property
    def plain(self) -> str:
        """All text that is kept, without styles."""
        return "\n".join(row.margin + row.text for row in self._rows)

    @property
    def _room(self) -> int:
        return max(4, self.scrollable_content_region.width - self.margin_width)

    @property
    def at_end(self) -> bool:
        """Whether the last line is in view."""
        return self.scroll_offset.y >= self.max_scroll_y

    def add(self, text: str, *, margin: str = "", role: str = "text", margin_role: str = "label") -> Block:
        """A new block after the others."""
        block = Block(margin, role, margin_role, [text])
        follow = self.at_end
        first = not self._blocks
        self._blocks.append(block)
        before = len(self._rows)
        self._rows += self._wrap(block)
        self._changed(before, follow or first)
        if first:
            self.refresh()
        return block

    def extend(self, piece: str, role: str | None = None) -> None:
        """More text for the last block."""
        if not self._blocks:
            self.add(piece)
            return
        block = self._blocks[-1]
        follow = self.at_end
        block.parts.append(piece)
        last = self._rows.pop()
        before = len(self._rows)
        lines = wrap(last.text + piece, self._room)
        self._rows.append(last._replace(text=lines[0]))
        self._rows += [Row(" " * self.margin_width, line, block.role, block.margin_role) for line in lines[1:]]
        self._changed(before, follow)

    def clear(self) -> None:
        """Empties the view."""
        self._blocks.clear()
        self._rows.clear()
        self.virtual_size = Size(self._width, 0)
        self.scroll_to(0, 0, animate=False, immediate=True)
        self.refresh()

    def _extent(self) -> Size:
        rows = len(self._rows)
        if rows > self.size.height:
            rows = -(-rows // self.jump) * self.jump
        return Size(self._width, rows)

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    def _wrap(self, block: Block) -> list[Row]:
        first, *rest = wrap(block.text, self._room)
        margin = block.margin[: self.margin_width].ljust(self.margin_width)
        return [Row(margin, first, block.role, block.margin_role),
                *(Row(" " * self.margin_width, line, block.role, block.margin_role) for line in rest)]

    def _changed(self, first: int, follow: bool) -> None:
        """Rows from `first` on are new: drop the oldest if there are too many, resize, repaint, follow."""
        if len(self._rows) > self.keep_lines * 1.25:  # dropped in one go, so that it is rarely done
            self._prune()
            first = 0
        self.virtual_size = self._extent()
        if first == 0:
            self.refresh()
        else:
            self.refresh_lines(first, len(self._rows) - first)
        if follow:
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)

    def _prune(self) -> None:
        rows = 0
        keep: list[Block] = []
        for block in reversed(self._blocks):
            rows += len(wrap(block.text, self._room))
            if rows > self.keep_lines and keep:
                break
            keep.append(block)
        self._blocks = keep[::-1]
        only = self._blocks[0]
        if rows > self.keep_lines and len(self._blocks) == 1:  # one endless reply: its beginning goes
            only.parts = ["…" + only.text[-self.keep_lines * self._room // 2:]]
        self._rewrap()

    def _rewrap(self) -> None:
        self._rows = [row for block in self._blocks for row in self._wrap(block)]
        self._wrapped_at = self._room

    def on_resize(self, _event: events.Resize) -> None:
        follow = self._following or self.at_end
        if self._wrapped_at != self._room:
            self._rewrap()
        self.virtual_size = self._extent()
        self.refresh()
        if follow:
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._following = self.at_end

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        index = y + self.scroll_offset.y
        if not self._rows and y == 0 and self.placeholder:
            return self.strip_of([(self.placeholder, "dim")], width)
        if index >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[index]
        style = self.style_of(row.role)
        segments = [Segment(row.margin, self.style_of(row.margin_role))] if row.margin else []
        span = self.text_selection.get_span(index) if self.text_selection is not None else None
        if span is None:
            segments.append(Segment(row.text, style))
        else:
            start, end = (max(0, edge - len(row.margin)) if edge != -1 else len(row.text) for edge in span)
            chosen = style + self.screen.get_component_rich_style("screen--selection")
            segments += [Segment(row.text[:start], style), Segment(row.text[start:end], chosen),
                         Segment(row.text[end:], style)]
        strip = Strip([s for s in segments if s.text], cell_len(row.margin) + cell_len(row.text))
        return strip.adjust_cell_length(width, self.rich_style).apply_offsets(0, index)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract(self.plain), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()
