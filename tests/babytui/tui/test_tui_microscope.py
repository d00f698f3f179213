"""The microscope: what its cursor reads is what engine.probe finds, in every view and for variants of every kind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textual.app import App, ComposeResult
from textual.events import Hide

from babytui import library, runs
from babytui.microscope import Microscope
from babytui.tui.screens.microscope import MicroscopeScreen
from babytui.tui.screens.microscope_lines import VIEWS
from babytui.tui.widgets.heatmap import HeatMap
from babytui.tui.widgets.lines import Lines
from babytui.tui.widgets.surprise import SurpriseText
from engine import probe
from engine.config import Config
from engine.errors import TextError
from engine.events import Norms
from store.workspace import Workspace

SMALL = {"n_layers": 2, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 16, "batch_size": 4, "n_steps": 12}
TEXT = "The cat sat."


def made(workspace: Workspace, called: str = "seen", **values: Any) -> str:
    """The GUID of a model of such a kind."""
    run = runs.start(workspace, Config.read({**SMALL, **values}), ["cats"], name=called)
    assert run.wait(60) == "finished"
    return run.guid


async def look(app: Any, pilot: Any, until: Any, guid: str, text: str = TEXT) -> MicroscopeScreen:
    screen = MicroscopeScreen(app.workspace, guid, text)
    app.push_screen(screen)
    await until(pilot, lambda: screen.scope is not None and said(screen))
    return screen


def said(screen: MicroscopeScreen, selector: str = "#scope-reading") -> str:
    text = screen.query_one(selector, Lines).plain
    return "" if "computing" in text else " ".join(text.split())


@pytest.mark.parametrize(("attention", "network"), [
    ("mha", "mlp"), ("moh", "moe"), *(pytest.param(name, "mlp", marks=pytest.mark.slow)
                                      for name in ("swh", "rfa", "aft", "gla"))])
async def test_every_view_of_a_variant_reads_what_the_probe_finds(workspace, playground, until, attention, network):
    guid = made(workspace, c_attention=attention, c_network=network)
    baby = library.load(guid, workspace)
    ids = baby.tokenizer.encode(TEXT)
    whole = probe.look(baby.model, ids)
    async with playground(80, 24) as (app, pilot):
        screen = await look(app, pilot, until, guid)
        maps = [seen for _, seen in whole.layers[0].observations("map")]
        await pilot.press("down", "down", "down", "right")
        assert f": {maps[0].values[0, 3, 1]:.6g}" in said(screen)
        assert maps[0].title in said(screen, "#scope-what")
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "layer 1" in said(screen, "#scope-what"))
        deeper = whole.layers[1].observations("map")[0][1]
        await pilot.press("right_curly_bracket")
        head = 1 % deeper.count
        assert f": {deeper.values[head, 3, 1]:.6g}" in said(screen)
        await pilot.press("2")
        gates = [seen for _, seen in whole.layers[1].observations() if seen.kind != "map"]
        for seen in gates:
            await until(pilot, lambda seen=seen: seen.title in said(screen, "#scope-what"))
            screen.query_one(HeatMap).go(0, 2)
            await until(pilot, lambda seen=seen: f"{seen.labels()[0]} at 2 " in said(screen))
            assert f": {seen.values[0, 2]:.6g}" in said(screen)
            await pilot.press("w")
        await pilot.press("7")
        await until(pilot, lambda: "mean over tokens" in said(screen) and "stream" in said(screen, "#scope-what"))
        screen.query_one(HeatMap).go(1, 2)
        await until(pilot, lambda: f"0 attention at 2 “e”: {whole.layers[0].attention_norm[2]:.6g}" in said(screen))


async def test_keys_go_to_a_map_that_was_hidden_for_a_moment(playground, until, model):
    """While it computes there is nothing to show; that it was hidden reaches the map after it is shown again."""
    async with playground(80, 24) as (app, pilot):
        screen = await look(app, pilot, until, model, "The cat")
        map_ = screen.query_one(HeatMap)
        await until(pilot, lambda: screen.focused is map_)
        map_.post_message(Hide())
        screen._draw()
        await pilot.press("down", "right")
        assert screen.focused is map_ and (map_.row, map_.column) == (1, 1)


async def test_the_lens_reads_the_five_likeliest_and_the_rank_of_the_true_token(workspace, playground, until, model):
    baby = library.load(model, workspace)
    lens = probe.look(baby.model, baby.tokenizer.encode("The cat")).layers[0].lens
    async with playground(80, 24) as (app, pilot):
        screen = await look(app, pilot, until, model, "The cat")
        await pilot.press("3")
        await until(pilot, lambda: "entropy" in said(screen))
        await pilot.press("down", "right")
        await until(pilot, lambda: said(screen).startswith("layer 0 after 1"))
        text = said(screen)
        assert all(f"{share:.4f}" in text for share in lens.probabilities[1])
        assert f"rank {lens.rank[1]}, probability {lens.probability[1]:.6g}" in text
        await pilot.press("end")
        await until(pilot, lambda: "not known" in said(screen))


async def test_n_goes_from_the_most_surprising_token_down(workspace, playground, until, model):
    baby = library.load(model, workspace)
    text = "The cat sat on the mat. The dog saw"
    stretches = list(probe.surprise(baby.model, baby.tokenizer.encode(text)))
    losses = np.concatenate([stretch.losses for stretch in stretches])
    order = 1 + np.argsort(-losses, kind="stable")
    async with playground(80, 24) as (app, pilot):
        screen = await look(app, pilot, until, model, text)
        await pilot.press("4")
        await until(pilot, lambda: "nothing foresees it" in said(screen))
        shown = screen.query_one(SurpriseText)
        for place in order[:3]:
            await pilot.press("n")
            assert shown.place == place
            assert f"loss {losses[place - 1]:.4f} nats" in said(screen)
        await pilot.press("p")
        assert shown.place == order[1]
        assert f"mean {losses.mean():.4f} nats" in said(screen, "#scope-what")


async def test_tensors_open_and_norms_are_the_runs_last(workspace, playground, until):
    guid = made(workspace)
    async with playground(80, 24) as (app, pilot):
        screen = await look(app, pilot, until, guid)
        await pilot.press("5")
        await until(pilot, lambda: screen.query_one("#scope-tensors").row_count)
        await pilot.press("enter")
        await until(pilot, lambda: type(app.screen).__name__ == "TensorScreen")
        await pilot.press("escape", "6")
        told = [event for event in runs.find(workspace, guid).last_events(500) if isinstance(event, Norms)]
        assert told
        await until(pilot, lambda: f"after step {told[-1].step:,}" in said(screen, "#scope-page"))
        assert f"{told[-1].gradient['embedding']:.3g}" in said(screen, "#scope-page")


async def test_all_heads_stand_beside_each_other_and_one_is_marked(playground, until, model):
    async with playground(60, 20) as (app, pilot):
        screen = await look(app, pilot, until, model)
        await pilot.press("o")
        await until(pilot, lambda: "▸ head 0" in said(screen, "#scope-page"))
        await pilot.press("right_curly_bracket")
        assert "▸ head 1" in said(screen, "#scope-page")
        await pilot.press("o")
        assert screen.query_one(HeatMap).display


@pytest.mark.slow
async def test_escape_leaves_while_it_computes_and_the_result_is_dropped(playground, until, model, monkeypatch):
    asked, go_on = threading.Event(), threading.Event()

    def slow(self: Microscope, number: int) -> Any:
        asked.set()
        go_on.wait(60)
        raise AssertionError("nobody waits for this")

    monkeypatch.setattr(Microscope, "layer", slow)
    async with playground(80, 24) as (app, pilot):
        screen = MicroscopeScreen(app.workspace, model, TEXT)
        app.push_screen(screen)
        await until(pilot, asked.is_set)
        assert "computing" in screen.query_one("#scope-reading", Lines).plain
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        go_on.set()


async def test_another_text_is_read_and_what_is_unknown_is_told(playground, until, model):
    async with playground(80, 24) as (app, pilot):
        screen = await look(app, pilot, until, model)
        await pilot.press("e")
        await until(pilot, lambda: app.screen is not screen)
        app.screen.query_one("#answer").text = "cat Ω"
        await pilot.press("enter")
        await until(pilot, lambda: "cat" in said(screen, "#scope-head") and "unknown" in said(screen, "#scope-head"))
        assert len(screen.scope.ids) == 4
        screen._read("ΩΩ")
        await until(pilot, lambda: "knows nothing of this text" in said(screen))


@pytest.mark.parametrize("key", ["f12", "v"])
async def test_keys_open_it_where_one_is(playground, until, model, key):
    async with playground(80, 24) as (app, pilot):
        await until(pilot, lambda: app.playground.chat.baby is not None)
        await pilot.press("f4")
        await until(pilot, lambda: app.playground.models.chosen is not None)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, MicroscopeScreen))
        for number in range(1, len(VIEWS) + 1):
            await pilot.press(str(number))
            assert app.screen.view == VIEWS[number - 1]
        assert any("look" in line for line in app.done)


def test_a_text_that_is_unknown_is_refused_and_a_long_one_is_cut(workspace, model):
    baby = library.load(model, workspace)
    with pytest.raises(TextError):
        Microscope(baby, "ΩΩ")
    scope = Microscope(baby, "The cat sat on the mat. ")
    assert len(scope.seen) == baby.config.n_ctx and scope.start == len(scope.ids) - baby.config.n_ctx


class _Map(App[None]):
    def compose(self) -> ComposeResult:
        yield HeatMap()


async def test_a_map_larger_than_the_terminal_scrolls_with_its_cursor(tmp_path: Path):
    values = np.linspace(0, 1, 100 * 300).reshape(100, 300)
    app = _Map()
    async with app.run_test(size=(40, 12)) as pilot:
        map_ = app.query_one(HeatMap)
        for name in ("role-label", "role-dim"):
            app.theme_variables.setdefault(name, "#888888")
        map_.show(values, [f"r{n}" for n in range(100)], [str(n % 10) for n in range(300)])
        await pilot.press("end", "G")
        assert (map_.row, map_.column) == (99, 299)
        last = map_.plain.splitlines()[11]
        assert "r99" in last and last.endswith("+")
        assert "█" in last and "r89" in map_.plain and "r88" not in map_.plain
        await pilot.press("g", "home")
        assert map_.plain.splitlines()[1].strip().startswith("r0▸ +")


async def test_its_key_opens_it_on_the_model_of_the_page(workspace, playground, until):
    """On info the model, on compare the chosen one with the prompt, on a page about no model a sentence."""
    from babytui.tui.screens.choose import ChooseScreen
    from babytui.tui.screens.compare import CompareScreen
    from babytui.tui.screens.info import InfoScreen
    from babytui.tui.screens.settings import SettingsScreen

    first, second = made(workspace), made(workspace, "other", n_layers=1)
    async with playground(80, 24) as (app, pilot):
        await until(pilot, lambda: app.playground.models.row(second) is not None)
        app.push_screen(InfoScreen(workspace, first))
        await pilot.press("f12")
        screen = await until(pilot, lambda: isinstance(app.screen, MicroscopeScreen) and app.screen)
        await until(pilot, lambda: screen.scope is not None)
        assert screen.scope.baby.guid == first
        await pilot.press("f12")
        assert app.screen is screen
        assert any("This is the microscope" in note.message for note in app._notifications)
        await pilot.press("escape", "escape")
        app.push_screen(compare := CompareScreen(workspace, [first, second]))
        await until(pilot, lambda: compare.found is not None)
        compare.query_one("#ask-prompt").value = "The dog"
        await pilot.press("f12")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen))
        await pilot.press("down", "enter")
        screen = await until(pilot, lambda: isinstance(app.screen, MicroscopeScreen) and app.screen)
        await until(pilot, lambda: screen.scope is not None)
        assert screen.scope.baby.guid == second and "".join(screen.scope.pieces) == "The␣dog"
        await pilot.press("escape", "escape")
        await app.push_screen(SettingsScreen())
        await pilot.press("f12")
        assert isinstance(app.screen, SettingsScreen)
        assert any("about no model" in note.message for note in app._notifications)


async def test_observations_forth_and_back(workspace, playground, until):
    async with playground(80, 24) as (app, pilot):
        screen = await look(app, pilot, until, made(workspace, c_attention="gla"))
        count = len([seen for _, seen in probe.look(screen.scope.baby.model, screen.scope.ids).layers[0].observations(
            "map")])
        first = said(screen, "#scope-what")
        await pilot.press("w")
        second = said(screen, "#scope-what")
        await pilot.press("W")
        assert said(screen, "#scope-what") == first
        assert count == 1 or second != first
        assert "w W what" in said(screen, "#scope-keys")
