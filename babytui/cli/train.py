"""babytui train"""

from __future__ import annotations

from typing import Any

from babytui import ranks, runs, workspace_choice
from babytui.cli.output import Output, loss, seconds
from babytui.cli.settings import config_of
from babytui.cli.watching import Watch
from engine.errors import UsageError


def run(arguments: Any) -> int:
    """Start a run and watch it, or leave it at once with --detach."""
    out: Output = arguments.out
    stays(arguments)
    workspace = workspace_choice.choose(arguments.workspace)
    config = config_of(arguments, workspace, out)
    started = runs.start(workspace, config, arguments.input or [], name=arguments.name, prompt=arguments.prompt or "",
                         time_budget=arguments.time)
    for note in started.plan.get("notes", []):
        out.say(note)
    return watch(started, arguments)


def stays(arguments: Any) -> None:
    """UsageError for --detach in a group of ranks."""
    if arguments.detach and ranks.leading():
        raise UsageError("A run of several ranks ends with the command that started them; leave --detach out, and put "
                         "mpirun itself into the background.")


def watch(started: runs.Run, arguments: Any) -> int:
    """Watch a run that has just begun to its end, or leave it at once with --detach. The exit code."""
    out: Output = arguments.out
    if ranks.taken():
        return ranks.lead(arguments)
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
        words = {"finished": "finished", "time": "used its time", "stopped": "was stopped and kept"}
        how = words.get(end.reason, "ended")
        out.say(f"{run.name} {how}: {end.step} steps in {seconds(end.seconds)}, training loss "
                f"{loss(end.train_loss)}, validation loss {loss(end.validation_loss)}.")
        out.say(f"Talk to it:  babytui inference {run.short} --prompt '…'")
        out.say(f"Look at it:  babytui info {run.short}")
