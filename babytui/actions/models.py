"""Models: look, compare, delete, bring back."""

from __future__ import annotations

from babytui.actions.arguments import DELETING, LAST_MODEL, SAMPLING, STOP, YES, model
from babytui.actions.kinds import APP, Action, Argument

COMPARE = (
    model("models to compare, 2 to 8 of them: GUIDs, starts of GUIDs, names, last, baby", nargs="+"),
    Argument("prompt", ("--prompt",), "text", "let each of them continue this text, from the same seed",
             metavar="PROMPT"),
    Argument("tokens", ("--tokens",), "int", "how many tokens each writes at most", 200, metavar="N", low=1),
    *SAMPLING,
    Argument("all", ("--all",), "flag", "show every parameter, also those that do not differ"),
)
EXPORT = (
    *LAST_MODEL,
    Argument("to", ("--to",), "path", "the file to write, or the folder to write it into; without it, "
             "NAME-GUID.zip in the current folder", metavar="PATH"),
    Argument("only", ("--only",), "text", "all: reports, completions, the conversation and adapters too; model: what "
             "is needed to talk to it", "all", choices=("all", "model")),
    Argument("overwrite", ("--overwrite",), "flag", "replace a file that is there already"),
)

ACTIONS: tuple[Action, ...] = (
    Action("info", "show what is known about a model", "babytui.cli.info:run", LAST_MODEL, key="i", app="models.info",
           also={"bakeoff": ("i", "info")}),
    Action("list", "list the models of the workspace", "babytui.cli.listing:run", app="playground.show('models')"),
    Action("compare", "show what differs between models, and what each writes", "babytui.cli.compare:run", COMPARE,
           key="equals_sign", app="models.compare", hint="compare", also={"info": ("equals_sign", "compare")},
           details="Parameters that are the same are left out. With --prompt all write from the same prompt and seed, "
                   "one after the other, and the first token that differs is told."),
    Action("compare everything", "every parameter, or only those that differ", key="a", app="compare.everything",
           hint="all parameters", where=(APP,), same="compare GUID GUID --all"),
    Action("compare again", "let them write again with another seed", key="r", app="compare.again",
           hint="another seed", where=(APP,), same="compare GUID GUID --prompt TEXT --seed 2"),
    Action("compare write", "let them write from the prompt", key="w", app="compare.write", hint="write", where=(APP,),
           same="compare GUID GUID --prompt TEXT"),
    Action("rename", "give a model or run another name", "babytui.cli.naming:rename", key="n", app="models.rename",
           hint="rename", also={"info": ("n", "rename")},
           arguments=(model(), Argument("name", metavar="NAME", help="its new name; an empty one takes the name "
                                        "away"))),
    Action("annotate", "keep a note with a model or run", "babytui.cli.naming:annotate", key="a",
           app="models.annotate", hint="note", also={"info": ("a", "annotate")},
           arguments=(model(), Argument("text", metavar="TEXT", help="the note, which `info` and `list --json` show; "
                                        "an empty one removes it"))),
    Action("export", "write all files of a model into one .zip", "babytui.cli.exporting:export", EXPORT, key="x",
           app="models.export", hint="export", also={"info": ("x", "export")},
           details="The same files give the same archive, byte for byte; manifest.json in it tells the size and "
                   "SHA-256 of each. Standard output gets its path. Checkpoints and the journal of its run stay here."),
    Action("import", "take models into the workspace, from an export or a folder", "babytui.cli.exporting:bring",
           (Argument("path", kind="path", metavar="PATH", help="an archive that `babytui export` wrote, a workspace of "
                     "babytui or The Little Baby, or a folder with a model's files"),),
           details="Everything is checked first, and then all of it appears or nothing. A model keeps its GUID if that "
                   "is free here, else it gets a fresh one. Standard output gets the GUIDs."),
    Action("delete", "move models to the trash", "babytui.cli.delete:run",
           (model("models to delete", nargs="+"), STOP, YES), key="d", app="models.delete", hint="delete",
           also={"info": ("d", "delete")},
           details=DELETING),
    Action("trash", "list what was deleted", "babytui.cli.trash:list_items"),
    Action("trash restore", "bring back what was deleted", "babytui.cli.trash:restore",
           (Argument("trashed", kind="trashed", metavar="GUID", nargs="+", help="what was deleted: a GUID, the start "
                     "of one, a name, or last (what was deleted last)"),), app="models.restore"),
    Action("trash empty", "delete for good what lies in the trash", "babytui.cli.trash:empty",
           (Argument("older_than", ("--older-than",), "duration", "only what was deleted longer ago than this: 7d, 12h",
                     metavar="TIME"), YES)),
    Action("talk", "talk to the model that is chosen", key="c", app="models.chat", hint="chat", where=(APP,),
           also={"bakeoff": ("c", "chat"), "info": ("c", "chat"), "training": ("a", "chat")}, same="inference GUID"),
    Action("undo", "bring back what was deleted last, or something from the trash", key="u", app="models.undelete",
           hint="undo", where=(APP,), same="trash restore last"),
    Action("mark", "mark the model, or take its mark away", key="space", app="models.mark", hint="mark", where=(APP,)),
    Action("filter", "show only the models that fit", key="slash", app="models.filter", hint="filter", where=(APP,)),
    Action("sort", "sort by the next column", key="o", app="models.sort", hint="sort", where=(APP,),
           also={"bakeoff": ("o", "sort")}),
    Action("sort by", "choose the column to sort by", key="s", app="models.sort_by", where=(APP,)),
    Action("turn", "reverse the order", key="O", app="models.reverse", hint="turn", where=(APP,),
           also={"bakeoff": ("O", "turn")}),
    Action("to form", "put the model's configuration into the form", key="e", app="models.to_form", hint="form",
           also={"info": ("e", "to_form")}, where=(APP,), same="train --config config.json"),
)
