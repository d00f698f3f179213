"""Everything a user can do, once: name, arguments, help, key. Imports nothing heavy.

The command line, the shell's slash commands, the app's palette and key hints, and "copy as command" are read from
`ACTIONS`. A verb's code is imported only when it runs.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CLI, SHELL, APP = "cli", "shell", "app"


@dataclass(frozen=True)
class Argument:
    """One argument of an action.

    name: the name it has in code. flags: empty for a positional one.
    kind: text, int, float, flag (present or not), duration (60s, 5m, 1h → seconds), path, and the kinds that a face can
        complete: model, run, input, known_text, assignment (parameter=value), preset.
    nargs: as argparse's ("?", "+", "*"); repeat: may be given several times and gathers a list (of all values).
    low, high: the smallest and largest number.
    """

    name: str
    flags: tuple[str, ...] = ()
    kind: str = "text"
    help: str = ""
    default: Any = None
    nargs: str | None = None
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    repeat: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Action:
    """One thing a user can do. `name` may be two words ("inputs add"). `run`: "module:function" called with the
    parsed arguments and returning an exit code. `key`: the app's default key. `where`: the faces that offer it."""

    name: str
    help: str
    run: str
    arguments: tuple[Argument, ...] = ()
    key: str | None = None
    where: tuple[str, ...] = (CLI, SHELL, APP)
    details: str = ""

    def function(self) -> Callable[[Any], int]:
        """The code behind the action (imports its module)."""
        module, _, name = self.run.partition(":")
        return getattr(importlib.import_module(module), name)

    def argument(self, name: str) -> Argument:
        """The argument called `name`; KeyError when there is none."""
        for argument in self.arguments:
            if argument.name == name:
                return argument
        raise KeyError(name)


def _model(help: str = "model: a GUID, the start of one, a name, last, or baby (the one that ships)",
           nargs: str | None = None, default: Any = None) -> Argument:
    return Argument("guid", kind="model", metavar="GUID", help=help, nargs=nargs, default=default)


_LAST_MODEL = (_model(nargs="?", default="last"),)
_RUN = (Argument("guid", kind="run", metavar="GUID", nargs="?", default="last",
                 help="run: a GUID, the start of one, a name, or last (the newest)"),)


_STEPS = Argument("steps", ("--steps",), "int", "number of steps (the parameter n_steps)", metavar="N", low=1)


def _set(example: str) -> Argument:
    return Argument("set", ("--set",), "assignment", f"change one parameter, such as {example} (repeatable)",
                    metavar="PARAMETER=VALUE", repeat=True)


def _input(otherwise: str = "") -> Argument:
    return Argument("input", ("--input",), "input", "text to learn: a file, a folder, or a name that `inputs list` "
                    "shows (repeatable)" + otherwise, metavar="TEXT", repeat=True)


_CONFIG = (
    Argument("config", ("--config",), "path", "start from this config file (current.json or a saved one)", metavar="F"),
    Argument("preset", ("--preset",), "preset", "start from a preset: newborn, 3m, 6m, 12m, 24m, 48m", metavar="NAME"),
    _set("n_layers=2"),
    _input("; without it, inputs/*.txt of the workspace, else the nursery text that ships"),
    _STEPS,
)

_RUNNING = (
    Argument("time", ("--time",), "duration", "end after this long, if it is not finished before: 60s, 5m, 1h",
             metavar="TIME"),
    Argument("name", ("--name",), "text", "what to call the model", metavar="NAME"),
    Argument("prompt", ("--prompt",), "text", "what its samples start with", metavar="PROMPT"),
    Argument("detach", ("--detach",), "flag", "start it and return at once"),
)
_TRAIN = (*_CONFIG, *_RUNNING)
_FINETUNE = (
    _model(),
    _input(),
    _set("r_learn=0.001"),
    _STEPS,
    *_RUNNING,
    Argument("freeze", ("--freeze",), "text", "do not train the tensors whose names fit this pattern, such as 'wte*' "
             "or 'block_0_*' (repeatable)", metavar="PATTERN", repeat=True),
    Argument("lora", ("--lora",), "int", "train low-rank adapters of this rank and nothing else", metavar="RANK",
             low=1),
    Argument("alpha", ("--alpha",), "float", "scale the adapters by alpha / rank (without it by 1)", metavar="A",
             low=0),
    Argument("target", ("--target",), "text", "the matrices that get an adapter, such as '*_q_weight'; without it, all "
             "of the attentions and networks (repeatable)", metavar="PATTERN", repeat=True),
)

