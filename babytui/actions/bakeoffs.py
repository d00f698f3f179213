"""Bake-offs: many architectures trained alike and compared."""

from __future__ import annotations

from babytui.actions.arguments import CONFIG, DELETING, STOP, YES
from babytui.actions.kinds import APP, Action, Argument

BAKEOFF = (
    Argument("attention", ("--attention",), "attention", "attentions to try, such as mha,gla (repeatable); without it "
             "all of them", metavar="NAMES", repeat=True),
    Argument("network", ("--network",), "network", "networks to try, such as mlp,swi (repeatable); without it all of "
             "them", metavar="NAMES", repeat=True),
    Argument("arch", ("--arch",), "text", "one pair, such as gla/swi, instead of or beside all attentions × networks "
             "(repeatable)", metavar="ATTENTION/NETWORK", repeat=True),
    Argument("sequence", ("--sequence",), "text", "where the layer norms stand", "pre",
             choices=("pre", "post", "both")),
    *CONFIG[:-1],
    Argument("steps", ("--steps",), "int", "steps of each; without any budget n_steps, else n_epochs passes over the "
             "text", metavar="N", low=1),
    Argument("tokens", ("--tokens",), "int", "tokens each learns from, rounded up to whole steps", metavar="N", low=1),
    Argument("time", ("--time",), "duration", "training time of each: 60s, 5m, 1h", metavar="TIME"),
    Argument("name", ("--name",), "text", "what to call the bake-off; its models' names begin with it", metavar="NAME"),
    Argument("jobs", ("--jobs",), "int", "models trained at once, each with its share of the cores", 1, metavar="N",
             low=1, high=64),
    Argument("detach", ("--detach",), "flag", "start it and return at once"),
)
TABLE = (
    Argument("sort", ("--sort",), "column", "the column that decides the order, best first: architecture, val, ppl, "
             "train, tok/s, gen/s, params, B/tok, state, or a key of --json", "validation_loss", metavar="COLUMN"),
    Argument("csv", ("--csv",), "path", "write the table to this file as comma-separated values; - prints them",
             metavar="F"),
)


def bakeoff_id(nargs: str | None = "?") -> Argument:
    """A bake-off; nargs None: it must be given."""
    return Argument("bakeoff", kind="bakeoff", metavar="ID", nargs=nargs, default="last" if nargs else None,
                    help="bake-off: a GUID, the start of one, a name" + (", or last (the newest)" if nargs else ""))


ACTIONS: tuple[Action, ...] = (
    Action("bakeoff", "train many architectures alike and compare them", "babytui.cli.bakeoff:start",
           (*BAKEOFF, *TABLE), key="f10,ctrl+b", app="playground.bakeoff", hint="bake-off",
           details="Trains every chosen attention with every chosen network (all there are, unless you choose) for the "
                   "same budget on the same text and seed, then measures how fast each writes. It is a process of "
                   "its own, like its runs: ctrl+c asks what to do with it, and a lost connection does not stop it. "
                   "Standard output gets the table (with --json a list of objects), everything else goes to standard "
                   "error."),
    Action("bakeoff list", "list the bake-offs and how they stand", "babytui.cli.bakeoff:list_bakeoffs", key="l",
           app="bakeoff.earlier", hint="earlier"),
    Action("bakeoff show", "print a bake-off's table as it is now", "babytui.cli.bakeoff:show", (bakeoff_id(), *TABLE)),
    Action("bakeoff attach", "watch a bake-off", "babytui.cli.bakeoff:attach", (bakeoff_id(), *TABLE)),
    Action("bakeoff resume", "let a bake-off go on with what is missing", "babytui.cli.bakeoff:resume",
           (bakeoff_id(), Argument("retry", ("--retry",), "flag", "also with what failed"),
            Argument("detach", ("--detach",), "flag", "start it and return at once"), *TABLE),
           key="r", app="bakeoff.resume", hint="resume"),
    Action("bakeoff stop", "end a bake-off after stopping what is being trained", "babytui.cli.bakeoff:stop",
           (bakeoff_id(),), key="s", app="bakeoff.stop", hint="stop"),
    Action("bakeoff delete", "move a bake-off and all its models to the trash", "babytui.cli.bakeoff:delete",
           (bakeoff_id(None), STOP, YES), details=DELETING, key="d", app="bakeoff.delete", hint="delete"),
    Action("bakeoff new", "choose what a new bake-off compares", key="n", app="bakeoff.new", hint="new", where=(APP,),
           same="bakeoff --attention mha,gla"),
    Action("bakeoff export", "write the table as CSV and JSON", key="x", app="bakeoff.export", hint="export",
           where=(APP,), same="bakeoff show --csv table.csv"),
    Action("bakeoff back", "leave the bake-off; it goes on", key="escape,q", app="bakeoff.back", where=(APP,)),
)
