"""babytui inputs list, add, fetch"""

from __future__ import annotations

from typing import Any

from babytui import texts, workspace_choice
from babytui.cli.output import Output, size, table
