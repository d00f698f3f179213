"""Training: begin, watch, steer."""

from __future__ import annotations

from babytui.actions.arguments import CONFIG, RUN, RUNNING, STEPS, assignments, model, texts
from babytui.actions.kinds import APP, Action, Argument

TRAIN = (*CONFIG, *RUNNING)
FINETUNE = (
    model(),
    texts(),
    assignments("r_learn=0.001"),
    STEPS,
    *RUNNING,
    Argument("freeze", ("--freeze",), "text", "do not train the tensors whose names fit this pattern, such as 'wte*' "
             "or 'block_0_*' (repeatable)", metavar="PATTERN", repeat=True),
    Argument("lora", ("--lora",), "int", "train low-rank adapters of this rank and nothing else", metavar="RANK",
             low=1),
    Argument("alpha", ("--alpha",), "float", "scale the adapters by alpha / rank (without it by 1)", metavar="A",
             low=0),
    Argument("target", ("--target",), "text", "the matrices that get an adapter, such as '*_q_weight'; without it, all "
             "of the attentions and networks (repeatable)", metavar="PATTERN", repeat=True),
)

CURVE = (
    model("models and runs, up to 8 of them: GUIDs, starts of GUIDs, names, last, baby", nargs="+"),
    Argument("by", ("--by",), "text", "what the horizontal axis counts", "step", choices=("step", "tokens", "time")),
    Argument("log_x", ("--log-x",), "flag", "a logarithmic horizontal axis"),
    Argument("log_y", ("--log-y",), "flag", "a logarithmic loss"),
    Argument("smooth", ("--smooth",), "float", "smooth training: 0 not at all, 0.6 somewhat, 0.98 very much", 0.0,
             metavar="S", low=0, high=0.999),
    Argument("first", ("--from",), "text", "where the part to draw begins: steps, tokens, or a time such as 5m",
             metavar="A"),
    Argument("last", ("--to",), "text", "where it ends", metavar="B"),
    Argument("show", ("--show",), "text", "which losses", "both", choices=("both", "train", "validation")),
    Argument("width", ("--width",), "int", "columns; without it those of the terminal, or 80", metavar="N", low=20,
             high=1000),
    Argument("height", ("--height",), "int", "rows; below 6 a line for each", metavar="N", low=1, high=1000),
)

FINETUNING = (
    "The model stays as it is; the new one is called GUID_finetuned, or has a GUID of its own when that exists or GUID "
    "is a fine-tuned model itself. New symbols of the text are appended to its vocabulary. Parameters start from those "
    "of the model, and those that make its shape stay; unless --set says otherwise, r_learn is a third of the model's "
    "(three times it with --lora), n_steps makes 3 passes over the text (30 to 1000 steps), and s_warmup is auto. "
    "Standard output gets the GUID, everything else goes to standard error.")

