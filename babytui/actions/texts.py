"""The texts to learn from."""

from __future__ import annotations

from babytui.actions.kinds import Action, Argument

ACTIONS: tuple[Action, ...] = (
    Action("inputs list", "list the texts there are", "babytui.cli.inputs:list_texts"),
    Action("inputs add", "copy texts into the workspace", "babytui.cli.inputs:add",
           (Argument("source", kind="path", metavar="PATH|-|URL",
                     help="a file, a folder, a .gz, standard input or a URL"),
            Argument("name", ("--name",), "text", "what to call the text", metavar="NAME"))),
    Action("inputs fetch", "download a well-known text", "babytui.cli.inputs:fetch",
           (Argument("name", kind="known_text", metavar="NAME", help="its name in `babytui inputs list`"),)),
)
