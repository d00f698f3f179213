"""babytui bakeoff, and bakeoff list, show, attach, resume, stop, delete"""

from __future__ import annotations

import sys
import time
from typing import Any

from babytui import bakeoff, workspace_choice
from babytui import bakeoff_table as table
from babytui.bakeoff_draft import Draft, architectures, draft
from babytui.bakeoff_progress import DONE, FAILED, Progress, Row, ordered
from babytui.cli.asking import may_delete, stop_or_leave, trashed
from babytui.cli.bakeoff_live import LiveTable, screen
from babytui.cli.output import Output, date, room, seconds, size
from babytui.cli.output import table as aligned
from babytui.cli.settings import config_of
from babytui.process import past
from babytui.visible import cut
from engine.errors import BabyError, RunError, UsageError
from store import atomic
from store.names import expanded, short

REDRAW_SECONDS = 0.25
QUESTION = "The bake-off goes on: [s]top it, leave it in the [b]ackground, [c]arry on watching? "
_ARCHITECTURE = {"c_attention": "--attention", "c_network": "--network", "c_sequence": "--sequence"}
_SAID = 5  # problems that are told before it starts


def start(arguments: Any) -> int:
    """Start a bake-off and watch it, or leave it at once with --detach."""
    out: Output = arguments.out
    by = table.sort_key(arguments.sort)
    chosen = architectures(arguments.attention or [], arguments.network or [], arguments.arch or [],
                           arguments.sequence)
    for text in arguments.set or []:
        if flag := _ARCHITECTURE.get(text.partition("=")[0].strip()):
            raise UsageError(f"What competes is chosen with {flag}, not with --set {text}.")
    budgets = [bakeoff.Budget(kind, amount) for kind, amount in (
        ("steps", arguments.steps), ("tokens", arguments.tokens), ("seconds", arguments.time)) if amount]
    if len(budgets) > 1:
        raise UsageError("--steps, --tokens and --time are three ways to give a budget; use one of them.")
    workspace = workspace_choice.choose(arguments.workspace)
    wish = draft(workspace, config_of(arguments, workspace, out), chosen, arguments.input or [],
                 budget=budgets[0] if budgets else None, name=arguments.name, jobs=arguments.jobs)
    _announce(wish, out)
    found = wish.start()
    if arguments.detach:
        if arguments.json:
            out.data(_facts(found))
        else:
            out.print(found.guid)
        out.say(f"{found.name} goes on in the background; `babytui bakeoff attach {found.short}` watches it, "
                f"`babytui bakeoff stop {found.short}` ends it.")
        return 0
    return _watch(found, arguments, by, owner=True)


def _announce(wish: Draft, out: Output) -> None:
    """How much it is, before it starts. RunError when the disk cannot hold it."""
    cost = wish.cost(tell=lambda n, total: out.line(f"measuring this machine… {n} of {total}"))
    out.clear()
    wish.need_room(cost)
    for note in wish.notes:
        out.say(note)
    several = f", {wish.jobs} at once" if wish.jobs > 1 else ""
    each = " each" if len(wish.architectures) > 1 else ""
    out.say(f"{wish.name}: {_runs(len(wish.architectures))} of {wish.budget}{each} on {wish.dataset}{several}; "
            f"about {seconds(cost.seconds)} and {size(cost.bytes)} of the {size(cost.free)} that are free.")
    for one, problem in list(wish.problems.items())[:_SAID]:
        out.alarm(f"{one.label} will be left out: {problem}")
    if len(wish.problems) > _SAID:
        out.alarm(f"So will {len(wish.problems) - _SAID} more.")


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


# --- watching ---------------------------------------------------------------------------------------------------------

def attach(arguments: Any) -> int:
    """Watch a bake-off until it is over; ctrl+c leaves it."""
    by, found = table.sort_key(arguments.sort), _find(arguments)
    return _watch(found, arguments, by, owner=False)


def resume(arguments: Any) -> int:
    """Let a bake-off go on with what is missing, and watch it."""
    by, found = table.sort_key(arguments.sort), _find(arguments)
    out: Output = arguments.out
    if found.alive:
        out.say(f"{found.name} is at work already.")
    found.resume(retry=arguments.retry)
    if arguments.detach:
        return show(arguments, found)
    return _watch(found, arguments, by, owner=True)