_BAKEOFF = (
    Argument("attention", ("--attention",), "attention", "attentions to try, such as mha,gla (repeatable); without it "
             "all of them", metavar="NAMES", repeat=True),
    Argument("network", ("--network",), "network", "networks to try, such as mlp,swi (repeatable); without it all of "
             "them", metavar="NAMES", repeat=True),
    Argument("arch", ("--arch",), "text", "one pair, such as gla/swi, instead of or beside all attentions × networks "
             "(repeatable)", metavar="ATTENTION/NETWORK", repeat=True),
    Argument("sequence", ("--sequence",), "text", "where the layer norms stand", "pre",
             choices=("pre", "post", "both")),
    *_CONFIG[:-1],
    Argument("steps", ("--steps",), "int", "steps of each; without any budget n_steps, else n_epochs passes over the "
             "text", metavar="N", low=1),
    Argument("tokens", ("--tokens",), "int", "tokens each learns from, rounded up to whole steps", metavar="N", low=1),
    Argument("time", ("--time",), "duration", "training time of each: 60s, 5m, 1h", metavar="TIME"),
    Argument("name", ("--name",), "text", "what to call the bake-off; its models' names begin with it", metavar="NAME"),
    Argument("jobs", ("--jobs",), "int", "models trained at once, each with its share of the cores", 1, metavar="N",
             low=1, high=64),
    Argument("detach", ("--detach",), "flag", "start it and return at once"),
)
_TABLE = (
    Argument("sort", ("--sort",), "column", "the column that decides the order, best first: architecture, val, ppl, "
             "train, tok/s, gen/s, params, B/tok, state, or a key of --json", "validation_loss", metavar="COLUMN"),
    Argument("csv", ("--csv",), "path", "write the table to this file as comma-separated values; - prints them",
             metavar="F"),
)


def _bakeoff(nargs: str | None = "?") -> Argument:
    return Argument("bakeoff", kind="bakeoff", metavar="ID", nargs=nargs, default="last" if nargs else None,
                    help="bake-off: a GUID, the start of one, a name" + (", or last (the newest)" if nargs else ""))


_INFERENCE = (
    _model(nargs="?", default="last"),
    Argument("prompt", ("--prompt",), "text", "the text to continue; - reads it from standard input (one final line "
             "break is dropped)", metavar="PROMPT"),
    Argument("tokens", ("--tokens",), "int", "how many tokens to write at most", 500, metavar="N", low=1),
    Argument("temperature", ("--temperature",), "float", "below 1 is more predictable, 0 always takes the likeliest",
             0.8, metavar="T", low=0, high=100),
    Argument("top_k", ("--top-k",), "int", "choose among the K likeliest; 0 = all", 0, metavar="K", low=0),
    Argument("top_p", ("--top-p",), "float", "choose among the likeliest that together have this share", 1.0,
             metavar="P", low=0, high=1),
    Argument("min_p", ("--min-p",), "float", "drop what is less likely than this share of the likeliest", 0.0,
             metavar="P", low=0, high=1),
    Argument("repetition", ("--repetition",), "float", "above 1 makes tokens that were already there less likely", 1.0,
             metavar="R", low=0.1, high=10),
    Argument("seed", ("--seed",), "int", "the same seed writes the same text", metavar="N", low=0, high=2**63 - 1),
    Argument("no_cache", ("--no-cache",), "flag", "compute everything again for every token (slower, the same text)"),
    Argument("skip_unknown", ("--skip-unknown",), "flag", "drop symbols of the prompt that the model does not know"),
    Argument("no_save", ("--no-save",), "flag", "do not keep the text in outputs/"),
)

