"""A command that arrives in the app's terminal in one piece, as a slow link delivers it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from store.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from pty_app import PtyApp

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
F3 = b"\x1bOR"


def test_a_command_in_one_piece(tmp_path):
    """The letters after the colon are the command's and not keys of the pane."""
    workspace = Workspace(tmp_path / "w").ensure()
    (workspace.inputs / "zebras.txt").write_text("A zebra is not a horse.\n" * 40)
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "BABYTUI_TOUR": "false"}
    with PtyApp([sys.executable, "-P", "-m", "babytui", "--workspace", str(workspace.root)], 100, 30,
                environment) as app:
        app.wait_for(b"tokens known", 60)
        app.type(F3 + b":inputs list\r")
        app.wait_for(b"zebras", 60, len(app.output))
        app.type(b"\x1b")
        app.read(0.5)  # with the next key at once it would be alt and that key
        app.type(b":quit\r")
        assert app.wait(60) == 0
