"""What a person has chosen, in the app: its theme, the keys of actions, and vim's keys where no text is typed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from rich.segment import Segment
from rich.terminal_theme import TerminalTheme
from textual import events
from textual.app import App
from textual.color import Color
from textual.driver import Driver
from textual.filter import LineFilter, Monochrome, NoColor
from textual.screen import ModalScreen

from babytui import settings
from babytui.tui.bindings import keymap
from babytui.tui.themes import DEFAULTS, FEW_COLORS, NAMED, THEMES, FewColors, choose
from engine.errors import BabyError

LOOK_SECONDS = 2.0
_PLAIN = {"j": "down", "k": "up", "h": "left", "l": "right", "G": "end", "g": "home"}
_HALVES = {"ctrl+d": "down", "ctrl+u": "up"}
_ENDS = {"home": "ctrl+home", "end": "ctrl+end"}  # where those move inside a line


class Ascii(LineFilter):
    """Braille dots as characters that every font has."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(text.translate(_ASCII), style, control) for text, style, control in segments]


def _as_ascii(dots: int) -> str:
    """What stands for a braille cell: by where in its height the dots are."""
    high, low = bool(dots & 0b00011011), bool(dots & 0b11100100)
    return " '.:"[high + 2 * low]


_ASCII = {0x2800 + dots: _as_ascii(dots) for dots in range(256)}
ASCII = Ascii()


class TakesKeys:
    """A screen that gets every key itself, those of the app too."""

    def take(self, key: str) -> None:
        """A key was pressed."""