_BENCH = (
    Argument("work", ("--work",), "text", "what to measure: train, decode, prefill, load, save; without it everything",
             metavar="WORK", nargs="+", repeat=True),
    Argument("size", ("--size",), "text", "sizes of models: small, heads, large, newborn; without it all of them (with "
             "--variants, small)", metavar="NAME", nargs="+", repeat=True),
    Argument("variants", ("--variants",), "text", "attentions (each with mlp), networks (each with mha), pairs such as "
             "gla/swi, or all", metavar="NAME", nargs="+", repeat=True),
    Argument("repeats", ("--repeats",), "int", "processes that measure each figure, of which the median counts", 3,
             metavar="N", low=1, high=99),
    Argument("peer", ("--peer",), "path", "a Python that has torch: the same GPT, written plainly in PyTorch, takes "
             "turns with ours", metavar="PYTHON"),
    Argument("peer_script", ("--peer-script",), "path", "another program for that Python to run, called as ours is: F "
             "train|decode --n_ctx N --n_emb N --n_heads N --n_layers N --batch_size N --threads N --steps N; its last "
             "line is JSON with peer and tokens_per_s", metavar="F"),
    _set("n_ctx=128"),
)

_FINETUNING = (
    "The model stays as it is; the new one is called GUID_finetuned, or has a GUID of its own when that exists or GUID "
    "is a fine-tuned model itself. New symbols of the text are appended to its vocabulary. Parameters start from those "
    "of the model, and those that make its shape stay; unless --set says otherwise, r_learn is a third of the model's "
    "(three times it with --lora), n_steps makes 3 passes over the text (30 to 1000 steps), and s_warmup is auto. "
    "Standard output gets the GUID, everything else goes to standard error.")
