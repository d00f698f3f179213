"""What is wrong with how a screen is laid out, read from the compositor: `faults(app)` names each, or is empty.

- a widget lies outside the terminal, or is cut off by a container that cannot be scrolled to it;
- two widgets that are not inside one another lie over one another on the same layer;
- a text is cut, across or down, without an ellipsis;
- there is a scroll bar where everything fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rich.cells import cell_len
from textual.containers import Container
from textual.errors import NoWidget
from textual.geometry import Region, Spacing
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Button, DataTable, Input, Label, OptionList, Static, Tab, TextArea

from babytui.tui.widgets.lines import Lines

_ELLIPSIS = "…"
_TYPED = (Input, TextArea)  # what is typed scrolls under the cursor


def faults(app: Any) -> list[str]:
    """A sentence for each fault of the screen in front."""
    screen: Screen[Any] = app.screen
    found = [fault for widget in _widgets(screen) for fault in (*_place(widget, screen), *_bars(widget), *_cut(widget))]
    return [*found, *_overlaps(screen), *_rows(screen)]


def _widgets(screen: Screen[Any]) -> Iterator[Widget]:
    """Everything that is displayed, containers first."""
    for widget in screen.walk_children(Widget):
        if widget.display and all(getattr(parent, "display", True) for parent in widget.ancestors) and _own(widget):
            yield widget


def _own(widget: Widget) -> bool:
    """Not the parts that every app has: toasts, tooltips, scroll bars."""
    return not any(type(part).__name__ in ("ToastRack", "Toast", "Tooltip", "ScrollBar", "ScrollBarCorner", "HelpPanel")
                   for part in (widget, *widget.ancestors))


def called(widget: Widget) -> str:
    """A widget as a person finds it in the code."""
    inside = next((parent.id for parent in widget.ancestors if isinstance(parent, Widget) and parent.id), None)
    return f"{type(widget).__name__}{'#' + widget.id if widget.id else ''}" + (f" in #{inside}" if inside else "")


# --- where it is ------------------------------------------------------------------------------------------------------

def _place(widget: Widget, screen: Screen[Any]) -> Iterator[str]:
    try:
        region = screen.find_widget(widget).region
    except NoWidget:  # scrolled out of what is composed
        return
    if not region.area:
        if _said(widget).strip():
            yield f"{called(widget)} has text but no room: {region}"
        return
    terminal = screen.app.size.region
    scrolling_x, scrolling_y = (any(_scrolls(parent, axis) for parent in widget.ancestors) for axis in "xy")
    inside = region
    for parent in widget.ancestors:
        if not isinstance(parent, Widget) or parent is screen:
            break
        frame = _inner(parent, screen)
        if frame is None:
            return
        inside = inside.intersection(frame)
    inside = inside.intersection(terminal)
    if not scrolling_x and inside.width < region.width:
        yield f"{called(widget)} is cut off at the side: {region.width} cells wide, {inside.width} of them are seen"
    if not scrolling_y and inside.height < region.height:
        yield f"{called(widget)} is cut off below: {region.height} rows high, {inside.height} of them are seen"


def _scrolls(parent: Any, axis: str) -> bool:
    """Whether what does not fit into the parent can be scrolled to."""
    return isinstance(parent, Widget) and not isinstance(parent, Screen) and bool(
        (parent.allow_horizontal_scroll and parent.max_scroll_x) if axis == "x"
        else (parent.allow_vertical_scroll and parent.max_scroll_y))


def _inner(parent: Widget, screen: Screen[Any]) -> Region | None:
    """Where the parent's children are seen."""
    try:
        region = screen.find_widget(parent).region
    except NoWidget:
        return None
    return region.shrink(parent.styles.border.spacing if parent.styles.border else Spacing())


def _bars(widget: Widget) -> Iterator[str]:
    if widget.show_vertical_scrollbar and not widget.max_scroll_y and widget.size.area:
        yield f"{called(widget)} has a scroll bar at the side, but everything fits"
    if widget.show_horizontal_scrollbar and not widget.max_scroll_x and widget.size.area:
        yield f"{called(widget)} has a scroll bar below, but everything fits"


