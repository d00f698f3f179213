"""The tensors of a model: the table, and one of them as a picture whose every number can be reached."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import nursery
import screens

from babytui import library
from babytui.tui.screens.tensor import TensorPicture, TensorScreen
from babytui.tui.widgets.lines import Lines


def reading(app: Any) -> str:
    """The line below the picture."""
    return app.screen.query_one(TensorPicture).plain.split("\n")[-1]


async def test_the_table_has_every_tensor_and_enter_opens_it() -> None:
    with screens.same_every_time() as made:
        async with screens.opened("info tensors", made, (120, 40), "dark") as (app, pilot):
            arrays = library.load(nursery.KITTEN, made).params
            table = app.screen.query_one("#info-tensors")
            assert [key.value for key in table.rows] == list(arrays)
            names = [column.value for column in table.columns]
            row = dict(zip(names, map(str, table.get_row("wte_weight")), strict=True))
            assert (row["mean"], row["std"], row["max"]) == tuple(
                f"{value:.3g}" for value in (arrays["wte_weight"].mean(), arrays["wte_weight"].std(),
                                             arrays["wte_weight"].max()))
            await pilot.press("down", "enter")
            await screens.until(pilot, lambda: isinstance(app.screen, TensorScreen), "the picture")
            assert app.screen.query_one(Lines).plain.startswith("shape 32×16")
            await pilot.press("escape")
            await screens.until(pilot, lambda: type(app.screen).__name__ == "InfoScreen", "the way back")


async def test_a_cursor_reads_cells_and_zoom_reaches_single_numbers(playground: Any, until: Callable[..., Any]) -> None:
    array = np.random.default_rng(1).normal(size=(300, 500)).astype(np.float32)
    async with playground(80, 24) as (app, pilot):
        await app.push_screen(TensorScreen("wide", array))
        await until(pilot, lambda: isinstance(app.screen, TensorScreen) and reading(app).startswith("row"))
        await pilot.press("down", "down", "right")
        spans = [tuple(map(int, span.split("–"))) for span in re.findall(r"\d+–\d+", reading(app))]
        (top, bottom), (left, right) = spans[:2]
        part = array[top: bottom + 1, left: right + 1].astype(np.float64)
        assert f"rms {np.sqrt((part ** 2).mean()):.4g}" in reading(app) and part.size > 20
        for _ in range(12):
            await pilot.press("plus")
        found = re.match(r"row (\d+)  column (\d+)  value (\S+)", reading(app))
        assert found and top <= int(found[1]) <= bottom and left <= int(found[2]) <= right
        assert found[3] == f"{array[int(found[1]), int(found[2])]:.6g}"
        await pilot.press("0", "end")
        await until(pilot, lambda: "499" in reading(app))


async def test_vectors_and_numbers_that_are_not_finite_are_shown(playground: Any, until: Callable[..., Any]) -> None:
    async with playground(80, 24) as (app, pilot):
        await app.push_screen(TensorScreen("odd", np.array([1.0, np.nan, np.inf, -2.0])))
        await until(pilot, lambda: isinstance(app.screen, TensorScreen) and reading(app).startswith("row 0"))
        assert "not finite 2" in app.screen.query_one(Lines).plain
        await pilot.press("right")
        assert reading(app) == "row 0  column 1  value nan"
