"""The app on a workspace that somebody else packed: everything opens, and what is broken is said."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from fuzz_seeds import CORPUS
from fuzz_targets import BASE
from historic import GUID, OTHER, newest, put, weights

from babytui.tui.screens.info import InfoScreen
from babytui.tui.widgets.lines import Lines
from store.workspace import Workspace

pytestmark = pytest.mark.usefixtures("no_gpu")
PLAN = json.loads((CORPUS / "plan" / "run").read_bytes())
HUGE = "9" * 300


def lines(path: Path, *objects: Any) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in objects))


def broken(run: Path) -> None:
    """Events whose fields are of other types, and some that are good."""
    good = [json.loads(line) for line in (CORPUS / "events" / "run").read_bytes().splitlines()]
    wrong = [
        {**line, key: value}
        for line in good[:6]
        for key in ("step", "time", "loss", "tokens", "message", "text", "value")
        for value in ("x", None, [], 1e300, -1)
        if key in line
    ]
    lines(run / "events.jsonl", *wrong, *good, {"event": "end"}, {"event": ["end"]}, {"event": "step", "step": 10**30})


@pytest.fixture
def strange(workspace: Workspace) -> Workspace:
    """Its workspace as an archive would leave it."""
    ws = put(workspace.root, newest("mha", "mlp"), weights("mha", "mlp"))
    ws.ensure()
    for guid, plan in ((BASE, PLAN), (OTHER, {**PLAN, "config": [1], "created": 1e300})):
        run = ws.run_dir(guid)
        run.mkdir()
        (run / "plan.json").write_text(json.dumps(plan))
    broken(ws.run_dir(BASE))
    os.mkfifo(ws.run_dir(OTHER) / "events.jsonl")
    ws.path("report", GUID).write_text(
        json.dumps(
            {
                "n_epochs": "x",
                "total_time": [],
                "babytui_steps": "y",
                "dataset": 3,
                "babytui_curve": [[1, "x", None], [2, 1, 1]],
                "babytui_reason": ["z"],
            }
        )
    )
    ws.path("completion", GUID).write_text(json.dumps({"generation": "abc", "inference_total_time": "long"}))
    found = ws.root / "bakeoffs" / GUID
    found.mkdir(parents=True)
    shutil.copy(CORPUS / "plan" / "bakeoff", found / "plan.json")
    row = {"attention": "mha", "network": "mlp", "sequence": "pre"}
    lines(
        found / "log.jsonl",
        {"event": "run", "guid": "../../x", **row},
        {"event": "run", "guid": 3, **row},
        {"event": "end", "reason": []},
    )
    lines(
        found / "results.jsonl",
        {**row, "validation_loss": "x", "seconds": [], "elapsed": {}, "error": 3, "tokens": True},
    )
    (ws.root / "bakeoffs" / OTHER).symlink_to("/")
    (ws.settings / "last.json").write_text(json.dumps({"last_uuid": "../../x", "last_prompt": [HUGE]}))
    (ws.settings / "current.json").write_text(json.dumps({"n_emb": HUGE}))
    return ws


async def test_models_runs_and_bakeoffs_are_listed(playground: Any, until: Any, strange: Workspace) -> None:
    async with playground(160, 50) as (app, pilot):
        models = app.playground.models
        await pilot.press("f4")
        shown = await until(pilot, lambda: {row.guid: row for row in models._shown if not row.shipped} or None)
        assert {GUID, BASE} <= set(shown)
        assert shown[BASE].state == "died" and shown[OTHER].state == "problem"
        for guid in (GUID, BASE, OTHER):
            await app.push_screen(InfoScreen(strange, guid))
            await until(pilot, lambda guid=guid: guid in app.screen.query_one("#facts", Lines).plain)
            await app.pop_screen()
        app.playground.action_bakeoff()
        await until(pilot, lambda: type(app.screen).__name__ == "BakeOffScreen" and app.screen.rows)
        assert len(app.screen.rows) == 2


async def test_a_run_is_attached_to(playground: Any, until: Any, strange: Workspace) -> None:
    async with playground(160, 50) as (app, pilot):
        training = app.playground.training
        training.watch_run(BASE)
        await until(pilot, lambda: training.view.guid == BASE and training.view.status == "died")
        assert training.view.end["reason"] == "finished" and training.view.done == 9
