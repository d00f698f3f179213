"""The plot of curves against a slow drawing of the same, the part in view, and what a curve keeps of a journal."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from babytui.curve import plot
from babytui.curve.braille import Canvas
from babytui.curve.curve import GLYPHS, MARKS, SAMPLES, Curve, from_report
from babytui.curve.series import Point, Series, smooth
from babytui.curve.window import Scale, Window, advance, pan, reveal, zoom

DOTS = {(0, 0): 0x01, (0, 1): 0x02, (0, 2): 0x04, (0, 3): 0x40, (1, 0): 0x08, (1, 1): 0x10, (1, 2): 0x20, (1, 3): 0x80}


def curve(steps: int = 400, *, name: str = "kitten", loss: float = 1.0, every: int = 50, tokens: int = 64) -> Curve:
    found = Curve(name, name)
    found.take({"event": "start", "step": 0, "steps": 0, "tokens_per_step": tokens})
    for n in range(1, steps + 1):
        found.take({"event": "step", "step": n, "seconds": n / 10, "loss": loss + 3 / n, "learning_rate": n / 1e4,
                    "gradient_norm": 1 / n})
        if n % every == 0:
            found.take({"event": "evaluation", "step": n, "seconds": n / 10, "validation_loss": loss + 0.5 + 3 / n})
    return found


def slow_dots(points: list[tuple[float, float]], width: int, height: int) -> set[tuple[int, int]]:
    """Every dot of a curve, found by walking over all columns of dots one by one."""
    columns, rows = width * 2, height * 4
    heights: dict[int, list[float]] = {}
    for x, y in points:
        heights.setdefault(round(x * (columns - 1)), []).append(y)
    means = {x: round((1 - sum(ys) / len(ys)) * (rows - 1)) for x, ys in heights.items()}
    dots = set(means.items())
    places = sorted(means)
    for left, right in itertools.pairwise(places):
        rise = means[right] - means[left]
        steps = max(right - left, abs(rise))
        dots |= {(round(left + (right - left) * n / steps), round(means[left] + rise * n / steps))
                 for n in range(steps + 1)}
    return {(x, y) for x, y in dots if 0 <= x < columns and 0 <= y < rows}


def test_dots_are_those_of_a_slow_drawing() -> None:
    random.seed(4)
    for width, height in ((10, 3), (37, 8), (2, 1)):
        points = sorted((random.random(), random.random()) for _ in range(60))
        canvas = Canvas(width, height)
        canvas.line(points, 0)
        wanted = [[0] * width for _ in range(height)]
        for x, y in slow_dots(points, width, height):
            wanted[y // 4][x // 2] |= DOTS[x % 2, y % 4]
        drawn = [[0 if char == " " else ord(char) - 0x2800 for char, _ in canvas.row(y)] for y in range(height)]
        assert drawn == wanted


@pytest.mark.parametrize("by", ["step", "tokens", "time"])
@pytest.mark.parametrize("log_x", [False, True])
@pytest.mark.parametrize("log_y", [False, True])
def test_every_measured_point_is_where_its_numbers_say(by: str, log_x: bool, log_y: bool) -> None:
    """Each point of an unsmoothed curve alone, looked for in the picture by the axes' arithmetic done here anew."""
    found = curve(60, every=1000)
    options = plot.Options(by, log_x, log_y, smoothing=0.0)
    picture = plot.draw([found], 70, 20, options)
    rows = picture.rows[1:-2]
    values = [point.value for point in found.train]
    low, high = _edges(picture, found, options)
    assert low <= min(values) and high >= max(values)
    for point in found.train:
        x = {"step": point.step, "tokens": point.step * 64, "time": point.seconds}[by]
        across = (math.log(x / picture.x.low) / math.log(picture.x.high / picture.x.low) if log_x
                  else (x - picture.x.low) / (picture.x.high - picture.x.low))
        up = math.log(point.value / low) / math.log(high / low) if log_y else (point.value - low) / (high - low)
        column = round(across * (picture.width * 2 - 1)) // 2
        near = {round((1 - up) * (len(rows) * 4 - 1)) // 4 + by for by in (-1, 0, 1)}
        assert any(rows[row][picture.left + column][0] != " " for row in near if 0 <= row < len(rows)), point


def _edges(picture: plot.Picture, found: Curve, options: plot.Options) -> tuple[float, float]:
    """The lowest and highest loss of the plot."""
    drawn = plot._Plot([found], 70, 20, options)
    return drawn.y.low, drawn.y.high


def test_the_axis_labels_stand_under_their_values() -> None:
    picture = plot.draw([curve(1000)], 90, 16, plot.Options())
    line, labels = ("".join(char for char, _ in row) for row in picture.rows[-2:])
    for text, value in (("200", 200), ("600", 600), ("1k", 1000)):
        tick = picture.left + picture.column(value)
        assert line[tick] in ("┬", "◆")
        assert abs(labels.index(text) + len(text) / 2 - tick) <= 2


@pytest.mark.parametrize("size", [(8, 1), (20, 2), (30, 6), (56, 9), (80, 24), (200, 60)])
@pytest.mark.parametrize("cursor", [None, 200.0])
def test_pictures_fill_their_size_exactly(size: tuple[int, int], cursor: float | None) -> None:
    width, height = size
    for curves in ([curve()], [curve(), curve(loss=2.0, name="a dog with a long name 猫")]):
        picture = plot.draw(curves, width, height, plot.Options(cursor=cursor))
        lines = 1 if height == 1 else height if height >= 6 else min(height, 2 * len(curves))
        assert len(picture.rows) == lines and all(len(row) == width for row in picture.rows)
        assert picture.plain.isprintable() or "\n" in picture.plain


def test_nothing_draws_nothing_and_one_point_draws() -> None:
    assert plot.draw([Curve()], 80, 20).rows == []
    assert "train 2.000" in plot.draw([from_report({"babytui_curve": [[5, 2.0, None]]})], 80, 20).plain


def test_runs_are_told_apart_without_colour() -> None:
    picture = plot.draw([curve(name="one"), curve(loss=2.0, name="two"), curve(loss=3.0, name="three")], 120, 24)
    legend, body = picture.plain.split("\n", 1)
    assert "A one" in legend and "B two" in legend and "C three" in legend
    assert all(letter in body for letter in "AaBbCc")
    only = plot.draw([curve(name="one"), curve(loss=2.0, name="two")], 120, 24, plot.Options(shown="validation")).plain
    assert "A" not in only.split("\n", 1)[1] and "a" in only.split("\n", 1)[1]


def test_marks_stand_under_their_steps_and_an_alarm_hides_a_checkpoint() -> None:
    found = curve(100)
    checkpoint = {"event": "checkpoint", "reason": "policy"}
    for line in ({**checkpoint, "step": 50}, {**checkpoint, "step": 20},
                 {"event": "alarm", "step": 50, "message": "Bad."},
                 {"event": "control", "step": 80, "command": "pause"},
                 {"event": "control", "step": 10, "command": "learning_rate", "value": 0.1}):
        found.take(line)
    picture = plot.draw([found], 80, 20)
    axis = picture.rows[-2]
    shown = {glyph: n - picture.left for n, (glyph, _) in enumerate(axis) if glyph in GLYPHS.values()}
    assert shown == {"∆": picture.column(10), "◆": picture.column(20), "!": picture.column(50),
                     "‖": picture.column(80)}


def test_the_cursor_reads_its_step() -> None:
    found = curve(100)
    found.take({"event": "sample", "step": 60, "text": "The\ncat\x1b[2J"})
    found.take({"event": "alarm", "step": 70, "message": "It rises."})
    picture = plot.draw([found], 110, 20, plot.Options(cursor=70.0, smoothing=0.0))
    assert f"train {1 + 3 / 70:.3f}" in picture.plain
    assert "step 70" in picture.plain and "rate 0.007" in picture.plain and f"grad norm {1 / 70:.3g}" in picture.plain
    assert "! It rises." in picture.plain and "sample of step 60: The cat␛[2J" in picture.plain
    columns = {n for row in picture.rows[1:-4] for n, (char, _) in enumerate(row) if char == "│" and n >= picture.left}
    assert columns == {picture.left + picture.column(70)}


def test_smoothing_does_not_depend_on_how_many_points_are_known() -> None:
    dense = [Point(n, n, math.sin(n / 40)) for n in range(2000)]
    thin = dense[::4]
    one, other = smooth(dense, 0.9, 20.0), smooth(thin, 0.9, 20.0)
    assert max(abs(a.value - b.value) for a, b in zip(one[::4], other, strict=True)) < 0.06
    assert all(math.isclose(p.value, 3.0) for p in smooth([Point(n, n, 3.0) for n in range(50)], 0.9))


def slow_smooth(points: list[Point], strength: float) -> list[float]:
    """The definition: every earlier value counts strength^(how long ago) times as much."""
    values = []
    for point in points:
        weights = [strength ** (point.step - p.step) for p in points if p.step <= point.step]
        values.append(sum(w * p.value for w, p in zip(weights, points, strict=False)) / sum(weights))
    return values


def test_smoothing_is_the_weighted_mean_of_its_definition() -> None:
    random.seed(1)
    points = [Point(n, n, random.random()) for n in range(1, 40)]
    for strength in (0.3, 0.9):
        assert [p.value for p in smooth(points, strength, 1.0)] == pytest.approx(slow_smooth(points, strength))


WHOLE = Scale(0.0, 1000.0)


def test_zooming_in_shows_the_newest_part_and_follows_it() -> None:
    near = zoom(None, WHOLE, 400.0, 0.5)
    assert near == Window(200.0, 400.0, True)
    moved = advance(near, WHOLE, 450.0)
    assert moved == Window(300.0, 500.0, True) and advance(moved, WHOLE, 500.0) == moved
    assert advance(near, WHOLE, 401.0) == pytest.approx((226.0, 426.0, True))
    assert zoom(near, WHOLE, 400.0, 2.0) is None
    later = zoom(near, WHOLE, 450.0, 0.5)  # before it has moved on
    assert later is not None and later.follows and later.low < 450.0 <= later.high
    assert zoom(None, WHOLE, 400.0, 2.0) is None


def test_zooming_keeps_the_cursor_where_it_is() -> None:
    for whole in (WHOLE, Scale(1.0, 1000.0, True)):
        before = Window(100.0, 300.0)
        seen = whole._replace(low=100.0, high=300.0)
        after = zoom(before, whole, 1000.0, 0.5, 150.0)
        assert after is not None and not after.follows
        assert whole._replace(low=after.low, high=after.high).share(150.0) == pytest.approx(seen.share(150.0))
        assert advance(after, whole, 2000.0) == after


def test_zooming_ends_at_a_few_steps() -> None:
    view: Window | None = None
    for _ in range(60):
        view = zoom(view, WHOLE, 1000.0, 0.5)
    assert view is not None and 4 <= view.high - view.low < 9


def test_panning_stops_at_both_ends_and_at_the_newest_follows_again() -> None:
    view: Window | None = Window(500.0, 600.0)
    for _ in range(50):
        view = pan(view, WHOLE, 1000.0, -0.25)
    assert view is not None and view.low == pytest.approx(0.0) and view.high == pytest.approx(100.0)
    for _ in range(50):
        view = pan(view, WHOLE, 1000.0, 0.25)
    assert view is not None and view.high == pytest.approx(1000.0) and view.follows
    assert pan(None, WHOLE, 1000.0, 0.25) is None


def test_a_cursor_beyond_the_view_moves_it() -> None:
    assert reveal(Window(10.0, 20.0), 15.0) == Window(10.0, 20.0)
    assert reveal(Window(10.0, 20.0), 25.0) == Window(15.0, 25.0)
    assert reveal(Window(10.0, 20.0), 5.0) == Window(5.0, 15.0)
    assert reveal(None, 5.0) is None


def test_a_curve_stays_bounded_and_keeps_alarms_before_checkpoints() -> None:
    found = Curve()
    for n in range(1, 60_000):
        found.take({"event": "step", "step": n, "seconds": n, "loss": 2.0})
        found.take({"event": "checkpoint", "step": n, "reason": "policy"})
        found.take({"event": "sample", "step": n, "text": "x"})
        if n % 1000 == 0:
            found.take({"event": "alarm", "step": n, "message": "!"})
    assert len(found.train) <= 2049 and len(found.marks) <= MARKS and len(found.samples) <= SAMPLES
    assert sum(mark.kind == "alarm" for mark in found.marks) == 59
    assert found.train.last == Point(59_999, 59_999, 2.0)


def test_parts_of_a_journal_make_the_same_curve_as_all_of_it() -> None:
    lines = [{"event": "start", "step": 0, "steps": 90, "tokens_per_step": 4}]
    lines += [{"event": "step", "step": n, "seconds": n / 2, "loss": 1 / n} for n in range(1, 50)]
    lines += [{"event": "checkpoint", "step": 30, "reason": "x"}, {"event": "start", "step": 30, "steps": 90,
                                                                   "tokens_per_step": 4}]
    lines += [{"event": "step", "step": n, "seconds": n / 2, "loss": 2 / n} for n in range(31, 60)]
    whole, parts = Curve(), Curve()
    for line in lines:
        whole.take(line)
    for begin in range(0, len(lines), 7):
        piece, back = Curve(), None
        for line in lines[begin: begin + 7]:
            piece.take(line)
            if line["event"] == "start":
                back = line["step"]
        parts.join(piece, back)
    assert list(parts.train) == list(whole.train)
    assert [(m.step, m.kind) for m in parts.marks] == [(m.step, m.kind) for m in whole.marks]
    assert [p.value for p in whole.train if p.step in (30, 31)] == [1 / 30, 2 / 31]


def test_axes_translate_steps_both_ways() -> None:
    found = curve(100)
    for by in ("step", "tokens", "time"):
        for step in (1, 37.5, 100):
            assert found.step_at(found.x_at(step, by), by) == pytest.approx(step)
    assert found.x_at(50, "time") == pytest.approx(5.0) and found.x_at(50, "tokens") == 3200


def test_a_strange_report_is_no_curve() -> None:
    for rows in (None, "x", [[1]], [["a", 1, 2]], [[1, math.nan, math.inf]], [[-1, 2, 3]], [[1, True, None]], [None]):
        assert from_report({"babytui_curve": rows}).empty


def test_series_tells_its_newest_measurement_as_it_was() -> None:
    series = Series(limit=8)
    for n in range(100):
        series.add(n, n, float(n))
    assert series.last == Point(99, 99, 99.0)
    later = Series(limit=4)
    for n in range(100, 120):
        later.add(n, n, float(n))
    series.join(later)
    assert series.last == Point(119, 119, 119.0)
