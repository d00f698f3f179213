"""The themes: colours for every role, each legible on every ground that text stands on; and those of few colours.

`ansi` and `mono` are drawn like the others; on the way to the terminal their colours become the terminal's own 16, or
only bold, dim, underline and reverse. So whatever a widget paints, its cursor and its focus are seen in them too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

from babytui import settings

DEFAULTS = {"role-label": "#adb0b5", "role-dim": "#8f949b", "role-train": "#6cb6ff"}
"""What themes that are not ours lack."""


def _theme(name: str, *, dark: bool, ground: tuple[str, str, str], text: tuple[str, str, str], focus: str, train: str,
           second: str, validation: str, bad: str, good: str, accent: str, **variables: str) -> Theme:
    """A theme. ground: background, surface, panel. text: plain, label, dim. focus: borders, and a share of it under the
    text that has the keys. The others colour text and curves."""
    foreground, label, dim = text
    return Theme(
        name, primary=focus, secondary=second, warning=validation, error=bad, success=good, accent=accent,
        foreground=foreground, background=ground[0], surface=ground[1], panel=ground[2], dark=dark,
        variables={
            "text-primary": train, "text-secondary": second, "text-warning": validation, "text-error": bad,
            "text-success": good, "text-accent": accent, "role-label": label, "role-dim": dim, "role-train": train,
            "text": foreground, "text-muted": label, "foreground-muted": label, "text-disabled": dim,
            "block-cursor-background": train, "block-cursor-foreground": ground[0],
            "input-cursor-background": foreground, "input-cursor-foreground": ground[0],
            "input-selection-background": train, "input-selection-foreground": ground[0],
            "screen-selection-background": train, "screen-selection-foreground": ground[0],
            "button-foreground": foreground, "button-color-foreground": ground[0],
            "footer-key-foreground": accent, "border": focus, **variables})


THEMES: tuple[Theme, ...] = (
    _theme("dark", dark=True, ground=("#121316", "#1a1c20", "#22252a"), text=("#e4e4e4", "#adb0b5", "#8f949b"),
           focus="#3a86d4", train="#6cb6ff", second="#5cc9bd", validation="#ffb454",
           bad="#ff8a94", good="#6bd08a", accent="#c9a8ff"),
    _theme("light", dark=False, ground=("#fbfbfa", "#f2f2f0", "#e8e8e5"), text=("#1e2124", "#4b5057", "#5d636b"),
           focus="#0a58b8", train="#0a58b8", second="#0b6560", validation="#8a4b00",
           bad="#b3131f", good="#17662b", accent="#6f2dbd"),
    _theme("high-contrast", dark=True, ground=("#000000", "#000000", "#0c0c0c"), text=("#ffffff", "#e0e0e0", "#c0c0c0"),
           focus="#2f7cc4", train="#7cc4ff", second="#63e6d6", validation="#ffc933",
           bad="#ffa0a8", good="#6fee8d", accent="#dcc2ff"),
    _theme("high-contrast-light", dark=False, ground=("#ffffff", "#ffffff", "#f4f4f4"),
           text=("#000000", "#262626", "#404040"), focus="#3b78c9", train="#003d8f", second="#00473f",
           validation="#663300", bad="#8a000f", good="#00471b", accent="#4b0d8f"),
    # Pure hues, each of which is one of the sixteen; no blue, which many palettes make too dark to read.
    _theme("ansi", dark=True, ground=("#000000", "#000000", "#000000"), text=("#cccccc", "#cccccc", "#777777"),
           focus="#00ffff", train="#00ffff", second="#00ffff", validation="#ffff00",
           bad="#ff0000", good="#00ff00", accent="#ff00ff"),
    # Brightness is emphasis: white becomes bold, grey plain, dark grey dim.
    _theme("mono", dark=True, ground=("#000000", "#000000", "#000000"), text=("#cccccc", "#cccccc", "#777777"),
           focus="#ffffff", train="#777777", second="#cccccc", validation="#ffffff",
           bad="#ffffff", good="#ffffff", accent="#ffffff",
           **{"block-cursor-background": "#ffffff", "text-primary": "#ffffff"}),
)
FEW_COLORS = ("ansi", "mono")


def choose(chosen: settings.Settings, color_system: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The theme to begin with. color_system: what Rich says that the terminal can (None, "standard", "256",
    "truecolor"). $NO_COLOR comes before the file, and after the command line and $BABYTUI_THEME."""
    wanted = str(chosen["theme"])
    asked = chosen.origins.get("theme") in (settings.COMMAND, settings.ENVIRONMENT)
    if wanted != "auto" and (asked or not environ.get("NO_COLOR")):
        return wanted
    if environ.get("NO_COLOR") or color_system is None:
        return "mono"
    return "ansi" if color_system == "standard" else "dark"


def _named_colors(theme: Theme) -> TerminalTheme:
    """What the terminal's colours by name are in a theme: text that says "red" is as legible as its errors."""
    def rgb(color: str | None) -> tuple[int, int, int]:
        return Color.parse(color or theme.primary).rgb

    found = theme.variables
    normal = [rgb(found["role-dim"]), rgb(theme.error), rgb(theme.success), rgb(theme.warning),
              rgb(found["text-primary"]), rgb(theme.accent), rgb(theme.secondary), rgb(theme.foreground)]
    return TerminalTheme(rgb(theme.background), rgb(theme.foreground), normal, normal)


NAMED = {theme.name: _named_colors(theme) for theme in THEMES}


# --- few colours ----------------------------------------------------------------------------------

_HUES = (("red", 20), ("yellow", 85), ("green", 155), ("cyan", 230), ("magenta", 335), ("red", 361))  # up to degrees
_REVERSED, _UNDERLINED = 0.5, 0.2  # how bright a ground is to be shown so
_BRIGHT, _DIM = 0.92, 0.62  # how bright a text is bold, and below which it is dim


class FewColors(LineFilter):
    """Turns colours into the terminal's own 16, or (hues False) into none: a bright ground into reverse, a less bright
    one into underline, a bright text into bold, a dark one into dim."""

    def __init__(self, hues: bool):
        super().__init__()
        self.hues = hues

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(text, _few(style, self.hues, not text.strip()) if style else style, control)
                for text, style, control in segments]


@lru_cache(4096)
def _few(style: Style, hues: bool, blank: bool) -> Style:
    ground = _brightness(style.bgcolor) if style.bgcolor is not None else 0.0
    text = _brightness(style.color) if style.color is not None else 0.8
    bright = ground >= _REVERSED
    color = style.bgcolor if bright else style.color
    reverse = bool(style.reverse) != bright
    return Style(color=_named(color) if hues and color is not None else None,
                 bold=bool(style.bold) or (text > _BRIGHT and not hues and not bright and not blank) or None,
                 dim=(text < _DIM and not reverse and not blank) or None,
                 underline=bool(style.underline) or _UNDERLINED <= ground < _REVERSED or None,
                 italic=style.italic, strike=style.strike, reverse=reverse or None, meta=style.meta or None,
                 link=style.link)


def _brightness(color: RichColor) -> float:
    """From 0 to 1; the terminal's own colours as the middle of each."""
    if color.triplet is None:
        return 0.0 if color.is_default else 0.7
    return max(color.triplet) / 255


def _named(color: RichColor) -> RichColor | None:
    """The one of the sixteen with this hue; None for a grey."""
    if color.triplet is None:
        return None if color.is_default else color
    hue, saturation, _ = Color.from_rich_color(color).hsv
    if saturation < 0.25:
        return None
    return RichColor.parse(next(name for name, end in _HUES if hue * 360 < end))
