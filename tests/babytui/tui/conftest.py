"""The app under Pilot: opened on a workspace of its own, waited for by conditions, never by time."""

from __future__ import annotations

import asyncio
import gc
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.css.query import NoMatches

from babytui import runs
from babytui.tui.app import PlaygroundApp
from engine.config import Config
from store.workspace import Workspace

TEXT = "The cat sat on the mat. The dog saw the cat and ran.\n" * 40
TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}
Open = Callable[..., AbstractAsyncContextManager[tuple[PlaygroundApp, Any]]]
Until = Callable[[Any, Callable[[], Any]], Any]


async def _until(pilot: Any, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true value of `condition`, while the app goes on; AssertionError after `seconds`. When it had to be
    waited for, every widget has done since what it had to: `pilot.pause` asks them all, which between two looks would
    take a third of a core from those that one waits for. A screen that has no widgets yet is waited for, too."""
    end = time.monotonic() + seconds

    def asked() -> Any:
        try:
            return condition()
        except NoMatches:
            return None

    while not (value := asked()):
        while not asked():
            assert time.monotonic() < end, "it did not happen"
            await asyncio.sleep(0.01)
        await pilot.pause(0)
    return value


@pytest.fixture(autouse=True)
def collected_seldom() -> Iterator[None]:
    """An app makes a hundred thousand objects when it is opened; looking through them as often as Python does takes an
    eighth of a test's time."""
    before = gc.get_threshold()
    gc.set_threshold(20_000, 20, 20)
    yield
    gc.set_threshold(*before)


@pytest.fixture
def until() -> Until:
    return _until


@pytest.fixture
def workspace(home: Path) -> Workspace:
    """A workspace with one text."""
    found = Workspace(home / "nest").ensure()
    (found.inputs / "cats.txt").write_text(TEXT, encoding="utf-8")
    return found


@pytest.fixture(scope="session")
def kitten(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """The real run of a few steps that has made the model. Only for reading."""
    made = Workspace(tmp_path_factory.mktemp("kitten") / "nest").ensure()
    (made.inputs / "cats.txt").write_text(TEXT, encoding="utf-8")
    run = runs.start(made, Config.read({**TINY, "n_steps": 12}), ["cats"], name="kitten")
    assert run.wait(60) == "finished"
    return run


@pytest.fixture
def model(workspace: Workspace, kitten: runs.Run) -> str:
    """The GUID of a model that a run has made in this workspace; it is called kitten."""
    shutil.copytree(kitten.workspace.root, workspace.root, dirs_exist_ok=True)
    plan = workspace.run_dir(kitten.guid) / "plan.json"
    plan.write_text(plan.read_text().replace(str(kitten.workspace.root), str(workspace.root)))
    return kitten.guid


@pytest.fixture
def playground(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Open:
    """`async with playground(80, 24) as (app, pilot)`: every pane built, and the machine not timed."""
    monkeypatch.setattr("babytui.tui.backend.costs._measure", lambda config, estimate: 1e9)

    @asynccontextmanager
    async def opened(width: int = 120, height: int = 40) -> AsyncIterator[tuple[PlaygroundApp, Any]]:
        app = PlaygroundApp(workspace)
        async with app.run_test(size=(width, height)) as pilot:
            await _until(pilot, lambda: app.playground.ready)
            yield app, pilot

    return opened