def _watch(found: bakeoff.BakeOff, arguments: Any, by: str, *, owner: bool) -> int:
    """Show it until it is over or left; then its table on standard output."""
    out: Output = arguments.out
    progress = Progress(found)
    left, interrupted = _follow(progress, out, by, owner)
    if left:
        if arguments.json or arguments.csv:
            _deliver(progress, arguments, by)
        else:
            out.print(found.guid)
        out.say(f"{found.name} goes on; `babytui bakeoff attach {found.short}` watches it, `babytui bakeoff stop "
                f"{found.short}` ends it.")
        return 0 if sys.stdin.isatty() else 130
    _deliver(progress, arguments, by)
    code = _verdict(progress, out)
    return 130 if interrupted else code


def _follow(progress: Progress, out: Output, by: str, owner: bool) -> tuple[bool, bool]:
    """(whether it was left, whether ctrl+c ended it)."""
    live = LiveTable(out)
    told: set[str] = {row.architecture.label for row in progress.look() if row.state in (DONE, FAILED)}
    pressed = again = interrupted = False
    while True:
        try:
            if pressed:
                answer = "s" if again else stop_or_leave(QUESTION, owner, live.clear)
                pressed = False
                if answer == "b":
                    live.clear()
                    return True, False
                if answer == "s":
                    interrupted = True
                    live.clear()
                    out.say("Stopping…")
                    if progress.bakeoff.alive:
                        progress.bakeoff.stop()
            while True:
                rows = progress.look()
                if out.live:
                    window = live.size
                    live.draw(screen(progress, by, window.columns, window.lines))
                else:
                    _tell(rows, told, out)
                if progress.status not in ("running", "stopping", "starting"):
                    live.clear()
                    return False, interrupted
                time.sleep(REDRAW_SECONDS)
        except KeyboardInterrupt:  # also while it is being asked: then it means stop
            pressed, again = True, pressed or interrupted


def _tell(rows: list[Row], told: set[str], out: Output) -> None:
    """A line for each that is newly done."""
    for row in rows:
        name = row.architecture.label
        if row.state in (DONE, FAILED) and name not in told:
            told.add(name)
            where = f"{len(told)} of {len(rows)}  {name}"
            if row.state == FAILED:
                out.alarm(f"{where}  {row.values.get('error')}")
                continue
            shown = [f"{column.title} {table.cell(column, row.values)}" for column in table.COLUMNS[:5]]
            out.say(f"{where}  " + " · ".join(shown))


def _verdict(progress: Progress, out: Output) -> int:
    """Say how it ended: 0, or 1 when it failed, died or nothing could be trained."""
    found, rows = progress.bakeoff, list(progress.rows.values())
    failed = [row for row in rows if row.state == FAILED]
    for row in failed if out.live else []:
        out.alarm(f"{row.architecture.label}: {row.values.get('error')}")
    go_on = f"`babytui bakeoff resume {found.short}` goes on with what is missing"
    if progress.status == "failed":
        out.warn(f"babytui: {found.name} ended early. {found.message}")
        out.say(f"Then {go_on}.")
        return 1
    if progress.status == "died":
        out.warn(f"babytui: {found.name} died; {go_on}, and {found.dir / 'conductor.log'} may say why.")
        return 1
    if progress.status == "stopped":
        out.say(f"{found.name} was stopped after {progress.done} of {len(rows)}; {go_on}.")
        return 0
    if failed and len(failed) == len(rows):
        return 1
    out.say(f"{found.name} is finished: {len(rows) - len(failed)} of {len(rows)} were trained. "
            f"`babytui bakeoff show {found.short}` prints its table again.")
    return 0


# --- the table --------------------------------------------------------------------------------------------------------

def show(arguments: Any, found: bakeoff.BakeOff | None = None) -> int:
    """Print the table as it is now."""
    by = table.sort_key(arguments.sort)
    progress = Progress(found or _find(arguments))
    progress.look()
    _deliver(progress, arguments, by)
    return 0


