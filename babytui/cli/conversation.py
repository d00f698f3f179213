"""babytui conversation"""

from __future__ import annotations

from typing import Any

from babytui import workspace_choice
from babytui.cli import asking
from babytui.cli.output import Output
from engine.errors import NotFound


def run(arguments: Any) -> int:
    """The conversation that the app has kept with a model, as text, Markdown or JSON; or forget it."""
    import json

    from babytui import conversation, conversation_file, library
    from store import conversations

    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    home, guid = library.locate(arguments.guid, workspace, shipped_if_none=True)
    name = home.entry(guid).name or guid[:8]
    if arguments.forget:
        if not conversations.has(workspace, guid):
            raise NotFound(f"No conversation with {name} was kept.")
        if not (arguments.yes or asking.agreed(f"Delete the conversation with {name} for good?", out)):
            return 1
        conversations.forget(workspace, guid)
        if out.json:
            out.data({"guid": guid, "forgotten": True})
        else:
            out.say(f"The conversation with {name} is deleted.")
        return 0
    talk = conversation_file.load(workspace, guid)
    if talk is None or not talk.path:
        raise NotFound(f"No conversation with {name} was kept; the playground's chat keeps what is said there.")
    if out.json:
        out.data({"guid": guid, **json.loads(conversation.export(talk.path, "json"))})
        return 0
    out.write(conversation.export(talk.path, arguments.form))
    branches = len(talk.branches()) - len(talk.path)
    if branches:
        out.say(f"{branches} {'reply' if branches == 1 else 'replies'} on other branches; the playground shows them.")
    return 0
