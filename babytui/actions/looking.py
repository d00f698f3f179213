"""Looking inside: what a model attends to and expects, what surprises it, what its tensors hold."""

from __future__ import annotations

from babytui.actions.arguments import STEP, model
from babytui.actions.kinds import APP, Action, Argument

WHAT = ("lens", "attention", "contribution", "gates", "norms", "loss")

LOOK = (
    model(nargs="?", default="last"),
    Argument("prompt", ("--prompt",), "text", "the text that it reads; - reads it from standard input (one final line "
             "break is dropped)", metavar="PROMPT"),
    Argument("text", ("--text",), "input", "read a text instead: a file, or a name that `inputs list` shows",
             metavar="TEXT"),
    Argument("what", ("--what",), "text", "lens: what each layer would say next; attention: what each head takes in "
             "from where; contribution: what each position adds to the output; gates: heads, experts, gates and "
             "activations; norms: how large the residual stream is; loss: what surprises it (without --what: lens for "
             "a prompt, loss for a text)", choices=WHAT, metavar="WHAT"),
    Argument("layer", ("--layer",), "int", "one layer only, from 0", metavar="N", low=0),
    Argument("head", ("--head",), "int", "one head (or expert, group, channel) only, from 0", metavar="N", low=0),
    Argument("tokens", ("--tokens",), "int", "of a text at most so many tokens; 0 = all", 5000, metavar="N", low=0),
    Argument("stride", ("--stride",), "int", "for the loss of a text that is longer than the context: how far apart "
             "its windows begin (without it half of the context; the whole context is how training evaluates)",
             metavar="N", low=1),
    STEP,
    Argument("skip_unknown", ("--skip-unknown",), "flag", "drop symbols that the model does not know"),
)
TENSORS = (
    model(nargs="?", default="last"),
    Argument("tensor", metavar="NAME", nargs="?", help="one tensor by its name, as a picture; or a pattern such as "
             "'block_0_*', for a list"),
    STEP,
)

ACTIONS: tuple[Action, ...] = (
    Action("look", "look inside a model while it reads", "babytui.cli.look:run", LOOK, key="f12",
           app="app.microscope", hint="microscope",
           also={"models": ("v", "microscope"), "training": ("v", "microscope"), "chat": ("v", "microscope")},
           details="Shades and bars go from blank to full; what full is stands below. --json has every number."),
    Action("tensors", "show the tensors of a model in numbers, or one as a picture", "babytui.cli.tensors:run",
           TENSORS),
    *(Action(f"view {name}", about, key=str(number), app=f"microscope.view('{name}')", where=(APP,), same=same)
      for number, (name, about, same) in enumerate((
          ("attention", "what each head takes in from where", "look --what attention"),
          ("gates", "heads, experts, gates and activations", "look --what gates"),
          ("lens", "what each layer would say next", "look --what lens"),
          ("loss", "which tokens surprise it", "look --what loss"),
          ("tensors", "its tensors in numbers", "tensors"),
          ("norms", "gradient and update norms while it was trained", "attach"),
          ("stream", "how large the residual stream is", "look --what norms")), 1)),
    Action("next layer", "the layer after", key="right_square_bracket", app="microscope.layer(1)", where=(APP,),
           hint="layer", same="look --layer 1"),
    Action("previous layer", "the layer before", key="left_square_bracket", app="microscope.layer(-1)", where=(APP,),
           same="look --layer 0"),
    Action("next head", "the head (expert, group, channel) after", key="right_curly_bracket", app="microscope.head(1)",
           where=(APP,), hint="head", same="look --head 1"),
    Action("previous head", "the head before", key="left_curly_bracket", app="microscope.head(-1)", where=(APP,),
           same="look --head 0"),
    Action("all heads", "all heads beside each other, or one alone", key="o", app="microscope.heads", where=(APP,),
           hint="all heads", same="look --what attention"),
    Action("other observation", "the next thing that this layer has to show", key="w", app="microscope.other(1)",
           where=(APP,), hint="what", same="look --what gates"),
    Action("observation before", "the thing before that this layer has to show", key="W", app="microscope.other(-1)",
           where=(APP,), same="look --what gates"),
    Action("most surprising", "the next token in the order of surprise", key="n", app="microscope.surprising(1)",
           where=(APP,), hint="surprise", same="look --what loss"),
    Action("less surprising", "the one before in the order of surprise", key="p", app="microscope.surprising(-1)",
           where=(APP,), hint="back", same="look --what loss"),
    Action("read text", "let it read another text", key="e", app="microscope.edit", where=(APP,), hint="text",
           same="look --prompt TEXT"),
    Action("look again", "look at the newest weights", key="r", app="microscope.again", where=(APP,), hint="again",
           same="look"),
)
