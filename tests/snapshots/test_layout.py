"""No text is cut, nothing overlaps, nothing is outside: every screen at every size. Where pictures can be compared
(test_snapshots.py), that test sees to it in every theme; this one is for other Pythons and systems.

`python tests/snapshots/look.py` shows the same screens as pictures, with these faults beside them.
"""

from __future__ import annotations

import layout
import pytest
import screens

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(screens.PICTURES, reason="the test of the pictures sees to it here")]


@pytest.mark.parametrize("size", screens.SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("walk", screens.walks(), ids=lambda walk: walk[0].replace(" ", "-"))
async def test_every_text_has_room(walk: list[str], size: tuple[int, int]) -> None:
    with screens.same_every_time() as made:
        async with screens.walking(made, size) as (app, pilot):
            for name in walk:
                await screens.go(app, pilot, name)
                assert not layout.faults(app), name
