"""Every key of the curve in the training pane, on real runs: what it shows, and what the run does."""

from __future__ import annotations

import math
from typing import Any

import pytest

from babytui import runs
from babytui.runs import SHIPPED
from babytui.tui import backend
from babytui.tui.panes.numbers import RunView, numbers
from babytui.tui.screens.norms import NormsScreen, norm_lines
from babytui.tui.screens.overlay import OverlayScreen
from babytui.tui.screens.rate import RateScreen, read_rate
from babytui.tui.widgets.chart import LossChart
from engine.config import Config
from engine.events import Control
from store.journal import Journal
from store.workspace import Workspace

TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}


@pytest.fixture
def long_guid(workspace: Workspace) -> str:
    """The GUID of a run of 40,000 steps that is over; its loss goes up and down every 8 steps."""
    run = runs.Run(workspace, "00000000-0000-4000-8000-000000000001")
    run.dir.mkdir(parents=True)
    (run.dir / "plan.json").write_text('{"created": 1, "name": "marathon"}')
    with Journal(run.journal) as journal:
        journal.append({"event": "start", "step": 0, "time": 1.0, "steps": 40_000, "config": {}, "parameters": 9,
                        "vocab_size": 3, "tokens_per_step": 32, "train_tokens": 9, "validation_tokens": 0})
        for n in range(1, 40_001):
            journal.append({"event": "step", "step": n, "time": 1.0, "loss": 2 + math.sin(n * math.pi / 4),
                            "seconds": n / 100, "tokens": n * 32, "learning_rate": n / 1e6, "gradient_norm": 1.0,
                            "epoch": 0.1, "tokens_per_second": 10.0})
            if n % 10_000 == 0:
                journal.append({"event": "sample", "step": n, "time": 1.0, "prompt": "", "text": f"said at {n}"})
        journal.append({"event": "end", "step": 40_000, "time": 1.0, "reason": "finished", "message": "",
                        "train_loss": None, "validation_loss": None, "tokens": 1, "seconds": 1.0})
    return run.guid


async def opened(app: Any, pilot: Any, until: Any, guid: str, status: str = "finished") -> LossChart:
    """The chart of this run, read to its end and with the keys."""
    training = app.playground.training
    training.watch_run(guid)
    await pilot.press("f3")
    await until(pilot, lambda: training.view.guid == guid and training.view.status == status
                and not training.chart.curve.empty and training.has_focus_within)
    return training.chart


async def test_axes_and_smoothing(playground: Any, until: Any, model: str) -> None:
    async with playground(100, 30) as (app, pilot):
        chart = await opened(app, pilot, until, model)
        for key, shown in (("y", "loss (log)"), ("X", "by step (log)"), ("x", "by tokens (log)"), ("X", "by tokens"),
                           ("x", "by time"), ("x", "by step"), ("m", "smoothed 0.9"), ("m", "smoothed 0.98")):
            await pilot.press(key)
            await until(pilot, lambda shown=shown: shown in chart.plain)
        await pilot.press("m")
        await until(pilot, lambda: "smoothed" not in chart.plain)


async def test_zoom_pan_and_back(playground: Any, until: Any, model: str) -> None:
    async with playground(100, 30) as (app, pilot):
        chart = await opened(app, pilot, until, model)
        await pilot.press("plus")
        await until(pilot, lambda: chart.options.window is not None)
        assert chart.options.window == (6, 12, True) and "newest part" in chart.plain
        await pilot.press("shift+left")
        await until(pilot, lambda: chart.options.window == (4.5, 10.5, False))
        await pilot.press("L", "L", "L")
        await until(pilot, lambda: chart.options.window == (6, 12, True))
        await pilot.press("minus")
        await until(pilot, lambda: chart.options.window is None)
        await pilot.press("plus", "left", "0")
        await until(pilot, lambda: chart.options.window is None and chart.options.cursor is None)


@pytest.mark.slow
async def test_zooming_shows_what_was_averaged_away(playground: Any, until: Any, long_guid: str) -> None:
    async with playground(100, 30) as (app, pilot):
        chart = await opened(app, pilot, until, long_guid)
        await until(pilot, lambda: chart.train.last and chart.train.last.step == 40_000)
        assert len(chart.train) <= 2049
        coarse = [p.value for p in chart.curve.train]
        assert max(coarse[50:-2]) - min(coarse[50:-2]) < 1  # means of whole waves
        await pilot.press("m", "m", "m")
        await pilot.press(*["plus"] * 9)
        await until(pilot, lambda: chart.curve.fine)
        low, high, _ = chart.options.window
        seen = [p for p in chart.curve.points("train") if low <= p.step <= high]
        assert [p.step for p in seen] == list(range(math.ceil(low), min(40_000, math.floor(high)) + 1))
        assert all(math.isclose(p.value, 2 + math.sin(p.step * math.pi / 4), abs_tol=1e-9) for p in seen)


