"""Themes: every text legible on every ground it stands on, by the contrast of WCAG; focus and curves seen in each."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from babytui import settings
from babytui.tui.themes import FEW_COLORS, NAMED, THEMES, FewColors, choose
from babytui.tui.widgets.lines import ROLES

FULL = [theme.name for theme in THEMES if theme.name not in FEW_COLORS]
GROUNDS = ("background", "surface", "panel")
# What the stylesheets lay under plain text: a share of a colour on a ground.
FOCUS = [("primary", 0.25), ("primary", 0.3), ("primary", 0.4), ("primary", 0.6)]
PAIRS = [("block-cursor-foreground", "block-cursor-background"), ("input-cursor-foreground", "input-cursor-background"),
         ("input-selection-foreground", "input-selection-background"), ("button-color-foreground", "success"),
         ("screen-selection-foreground", "screen-selection-background"), ("button-color-foreground", "error")]


def luminance(color: Color) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [value / 255 for value in color.rgb]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Color, other: Color) -> float:
    """Contrast ratio, 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def variables(name: str) -> dict[str, str]:
    theme = next(theme for theme in THEMES if theme.name == name)
    return {**theme.to_color_system().generate(), **theme.variables}


def color(found: dict[str, str], name: str, ground: Color) -> Color:
    """A variable as it is seen on a ground."""
    parsed = Color.parse(found[name])
    return ground.blend(parsed, parsed.a, alpha=1)


def least(name: str) -> float:
    return 7.0 if name.startswith("high-contrast") else 4.5


def test_contrast_is_that_of_the_standard():
    assert contrast(Color.parse("#000"), Color.parse("#fff")) == pytest.approx(21)
    assert contrast(Color.parse("#777"), Color.parse("#fff")) == pytest.approx(4.48, abs=0.01)


def test_the_settings_offer_every_theme():
    assert ("auto", *(theme.name for theme in THEMES)) == settings.THEMES


@pytest.mark.parametrize("name", FULL)
def test_every_role_is_legible_on_every_ground(name):
    found = variables(name)
    names = {variable for variable, share, _ in ROLES.values() if share == 1} | {"text-muted", "text", "text-disabled"}
    assert {"role-label", "role-dim", "foreground", "text-primary", "text-warning"} <= names
    for variable, ground in itertools.product(sorted(names), GROUNDS):
        under = Color.parse(found[ground])
        assert contrast(color(found, variable, under), under) >= least(name), (variable, ground)


@pytest.mark.parametrize("name", FULL)
def test_plain_text_is_legible_under_cursors_and_focus(name):
    found = variables(name)
    for (variable, share), ground in itertools.product(FOCUS, GROUNDS):
        under = Color.parse(found[ground]).blend(Color.parse(found[variable]), share, alpha=1)
        assert contrast(Color.parse(found["foreground"]), under) >= least(name), (variable, share, ground)
    for text, under in PAIRS:
        assert contrast(color(found, text, Color.parse(found[under])), Color.parse(found[under])) >= 4.5, (text, under)


@pytest.mark.parametrize("name", FULL)
def test_colours_by_name_are_legible_too(name):
    for number, ground in itertools.product(range(16), GROUNDS):
        text = Color(*NAMED[name].ansi_colors[number])
        assert contrast(text, Color.parse(variables(name)[ground])) >= least(name), (number, ground)


@pytest.mark.parametrize("name", FULL)
def test_focus_and_curves_can_be_told_apart(name):
    """3 to 1 is what the standard asks of what is no text; curves also differ for who sees no hue."""
    found = variables(name)
    ground = Color.parse(found["surface"])
    assert contrast(Color.parse(found["primary"]), Color.parse(found["background"])) >= 3
    focused = ground.blend(Color.parse(found["primary"]), 0.4, alpha=1)
    assert contrast(focused, ground) >= 1.3
    train, validation = Color.parse(found["role-train"]), Color.parse(found["text-warning"])
    assert sum(abs(a - b) for a, b in zip(train.rgb, validation.rgb, strict=True)) > 150


def few(name: str, style: Style, text: str = "x") -> Style:
    (segment,) = FewColors(hues=name == "ansi").apply([Segment(text, style)], Color.parse("#000"))
    assert segment.style is not None
    return segment.style


def painted(name: str, variable: str, ground: str = "background", share: float = 1.0) -> Style:
    found = variables(name)
    under = Color.parse(found["background"]).blend(Color.parse(found[ground]), share, alpha=1)
    return few(name, Style.from_color(Color.parse(found[variable]).rich_color, under.rich_color))


