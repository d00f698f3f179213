"""babytui serve"""

from __future__ import annotations

from typing import Any

from babytui import serving, workspace_choice
from babytui.cli.output import Output


def run(arguments: Any) -> int:
    """Serve the playground to browsers until it is interrupted."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)

    def ready(url: str, exposed: bool) -> None:
        if exposed:
            out.warn(f"Warning: whoever knows this address and can reach {arguments.host} can read, train and delete "
                     f"everything in {workspace.root}, and nothing on the way is encrypted. An SSH tunnel to a server "
                     "on 127.0.0.1 is safer.")
        print(url, flush=True)
        out.say("Open it in a browser; ctrl+c ends it, training runs go on.")

    serving.serve(workspace.ensure().root, arguments.host, arguments.port, arguments.secret, ready)
    return 0
