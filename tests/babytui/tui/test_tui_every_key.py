"""Every key of the registry leads to its action, and so does every entry of the palette, pressed one by one."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from textual.command import CommandList, CommandPalette

from babytui import actions
from babytui.tui.bindings import _of, ids, split
from babytui.tui.commands import commands

PANES = ("config", "training", "models", "chat")


def keys_at(node: str) -> list[tuple[str, str, str]]:
    """(id, key, Textual action) of every default key at a node."""
    bound = {id_ for id_, (where, keys, _) in ids().items() if where == node and keys}
    return [(id_, key, does) for id_, keys, does, _ in _of(node) if id_ in bound for key in keys.split(",") if key]


def noted(app: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a key would have done, instead of doing it; what widgets do with keys of their own is done."""
    found: list[str] = []
    others = app.run_action
    ours = {does for node in {where for where, _, _ in ids().values()} for _, _, does in keys_at(node)}

    async def run_action(action: str, *given: Any, **named: Any) -> bool:
        if action not in ours:
            return await others(action, *given, **named)
        found.append(action)
        return True

    monkeypatch.setattr(app, "run_action", run_action)
    return found


@pytest.mark.parametrize("node", ["app", "playground", *PANES])
@pytest.mark.slow
async def test_each_key_does_what_it_is_for(playground: Any, until: Any, model: str, node: str,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    async with playground(200, 60) as (app, pilot):  # all four panes
        await until(pilot, lambda: app.playground.chat.baby is not None and app.playground.models.table.row_count)
        found = noted(app, monkeypatch)
        panes = [node] if node in PANES else PANES
        places = [widget for pane in panes for widget in app.screen.query(f"#{pane} *") if widget.focusable]
        assert places and keys_at(node)
        unreached = []
        for id_, key, does in keys_at(node):
            for place in places:
                place.focus()
                found.clear()
                await pilot.press(key.strip())
                if does in found:
                    break
            else:
                unreached.append((id_, key))
        assert not unreached


@pytest.mark.parametrize("node", sorted({where for where, keys, _ in ids().values() if keys}
                                        - {"app", "playground", *PANES}))
def test_each_key_of_a_page_is_bound_to_what_it_is_for(node: str) -> None:
    from babytui.tui.bindings import bindings

    bound = {(key, binding.action) for binding in bindings(node) for key in binding.key.split(",")}
    assert {(key, does) for _, key, does in keys_at(node)} <= bound
    assert not split("")[0]


async def test_each_entry_of_the_palette_does_what_it_is_for(playground: Any, until: Any, model: str,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    async with playground(120, 40) as (app, pilot):
        await until(pilot, lambda: app.playground.chat.baby is not None)
        found: list[str] = []
        monkeypatch.setattr(app, "act", found.append)
        listed = [command.title for command in commands(app)]
        assert len(listed) > 60 and all(actions.find(name) for name in listed)
        for command in commands(app):
            command.callback()
            assert found == [command.title]
            found.clear()
        for name in ("train", "doctor", "copy command"):
            await pilot.press("ctrl+p")
            await until(pilot, lambda: isinstance(app.screen, CommandPalette))
            await pilot.press(*name)
            await until(pilot, partial(_is_offered, app, name))
            for _ in _offered(app):
                if app.screen.query_one(CommandList).highlighted == _offered(app).index(name):
                    break
                await pilot.press("down")
            await pilot.press("enter")
            await until(pilot, lambda: app.screen is app.playground)
            assert found == [name]
            found.clear()


def _offered(app: Any) -> list[str]:
    """The names that the palette shows."""
    results = app.screen.query_one(CommandList)
    return [str(results.get_option_at_index(n).prompt).split("\n")[0].strip() for n in range(results.option_count)]


def _is_offered(app: Any, name: str) -> bool:
    return name in _offered(app)
