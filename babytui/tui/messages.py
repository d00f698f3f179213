"""What panes and worker threads tell each other. Threads only post these; the handlers own all state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.message import Message

if TYPE_CHECKING:
    from babytui.runs import Run


class Failed(Message):
    """Something that was asked for cannot be done; `text` is the sentence for the person."""

    def __init__(self, text: str, severity: str = "error"):
        super().__init__()
        self.text, self.severity = text, severity


class TrainAsked(Message):
    """Start a run with these values."""

    def __init__(self, values: dict[str, Any], text: str, name: str, prompt: str):
        super().__init__()
        self.values, self.text, self.name, self.prompt = values, text, name, prompt


class RunStarted(Message):
    """A run has begun."""

    def __init__(self, run: Run):
        super().__init__()
        self.run = run


class RunChanged(Message):
    """The watched run has another state; `summary` fits the top line. `over` when its process has ended."""

    def __init__(self, guid: str, status: str, summary: str, over: bool):
        super().__init__()
        self.guid, self.status, self.summary, self.over = guid, status, summary, over


class RunEnded(Message):
    """The watched run, which was alive before, is over."""

    def __init__(self, guid: str, name: str, status: str):
        super().__init__()
        self.guid, self.name, self.status = guid, name, status


class WatchAsked(Message):
    """Show this run in the training pane."""

    def __init__(self, guid: str):
        super().__init__()
        self.guid = guid


class ChatAsked(Message):
    """Talk to this model: a GUID or "baby"."""

    def __init__(self, guid: str, name: str):
        super().__init__()
        self.guid, self.name = guid, name


class InfoAsked(Message):
    """Show what is known about this model."""

    def __init__(self, guid: str):
        super().__init__()
        self.guid = guid


class CompareAsked(Message):
    """Show these models beside each other: GUIDs or "baby"."""

    def __init__(self, guids: list[str]):
        super().__init__()
        self.guids = guids


class FinetuneAsked(Message):
    """Let this model learn another text: a GUID or "baby"."""

    def __init__(self, guid: str, name: str):
        super().__init__()
        self.guid, self.name = guid, name


class FormAsked(Message):
    """Put this configuration into the form."""

    def __init__(self, values: dict[str, Any], source: str):
        super().__init__()
        self.values, self.source = values, source


class Listed(Message):
    """The workspace was read again, and somebody has changed something. names: by GUID, of models and runs that were
    called otherwise before; come: the GUIDs of runs that were not there before; gone: of all that is there no more."""

    def __init__(self, names: dict[str, str], come: set[str], gone: set[str]):
        super().__init__()
        self.names, self.come, self.gone = names, come, gone


class ModelsChanged(Message):
    """Models or runs came or went: list them again."""
