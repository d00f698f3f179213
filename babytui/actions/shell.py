"""The shell, and what only it does."""

from __future__ import annotations

from babytui.actions.arguments import model
from babytui.actions.kinds import CLI, SHELL, Action, Argument

COMPLETION = (
    "It completes commands, options, parameters and their values, models, runs, texts and files, with what the "
    "workspace holds at that moment. Where it goes: bash: ~/.local/share/bash-completion/completions/babytui, or "
    "eval \"$(babytui completion bash)\" in ~/.bashrc. zsh: a file _babytui in a folder of $fpath, or, after compinit, "
    "eval \"$(babytui completion zsh)\" in ~/.zshrc. fish: ~/.config/fish/completions/babytui.fish.")

ACTIONS: tuple[Action, ...] = (
    Action("repl", "a shell for dumb terminals and thin links", "babytui.shell.main:run",
           (Argument("plain", ("--plain",), "flag", "read lines and print lines, without editing and colours; so it is "
                     "without a terminal, too"),), where=(CLI,),
           details="A line that begins with / is a command (/help lists them); any other is continued by the model. "
                   "Exit code, without a terminal: that of the first line that failed."),
    Action("completion", "print the script that completes babytui's words in a shell", "babytui.cli.completion:run",
           (Argument("for_shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish"),),
           where=(CLI,), details=COMPLETION),
    Action("model", "choose the model that goes on with what is typed", "babytui.shell.commands:choose",
           (model(nargs="?"),), where=(SHELL,)),
    Action("set", "show or change how replies are written", "babytui.shell.commands:change",
           (Argument("name", kind="sampler", nargs="?", metavar="NAME", help="temperature, top_k, … ; none: all"),
            Argument("value", kind="sampler_value", nargs="?", metavar="VALUE", help="default undoes a change")),
           where=(SHELL,)),
    Action("follow", "tell above the prompt what runs do", "babytui.shell.commands:follow",
           (Argument("how", nargs="?", choices=("ends", "all", "off"), metavar="HOW",
                     help="ends (and alarms), all (samples and evaluations too) or off"),), where=(SHELL,)),
    Action("history", "what was typed before", "babytui.shell.commands:history",
           (Argument("word", nargs="?", metavar="WORD", help="only what holds this"),
            Argument("forget", ("--forget",), "flag", "delete it all")), where=(SHELL,)),
)
