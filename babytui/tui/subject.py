"""Which model a screen is about, for what opens another view of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """A model that a screen is about. name: how the screen calls it. text: what it reads there; empty for what was
    said last in the chat. step: as `library.load` takes it."""

    guid: str
    name: str = ""
    text: str = ""
    step: int | str = "now"


Subjects = list[Subject] | str
"""What a screen's `subjects()` gives: its models, the chosen one alone where one is chosen; or a sentence that says why
there is none."""
