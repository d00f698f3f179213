"""How a reply is drawn: one field per argument of the action "inference", with its range and default."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from textual.containers import VerticalScroll
from textual.widget import AwaitMount, Widget
from textual.widgets import Static

from babytui import actions, settings
from babytui.tui.safe import plain
from babytui.tui.widgets.fields import FieldChanged, NumberField, SwitchField

STEPS = {"temperature": 0.1, "top_k": 5, "top_p": 0.05, "min_p": 0.05, "repetition": 0.1, "seed": 1, "tokens": 100}
RANDOM = "random"


class Sampling(VerticalScroll, can_focus=False):
    """Rows of name and value. `settings()` reads them."""

    def __init__(self) -> None:
        super().__init__(id="sampling")
        self._arguments = {name: actions.find("inference").argument(name) for name in STEPS}
        self.fields: dict[str, Widget] = {}

    def build(self) -> AwaitMount:
        """Mounts the rows; done after the first paint, which they would delay."""
        return self.mount_all(list(self._rows()))

    def _rows(self) -> Iterable[Widget]:
        for name, step in STEPS.items():
            argument = self._arguments[name]
            whole = argument.kind == "int"
            words = (RANDOM,) if name == "seed" else ()
            default = RANDOM if name == "seed" else f"{settings.default_of(argument):g}"
            self.fields[name] = NumberField(default, name=name, step=step, low=argument.low, high=argument.high,
                                            whole=whole, words=words)
            yield Static(plain("max tokens" if name == "tokens" else name.replace("_", "-")), classes="field-label")
            yield self.fields[name]
        self.fields["cache"] = SwitchField(True, name="cache")
        yield Static("cache", classes="field-label")
        yield self.fields["cache"]

    def take(self, name: str, value: float) -> None:
        """Puts a value into a field."""
        if name in self.fields:
            self.fields[name].value = f"{value:g}"  # type: ignore[attr-defined]

    def settings(self) -> tuple[dict[str, Any], str]:
        """The values as `Baby.generate` takes them, and the first mistake as a sentence (or an empty text)."""
        found: dict[str, Any] = {"cache": self.fields["cache"].value}  # type: ignore[attr-defined]
        for name in STEPS:
            try:
                found["max_tokens" if name == "tokens" else name] = self._read(name)
            except ValueError as error:
                self.fields[name].add_class("-wrong")
                return found, str(error)
        return found, ""

    def _read(self, name: str) -> float | int | None:
        argument = self._arguments[name]
        text = str(self.fields[name].value).strip()  # type: ignore[attr-defined]
        if name == "seed" and text in ("", RANDOM):
            return None
        try:
            number = float(text)
            if not math.isfinite(number) or (argument.kind == "int" and number != int(number)):
                raise ValueError
        except ValueError:
            noun = "a whole number" if argument.kind == "int" else "a number"
            raise ValueError(f"{name} must be {noun}, not '{text[:20]}'.") from None
        low, high = argument.low, argument.high
        if (low is not None and number < low) or (high is not None and number > high):
            span = f"from {low:g} to {high:g}" if high is not None else f"at least {low:g}"
            raise ValueError(f"{name} must be {span}, not {text[:20]}.")
        return int(text) if argument.kind == "int" and text.lstrip("+-").isdigit() else \
            int(number) if argument.kind == "int" else number

    def on_field_changed(self, event: FieldChanged) -> None:
        event.stop()
        event.field.remove_class("-wrong")
        if event.name in STEPS:
            try:
                self._read(event.name)
            except ValueError:
                event.field.add_class("-wrong")