def _deliver(progress: Progress, arguments: Any, by: str) -> None:
    """The table to standard output as text, JSON or CSV, and to the file of --csv."""
    out: Output = arguments.out
    rows = ordered(progress.rows.values(), by)
    values = [row.values for row in rows]
    if arguments.csv and arguments.csv != "-":
        path = atomic.destination(expanded(arguments.csv))
        atomic.write_bytes(path, table.as_csv(values).encode())
        out.say(f"The table is in {path}.")
    if arguments.csv == "-":
        sys.stdout.write(table.as_csv(values))
    elif arguments.json:
        out.data([{**found, "status": row.state}
                  for found, row in zip(table.exported(values), rows, strict=True)])
    else:
        width = room(sys.stdout)
        over = all(row.state == DONE for row in rows)
        for line in table.lines(values, width, [] if over else [row.text for row in rows]):
            out.print(line)


# --- the others -------------------------------------------------------------------------------------------------------

def _find(arguments: Any) -> bakeoff.BakeOff:
    return bakeoff.find(workspace_choice.choose(arguments.workspace), arguments.bakeoff)


def _facts(found: bakeoff.BakeOff) -> dict[str, Any]:
    """What --json prints for a bake-off."""
    progress = Progress(found)
    progress.look()
    plan = progress.plan
    return {"guid": found.guid, "name": found.name, "status": progress.status, "created": plan.get("created"),
            "architectures": len(progress.rows), "done": progress.done, "budget": plan.get("budget"),
            "dataset": plan.get("dataset", ""), "seed": plan.get("seed"), "jobs": plan.get("jobs"),
            "machine": plan.get("machine")}


def list_bakeoffs(arguments: Any) -> int:
    """List the bake-offs of the workspace, newest first."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    found = []
    for one in bakeoff.all_bakeoffs(workspace):
        try:
            found.append(_facts(one))
        except BabyError as error:  # one that is broken hides no other
            out.alarm(str(error))
    if arguments.json:
        out.data(found)
    elif not found:
        out.say(f"There are no bake-offs in {workspace.root}; `babytui bakeoff` starts one.")
    else:
        rows = [("GUID", "NAME", "STATUS", "DONE", "BUDGET", "TEXT", "STARTED")]
        for facts in found:
            ((kind, number),) = facts["budget"].items()
            rows.append((facts["guid"][:8], cut(facts["name"], 30), facts["status"],
                         f"{facts['done']}/{facts['architectures']}", str(bakeoff.Budget(kind, number)),
                         cut(facts["dataset"], 20), date(facts["created"])))
        for line in aligned(rows, right=(3,)):
            out.print(line)
    return 0


def stop(arguments: Any) -> int:
    """End a bake-off after stopping what is being trained."""
    out, found = arguments.out, _find(arguments)
    found.stop()
    out.say(f"Stopping {found.name}…")
    status = found.wait(timeout=60)
    if arguments.json:
        out.data(_facts(found))
    if found.alive:
        out.say(f"{found.name} ends as soon as what is being trained is saved.")
        return 0
    out.say(f"{found.name} {past(status)}; `babytui bakeoff resume {found.short}` goes on with what is "
            "missing.")
    return 0


def delete(arguments: Any) -> int:
    """Move a bake-off and its models to the trash, after saying what will go."""
    out, found = arguments.out, _find(arguments)
    live = found.alive
    if live and not arguments.stop:
        raise RunError(f"{found.name} is at work; end it with `babytui bakeoff stop {found.short}`, or delete it with "
                       "--stop.")
    models, name = found.models(), found.name
    if not arguments.yes:
        first = ", is at work and will be stopped" if live else ""
        total = size(sum(model.bytes for model in models))
        out.warn(f"{name} ({found.short}) with {len(models)} models, {total}{first}:")
        for model in models:
            out.warn(f"  {short(model.guid)}  {model.name}")
        if not may_delete(f"the bake-off and these {len(models)} models", out):
            return 0
    if live:
        from babytui import removal

        out.say(f"Stopping {name}…")
        removal.halt(found)
    gone = found.delete()
    if arguments.json:
        out.data(trashed([gone]))
    out.say(f"{name} with {len(models)} models is in the trash, {gone.trash}; `babytui trash restore {found.short}` "
            "brings it back.")
    return 0
