"""The settings and the keys, to be changed while one sees what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import DataTable, Static, TabbedContent, TabPane

from babytui import settings
from babytui.settings import KEYS, SETTINGS, Setting
from babytui.tui.bindings import ids, keys_of, place_of
from babytui.tui.panes.base import paragraph
from babytui.tui.panes.form import Rows
from babytui.tui.safe import plain
from babytui.tui.threads import after, after_refresh
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.fields import ChoiceField, NumberField, SwitchField, TextField
from babytui.tui.widgets.lines import Line, Lines
from babytui.tui.widgets.table import RowTable
from babytui.visible import visible
from engine.errors import UsageError

if TYPE_CHECKING:
    from babytui.tui.personal import PersonalApp

_HINTS = {"values": (("Esc", "back"), ("+ -", "change"), ("⏎", "list"), ("F3", "keys"), ("F8", "all defaults"),
                     ("↑ ↓", "field")),
          "keys": (("Esc", "back"), ("⏎", "new key"), ("+", "one more"), ("-", "none"), ("Del", "default"),
                   ("letters", "find"), ("F8", "all defaults"))}
DEBOUNCE = 0.3  # seconds without another change before one is written to the file


class ThemeField(ChoiceField):
    """The theme; its list shows each while the cursor is on it."""

    def action_choose(self) -> None:
        from babytui.tui.screens.choose_theme import ChooseThemeScreen

        def done(name: str | None) -> None:
            if name is not None:
                self.value = name

        self.app.push_screen(ChooseThemeScreen(), done)


class SettingRows(Rows):
    """A row for every setting but the keys."""

    def compose(self) -> ComposeResult:
        found = settings.current()
        for group, members in groupby((s for s in SETTINGS.values() if s.kind != KEYS), key=lambda s: s.group):
            yield Static(plain(group), classes="group")
            for setting in members:
                yield from self.row(_field(setting, found[setting.name]), setting.name)

    def row(self, field: Widget, name: str, title: str = "") -> Iterable[Widget]:
        """As of every form; a dot cannot stand in an id."""
        label = Static(plain(title or name), classes="field-label", id=_label(name))
        self.fields[name] = field
        yield label
        yield field

    def mark(self, name: str) -> None:
        self.query(".field-label").remove_class("-focused")
        self.query_one(f"#{_label(name)}").add_class("-focused")


def _label(name: str) -> str:
    return "label-" + name.replace(".", "-")


def _field(setting: Setting, value: Any) -> Widget:
    if setting.name == "theme":
        return ThemeField(setting.choices, value, name=setting.name)
    if setting.kind == "choice":
        return ChoiceField(setting.choices, value, name=setting.name)
    if setting.kind == "bool":
        return SwitchField(value, name=setting.name)
    if setting.kind == "text":
        return TextField(value, name=setting.name, placeholder="~/babytui")
    return NumberField(f"{value:g}", name=setting.name, step=setting.step, low=setting.low, high=setting.high,
                       whole=setting.kind == "int")


class KeyTable(RowTable[Any]):
    """Every action that can have a key. Posts `Wanted` for what is to be done with the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "want('new')", "new key", show=False),
        Binding("plus,equals_sign", "want('more')", "another key", show=False),
        Binding("minus", "want('none')", "no key", show=False),
        Binding("delete,backspace", "want('default')", "default", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="keys-table")
        self.shown: list[str] = []

    def fill(self, word: str = "") -> None:
        """The actions in whose name, help, place or keys the word is."""
        at = self.shown[self.cursor_row] if self.shown and self.cursor_row < len(self.shown) else ""
        if not self.columns:
            for name in ("action", "keys", "where"):
                self.add_column(plain(name), key=name)
        self.clear()
        self.shown = []
        for id_, (node, _, action) in ids().items():
            keys = " ".join(keys_of(id_))
            changed = id_ in settings.current().keys
            if word.lower() in f"{id_} {action.help} {node} {keys}".lower():
                self.shown.append(id_)
                self.add_row(plain(action.name), plain(keys or "–", style="bold" if changed else ""),
                             plain(place_of(node)), key=id_)
        if self.shown:
            self.move_cursor(row=self.shown.index(at) if at in self.shown else 0, animate=False)

    @property
    def id_(self) -> str | None:
        """The action under the cursor."""
        return self.shown[self.cursor_row] if 0 <= self.cursor_row < len(self.shown) else None

    def action_want(self, what: str) -> None:
        if self.id_ is not None and isinstance(self.screen, SettingsScreen):
            self.screen.change_keys(self.id_, what)


