"""Where one is in the app, and what the app itself can do."""

from __future__ import annotations

from babytui.actions.kinds import APP, SHELL, Action, Argument

ACTIONS: tuple[Action, ...] = (
    Action("show config", "go to the form of parameters", key="f2,ctrl+g,1", app="playground.show('config')",
           where=(APP,), same="estimate"),
    Action("show training", "go to the run", key="f3,ctrl+r,2", app="playground.show('training')", where=(APP,),
           same="attach"),
    Action("show models", "go to the models", key="f4,ctrl+l,3", app="playground.show('models')", where=(APP,),
           same="list"),
    Action("show chat", "go to the conversation", key="f5,ctrl+o,4", app="playground.show('chat')", where=(APP,),
           same="inference"),
    Action("maximise", "the present pane alone, or all of them again", key="f6,ctrl+f,z", app="playground.maximise",
           hint="zoom", where=(APP,)),
    Action("commands", "find any command by a part of its name", key="ctrl+p", app="app.command_palette",
           hint="commands", where=(APP,), same="--help"),
    Action("command line", "type a command, with completion", key="colon", app="app.command_line", where=(APP,),
           same="--help"),
    Action("copy", "stop the reply, or copy what is selected", key="ctrl+c", app="app.cancel_or_copy", hint="copy",
           where=(APP,)),
    Action("copy command", "copy what was done last as a command line", key="Y", app="playground.copy_command",
           where=(APP,)),
    Action("help", "what there is to know and to press here", "babytui.shell.commands:help",
           (Argument("command", kind="command", nargs="*", metavar="COMMAND", help="what one command takes"),),
           key="f1,question_mark", app="app.keys", hint="help", where=(SHELL, APP), same="--help"),
    Action("tour", "four steps through the panes", app="app.tour", where=(APP,), same="--help"),
    Action("suspend", "back to the shell; fg comes back", key="ctrl+z", app="app.suspend_process", hint="suspend",
           where=(APP,)),
    Action("quit", "leave; runs go on", "babytui.shell.commands:quit", key="ctrl+q", app="app.quit", hint="quit",
           where=(SHELL, APP),
           also={"playground": ("q", "app.quit")}),
)