class PersonalApp(App[int]):
    """An app with the settings of babytui.settings; what is changed in it is kept there."""

    FILTERS: ClassVar[dict[str, LineFilter]] = {name: FewColors(hues=name == "ansi") for name in FEW_COLORS}

    def __init__(self, driver_class: type[Driver] | None = None):
        super().__init__(driver_class)
        for name in self.available_themes:  # only those that are legible with what is painted here
            self.unregister_theme(name)
        for theme in THEMES:
            self.register_theme(theme)
        self._filters = [filter for filter in self._filters if not isinstance(filter, (Monochrome, NoColor))]
        self.chosen = self._read = settings.current()
        self.set_reactive(App.theme, choose(self.chosen, self.console.color_system))
        self._refresh_truecolor_filter(self.ansi_theme)
        self.stylesheet.set_variables(self.get_css_variables())
        self.set_keymap(keymap(self.chosen.keys))

    @property
    def ansi_theme(self) -> TerminalTheme:
        return NAMED.get(self.theme, NAMED["dark"])

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return DEFAULTS

    def get_line_filters(self) -> Sequence[LineFilter]:
        few = self.FILTERS.get(self.theme)
        return [*super().get_line_filters(), *([few] if few else []),
                *([ASCII] if self.chosen["chart.dots"] == "ascii" else [])]

    def on_mount(self) -> None:
        self.set_interval(LOOK_SECONDS, self.read_again)

    def read_again(self) -> None:
        """What was changed in the file meanwhile, by a command or an editor, holds here too."""
        before, now = self._read, settings.current()
        if now is before:
            return
        self._read = now
        for name, value in now.values.items():
            if value != before[name] and value != self.chosen[name]:
                if name == settings.KEYS:
                    self.chosen = settings.Settings({**self.chosen.values, name: value}, self.chosen.origins)
                self.apply(name, value)
        for problem in now.problems:
            if problem not in before.problems:
                self.notify(problem, severity="warning", timeout=10)

    # --- changing -------------------------------------------------------------------------------------

    def keep(self, name: str, value: Any) -> str:
        """Changes a setting here and in the file; value None takes it back to its default. The sentence that says why
        it is not kept, or an empty text; here it holds all the same."""
        from babytui import settings_file

        try:
            if value is None:
                settings_file.reset(name)
            else:
                settings_file.change(name, value)
        except (BabyError, OSError) as error:
            self.apply(name, value)
            return f"It holds until you quit and is not kept: {error}"
        self.chosen = self._read = settings.current()
        self.apply(name, self._of_now(name) if name.startswith(settings.KEYS) else self.chosen[name])
        setting = settings.find(name)
        if self.chosen.origins[setting.name] in (settings.ENVIRONMENT, settings.COMMAND):
            return f"${setting.variable} or the command line comes before it at the next start."
        return ""

    def _of_now(self, name: str) -> str | None:
        return self.chosen.keys.get(name.removeprefix(settings.KEYS + "."))

    def apply(self, name: str, value: Any) -> None:
        """Lets a setting hold in the open app."""
        if name == "theme":
            self.theme = choose(settings.Settings({"theme": value or "auto"}, {"theme": settings.COMMAND}),
                                self.console.color_system)
        elif name.startswith(settings.KEYS):
            keys = self.chosen.keys
            if name != settings.KEYS and value is None:
                keys.pop(name.removeprefix(settings.KEYS + "."), None)
            elif name != settings.KEYS:
                keys[name.removeprefix(settings.KEYS + ".")] = value
            self.chosen = settings.Settings({**self.chosen.values, settings.KEYS: keys}, self.chosen.origins)
            self.set_keymap(keymap(keys))
            self.keys_changed()
        else:
            value = settings.SETTINGS[name].default if value is None else value
            self.chosen = settings.Settings({**self.chosen.values, name: value}, self.chosen.origins)
            self.setting_changed(name, value)

    def help(self) -> None:
        """Help for where one is; on the page of help, back."""
        from babytui.tui.screens.help import HelpScreen

        if isinstance(self.screen, HelpScreen):
            self.screen.action_back()
        else:
            self.push_screen(HelpScreen(self.screen, self.focused))

    def action_tour(self) -> None:
        """The tour; it is not shown by itself again."""
        from babytui import settings_file
        from babytui.tui.screens.tour import TourScreen

        def seen(_: None) -> None:
            if settings.current()["tour"]:
                with suppress(BabyError, OSError):  # then it is shown once more
                    settings_file.change("tour", False)

        self.push_screen(TourScreen(), seen)

    def action_settings(self) -> None:
        """The page of settings."""
        from babytui.tui.screens.settings import SettingsScreen

        if not isinstance(self.screen, ModalScreen):
            self.push_screen(SettingsScreen())

    def setting_changed(self, name: str, value: Any) -> None:
        """A setting that is not of the app itself has another value."""

    def keys_changed(self) -> None:
        """Keys have others than before: what names them on the screen is written again."""

    def search_themes(self) -> None:
        """The themes, each shown while the cursor is on it; Enter keeps one."""
        from babytui.tui.screens.choose_theme import ChooseThemeScreen

        self.push_screen(ChooseThemeScreen())

    # --- vim's keys -----------------------------------------------------------------------------------

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and isinstance(self.screen, TakesKeys):
            self.screen.take(event.key)
            return
        for moved in self._moves(event) if isinstance(event, events.Key) and self.chosen["vim"] else (event,):
            await super().on_event(moved)

    def _moves(self, event: events.Key) -> list[events.Key]:
        """The keys that a key of vim stands for, unless text is typed or the key has a meaning of its own here."""
        key, focused = event.key, self.focused
        if (key not in _PLAIN and key not in _HALVES) or getattr(self.screen, "TYPED", False) \
                or (focused is not None and focused.check_consume_key(key, event.character)):
            return [event]
        active = self.screen.active_bindings
        if key in active:
            return [event]
        if key in _HALVES:
            return [events.Key(_HALVES[key], None) for _ in range(self._half())]
        moved = _PLAIN[key]
        return [events.Key(_ENDS[moved] if _ENDS.get(moved) in active else moved, None)]

    def _half(self) -> int:
        """Half of what is in view, in lines."""
        widget: Any = self.focused
        while widget is not None and widget.size.height < 4:
            widget = widget.parent
        return max(1, min(40, widget.size.height // 2)) if widget is not None else 1
