"""What the panes need from the rest of the house, as functions for threads. Imports what is heavy only when called."""

from __future__ import annotations

from babytui.tui.backend.bakeoffs import (
    bakeoff_command,
    bakeoffs,
    draft_bakeoff,
    export_bakeoff,
    halt_bakeoff,
    open_bakeoff,
)
from babytui.tui.backend.conversations import kept
from babytui.tui.backend.costs import Cost, cost, suggested_rate
from babytui.tui.backend.models import (
    SHIPPED,
    Row,
    SavedReply,
    annotate,
    delete,
    entry,
    export,
    halt,
    load,
    newest,
    present,
    rename,
    rows,
    saved_replies,
    shipped_rows,
    tensors,
    trashed,
    undelete,
)
from babytui.tui.backend.texts import ALL_TEXTS, current, last_run, save_config, saved_configs, texts
from babytui.tui.backend.training import (
    command,
    curves_of,
    find_run,
    finer_points,
    finetune,
    learners,
    prepare_finetuning,
    start,
)
from engine.errors import BabyError

__all__ = ["ALL_TEXTS", "SHIPPED", "BabyError", "Cost", "Row", "SavedReply", "annotate", "bakeoff_command",
           "bakeoffs", "command", "cost", "current", "curves_of", "delete", "draft_bakeoff", "entry", "export",
           "export_bakeoff", "find_run", "finer_points", "finetune", "halt", "halt_bakeoff", "kept", "last_run",
           "learners", "load", "newest", "open_bakeoff", "prepare_finetuning", "present", "rename", "rows",
           "save_config", "saved_configs", "saved_replies", "shipped_rows", "start", "suggested_rate", "tensors",
           "texts", "trashed", "undelete"]
