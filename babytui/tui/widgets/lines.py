"""Lines of styled text that repaint only what changed: the base of everything here that updates often.

A line is a list of (text, role) pieces; a role's colour comes from the theme. Text is never parsed for markup, and
its control characters are shown as marks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.color import Color, ColorParseError
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from babytui.visible import visible

Piece = tuple[str, str]
Line = list[Piece]
# Role → (theme variable, share of it on the background, bold). Component classes would be the stylesheet's way, but
# a dozen of them on every widget that draws lines cost half of the time to the first paint.
ROLES: dict[str, tuple[str, float, bool]] = {
    "text": ("foreground", 1.0, False), "value": ("foreground", 1.0, False), "strong": ("foreground", 1.0, True),
    "label": ("role-label", 1.0, False), "dim": ("role-dim", 1.0, False),
    "good": ("text-success", 1.0, False), "warn": ("text-warning", 1.0, False), "bad": ("text-error", 1.0, False),
    "accent": ("text-accent", 1.0, False), "key": ("text-accent", 1.0, True),
    "train": ("role-train", 1.0, False), "validation": ("text-warning", 1.0, False),
    "cursor": ("text-accent", 1.0, False),
    **{f"curve{n}": (name, 1.0, False) for n, name in enumerate((
        "text-primary", "text-warning", "text-success", "text-accent", "text-error", "text-secondary"), 1)},
    "curve7": ("foreground", 1.0, False), "curve8": ("role-label", 1.0, False),  # of runs that are drawn together
}
_styles: dict[tuple[str, str, str], Style] = {}


class Roles:
    """For a widget that draws lines itself: styles by role, from the theme."""

    def style_of(self, role: str) -> Style:
        """The style of a role on this widget's background."""
        widget: Any = self
        base: Style = widget.rich_style
        key = (widget.app.theme, role, str(base.bgcolor))
        style = _styles.get(key)
        if style is None:
            style = _styles[key] = base + _role_style(role, widget.app.theme_variables, base)
        return style

    def strip_of(self, line: Line, width: int) -> Strip:
        """The line as a strip of exactly `width` cells; what is longer ends in an ellipsis."""
        line = fit(line, width)
        segments = [Segment(text, self.style_of(role)) for text, role in line if text]
        return Strip(segments).adjust_cell_length(width, self.rich_style)  # type: ignore[attr-defined]


def _role_style(role: str, variables: Mapping[str, str], base: Style) -> Style:
    if role == "here":  # the cell under a cursor, in any theme
        return Style(reverse=True, bold=True)
    name, share, bold = ROLES[role]
    try:
        color = Color.parse(variables[name])
    except (KeyError, ColorParseError):
        return Style(bold=bold or None, dim=share < 1 or None)
    if color.ansi is not None:
        return Style(color=color.rich_color, bold=bold or None, dim=share < 1 or None)
    if share < 1 and base.bgcolor is not None and base.bgcolor.triplet is not None:
        color = Color(*base.bgcolor.triplet).blend(color, share)
    return Style(color=color.rich_color, bold=bold or None)


class Lines(Roles, Widget):
    """A block of lines, set as a whole; only rows that differ from before are painted again."""

    DEFAULT_CSS = "Lines { height: auto; }"

    def __init__(self, lines: list[Line] | None = None, *, id: str | None = None, classes: str | None = None):
        super().__init__(id=id, classes=classes)
        self._lines: list[Line] = safe(lines or [])
        self._build: Callable[[int], list[Line]] | None = None
        self._width = -1  # for which the lines were built

    @property
    def lines(self) -> list[Line]:
        return self._lines

    @property
    def plain(self) -> str:
        """What is shown, without styles."""
        return "\n".join("".join(text for text, _ in line) for line in self._lines)

    def show(self, build: Callable[[int], list[Line]]) -> None:
        """Shows what `build` gives for the present width, and again for every other width."""
        self._build, self._width = build, self.size.width
        self.set_lines(build(self._width))

    def on_resize(self, event: events.Resize) -> None:
        if self._build is not None:
            self._width = self.size.width
            self.set_lines(self._build(self._width))

    def set_lines(self, lines: list[Line]) -> None:
        """Shows these lines instead."""
        lines = safe(lines)
        before, self._lines = self._lines, lines
        if len(before) != len(lines) and self.styles.is_auto_height:
            self.refresh(layout=True)
            return
        width = self.size.width
        for y in range(max(len(before), len(lines))):
            if (before[y] if y < len(before) else None) != (lines[y] if y < len(lines) else None):
                self.refresh(Region(0, y, width, 1))

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._lines if self._build is None else self._build(width))

    def get_content_width(self, container: object, viewport: object) -> int:
        return max((sum(cell_len(text) for text, _ in line) for line in self._lines), default=0)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if self._build is not None and self._width != width:  # painted in its new size before it was told of it
            self._lines, self._width = safe(self._build(width)), width
        if y >= min(len(self._lines), self.size.height):
            return Strip.blank(width, self.rich_style)
        return self.strip_of(self._lines[y], width)


def safe(lines: list[Line]) -> list[Line]:
    """The lines with control characters as marks."""
    return [[(visible(text, newlines=False), role) for text, role in line] for line in lines]


def fit(line: Line, width: int) -> Line:
    """The line cut to `width` cells with an ellipsis when it is longer."""
    if sum(cell_len(text) for text, _ in line) <= width:
        return line
    cut: Line = []
    room = max(0, width - 1)
    for text, role in line:
        text = _head(text, room)
        cut.append((text, role))
        room -= cell_len(text)
        if room <= 0:
            break
    return [*cut, ("…", cut[-1][1] if cut else "dim")] if width > 0 else []


def _head(text: str, room: int) -> str:
    """As much of the text as fits into `room` cells."""
    used = 0
    for index, character in enumerate(text):
        used += cell_len(character)
        if used > room:
            return text[:index]
    return text
