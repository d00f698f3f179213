"""babytui train"""

from __future__ import annotations

from typing import Any

from babytui import runs, workspace_choice
from babytui.cli.output import Output, loss, seconds
from babytui.cli.settings import config_of
from babytui.cli.watching import Watch


def run(arguments: Any) -> int:
    """Start a run and watch it, or leave it at once with --detach."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    config = config_of(arguments, workspace, out)
    started = runs.start(workspace, config, arguments.input or [], name=arguments.name, prompt=arguments.prompt or "",
                         time_budget=arguments.time)
    for note in started.plan.get("notes", []):
        out.say(note)
    return watch(started, arguments)


def watch(started: runs.Run, arguments: Any) -> int:
    """Watch a run that has just begun to its end, or leave it at once with --detach. The exit code."""
    out: Output = arguments.out
    if arguments.detach:
        if arguments.json:
            out.data(Watch(started, out).result())
        else:
            out.print(started.guid)
        out.say(f"{started.name} trains in the background; `babytui attach {started.short}` watches it, "
                f"`babytui stop {started.short}` ends it.")
        return 0
    watching = Watch(started, out)
    code = watching.follow()
    finish(watching, out, arguments.json)
    return code


def finish(watch: Watch, out: Output, json: bool) -> None:
    """What the run came to: data on standard output, and the commands that go on from here."""
    run, end = watch.run, watch.end
    if json:
        out.data(watch.result())
    elif watch.left or (end is not None and end.reason != "failed"):
        out.print(run.guid)
    if watch.left:
        out.say(f"{run.name} goes on; `babytui attach {run.short}` watches it, `babytui stop {run.short}` ends it.")
    elif end is not None and end.reason != "failed":
        how = {"finished": "finished", "time": "used its time", "stopped": "was stopped and kept"}[end.reason]
        out.say(f"{run.name} {how}: {end.step} steps in {seconds(end.seconds)}, training loss "
                f"{loss(end.train_loss)}, validation loss {loss(end.validation_loss)}.")
        out.say(f"Talk to it:  babytui inference {run.short} --prompt '…'\nLook at it:  babytui info {run.short}")
