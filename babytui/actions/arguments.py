"""Arguments that several actions share."""

from __future__ import annotations

from typing import Any

from babytui.actions.kinds import Argument


def model(help: str = "model: a GUID, the start of one, a name, last, or baby (the one that ships)",
          nargs: str | None = None, default: Any = None) -> Argument:
    """A model, by whatever names one."""
    return Argument("guid", kind="model", metavar="GUID", help=help, nargs=nargs, default=default)


LAST_MODEL = (model(nargs="?", default="last"),)
RUN = (Argument("guid", kind="run", metavar="GUID", nargs="?", default="last",
                help="run: a GUID, the start of one, a name, or last (the newest)"),)
YES = Argument("yes", ("-y", "--yes"), "flag", "do not ask")
STOP = Argument("stop", ("--stop",), "flag", "stop it first if it is being trained")
STEP = Argument("step", ("--step",), "text", "the model as it was at a checkpoint of its run: a step, last or best; "
                "without it, a run that is training is asked for its present weights", metavar="N|last|best")
STEPS = Argument("steps", ("--steps",), "int", "number of steps (the parameter n_steps)", metavar="N", low=1)


def assignments(example: str) -> Argument:
    """--set, with an example for its help."""
    return Argument("set", ("--set",), "assignment", f"change one parameter, such as {example} (repeatable)",
                    metavar="PARAMETER=VALUE", repeat=True)


def texts(otherwise: str = "") -> Argument:
    """--input; otherwise: what is learned without it."""
    return Argument("input", ("--input",), "input", "text to learn: a file, a folder, or a name that `inputs list` "
                    "shows (repeatable)" + otherwise, metavar="TEXT", repeat=True)


CONFIG = (
    Argument("config", ("--config",), "path", "start from this config file (current.json or a saved one)", metavar="F"),
    Argument("preset", ("--preset",), "preset", "start from a preset: newborn, 3m, 6m, 12m, 24m, "
             "48m, or the name of a saved configuration", metavar="NAME"),
    assignments("n_layers=2"),
    texts("; without it, inputs/*.txt of the workspace, else the nursery text that ships"),
    STEPS,
)

RUNNING = (
    Argument("time", ("--time",), "duration", "end after this long, if it is not finished before: 60s, 5m, 1h",
             metavar="TIME"),
    Argument("name", ("--name",), "text", "what to call the model", metavar="NAME"),
    Argument("prompt", ("--prompt",), "text", "what its samples start with", metavar="PROMPT"),
    Argument("detach", ("--detach",), "flag", "start it and return at once"),
)

SAMPLING = (
    Argument("temperature", ("--temperature",), "float", "below 1 is more predictable, 0 always takes the likeliest",
             0.8, metavar="T", low=0, high=100, setting="sampler.temperature"),
    Argument("top_k", ("--top-k",), "int", "choose among the K likeliest; 0 = all", 0, metavar="K", low=0,
             setting="sampler.top_k"),
    Argument("top_p", ("--top-p",), "float", "choose among the likeliest that together have this share", 1.0,
             metavar="P", low=0, high=1, setting="sampler.top_p"),
    Argument("min_p", ("--min-p",), "float", "drop what is less likely than this share of the likeliest", 0.0,
             metavar="P", low=0, high=1, setting="sampler.min_p"),
    Argument("repetition", ("--repetition",), "float", "above 1 makes tokens that were already there less likely", 1.0,
             metavar="R", low=0.1, high=10, setting="sampler.repetition"),
    Argument("seed", ("--seed",), "int", "the same seed writes the same text", metavar="N", low=0, high=2**63 - 1),
)
"""How the next token is chosen: the same for everything that writes."""

DELETING = (
    "Everything moves to .trash/ in the workspace and stays there until `babytui trash empty`; nothing else ever "
    "deletes. `babytui trash restore` brings it back.")
