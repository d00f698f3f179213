"""The curve's arithmetic: bounded series, axes, braille, and the chart that repaints only what changed."""

from __future__ import annotations

import itertools
import math

from textual.app import App, ComposeResult

from babytui.curve import axis
from babytui.curve.braille import Canvas, sparkline
from babytui.curve.curve import Curve
from babytui.curve.series import Point, Series
from babytui.tui.widgets.chart import LossChart


def test_series_stays_small_and_keeps_its_mean() -> None:
    series = Series(limit=64)
    for n in range(100_000):
        series.add(n, n / 10, n)
    assert len(series) <= 65
    assert math.isclose(sum(p.value for p in series) / len(series), 49_999.5, rel_tol=0.02)
    steps = [p.step for p in series]
    assert steps == sorted(steps)


def test_series_forgets_what_was_taken_back() -> None:
    series = Series(limit=8)
    for n in range(21):
        series.add(n, n, float(n))
    series.cut(10)
    assert series.last is not None and max(point.step for point in series) <= 10
    for n in range(11, 40):
        series.add(n, n, float(n))
    steps = [point.step for point in series]
    assert steps == sorted(steps) and series.last == Point(39, 39, 39.0)


def test_series_leaves_out_what_cannot_be_drawn() -> None:
    series = Series()
    for value in (None, math.nan, math.inf, 2.0):
        series.add(1, 1, value)
    assert [p.value for p in series] == [2.0]
    assert series.last == Point(1, 1, 2.0)


def test_smoothing_is_unbiased_and_none_changes_nothing() -> None:
    series = Series()
    for n in range(50):
        series.add(n, n, 3.0)
    assert all(math.isclose(p.value, 3.0) for p in series.smoothed(0.9))
    assert series.smoothed(0) == list(series)


def test_axes_are_round_and_hold_their_values() -> None:
    for low, high in ((0.0, 4.13), (1.234, 1.2345), (5, 5), (-2, 3), (0.0001, 0.0003)):
        bottom, top = axis.limits(low, high, 6)
        assert bottom <= low and top >= high
        assert all(bottom - 1e-9 <= v <= top + 1e-9 for v in axis.tick_values(bottom, top, 4))
    for low, high in ((1.5, 4.1), (0.01, 900), (2, 2)):
        bottom, top = axis.log_limits(low, high)
        assert 0 < bottom <= low and top >= high
        assert len(axis.log_ticks(bottom, top, 4)) >= 2


def test_numbers_fit_their_columns() -> None:
    for value in (0, 0.5, 12.3456, 999.96, 1234, 12_345_678, 2e-5, -3.2, 9.99e11):
        assert len(axis.short(value)) <= 6, value
    assert axis.clock(59) == "59s"
    assert axis.clock(3661) == "1h 01m"
    assert axis.size(1_420_000) == "1.42 MB"
    assert axis.span(2_190_000, 4_380_000) == "2.2–4.4 M"
    assert axis.span(130_400, 260_000) == "130–260 k"


def test_canvas_draws_corners_and_ignores_the_outside() -> None:
    canvas = Canvas(4, 2)
    canvas.line([(0, 0), (1, 1)], 0)
    assert canvas.row(0)[3][0] != " " and canvas.row(1)[0][0] != " "
    canvas.line([(0.5, 40), (0.6, -40)], 1)
    assert len(canvas.row(0)) == 4
    assert sparkline([1, 2, 3], 10) == "▁▅█" and sparkline([], 5) == ""


class ChartApp(App[None]):
    CSS = "LossChart { height: 1fr; }"

    def compose(self) -> ComposeResult:
        yield LossChart()


async def test_chart_has_axes_and_a_legend_and_becomes_a_sparkline() -> None:
    app = ChartApp()
    async with app.run_test(size=(60, 14)) as pilot:
        chart = app.query_one(LossChart)
        assert "appears here" in chart.plain
        chart.curve.planned_steps = 1000
        for n in range(1, 500):
            chart.train.add(n, n / 50, 1 + 3 / n)
        chart.validation.add(400, 8, 1.5)
        chart.draw()
        assert "train 1.006" in chart.plain and "validation 1.500" in chart.plain
        assert "1k" in chart.plain and "step" in chart.plain and "┤" in chart.plain
        assert all(len(line) == 60 for line in chart.plain.splitlines())
        chart.set(log_y=True, by="time")
        await pilot.pause()
        assert "loss (log)" in chart.plain and "time" in chart.plain and "10s" in chart.plain
        await pilot.resize_terminal(60, 2)
        await pilot.pause()
        assert chart.plain.splitlines()[0].startswith("train ") and "█" in chart.plain


