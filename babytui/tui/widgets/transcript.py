"""A bounded, wrapped, selectable stream of text: the chat, the log and the samples.

Text arrives in blocks; the last block can grow. Only lines that changed are painted, the view follows the end only
while it is at the end, and the oldest text is dropped when there is too much. Markup is never parsed, control
characters are shown as marks, and a tab is four spaces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from babytui.tui.widgets.lines import Roles
from babytui.tui.wrap import wrap
from babytui.visible import visible

_TAB = "    "


def _safe(text: str) -> str:
    return visible(text).replace("\t", _TAB)


@dataclass(eq=False)
class Block:
    """A paragraph with a margin text before its first line (who speaks, or the time). dropped: characters by which its
    text was shortened at its beginning. about: what it belongs to, for whoever made it."""

    margin: str
    role: str
    margin_role: str
    parts: list[str] = field(default_factory=list)
    dropped: int = 0
    about: object = None

    @property
    def text(self) -> str:
        if len(self.parts) > 1:
            self.parts[:] = ["".join(self.parts)]
        return self.parts[0] if self.parts else ""


class Row(NamedTuple):
    """One line on the screen. start: where its text begins in that of its block."""

    margin: str
    text: str
    role: str
    margin_role: str
    block: Block
    start: int


def _lay(block: Block, text: str, margin: str, rest: str, width: int, start: int = 0) -> list[Row]:
    """The rows of a text that begins at `start` in its block: the first behind `margin`, the others behind `rest`."""
    rows: list[Row] = []
    at = 0
    for line in wrap(text, width):
        rows.append(Row(rest if rows else margin, line, block.role, block.margin_role, block, start + at))
        at += len(line)
        if text[at:at + 1] == "\n":  # no line is broken before one
            at += 1
    return rows


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
        self._mark: tuple[Block, int, int] | None = None

    @property
    def blocks(self) -> list[Block]:
        return self._blocks

    @property
    def plain(self) -> str:
        """All text that is kept, without styles."""
        return "\n".join(row.margin + row.text for row in self._rows)

    @property
    def _room(self) -> int:
        width = self.scrollable_content_region.width
        if not width and self._wrapped_at:  # it is hidden: as it was
            return self._wrapped_at
        return max(4, width - self.margin_width)

    @property
    def at_end(self) -> bool:
        """Whether the last line is in view."""
        return self.scroll_offset.y >= self.max_scroll_y

    def add(self, text: str, *, margin: str = "", role: str = "text", margin_role: str = "label") -> Block:
        """A new block after the others."""
        block = Block(visible(margin, newlines=False), role, margin_role, [_safe(text)])
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
        block, piece = self._blocks[-1], _safe(piece)
        follow = self.at_end
        block.parts.append(piece)
        last = self._rows.pop()
        before = len(self._rows)
        self._rows += _lay(block, last.text + piece, last.margin, " " * self.margin_width, self._room, last.start)
        self._changed(before, follow)

    def reveal(self, block: Block) -> None:
        """Moves the view to the beginning of a block, if it is still kept."""
        row = 0
        for other in self._blocks:
            if other is block:
                self.scroll_to(y=row, animate=False, immediate=True)
                return
            row += len(wrap(other.text, self._room))

    def clear(self) -> None:
        """Empties the view."""
        self._blocks.clear()
        self._rows.clear()
        self._mark = None
        self.virtual_size = Size(self._width, 0)
        self.scroll_to(0, 0, animate=False, immediate=True)
        self.refresh()

    def _extent(self) -> Size:
        rows = len(self._rows)
        if rows > self.size.height:
            rows = -(-rows // self.jump) * self.jump
        return Size(self._width, rows)

    def _grow(self) -> None:
        """Takes the size of its rows. The whole screen is laid out again only where a scroll bar comes or goes."""
        extent = self._extent()
        if extent.width != self.virtual_size.width or not self.show_vertical_scrollbar:
            self.virtual_size = extent
        elif extent != self.virtual_size:
            self.set_reactive(Widget.virtual_size, extent)
            self._scroll_update(extent)

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    def _wrap(self, block: Block) -> list[Row]:
        margin = block.margin[: self.margin_width].ljust(self.margin_width)
        return _lay(block, block.text, margin, " " * self.margin_width, self._room)

    def _changed(self, first: int, follow: bool) -> None:
        """Rows from `first` on are new: drop the oldest if there are too many, resize, repaint, follow."""
        if len(self._rows) > self.keep_lines * 1.25:  # dropped in one go, so that it is rarely done
            self._prune()
            first = 0
        self._grow()
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
            whole = len(only.text)
            only.parts = ["…" + only.text[-self.keep_lines * self._room // 2:]]
            only.dropped += whole - len(only.text)
        self._rewrap()

    # A marked place ----------------------------------------------------------------------------------

    def mark(self, block: Block | None, start: int = 0, end: int = 0) -> None:
        """Marks characters of a block's text, counted from its beginning before anything was dropped, and brings them
        into view; None marks nothing."""
        self._repaint_mark()
        self._mark = None if block is None else (block, start, end)
        if (row := self._repaint_mark()) is not None:
            top, rows = self.scroll_offset.y, self.scrollable_content_region.height
            if not top <= row < top + rows:
                self.scroll_to(y=max(0, row - rows // 2), animate=False, immediate=True)

    def _repaint_mark(self) -> int | None:
        """Paints the rows of the mark again; the first of them."""
        if self._mark is None:
            return None
        block, start, end = self._mark
        found = [y for y, row in enumerate(self._rows) if row.block is block
                 and row.start - 1 <= end - block.dropped and start - block.dropped <= row.start + len(row.text)]
        if not found:
            return None
        self.refresh_lines(found[0], found[-1] - found[0] + 1)
        at = start - block.dropped
        return next((y for y in found if self._rows[y].start <= at <= self._rows[y].start + len(self._rows[y].text)
                     and (at < self._rows[y].start + len(self._rows[y].text) or block.text[at:at + 1] == "\n")),
                    found[-1])

    def _marked(self, row: Row) -> tuple[int, int] | None:
        """The cells of a row's text that are marked; those of a line break are one after its end."""
        if self._mark is None or self._mark[0] is not row.block:
            return None
        start, end = (place - row.block.dropped - row.start for place in self._mark[1:])
        length = len(row.text)
        if end <= 0 or start > length or (start == length and row.block.text[row.start + length:][:1] != "\n"):
            return None
        return max(0, start), min(end, length + 1)

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

    def watch_show_vertical_scrollbar(self, shown: bool) -> None:
        """Its bar stands where the text does, also when that was scrolled before there was a bar."""
        if shown:
            self.vertical_scrollbar.position = self.scroll_y

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
        marked = self._marked(row) if span is None else None
        if marked is not None:
            start, end = marked
            chosen = self.style_of("cursor") + Style(reverse=True)
            here = row.text[start:end] + ("␊" if end > len(row.text) else "")
            segments += [Segment(row.text[:start], style), Segment(here, chosen), Segment(row.text[end:], style)]
        elif span is None:
            segments.append(Segment(row.text, style))
        else:
            start, end = (max(0, edge - len(row.margin)) if edge != -1 else len(row.text) for edge in span)
            chosen = style + self.screen.get_component_rich_style("screen--selection")
            segments += [Segment(row.text[:start], style), Segment(row.text[start:end], chosen),
                         Segment(row.text[end:], style)]
        strip = Strip([s for s in segments if s.text])
        return strip.adjust_cell_length(width, self.rich_style).apply_offsets(0, index)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract(self.plain), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()
