"""babytui runs, attach, pause, resume, stop, checkpoint, rate"""

from __future__ import annotations

from typing import Any

from babytui import ranks, runs, workspace_choice
from babytui.cli.output import Output, date, fit, loss, table
from babytui.cli.train import finish
from babytui.cli.watching import Watch
from babytui.cli.watching import ranks as ranks_of
from babytui.process import past
from babytui.visible import cut
from engine import events
from engine.errors import RunError
from store.names import short

HISTORY = 2000  # events that attach reads from before


def _find(arguments: Any) -> runs.Run:
    return runs.find(workspace_choice.choose(arguments.workspace), arguments.guid)


def summary(run: runs.Run) -> dict[str, Any]:
    """How a run stands, from the end of its journal."""
    plan, last = run.plan, run.last_events(200)
    found: dict[type, Any] = {type(event): event for event in last}
    planned = None if plan.get("time_budget") else (plan.get("config") or {}).get("n_steps")
    step, end, evaluation = found.get(events.Step), found.get(events.End), found.get(events.Evaluation)
    return {"guid": run.guid, "name": run.name, "status": run.status(), "dataset": plan.get("dataset", ""),
            "created": plan.get("created"), "step": last[-1].step if last else 0,
            "steps": planned or None, "train_loss": step.loss if step else None,
            "validation_loss": end.validation_loss if end else evaluation.validation_loss if evaluation else None,
            "message": end.message if end else ""}


def list_runs(arguments: Any) -> int:
    """List the runs of the workspace, newest first."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    found = [summary(run) for run in runs.all_runs(workspace)]
    if arguments.json:
        out.data(found)
    elif not found:
        out.say(f"There are no runs in {workspace.root}; start one with babytui train.")
    else:
        rows = [("GUID", "NAME", "STATUS", "STEP", "LOSS", "VAL", "TEXT", "STARTED")]
        for run in found:
            of = f"/{run['steps']}" if run["steps"] else ""
            rows.append((short(run["guid"]), cut(run["name"], 24), run["status"], f"{run['step']}{of}",
                         loss(run["train_loss"]), loss(run["validation_loss"]), cut(run["dataset"], 20),
                         date(run["created"])))
        for line in fit(table(rows, right=(3, 4, 5))):
            out.print(line)
    return 0


def attach(arguments: Any) -> int:
    """Watch a run until it is over; ctrl+c leaves it."""
    run = _find(arguments)
    recent, offset = run.tail(HISTORY)
    watch = Watch(run, arguments.out, offset=offset, owner=False)
    for event in (*run.events(0, 1 << 16)[0], *recent):  # the beginning has the plan, the end the present
        watch.take(event)
    if run.alive:
        arguments.out.say(f"Watching {run.name} ({run.status()}{ranks_of(watch.start)}); ctrl+c leaves it.")
    code = watch.follow()
    finish(watch, arguments.out, arguments.json)
    return code


def pause(arguments: Any) -> int:
    """Let a run wait."""
    run = _find(arguments)
    run.command("pause")
    return _answer(arguments, run, run.wait_for("paused", *runs.OVER), "paused",
                   f"`babytui resume {run.short}` lets it go on.")


def resume(arguments: Any) -> int:
    """Let a paused run go on, or continue one that ended early from its last checkpoint."""
    run = _find(arguments)
    if run.status() == "running":
        return _answer(arguments, run, "running", "running", "It was not paused.")
    run.resume()
    if ranks.taken():
        return ranks.lead(arguments)
    return _answer(arguments, run, run.wait_for("running", *runs.OVER), "running",
                   f"`babytui attach {run.short}` watches it.")


def stop(arguments: Any) -> int:
    """End a run and keep its model."""
    run = _find(arguments)
    run.command("stop")
    arguments.out.say(f"Stopping {run.name}…")
    for _ in range(20):
        status = run.wait(timeout=3)
        if status in runs.OVER:
            break
        if run.disk_is_full:
            raise RunError(f"The disk of {run.dir} is full: {run.name} waits for room to save its model; stop it once "
                           "more to give the model up.")
    return _answer(arguments, run, status, "stopped", f"`babytui inference {run.short}` talks to its model.")


def checkpoint(arguments: Any) -> int:
    """Let a run save its state."""
    run = _find(arguments)
    _, offset = run.tail(1)
    run.command("checkpoint")
    for event in run.follow(offset, poll=0.03):
        if isinstance(event, events.Checkpoint) and event.reason == "command":
            if arguments.json:
                arguments.out.data({"guid": run.guid, "path": str(run.dir / event.path), "step": event.step})
            else:
                arguments.out.value(str(run.dir / event.path))
            return 0
    return _answer(arguments, run, run.status(), "", "It ended before it was saved.")


def rate(arguments: Any) -> int:
    """Change the learning rate of a live run."""
    run = _find(arguments)
    out: Output = arguments.out
    _, offset = run.tail(1)
    run.command("learning_rate", arguments.value)
    for event in run.follow(offset, poll=0.03):
        if isinstance(event, events.Control) and event.command == "learning_rate":
            if arguments.json:
                out.data({"guid": run.guid, "name": run.name, "step": event.step, "learning_rate": event.value})
            out.say(f"{run.name} learns with {event.value:g} from step {event.step + 1:,} on; its schedule goes on "
                    "from there in proportion.")
            return 0
    return _answer(arguments, run, run.status(), "", "It ended before it took the rate.")


def _answer(arguments: Any, run: runs.Run, status: str, wanted: str, then: str) -> int:
    """Say how the run stands now: 0 when that is what was wanted, or will be after the step it is in."""
    out: Output = arguments.out
    if arguments.json:
        out.data({"guid": run.guid, "name": run.name, "status": status})
    if status == wanted or (status == "finished" and wanted == "stopped"):
        out.say(f"{run.name} is {status}. {then}")
        return 0
    if status in runs.LIVE:
        out.say(f"{run.name} is still {status}; it will be {wanted} after the step it is in.")
        return 0
    why = summary(run)["message"] or f"{run.dir / 'worker.log'} may say why."
    out.warn(f"babytui: {run.name} {past(status)}. {why}")
    return 1
