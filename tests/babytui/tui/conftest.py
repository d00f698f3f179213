"""The app under Pilot: opened on a workspace of its own, waited for by conditions, never by time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from babytui import runs
from babytui.tui.app import PlaygroundApp
from engine.config import Config
from store.workspace import Workspace

TEXT = "The cat sat on the mat. The dog saw the cat and ran.\n" * 40
TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}
Open = Callable[..., AbstractAsyncContextManager[tuple[PlaygroundApp, Any]]]
Until = Callable[[Any, Callable[[], Any]], Any]


async def _until(pilot: Any, condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true value of `condition`, while the app goes on; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        await pilot.pause(0.01)
    return value


@pytest.fixture
def until() -> Until:
    return _until


@pytest.fixture
def workspace(home: Path) -> Workspace:
    """A workspace with one text."""
    found = Workspace(home / "nest").ensure()
    (found.inputs / "cats.txt").write_text(TEXT, encoding="utf-8")
    return found


@pytest.fixture
def model(workspace: Workspace) -> str:
    """The GUID of a model that a real run of a few steps has made; it is called kitten."""
    run = runs.start(workspace, Config.read({**TINY, "n_steps": 12}), ["cats"], name="kitten")
    assert run.wait(30) == "finished"
    return run.guid


@pytest.fixture
def playground(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Open:
    """`async with playground(80, 24) as (app, pilot)`: every pane built, and the machine not timed."""
    monkeypatch.setattr("babytui.tui.backend._measure", lambda config, estimate: 1e9)

    @asynccontextmanager
    async def opened(width: int = 120, height: int = 40) -> AsyncIterator[tuple[PlaygroundApp, Any]]:
        app = PlaygroundApp(workspace)
        async with app.run_test(size=(width, height)) as pilot:
            await _until(pilot, lambda: app.playground.ready)
            yield app, pilot

    return opened