class SettingsScreen(ModalScreen[None]):
    """Every change holds at once and is written to the file."""

    CSS_PATH = ["dialogs.tcss", "settings.tcss"]
    AUTO_FOCUS = ""  # not the tabs, where a key that came early would turn the page
    HELP = ("Every change holds at once and is kept in the settings file. On the second page: Enter sets the key of an "
            "action anew, + gives it one more, - none, Del its default; letters find actions.")
    node = "settings"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "back", "Back"),
        Binding("f2,ctrl+g", "tab('values')", "Settings", show=False),
        Binding("f3,ctrl+r", "tab('keys')", "Keys", show=False),
        Binding("f8", "defaults", "All defaults", show=False),
    ]

    def __init__(self, tab: str = "values"):
        super().__init__()
        self._tab, self._word = tab, ""
        self._waiting: dict[str, Any] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def me(self) -> PersonalApp:
        return self.app  # type: ignore[return-value]

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = "Settings"
        with box, TabbedContent(initial=self._tab):
            with TabPane("F2 settings", id="values"):
                yield SettingRows(id="setting-rows")
                yield Lines(id="setting-help")
            with TabPane("F3 keys", id="keys"):
                yield KeyTable()
                yield Lines(id="key-help")

    def on_mount(self) -> None:
        self.query_one(KeyTable).fill()
        self._say(self._tab)
        after_refresh(self, self._focus)

    def _focus(self) -> None:
        rows = self.query_one(SettingRows)
        (self.query_one(KeyTable) if self._tab == "keys" else rows.fields["theme"]).focus()

    def _say(self, tab: str) -> None:
        room = min(96, self.size.width) - 8
        self.query_one(".dialog").border_subtitle = hint_content(_HINTS[tab], room)

    def action_tab(self, name: str) -> None:
        self._tab = name
        self.query_one(TabbedContent).active = name
        self._say(name)
        self._focus()

    @on(TabbedContent.TabActivated)
    def _activated(self, event: TabbedContent.TabActivated) -> None:
        self._tab = event.pane.id or "values"
        self._say(self._tab)

    def on_resize(self, event: events.Resize) -> None:
        self._say(self._tab)

    def action_back(self) -> None:
        if self._word:
            self._find("")
        else:
            self._write()
            self.dismiss()

    # --- settings -------------------------------------------------------------------------------------

    @on(events.DescendantFocus)
    def _focused(self, event: events.DescendantFocus) -> None:
        rows = self.query_one(SettingRows)
        if event.widget.name in rows.fields:
            rows.mark(event.widget.name)
            self._explain(event.widget.name)

    def _explain(self, name: str) -> None:
        setting = SETTINGS[name]

        def build(width: int) -> list[Line]:
            lines = paragraph(f"{name}: {setting.help}.", width, "text")
            lines += paragraph(f"{setting.allowed}; default {_text(setting.default)}; ${setting.variable}", width,
                               "dim")
            origin = settings.current().origins[name]
            if origin in (settings.ENVIRONMENT, settings.COMMAND):
                lines += paragraph(f"The {origin} sets it now, and again at the next start.", width, "warn")
            return lines

        self.query_one("#setting-help", Lines).show(build)

    @on(Rows.Edited)
    def _edited(self, event: Rows.Edited) -> None:
        event.stop()
        rows, name = self.query_one(SettingRows), event.name
        try:
            value = SETTINGS[name].coerce(rows.raw(name))
        except UsageError as error:
            rows.show_problem(name, str(error))
            self._waiting.pop(name, None)
            return
        rows.show_problem(name, None)
        if value == self.me.chosen[name]:
            return
        self.me.apply(name, value)
        self._waiting[name] = value
        if self._timer is not None:
            self._timer.cancel()
        self._timer = after(self, DEBOUNCE, self._write)

    def _write(self) -> None:
        """Writes to the file what has changed."""
        waiting, self._waiting = self._waiting, {}
        told = [text for name, value in waiting.items() if (text := self.me.keep(name, value))]
        if told:
            self.app.notify(told[0], severity="warning", timeout=8)

    def action_defaults(self) -> None:
        """All settings, or all keys, as they were at first; asks before."""
        from babytui.tui.screens.confirm import ConfirmScreen

        keys = self._tab == "keys"

        def answered(agreed: bool | None) -> None:
            if agreed and keys:
                self._kept(KEYS, None)
            elif agreed:
                for setting in SETTINGS.values():
                    if setting.kind != KEYS and settings.current().origins[setting.name] == settings.FILE:
                        self._kept(setting.name, None)
                with self.prevent(Rows.Edited):
                    self.query_one(SettingRows).fill(
                        {name: f"{value:g}" if isinstance(value, float) else value
                         for name, value in settings.current().values.items() if name != KEYS})

        self.app.push_screen(ConfirmScreen(
            "All keys as at first?" if keys else "All settings as at first?",
            ["Every key that was changed gets its default." if keys else
             "Every setting but the keys gets its default."],
            "Reset"), answered)

    # --- keys -----------------------------------------------------------------------------------------

    @on(DataTable.RowHighlighted)
    def _row(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        id_ = self.query_one(KeyTable).id_
        if id_ is None:
            return
        _, default, action = ids()[id_]
        changed = f" (default {default or 'none'})" if id_ in settings.current().keys else ""
        self.query_one("#key-help", Lines).show(
            lambda width: paragraph(f"{id_}: {action.help}{changed}", width, "text")[:2])

    def on_key(self, event: events.Key) -> None:
        if not self.query_one(KeyTable).has_focus or event.character is None or not event.character.isprintable():
            return
        if event.character not in "+-=":
            event.stop()
            self._find(self._word + event.character)

    def _find(self, word: str) -> None:
        self._word = word
        self.query_one(KeyTable).fill(word)
        self.query_one(".dialog").border_title = plain(f"Settings · keys with '{word}'" if word else "Settings")

    def change_keys(self, id_: str, what: str) -> None:
        """New keys for an action: asked for, none, or the default."""
        if what == "default" and self._word:
            self._find(self._word[:-1])  # it is what was typed that is taken back
        elif what == "default":
            self._kept(f"{KEYS}.{id_}", None)
        elif what == "none":
            self._kept(f"{KEYS}.{id_}", "")
        else:
            self._ask(id_, more=what == "more")

    def _ask(self, id_: str, more: bool) -> None:
        from babytui.tui.screens.press_key import PressKeyScreen

        def pressed(found: tuple[str, list[str]] | None) -> None:
            if found is None:
                return
            key, others = found
            for other in others:  # it is taken away from there
                left = [k for k in self._raw(other) if k != key]
                self._kept(f"{KEYS}.{other}", ",".join(left))
            self._kept(f"{KEYS}.{id_}", ",".join(dict.fromkeys([*(self._raw(id_) if more else []), key])))

        self.app.push_screen(PressKeyScreen(id_), pressed)

    def _raw(self, id_: str) -> list[str]:
        text = self.me.chosen.keys.get(id_, ids()[id_][1])
        return [key for key in text.split(",") if key]

    def _kept(self, name: str, value: Any) -> None:
        if told := self.me.keep(name, value):
            self.app.notify(visible(told), severity="warning", timeout=8)
        if name.startswith(KEYS):
            self.query_one(KeyTable).fill(self._word)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"
