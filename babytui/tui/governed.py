"""An app that paints no more than its terminal takes: frames that would wait in a queue are left out, and what they
would have shown is shown by a later one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual import log
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.color import Color
from textual.filter import LineFilter
from textual.geometry import Region
from textual.screen import Screen

from babytui.tui.driver import Terminal
from babytui.tui.governor import Governor
from babytui.tui.personal import ASCII, PersonalApp
from babytui.tui.themes import FEW_COLORS, FewColors

BEAT = 0.5  # seconds between two looks at how it goes


class Hundreds(LineFilter):
    """The 256 colours of a terminal: half of the bytes of true colour."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(text, _fewer(style) if style else style, control) for text, style, control in segments]


@lru_cache(4096)
def _fewer(style: Style) -> Style:
    color, ground = (found.downgrade(ColorSystem.EIGHT_BIT) if found is not None and found.triplet is not None
                     else found for found in (style.color, style.bgcolor))
    return style + Style(color=color, bgcolor=ground)


FILTERS: dict[int, LineFilter] = {8: Hundreds(), 4: FewColors(hues=True)}


class GovernedApp(PersonalApp):
    """Asks its governor before each frame. In tests and in a browser there is none."""

    _looking: asyncio.TimerHandle | None = None
    _retrying: asyncio.TimerHandle | None = None
    _due = 0.0
    _kept: set[Region] = set()  # what was not painted; replaced, never changed

    @property
    def governor(self) -> Governor | None:
        return self._driver.governor if isinstance(self._driver, Terminal) else None

    def on_mount(self) -> None:
        if self.governor is not None:
            self.governor.made_present()
            self._due = time.monotonic() + BEAT
            self._looking = asyncio.get_running_loop().call_later(BEAT, self._look)

    def get_line_filters(self) -> Sequence[LineFilter]:
        governor = self.governor
        filters = list(super().get_line_filters())
        if governor is not None and governor.level.coarse and ASCII not in filters:
            filters.append(ASCII)
        if governor is not None and governor.level.colours in FILTERS and self.theme not in FEW_COLORS:
            filters.append(FILTERS[governor.level.colours])
        return filters

    def governed(self, said: str) -> None:
        """The level has changed; `said` is what the person is told, "" when all is well."""

    # --- painting -------------------------------------------------------------------------------------

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        governor = self.governor
        if governor is None or renderable is None or self._batch_count \
                or not isinstance(renderable, (ChopsUpdate, LayoutUpdate)):
            super()._display(screen, renderable)
            return
        now = time.monotonic()
        wait = governor.wait(now)
        regions = _regions(renderable)
        if not wait and len(regions) <= self._rows(governor):
            governor.painted(now)
            super()._display(screen, renderable)
            governor.answered(now)
        else:
            if governor.full(now):
                governor.dropped()
            self._kept = self._kept | regions
        if self._kept:
            self._retry(max(wait, 0.001))

    def _rows(self, governor: Governor) -> int:
        """Rows that one frame may have: about a window's bytes."""
        return max(2, int(governor.link.window / (4 * max(1, self.size.width))))

    def _retry(self, wait: float) -> None:
        if self._retrying is not None:
            self._retrying.cancel()
        self._retrying = asyncio.get_running_loop().call_later(wait, self._paint_kept)

    def answered(self) -> None:
        """There is room again. Called in the event loop."""
        if self._kept and self._retrying is not None:
            self._paint_kept()

    def _paint_kept(self) -> None:
        """Paints what was left out, as it is now; what a key has changed comes first, and no more than has room."""
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None
        governor = self.governor
        if governor is None or not self._kept or not self._running or self._batch_count:
            return
        now = time.monotonic()
        if wait := governor.wait(now):
            self._retry(wait)
            return
        screen = self.screen
        kept = _lines(self._kept, screen._compositor.size.region)  # nothing of a screen that was not laid out yet
        if not kept:  # it is painted whole when it is
            self._kept = set()
            return
        focused = self.focused.region if self.focused is not None and governor.urgent(now) else None
        kept.sort(key=lambda region: not (focused is not None and region.overlaps(focused)))
        now_painted, later = kept[:self._rows(governor)], kept[self._rows(governor):]
        if focused is not None and any(region.overlaps(focused) for region in now_painted) and len(kept) > 3:
            later = [region for region in kept if not region.overlaps(focused)]
            now_painted = [region for region in now_painted if region.overlaps(focused)]
        self._kept = set(later)
        screen._compositor._dirty_regions |= set(now_painted)
        update = screen._compositor.render_update(screen_stack=self._background_screens)
        governor.painted(now)
        super()._display(screen, update)
        governor.answered(now)
        if self._kept:
            self._retry(max(0.001, governor.wait(now)))

    # --- looking at how it goes -----------------------------------------------------------------------

    def _look(self) -> None:
        governor = self.governor
        if governor is None or not self._running:
            return
        now = time.monotonic()
        changed = governor.tick(now, now - self._due)
        self._due = now + BEAT
        self._looking = asyncio.get_running_loop().call_later(BEAT, self._look)
        if changed:
            log(f"screen: {governor.level.name}, {governor.bytes_per_second:.0f} B/s, "
                f"delay {governor.link.delay:.2f} s, loop {governor.lag:.2f} s")
            self.governed(governor.said)


def _regions(update: ChopsUpdate | LayoutUpdate) -> set[Region]:
    """What a frame paints, by rows."""
    if isinstance(update, ChopsUpdate):
        return {Region(left, y, right - left, 1) for y, left, right in update.spans}
    left, top, width, height = update.region
    return {Region(left, y, width, 1) for y in range(top, top + height)}


def _lines(regions: set[Region], terminal: Region) -> list[Region]:
    """One region for each row that any of them is on."""
    rows: dict[int, tuple[int, int]] = {}
    for region in regions:
        inside = region.intersection(terminal)
        if inside.area:
            left, right = rows.get(inside.y, (inside.x, inside.right))
            rows[inside.y] = min(left, inside.x), max(right, inside.right)
    return [Region(left, y, right - left, 1) for y, (left, right) in sorted(rows.items())]
