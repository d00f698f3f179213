"""Streams of text: wrapping, following, forgetting, and nothing a model says being obeyed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from babytui.tui.widgets.lines import Lines
from babytui.tui.widgets.transcript import Transcript
from babytui.tui.wrap import wrap


@given(st.text(alphabet="ab ,日é\n", max_size=80), st.integers(2, 12), st.integers(1, 7))
def test_wrapping_piece_by_piece_is_wrapping_at_once(text: str, width: int, piece: int) -> None:
    lines = [""]
    for start in range(0, len(text), piece):
        lines = lines[:-1] + wrap(lines[-1] + text[start: start + piece], width)
    assert lines == wrap(text, width)
    assert "".join(lines) == text.replace("\n", "")
    assert all(cell_len(line.rstrip()) <= width for line in lines)


class TranscriptApp(App[None]):
    def compose(self) -> ComposeResult:
        yield Transcript(margin=5, keep_lines=100)


async def test_follows_only_while_at_the_end() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(40, 10)) as pilot:
        view = app.query_one(Transcript)
        for n in range(30):
            view.add(f"line {n}", margin="you")
        await pilot.pause()
        assert view.at_end
        view.scroll_to(0, 0, animate=False, immediate=True)
        await pilot.pause()
        view.add("one more")
        await pilot.pause()
        assert view.scroll_offset.y == 0
        view.scroll_end(animate=False, immediate=True)
        view.extend(" and\nmore\nand more")
        await pilot.pause()
        assert view.at_end and view.plain.endswith("and more")


async def test_memory_is_bounded_even_by_one_endless_reply() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(40, 10)) as pilot:
        view = app.query_one(Transcript)
        for _ in range(300):
            view.add("hello there")
        assert len(view.plain.splitlines()) <= 125
        view.add("")
        for _ in range(3000):
            view.extend("word " * 4)
        await pilot.pause()
        assert len(view.plain.splitlines()) <= 126
        assert sum(len(block.text) for block in view.blocks) < 20_000


async def test_resizing_wraps_again_and_markup_is_inert() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 10)) as pilot:
        view = app.query_one(Transcript)
        view.add("[bold red]not markup[/] " + "word " * 20, margin="baby")
        await pilot.pause()
        wide = len(view.plain.splitlines())
        assert "[bold red]not markup[/]" in view.plain
        await pilot.resize_terminal(30, 10)
        await pilot.pause()
        assert len(view.plain.splitlines()) > wide


async def test_lines_are_painted_for_the_width_they_have() -> None:
    """A hidden pane is 0 cells wide; when it is shown, it may be painted before the resize event arrives."""

    class OneWidget(App[None]):
        def compose(self) -> ComposeResult:
            yield Lines(id="lines")

    async with OneWidget().run_test(size=(50, 10)) as pilot:
        widget = pilot.app.query_one(Lines)
        widget.show(lambda width: [[("wide" if width >= 40 else "narrow", "text")]])
        await pilot.pause()
        widget._lines, widget._width = [[("narrow", "text")]], 0  # as it was left when it was hidden
        assert widget.render_line(0).text.rstrip() == "wide"


async def test_the_bar_stands_where_the_text_does_from_its_first_moment_on() -> None:
    """Also when the text was scrolled before there was room for a bar to be shown."""
    app = TranscriptApp()
    async with app.run_test(size=(40, 10)) as pilot:
        view = app.query_one(Transcript)
        await pilot.pause()
        view.add("\n".join(f"line {n}" for n in range(30)), margin="you")
        view.show_vertical_scrollbar = False
        view.scroll_to(0, 0, animate=False, immediate=True)
        view.scroll_end(animate=False, immediate=True)
        view.show_vertical_scrollbar = True
        await pilot.pause()
        assert view.scroll_offset.y > 0 and view.vertical_scrollbar.position == view.scroll_offset.y
