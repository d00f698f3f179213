"""Talking: what a model writes."""

from __future__ import annotations

from babytui.actions.arguments import SAMPLING, STEP, YES, model
from babytui.actions.kinds import APP, CLI, SHELL, Action, Argument

PROMPT = Argument("prompt", ("--prompt",), "text", "the text to continue; - reads it from standard input (one final "
                  "line break is dropped)", metavar="PROMPT")
SKIP_UNKNOWN = Argument("skip_unknown", ("--skip-unknown",), "flag", "drop symbols of the prompt that the model does "
                        "not know")
INFERENCE = (
    model(nargs="?", default="last"),
    PROMPT,
    Argument("tokens", ("--tokens",), "int", "how many tokens to write at most", 500, metavar="N", low=1,
             setting="sampler.tokens"),
    *SAMPLING,
    Argument("no_cache", ("--no-cache",), "flag", "compute everything again for every token (slower, the same text)"),
    SKIP_UNKNOWN,
    STEP,
    Argument("replay", ("--replay",), "path", "write the text of a completion file or a receipt again, byte for byte "
             "(- reads it from standard input)", metavar="FILE"),
    Argument("no_save", ("--no-save",), "flag", "do not keep the text in outputs/"),
    Argument("raw", ("--raw",), "flag", "write the exact text to a terminal too; without it, control characters are "
             "shown as marks there (a pipe always gets the exact text)"),
)

CANDIDATES = (
    model(nargs="?", default="last"),
    PROMPT,
    Argument("count", ("--count",), "int", "how many tokens to show", 10, metavar="N", low=1, high=10_000),
    *SAMPLING,
    SKIP_UNKNOWN,
    STEP,
)
SCRUB = (
    model(nargs="?", default="last"),
    PROMPT,
    Argument("tokens", ("--tokens",), "int", "how many tokens to write at each checkpoint", 120, metavar="N", low=1),
    *SAMPLING,
)

KEPT = (
    "The playground keeps a conversation with each model, all its branches and receipts, in outputs/ of the workspace, "
    "and shows it again when the model is chosen again. It is deleted, restored, exported and imported with its model; "
    "the oldest replies go when there are more than 400,000 tokens or 4,000 replies.")

ACTIONS: tuple[Action, ...] = (
    Action("inference", "let a model write", "babytui.cli.inference:run", INFERENCE,
           app="playground.show('chat')",
           details="Standard output gets the text (prompt included) as it is written, and nothing else."),
    Action("regenerate", "let the model reply again with another seed", "babytui.shell.commands:regenerate",
           key="f7,ctrl+y", app="chat.regenerate", hint="again", where=(SHELL, APP), same="inference --seed 2"),
    Action("continue", "let the last reply go on", "babytui.shell.commands:go_on", key="f8,ctrl+n", app="chat.go_on",
           hint="go on", where=(SHELL, APP)),
    Action("stop reply", "stop the reply", key="escape", app="chat.stop", hint="stop", where=(APP,)),
    Action("candidates", "what may come next, before and after each filter of the sampler",
           "babytui.cli.candidates:run", CANDIDATES, key="c", app="chat.candidates",
           details="The likeliest tokens in per cent, by the model alone and after each filter that acts, in the order "
                   "in which they act: repetition, temperature, top-k, top-p, min-p. The last column is what is drawn "
                   "from."),
    Action("take candidate", "write on from this token instead", key="enter,f", app="candidates.choose", where=(APP,),
           same="candidates"),
    Action("scrub", "the same prompt and seed at every checkpoint of a run", "babytui.cli.scrub:run", SCRUB, key="t",
           app="chat.scrub", also={"training": ("t", "scrub")},
           details="A mark stands before the first token that differs from the checkpoint before. A run keeps its last "
                   "3 checkpoints and the best; --set n_checkpoints=20 --set s_checkpoint_steps=100 keeps the last 20, "
                   "100 steps apart, also when it is finished."),
    Action("checkpoint before", "the checkpoint before this one", key="left,h", app="scrubber.go(-1)", hint="earlier",
           where=(APP,), same="scrub"),
    Action("checkpoint after", "the checkpoint after this one", key="right,l", app="scrubber.go(1)", hint="later",
           where=(APP,), same="scrub"),
    Action("first checkpoint", "the first checkpoint that is kept", key="home,g", app="scrubber.go(-100000)",
           where=(APP,)),
    Action("last checkpoint", "the last one, or the model", key="end,G", app="scrubber.go(100000)", where=(APP,)),
    Action("scrub seed", "all of them with the next seed", key="s", app="scrubber.seed(1)", hint="seed", where=(APP,),
           same="scrub --seed 2"),
    Action("scrub seed back", "all of them with the seed before", key="S", app="scrubber.seed(-1)", where=(APP,),
           same="scrub --seed 1"),
    Action("previous token", "go to the token before, in the last reply", key="left,h", app="chat.token(-1)",
           where=(APP,)),
    Action("next token", "go to the token after", key="right,l", app="chat.token(1)", where=(APP,)),
    Action("previous reply", "go to the reply before", key="shift+left,H", app="chat.exchange(-1)", where=(APP,)),
    Action("next reply", "go to the reply after", key="shift+right,L", app="chat.exchange(1)", where=(APP,)),
    Action("fork", "write on from the chosen token, with another seed; the old reply stays as a branch", key="f",
           app="chat.fork", where=(APP,), same="inference --seed 2"),
    Action("edit prompt", "change the prompt and send it again; the old one stays as a branch", key="e",
           app="chat.edit", where=(APP,), same="inference --prompt TEXT"),
    Action("branches", "every way that the conversation went", key="b", app="chat.branches", where=(APP,)),
    Action("previous branch", "the branch before, at the chosen reply", key="left_square_bracket",
           app="chat.branch(-1)", where=(APP,)),
    Action("next branch", "the branch after", key="right_square_bracket", app="chat.branch(1)", where=(APP,)),
    Action("save conversation", "write the conversation, or a reply with its receipt, to a file", key="s",
           app="chat.save", where=(APP,), same="inference --json"),
    Action("receipt", "keep the reply with its receipt, and copy the command that writes it again", key="y",
           app="chat.receipt", where=(APP,), same="inference --replay FILE"),
    Action("search history", "find what was sent before", key="slash,ctrl+up", app="chat.search", where=(APP,)),
    Action("new conversation", "begin anew; what was said is dropped", key="n", app="chat.clear", where=(APP,),
           same="conversation --forget"),
    Action("conversation", "print what was said to a model in the playground's chat", "babytui.cli.conversation:run",
           (model(nargs="?", default="last"),
            Argument("form", ("--form",), choices=("text", "markdown"), default="text", metavar="FORM",
                     help="text or markdown; --json has receipts, too"),
            Argument("forget", ("--forget",), "flag", "delete it for good"), YES), where=(CLI, SHELL), details=KEPT),
)