ACTIONS: tuple[Action, ...] = (
    Action("train", "train a model and watch it learn", "babytui.cli.train:run", TRAIN, key="f9,ctrl+t",
           app="playground.train", hint="train",
           details="The run is a process of its own: ctrl+c asks what to do with it, and a lost connection does not "
                   "stop it. Standard output gets the GUID, everything else goes to standard error. "
                   "`mpirun -n N babytui train …` trains over N processes, on several machines if need be, to the "
                   "same bytes (docs/ranks.md); finetune and resume too."),
    Action("finetune", "let a model learn another text", "babytui.cli.finetune:run", FINETUNE, key="f",
           app="models.finetune", hint="fine-tune", also={"info": ("f", "finetune")},
           details=FINETUNING),
    Action("estimate", "what a model costs: size, memory, time", "babytui.cli.estimate:run", CONFIG,
           app="playground.show('config')"),
    Action("runs", "list training runs and how they stand", "babytui.cli.runs:list_runs"),
    Action("attach", "watch a run", "babytui.cli.runs:attach", RUN, key="w", app="models.watch", hint="watch",
           also={"bakeoff": ("w", "watch"), "info": ("w", "watch")}),
    Action("pause", "let a run wait", "babytui.cli.runs:pause", RUN, key="p", app="training.command('pause')",
           hint="pause"),
    Action("resume", "let a paused run go on, or continue a stopped one", "babytui.cli.runs:resume", RUN, key="r",
           app="training.command('resume')", hint="resume"),
    Action("stop", "end a run and keep its model", "babytui.cli.runs:stop", RUN, key="s",
           app="training.command('stop')", hint="stop"),
    Action("checkpoint", "let a run save its state now", "babytui.cli.runs:checkpoint", RUN, key="c",
           app="training.command('checkpoint')", hint="save"),
    Action("rate", "change the learning rate of a run", "babytui.cli.runs:rate",
           (Argument("guid", kind="run", metavar="GUID",
                     help="run: a GUID, the start of one, a name, or last (the newest)"),
            Argument("value", kind="float", metavar="RATE", help="the learning rate of the next step, from 0 to 10",
                     low=0, high=10)),
           key="e", app="training.rate", hint="rate",
           details="The schedule goes on from the new rate in proportion; the change is marked on the curve."),
    Action("curve", "draw the loss of models and runs", "babytui.cli.curve:run", CURVE,
           details="A run is read from its journal; a model whose run is gone, from its report. Every model has a "
                   "letter: capital for training, small for validation. Below the plot stand the marks of the first: "
                   "! alarm, \u2206 learning rate, \u2016 pause, \u25b8 went on, \u25c6 checkpoint."),
    Action("chart overlay", "draw other runs and models beside this one", key="o", app="training.overlay",
           hint="overlay", where=(APP,), same="curve last"),
    Action("overlay mark", "take the run or model in or out", key="space,x", app="overlay.flip", where=(APP,),
           same="curve last baby"),
    Action("overlay none", "take all others out", key="a", app="overlay.none", where=(APP,), same="curve last"),
    Action("overlay losses", "both losses, training alone, or validation alone", key="v", app="overlay.shown",
           where=(APP,), same="curve last --show train"),
    Action("chart norms", "gradient and update norms of every layer", key="n", app="training.norms", hint="norms",
           where=(APP,)),
    Action("chart axis", "the curve by step, tokens or time", key="x", app="training.chart('by')", hint="axis",
           where=(APP,), same="curve last --by time"),
    Action("chart log", "linear or logarithmic loss", key="y", app="training.chart('log_y')", hint="log", where=(APP,),
           same="curve last --log-y"),
    Action("chart log-axis", "linear or logarithmic steps, tokens or time", key="X", app="training.chart('log_x')",
           where=(APP,), same="curve last --log-x"),
    Action("chart smoothing", "smooth the training curve more or less", key="m", app="training.smooth", hint="smooth",
           where=(APP,), same="curve last --smooth 0.9"),
    Action("chart nearer", "zoom in, around the cursor or on the newest part", key="plus,equals_sign",
           app="training.chart('zoom', 1)", hint="zoom in", where=(APP,)),
    Action("chart farther", "zoom out", key="minus", app="training.chart('zoom', -1)", where=(APP,)),
    Action("chart whole", "the whole run, and no cursor", key="0", app="training.chart('whole')", hint="whole",
           where=(APP,)),
    Action("chart earlier", "move the view to an earlier part", key="shift+left,H", app="training.chart('pan', -1)",
           where=(APP,)),
    Action("chart later", "move the view to a later part", key="shift+right,L", app="training.chart('pan', 1)",
           where=(APP,)),
    Action("cursor back", "read the curve one point earlier", key="left,h", app="training.chart('cursor', -1)",
           where=(APP,)),
    Action("cursor on", "read the curve one point later", key="right,l", app="training.chart('cursor', 1)",
           where=(APP,)),
    Action("mark before", "the cursor to the mark before: checkpoint, pause, rate change or alarm",
           key="less_than_sign", app="training.chart('mark', -1)", where=(APP,)),
    Action("mark after", "the cursor to the mark after", key="greater_than_sign", app="training.chart('mark', 1)",
           where=(APP,)),
    Action("older run", "the run before this one", key="left_square_bracket", app="training.other(1)", hint="run",
           where=(APP,)),
    Action("newer run", "the run after this one", key="right_square_bracket", app="training.other(-1)", where=(APP,)),
    Action("save config", "save the form's values under a name", key="ctrl+s", app="config.save", hint="save",
           where=(APP,), same="train --preset newborn"),
    Action("load config", "take the values of a model, or saved ones, into the form", key="alt+o,f11",
           app="config.load", hint="load", where=(APP,), same="train --preset newborn"),
    Action("take old value", "take the last run's value of this parameter", key="f8", app="config.take_old",
           hint="last run's", where=(APP,)),
    Action("take rate", "take the suggested learning rate into the form", key="f7,ctrl+y", app="config.take_rate",
           hint="take rate", where=(APP,)),
)