@pytest.mark.parametrize("name", FEW_COLORS)
def test_few_colours_are_the_terminals_own_or_none(name):
    for text, ground in itertools.product(range(0, 256, 15), repeat=2):
        for hue in ((text, 0, 255 - text), (text, text, text), (0, text, text // 2)):
            style = few(name, Style(color=RichColor.from_rgb(*hue), bgcolor=RichColor.from_rgb(ground, ground, ground)))
            assert style.bgcolor is None
            assert style.color is None if name == "mono" else style.color is None or style.color.number in range(16)


@pytest.mark.parametrize("name", FEW_COLORS)
def test_focus_cursor_and_curves_are_seen_with_few_colours(name):
    plain = painted(name, "foreground")
    assert plain == Style()
    field, row = painted(name, "foreground", "primary", 0.4), painted(name, "foreground", "primary", 0.6)
    cursor = painted(name, "input-cursor-foreground", "input-cursor-background")
    assert field.underline and not field.reverse and row.reverse and cursor.reverse
    assert painted(name, "role-train") != painted(name, "text-warning")
    assert not painted(name, "text-primary").dim  # the title of the pane that has the keys
    assert painted(name, "text-error") != plain and painted(name, "role-dim").dim
    looks = [painted(name, role) for role in ("role-train", "text-warning", "foreground")]
    assert len({str(look) for look in looks}) == 3
    if name == "ansi":
        assert painted(name, "text-error").color == RichColor.parse("red")
        assert painted(name, "text-success").color == RichColor.parse("green")
        assert painted(name, "text-warning").color == RichColor.parse("yellow")


@pytest.mark.parametrize(("theme", "origin", "system", "environ", "expected"), [
    ("auto", "default", "truecolor", {}, "dark"), ("auto", "default", "256", {}, "dark"),
    ("auto", "default", "standard", {}, "ansi"), ("auto", "default", None, {}, "mono"),
    ("auto", "default", "truecolor", {"NO_COLOR": "1"}, "mono"),
    ("light", "file", "truecolor", {"NO_COLOR": "1"}, "mono"),
    ("light", "environment", "truecolor", {"NO_COLOR": "1"}, "light"),
    ("auto", "default", "256", {"NO_COLOR": ""}, "dark"),
    ("light", "file", "standard", {}, "light"), ("mono", "command line", "truecolor", {}, "mono"),
])
def test_what_auto_takes_and_what_comes_first(theme, origin, system, environ, expected):
    assert choose(settings.Settings({"theme": theme}, {"theme": origin}), system, environ) == expected


# --- in the app -------------------------------------------------------------------------------------


@pytest.fixture
def chosen(home: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings come from the file of an empty home alone."""
    monkeypatch.delenv("BABYTUI_THEME", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return settings.path()


@pytest.mark.slow
async def test_the_palettes_theme_is_shown_while_one_chooses_and_kept(playground: Any, until: Any, chosen: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        assert set(app.available_themes) == {theme.name for theme in THEMES}
        next(c for c in app.get_system_commands(app.screen) if c.title == "Theme").callback()
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseThemeScreen")
        before = app.theme
        await pilot.press(*"light")
        await until(pilot, lambda: app.theme == "light")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        assert app.theme == before and not chosen.exists()
        app.search_themes()
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseThemeScreen")
        await pilot.press(*"mono", "enter")
        await until(pilot, lambda: app.screen is app.playground)
        assert app.theme == "mono" and settings.get("theme") == "mono"
    async with playground(80, 24) as (app, _):
        assert app.theme == "mono"


async def test_mono_paints_no_colour_and_ansi_only_sixteen(playground: Any, until: Any, monkeypatch: Any) -> None:
    for name in FEW_COLORS:
        monkeypatch.setenv("BABYTUI_THEME", name)
        async with playground(120, 40) as (app, pilot):
            await pilot.press("f2")
            await until(pilot, lambda app=app: app.focused is not None and app.playground.current == "config")
            styles = {segment.style for strip in app.screen._compositor.render_strips() for segment in strip
                      if segment.style}
            assert all(style.bgcolor is None for style in styles)
            colors = {style.color.number for style in styles if style.color}
            assert not colors if name == "mono" else colors and colors <= set(range(16))
            assert any(style.underline for style in styles)


async def test_a_named_colour_is_that_of_the_theme(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        for theme in THEMES:
            app.theme = theme.name
            await pilot.pause()
            segments = [Segment("x", Style(color="red"))]
            for line_filter in app.get_line_filters():
                segments = line_filter.apply(segments, Color.parse("#000"))
            (segment,) = segments
            if theme.name in FULL:
                assert segment.style.color.triplet == Color.parse(theme.error).rich_color.triplet, theme.name


async def test_no_color_of_the_environment(playground: Any, monkeypatch: Any, chosen: Any) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with playground(80, 24) as (app, _):
        assert app.theme == "mono"