async def test_chart_repaints_only_what_changed() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 20)) as pilot:
        chart = app.query_one(LossChart)
        chart.curve.planned_steps = 1000
        for n in range(1, 400):
            chart.train.add(n, n, 1 + 3 / n)
        chart.draw()
        await pilot.pause()
        painted: list[object] = []
        real = chart.refresh
        chart.refresh = lambda *regions, **options: (painted.extend(regions), real(*regions, **options))[1]  # type: ignore
        chart.draw()
        assert painted == []
        for n in range(400, 410):
            chart.train.add(n, n, 1.0)
        chart.draw()
        assert 0 < sum(region.area for region in painted) < 80 * 20 / 8  # type: ignore[attr-defined]


async def test_what_is_painted_is_what_was_drawn_in_few_colours() -> None:
    app = ChartApp()
    async with app.run_test(size=(90, 20)) as pilot:
        chart = app.query_one(LossChart)
        for n in range(1, 500):
            chart.train.add(n, n / 50, 1 + 3 / n)
            chart.validation.add(n, n / 50, 1.2 + 3 / n)
        chart.set(cursor=300.0)
        await pilot.pause()
        for y, row in enumerate(chart._rows):
            strip = chart.render_line(y)
            assert strip.text == "".join(char for char, _ in row)
            painted = [(char, segment.style) for segment in strip for char in segment.text]
            for (char, role), (_, style) in zip(row, painted, strict=True):
                assert char == " " or style == chart.style_of(role)
            changes = sum(a != b for a, b in itertools.pairwise(role for char, role in row if char != " "))
            assert len(list(strip)) <= changes + 1


async def test_keys_of_a_chart_that_has_the_focus() -> None:
    class Alone(App[None]):
        def compose(self) -> ComposeResult:
            yield LossChart([Curve("kitten")], can_focus=True)

    app = Alone()
    async with app.run_test(size=(90, 20)) as pilot:
        chart = app.query_one(LossChart)
        for n in range(1, 401):
            chart.train.add(n, n / 50, 1 + 3 / n)
        chart.draw()
        chart.focus()
        await pilot.press("plus", "plus", "left")
        assert chart.options.window is not None and chart.options.window.high == 400
        assert chart.options.cursor == 400
        before = chart.options.window
        await pilot.press("plus")  # around the cursor
        after = chart.options.window
        assert after.high - after.low == (before.high - before.low) / 2 and after.high == 400
        await pilot.press("y", "X", "m")
        assert chart.options.log_y and chart.options.log_x and chart.options.smoothing == 0.9
        await pilot.press("0")
        assert chart.options.window is None and chart.options.cursor is None
        await pilot.click(LossChart, offset=(45, 8))
        assert chart.options.cursor is not None and 1 < chart.options.cursor < 400


async def test_a_view_that_follows_moves_on_and_one_that_does_not_stays() -> None:
    app = ChartApp()
    async with app.run_test(size=(90, 20)):
        chart = app.query_one(LossChart)
        chart.curve.planned_steps = 1000
        for n in range(1, 401):
            chart.train.add(n, n / 50, 1 + 3 / n)
        chart.draw()
        chart.action_zoom(1)
        assert chart.options.window == (200, 400, True)
        for n in range(401, 451):
            chart.train.add(n, n / 50, 1.0)
        chart._moves_at = 0.0
        chart.draw()
        moved = chart.options.window
        assert moved is not None and moved.follows and moved.low > 200 and moved.high >= 450
        for n in range(451, 600):
            chart.train.add(n, n / 50, 1.0)
        chart.draw()  # at once after that: it stands, so that not everything is painted each time
        assert chart.options.window == moved
        chart.action_pan(-1)
        panned = chart.options.window
        chart._moves_at = 0.0
        chart.draw()
        assert chart.options.window == panned and not panned.follows


def test_what_is_live_stays_fine_after_a_part_was_read_again() -> None:
    curve = Curve()
    for n in range(1, 5001):
        curve.take({"event": "step", "step": n, "seconds": n, "loss": float(n)})
    curve.refine([Point(n, n, float(n)) for n in range(4500, 5001)], 4500, 5000)
    for begin in range(5001, 5101, 10):
        piece = Curve()
        for n in range(begin, begin + 10):
            piece.take({"event": "step", "step": n, "seconds": n, "loss": float(n)})
        curve.join(piece)
    seen = [p for p in curve.points("train") if p.step >= 4500]
    assert [p.step for p in seen] == list(range(4500, 5101)) and curve.fine_span == (4500, 5100)
    curve.cut(4800)
    assert not curve.fine and max(p.step for p in curve.points("train")) <= 4800