_CLI = "babytui.cli."
ACTIONS: tuple[Action, ...] = (
    Action("train", "train a model and watch it learn", _CLI + "train:run", _TRAIN, key="f9,ctrl+t",
           details="The run is a process of its own: ctrl+c asks what to do with it, and a lost connection does not "
                   "stop it. Standard output gets the GUID, everything else goes to standard error."),
    Action("finetune", "let a model learn another text", _CLI + "finetune:run", _FINETUNE, key="f",
           details=_FINETUNING),
    Action("inference", "let a model write", _CLI + "inference:run", _INFERENCE,
           details="Standard output gets the text (prompt included) as it is written, and nothing else."),
    Action("info", "show what is known about a model", _CLI + "info:run", _LAST_MODEL, key="i"),
    Action("list", "list the models of the workspace", _CLI + "listing:run"),
    Action("delete", "move models to the trash", _CLI + "delete:run",
           (_model("models to delete", nargs="+"), Argument("yes", ("-y", "--yes"), "flag", "do not ask")), key="d"),
    Action("estimate", "what a model costs: size, memory, time", _CLI + "estimate:run", _CONFIG),
    Action("inputs list", "list the texts there are", _CLI + "inputs:list_texts"),
    Action("inputs add", "copy texts into the workspace", _CLI + "inputs:add",
           (Argument("source", kind="path", metavar="PATH|-|URL",
                     help="a file, a folder, a .gz, standard input or a URL"),
            Argument("name", ("--name",), "text", "what to call the text", metavar="NAME"))),
    Action("inputs fetch", "download a well-known text", _CLI + "inputs:fetch",
           (Argument("name", kind="known_text", metavar="NAME", help="its name in `babytui inputs list`"),)),
    Action("runs", "list training runs and how they stand", _CLI + "runs:list_runs"),
    Action("attach", "watch a run", _CLI + "runs:attach", _RUN, key="w"),
    Action("pause", "let a run wait", _CLI + "runs:pause", _RUN, key="p"),
    Action("resume", "let a paused run go on, or continue a stopped one", _CLI + "runs:resume", _RUN, key="r"),
    Action("stop", "end a run and keep its model", _CLI + "runs:stop", _RUN, key="s"),
    Action("checkpoint", "let a run save its state now", _CLI + "runs:checkpoint", _RUN, key="c"),
    Action("bakeoff", "train many architectures alike and compare them", _CLI + "bakeoff:start", (*_BAKEOFF, *_TABLE),
           key="f10,ctrl+b",
           details="Trains every chosen attention with every chosen network (all there are, unless you choose) for the "
                   "same budget on the same text and seed, then measures how fast each writes. It is a process of "
                   "its own, like its runs: ctrl+c asks what to do with it, and a lost connection does not stop it. "
                   "Standard output gets the table (with --json a list of objects), everything else goes to standard "
                   "error."),
    Action("bakeoff list", "list the bake-offs and how they stand", _CLI + "bakeoff:list_bakeoffs"),
    Action("bakeoff show", "print a bake-off's table as it is now", _CLI + "bakeoff:show", (_bakeoff(), *_TABLE)),
    Action("bakeoff attach", "watch a bake-off", _CLI + "bakeoff:attach", (_bakeoff(), *_TABLE)),
    Action("bakeoff resume", "let a bake-off go on with what is missing", _CLI + "bakeoff:resume",
           (_bakeoff(), Argument("retry", ("--retry",), "flag", "also with what failed"),
            Argument("detach", ("--detach",), "flag", "start it and return at once"), *_TABLE)),
    Action("bakeoff stop", "end a bake-off after stopping what is being trained", _CLI + "bakeoff:stop", (_bakeoff(),)),
    Action("bakeoff delete", "move a bake-off and all its models to the trash", _CLI + "bakeoff:delete",
           (_bakeoff(None), Argument("yes", ("-y", "--yes"), "flag", "do not ask"))),
    Action("bench", "measure how fast this machine trains, writes, loads and saves", _CLI + "bench:run", _BENCH,
           where=(CLI, SHELL),
           details="Medians over fresh processes; ratios above 1 mean that ours is faster than the peer. memory is the "
                   "peak resident memory of the training processes, and its share of the peer's. products is the "
                   "processor time of a training step in one process, and how many times that is what its matrix "
                   "products alone take. Standard output gets the table (with --json a list of objects), everything "
                   "else goes to standard error."),
    Action("doctor", "check this machine and the workspace", _CLI + "doctor:run"),
)


def find(name: str) -> Action:
    """The action called `name`; KeyError when there is none."""
    for action in ACTIONS:
        if action.name == name:
            return action
    raise KeyError(name)


def offered(face: str) -> Iterator[Action]:
    """The actions that a face ("cli", "shell", "app") offers, in order."""
    return (action for action in ACTIONS if face in action.where)


def command_line(name: str, values: Mapping[str, Any] | None = None, *, workspace: str | None = None) -> str:
    """The shell command that does the same: `command_line("train", {"preset": "6m", "set": ["n_layers=2"]})`.

    Values equal to the default are left out; `set` also takes a mapping of parameters.
    """
    action, values = find(name), dict(values or {})
    words = ["babytui", *name.split()]
    positional: list[str] = []
    for argument in action.arguments:
        value = values.pop(argument.name, None)
        if value is None or value is False or value == argument.default:
            continue
        if isinstance(value, Mapping):
            value = [f"{key}={_word(item)}" for key, item in value.items()]
        several = [str(item) for item in value] if isinstance(value, (list, tuple)) else [_word(value)]
        if not argument.flags:
            positional += several
        elif argument.kind == "flag":
            words.append(argument.flags[-1])
        else:
            for item in several:  # a value that starts with a dash must be glued on, or it reads as an option
                glue = item.startswith("-") and item != "-"
                words += [f"{argument.flags[-1]}={item}"] if glue else [argument.flags[-1], item]
    if values:
        raise KeyError(f"{name} has no argument {', '.join(values)}")
    if workspace is not None:
        words += ["--workspace", workspace]
    return shlex.join([*words, *positional])


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
