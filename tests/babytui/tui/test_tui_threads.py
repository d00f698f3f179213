"""What is done later is done, whatever the machine does meanwhile."""

from __future__ import annotations

import time
from typing import Any

from textual.app import App
from textual.screen import ModalScreen

from babytui.tui.threads import after, after_refresh


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


async def test_what_comes_after_a_refresh_comes_also_when_the_screen_is_closed_before(until: Any,
                                                                                     monkeypatch: Any) -> None:
    """And once. Textual hands it to the screen in front, here the dialog, and forgets it with that one."""
    async with App[None]().run_test() as pilot:
        app, done = pilot.app, []
        after_refresh(app.screen, lambda: done.append("seen"))
        await until(pilot, lambda: done)
        async def never() -> None:
            """It is closed before it has come to it."""

        below = app.screen
        await app.push_screen(ModalScreen[None]())
        monkeypatch.setattr(app.screen, "_invoke_and_clear_callbacks", never)
        below.call_after_refresh(lambda: done.append("Textual's"))
        after_refresh(below, lambda: done.append("ours"))
        await until(pilot, lambda: len(app.screen._callbacks) == 2)
        await app.pop_screen()
        await until(pilot, lambda: "ours" in done)
        await pilot.pause(0.7)
        assert done == ["seen", "ours"]
