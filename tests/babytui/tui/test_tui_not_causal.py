"""A model that is not causal is announced in the chat before it is written to, and on its info screen."""

from __future__ import annotations

from typing import Any

from historic import GUID, newest, put, weights

from babytui.tui.widgets.lines import Lines


async def test_a_model_that_is_not_causal_says_so(playground: Any, until: Any, workspace: Any) -> None:
    put(workspace.root, {**newest("gla", "mlp"), "c_device": "cpu"}, weights("gla", "mlp"))
    async with playground(80, 24) as (app, pilot):
        chat = app.playground.chat
        await until(pilot, lambda: chat.guid == GUID)
        assert [block.text for block in chat.transcript.blocks] == chat.baby.remarks
        assert "not causal" in chat.transcript.blocks[0].text and chat.transcript.blocks[0].role == "warn"
        await pilot.press(*"ab", "enter")
        await until(pilot, lambda: chat.last_reply())
        await pilot.press("f4")
        await until(pilot, lambda: [row.guid for row in app.playground.models._shown][:1] == [GUID])
        await pilot.press("enter")
        await until(pilot, lambda: type(app.screen).__name__ == "InfoScreen")
        facts = app.screen.query_one("#facts", Lines)
        await until(pilot, lambda: "not causal" in facts.plain)
        assert all(len(line) <= 80 for line in facts.plain.split("\n"))
        shown = app.screen.query_one("#info-config", Lines).plain
        assert "c_convolution" in shown and "ggl_shuffle" not in shown
