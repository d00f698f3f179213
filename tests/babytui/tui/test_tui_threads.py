"""What is done later is done, whatever the machine does meanwhile."""

from __future__ import annotations

import time
from typing import Any

from textual.app import App

from babytui.tui.threads import after


async def test_what_is_done_later_is_done_where_the_process_stood_still(until: Any, monkeypatch: Any) -> None:
    """For ten seconds, just as the timer began: with Textual's own nothing happens."""
    async with App[None]().run_test() as pilot:
        asked: list[float] = []
        done: list[str] = []

        def clock() -> float:
            asked.append(time.monotonic() + (10 if len(asked) == 1 else 0))
            return asked[-1]

        monkeypatch.setattr("textual.timer._time.get_time", clock)
        pilot.app.screen.set_timer(0.01, lambda: done.append("Textual's"))
        await until(pilot, lambda: len(asked) >= 2)
        after(pilot.app.screen, 0.01, lambda: done.append("ours"))
        await until(pilot, lambda: done)
        assert "ours" in done


async def test_it_can_be_cancelled_and_outlives_its_widget(until: Any) -> None:
    async with App[None]().run_test() as pilot:
        done: list[int] = []
        after(pilot.app.screen, 0.0, lambda: done.append(1)).cancel()
        after(pilot.app.screen, 0.0, lambda: done.append(2))
        await until(pilot, lambda: done)
        assert done == [2]
        after(pilot.app.screen, 0.0, lambda: done.append(3))
    assert done in ([2], [2, 3])
