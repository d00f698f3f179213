"""The command palette: the registry's actions as far as the app can do them, then what only the app has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from textual.app import SystemCommand

from babytui import actions

if TYPE_CHECKING:
    from babytui.tui.app import PlaygroundApp


def commands(app: PlaygroundApp) -> Iterator[SystemCommand]:
    """Every action that is offered to the app, by its registered name and help."""
    doers = _doers(app)
    for action in actions.offered(actions.APP):
        doer = doers.get(action.name)
        if doer is not None:
            yield SystemCommand(action.name, action.help, doer)
    for title, help_text, doer in _own(app):
        yield SystemCommand(title, help_text, doer)


def _doers(app: PlaygroundApp) -> dict[str, Callable[[], None]]:
    screen = app.playground
    models, training, chat = screen.models, screen.training, screen.chat
    return {
        "train": screen.action_train,
        "finetune": models.action_finetune,
        "inference": lambda: screen.action_show("chat"),
        "info": models.action_info,
        "list": lambda: screen.action_show("models"),
        "delete": models.action_delete,
        "estimate": lambda: screen.action_show("config"),
        "inputs list": lambda: _output(app, ["inputs", "list"]),
        "runs": lambda: _output(app, ["runs"]),
        "bakeoff": screen.action_bakeoff,
        "bakeoff list": lambda: _output(app, ["bakeoff", "list"]),
        "doctor": lambda: _output(app, ["doctor"]),
        "attach": models.action_watch,
        "pause": lambda: training.action_command("pause"),
        "resume": lambda: training.action_command("resume"),
        "stop": lambda: training.action_command("stop"),
        "checkpoint": lambda: training.action_command("checkpoint"),
        "regenerate": chat.action_regenerate,
    }


def _own(app: PlaygroundApp) -> Iterator[tuple[str, str, Callable[[], None]]]:
    screen = app.playground
    for name, title in (("config", "Config"), ("training", "Training"), ("models", "Models"), ("chat", "Chat")):
        yield f"show {title}", f"go to the {title} pane", lambda name=name: screen.action_show(name)  # type: ignore[misc]
    yield "maximise", "the present pane alone, or all of them again", screen.action_maximise
    yield "undo delete", "bring back what was deleted last", screen.models.action_undelete
    yield "filter models", "show only rows with a word", screen.models.action_filter
    yield "regenerate", "let the model reply again", screen.chat.action_regenerate
    yield "continue reply", "let the last reply go on", screen.chat.action_go_on
    yield "chart: log axis", "linear or logarithmic loss", screen.training.action_log
    yield "chart: time axis", "by step or by time", screen.training.action_time
    yield "chart: smoothing", "smooth the training curve more or less", screen.training.action_smooth
    yield "copy train command", "the command line that trains with the form's values", lambda: _copy_train(app)
    yield "keys", "every key and what it does", app.action_keys
    yield "quit", "leave; runs go on", lambda: app.exit(0)


def _copy_train(app: PlaygroundApp) -> None:
    line = app.playground.config.command_line()
    app.copy_to_clipboard(line)
    app.notify(line, title="Copied", markup=False, timeout=8)


def _output(app: PlaygroundApp, words: list[str]) -> None:
    """What a command that only tells something prints, on a page."""
    from babytui.tui import backend
    from babytui.tui.screens.text import TextScreen
    from babytui.tui.threads import in_thread
    from babytui.visible import visible

    root = str(app.workspace.root)

    def work() -> None:
        text = backend.output([*words, "--workspace", root, "--no-color"])
        app.call_from_thread(app.push_screen, TextScreen(
            "babytui " + " ".join(words), [[(visible(line, newlines=False), "text")] for line in text.splitlines()]))

    in_thread(app.playground, work, "output")