async def test_the_cursor_reads_values_and_shows_the_sample(playground: Any, until: Any, long_guid: str) -> None:
    async with playground(100, 40) as (app, pilot):
        chart = await opened(app, pilot, until, long_guid)
        await pilot.press("left")
        await until(pilot, lambda: chart.options.cursor == 40_000 or (chart.options.cursor or 0) > 39_900)
        assert "said at 40000" in chart.plain or "said at 30000" in chart.plain
        for _ in range(40):
            await pilot.press("h")
        await until(pilot, lambda: (chart.options.cursor or 0) < 30_000)
        step = chart.options.cursor
        assert f"step {step:,.0f}" in chart.plain and f"rate {step / 1e6:.3g}"[:8] in chart.plain
        samples = app.playground.training.query_one("#samples")
        said = step // 10_000 * 10_000
        assert f"said at {said:.0f}" in chart.plain and str(samples.border_title).endswith(f"{said:,.0f}")
        before = step
        await pilot.press("right")
        await until(pilot, lambda: chart.options.cursor > before)


async def test_the_cursor_goes_from_mark_to_mark(playground: Any, until: Any, workspace: Workspace, model: str) -> None:
    with Journal(runs.Run(workspace, model).journal) as journal:
        journal.append({"event": "alarm", "step": 7, "time": 1.0, "name": "x", "message": "It rises."})
    async with playground(100, 30) as (app, pilot):
        chart = await opened(app, pilot, until, model, "died")  # its End is not the last line any more
        await pilot.press("less_than_sign")
        await until(pilot, lambda: chart.options.cursor == 12)  # the checkpoint at its end
        await pilot.press("less_than_sign")
        await until(pilot, lambda: chart.options.cursor == 7 and "! It rises." in chart.plain)
        await pilot.press("greater_than_sign")
        await until(pilot, lambda: chart.options.cursor == 12)


def test_the_model_that_ships_is_drawn_from_its_report(workspace: Any, model: str) -> None:
    found, curves = backend.curves_of(workspace, [SHIPPED, model])
    assert [run.guid for run in found] == [model] and len(curves) == 1 and curves[0].train


@pytest.mark.slow
async def test_another_run_is_drawn_beside_and_taken_away(playground: Any, until: Any, workspace: Workspace,
                                                          model: str) -> None:
    other = runs.start(workspace, Config.read({**TINY, "n_steps": 9}), ["cats"], name="puppy")
    assert other.wait(60) == "finished"
    async with playground(100, 30) as (app, pilot):
        chart = await opened(app, pilot, until, model)
        await pilot.press("o")
        screen = await until(pilot, lambda: app.screen if isinstance(app.screen, OverlayScreen) else None)
        await until(pilot, lambda: screen._names)
        assert [name.split(" · ")[0] for _, name in screen._names] == ["puppy", "baby"]
        await pilot.press("space", "v", "v", "enter")
        await until(pilot, lambda: len(chart.curves) == 2 and not chart.curves[1].empty)
        await until(pilot, lambda: "a kitten" in chart.plain and "b puppy" in chart.plain)
        assert chart.options.shown == "validation"
        assert app.done[0].startswith("babytui curve --show validation") and other.guid in app.done[0]
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, OverlayScreen) and app.screen._names)
        await pilot.press("a", "enter")
        await until(pilot, lambda: len(chart.curves) == 1)


async def test_a_model_whose_run_is_gone_is_drawn_from_its_report(playground: Any, until: Any, workspace: Workspace,
                                                                  model: str, long_guid: str) -> None:
    import shutil

    shutil.rmtree(workspace.run_dir(model))
    async with playground(100, 30) as (app, pilot):
        chart = await opened(app, pilot, until, long_guid)
        app.playground.training._overlay([model], "both")
        await until(pilot, lambda: "B kitten" in chart.plain)