def _overlaps(screen: Screen[Any]) -> Iterator[str]:
    """Brothers and sisters over one another; what is inside them is inside their regions."""
    for parent in (screen, *_widgets(screen)):
        seen: list[tuple[Widget, Region]] = []
        for child in parent.children:
            if not (child.display and child.visible and _own(child)) or child.styles.overlay == "screen":
                continue
            try:
                region = screen.find_widget(child).visible_region
            except NoWidget:
                continue
            if not region.area:
                continue
            for other, taken in seen:
                if region.overlaps(taken) and child.layer == other.layer and _painted(child) and _painted(other):
                    yield f"{called(child)} lies over {called(other)}: {region} and {taken}"
            seen.append((child, region))


def _painted(widget: Widget) -> bool:
    """Whether it shows anything: an empty container over others hides nothing."""
    return not isinstance(widget, Container) or bool(widget.children)


# --- what it says -----------------------------------------------------------------------------------------------------

def _said(widget: Widget) -> str:
    """The whole text that a widget wants to show; "" for those that scroll or draw."""
    if isinstance(widget, Lines):
        return widget.plain
    if isinstance(widget, Button):
        return str(widget.label)
    if isinstance(widget, Tab):
        return str(widget.label_text)
    if isinstance(widget, (Static, Label)):
        content = widget.visual
        return getattr(content, "plain", None) or str(content) if hasattr(content, "plain") else ""
    return ""


def _shown(widget: Widget) -> str:
    """The text of the widget's own rows, as they are rendered."""
    size = widget.outer_size
    return "\n".join(strip.text for strip in widget.render_lines(Region(0, 0, size.width, size.height)))


def _words(text: str) -> list[str]:
    return re.findall(r"\S+", text)


def _cut(widget: Widget) -> Iterator[str]:
    if isinstance(widget, DataTable):
        yield from _cut_cells(widget)
        return
    if isinstance(widget, OptionList):
        return
    if isinstance(widget, _TYPED) or not widget.size.area:
        return
    said = _said(widget)
    if not said.strip():
        return
    shown = _shown(widget)
    rows = max((n for n, line in enumerate(said.split("\n"), 1) if line.strip()), default=0)
    if isinstance(widget, Lines):
        if rows > widget.size.height:
            last = said.split("\n")[rows - 1].strip()
            yield f"{called(widget)} shows {widget.size.height} of its {rows} lines: {last!r} is lost"
        return
    if _ELLIPSIS in shown:
        return
    have = " ".join(_words(shown))
    if have.replace(" ", "") != " ".join(_words(said)).replace(" ", ""):
        yield f"{called(widget)} shows {have!r} of {said!r}"


def _cut_cells(table: DataTable[Any]) -> Iterator[str]:
    if table.virtual_size.width > table.scrollable_content_region.width and not table.show_horizontal_scrollbar:
        yield (f"{called(table)} is {table.virtual_size.width} cells wide, has room for "
               f"{table.scrollable_content_region.width}, and cannot be scrolled")
    for column in table.ordered_columns:
        if cell_len(str(column.label)) > column.get_render_width(table):
            yield f"{called(table)} has no room for the heading {str(column.label)!r}"
        for key in table.rows:
            text = str(table.get_cell(key, column.key))
            if not column.auto_width and cell_len(text) > column.width and _ELLIPSIS not in text:
                yield f"{called(table)} cuts {text!r} in the column {str(column.label)!r} to {column.width} cells"


def _rows(screen: Screen[Any]) -> Iterator[str]:
    """Every row of the terminal is exactly as wide as it."""
    width = screen.app.size.width
    for y, strip in enumerate(screen._compositor.render_strips()):
        if strip.cell_length != width or cell_len(strip.text) != width:
            yield f"row {y} is {cell_len(strip.text)} cells wide in a terminal of {width}: {strip.text!r}"
