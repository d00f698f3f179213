"""The themes to choose from: each is shown while the cursor is on it."""

from __future__ import annotations

from textual.widgets import OptionList

from babytui.settings import SETTINGS
from babytui.tui.screens.choose import ChooseScreen


class ChooseThemeScreen(ChooseScreen):
    """Enter keeps the theme, Esc goes back to the one before."""

    def __init__(self) -> None:
        super().__init__("Theme", SETTINGS["theme"].choices, "")
        self._before = ""

    def on_mount(self) -> None:
        self._before = self.app.theme
        chosen = self.app.chosen["theme"]  # type: ignore[attr-defined]
        self._value = chosen if chosen == "auto" else self._before
        super().on_mount()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option_index < len(self._shown):
            self.app.apply("theme", self._shown[event.option_index])  # type: ignore[attr-defined]

    async def action_dismiss(self, result: str | None = None) -> None:
        self.app.theme = self._before
        await super().action_dismiss(result)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        event.prevent_default()
        name = self._shown[event.option_index]
        if told := self.app.keep("theme", name):  # type: ignore[attr-defined]
            self.app.notify(told, severity="warning", timeout=6)
        self.dismiss(name)