@pytest.mark.slow
async def test_the_rate_of_a_live_run(playground: Any, until: Any, workspace: Workspace) -> None:
    run = runs.start(workspace, Config.read({**TINY, "n_steps": 10_000_000}), ["cats"], name="kitten")
    try:
        async with playground(100, 30) as (app, pilot):
            chart = await opened(app, pilot, until, run.guid, "running")
            await pilot.press("e")
            screen = await until(pilot, lambda: app.screen if isinstance(app.screen, RateScreen) else None)
            field = screen.query_one("RateField")
            now = float(field.value)
            await pilot.press("down")
            assert float(field.value) == pytest.approx(now / 2, rel=1e-4)
            assert "0.5 times" in screen.query_one("#rate-now").plain
            field.value = "12"
            await pilot.press("enter")
            await until(pilot, lambda: "from 0 to 10" in screen.query_one("#rate-words").plain)
            assert app.screen is screen
            field.value = "3e-4"
            await pilot.press("enter")
            told = await until(pilot, lambda: [e for e in run.tail(2000)[0] if isinstance(e, Control)])
            assert told[-1].command == "learning_rate" and told[-1].value == 3e-4
            await until(pilot, lambda: any(mark.kind == "rate" for mark in chart.curve.marks))
            assert app.done[0].startswith("babytui rate") and "0.0003" in app.done[0]
            await pilot.press("e")
            await until(pilot, lambda: isinstance(app.screen, RateScreen) and app.screen.query_one("RateField").value)
            doubled = float(app.screen.query_one("RateField").value) * 2
            await pilot.press("up", "enter")
            told = await until(pilot, lambda: [e for e in run.tail(5000)[0] if isinstance(e, Control)][1:])
            assert told[-1].value == pytest.approx(doubled, rel=1e-3)
            await until(pilot, lambda: app.playground.training.view.memory)
            assert "MB" in app.playground.training.query_one("#numbers").plain
    finally:
        run.command("stop")
        run.wait(60)


async def test_keys_of_the_curve_without_a_run_do_nothing(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f3")
        await until(pilot, lambda: app.playground.training.has_focus_within)
        await pilot.press("plus", "minus", "0", "left", "right", "h", "l", "H", "L", "X", "less_than_sign", "e")
        await until(pilot, lambda: any("no run here that learns" in n.message for n in app._notifications))
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, NormsScreen))
        assert "No norms yet" in app.screen.query_one("#norms").plain
        await pilot.press("escape", "o")
        await until(pilot, lambda: isinstance(app.screen, OverlayScreen))
        await until(pilot, lambda: "0 of at most 7" in app.screen.query_one("#overlay-words").plain)


async def test_norms_of_every_layer(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        await opened(app, pilot, until, model)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, NormsScreen))
        shown = app.screen.query_one("#norms").plain
        norms = app.playground.training.view.norms
        assert norms and all(part in shown for part in norms["gradient"])
        part = "block_0_attention"
        assert f"{norms['gradient'][part]:.3g}" in shown
        assert f"{norms['update'][part] / norms['weight'][part]:.1e}" in shown


def test_norms_are_told_at_every_width_and_of_strange_journals() -> None:
    norms = {"step": 5, "gradient": {"embedding": 1.0, "head": 0.0, "odd": math.inf},
             "update": {"embedding": 1e-3, "head": 0.0, "odd": "x"}, "weight": {"embedding": 1.0, "head": 0, "odd": 0}}
    for width in (20, 40, 76, 120):
        text = "\n".join("".join(piece for piece, _ in line) for line in norm_lines(norms, width))
        assert "1.0e-03" in text and text.count("not trained") == 2


def test_a_rate_that_is_none() -> None:
    assert read_rate("1e-3") == 1e-3 and read_rate("0") == 0
    for text in ("", "x", "-1", "11", "nan", "inf", "1e-3x"):
        assert isinstance(read_rate(text), str)


def test_rates_do_not_run_into_the_next_number() -> None:
    for rate in (0.0003333333, 1.23456e-7, 0.1, 6e-05, 9.87654321):
        view = RunView("g", "n", "running", 20, {"step": 5, "loss": 2.0, "seconds": 10.0, "tokens": 1e6, "epoch": 0.5,
                                                 "tokens_per_second": 1e5, "learning_rate": rate, "gradient_norm": 1.0})
        line = "".join(piece for piece, _ in next(line for line in numbers(view, 56) if "rate" in str(line)))
        shown = line.split("rate")[1].split("grad norm")[0]
        assert shown.endswith(" ") and float(shown) == pytest.approx(rate, rel=0.06)
