"""docs/bakeoff.md from a bake-off: `python docs/bakeoff_page.py ID --workspace PATH` keeps its results in bakeoff.json
and writes the page; without an ID it writes the page anew from what is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from babytui import bakeoff, bakeoff_draft  # noqa: E402
from babytui import bakeoff_table as table  # noqa: E402
from babytui.bakeoff_progress import Progress  # noqa: E402
from engine.config import Config  # noqa: E402
from engine.errors import BabyError  # noqa: E402
from store.workspace import Workspace  # noqa: E402

KEPT = HERE / "bakeoff.json"
PAGE = HERE / "bakeoff.md"


def collect(reference: str, workspace: Workspace) -> dict[str, Any]:
    """What is kept of a finished bake-off: how it was made, on what, and its rows."""
    found = bakeoff.find(workspace, reference)
    progress = Progress(found)
    rows = progress.look()
    if progress.status != "finished":
        raise SystemExit(f"{found.name} is {progress.status}; the page is made from a finished one.")
    plan = progress.plan
    config = Config(plan["config"])
    shared = ("n_layers", "n_emb", "head_size", "n_heads", "n_ctx", "batch_size", "r_learn", "c_schedule", "r_dropout",
              "d_type", "c_tokenizer", "r_split")
    return {"command": bakeoff_draft.command_line(found.architectures, plan["config"], found.budget, [plan["dataset"]],
                                                  jobs=int(plan["jobs"])),
            "date": time.strftime("%Y-%m-%d", time.gmtime(plan["created"])), "dataset": plan["dataset"],
            "budget": plan["budget"], "seed": plan["seed"], "jobs": plan["jobs"], "machine": plan["machine"],
            "config": {name: config.values[name] for name in shared},
            "rows": [{key: _short(value) for key, value in row.items() if key != "guid"}
                     for row in table.exported(row.values for row in rows)]}


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def page() -> str:
    """The page from what is kept."""
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    machine, rows = kept["machine"], table.ordered(kept["rows"], "validation_loss")
    kind, amount = next(iter(kept["budget"].items()))
    cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    once = "one after the other" if kept["jobs"] == 1 else f"{kept['jobs']} at once"
    lines = ["# Bake-off", "",
             f"{len(rows)} architectures, {bakeoff.Budget(kind, amount)} each on the text {kept['dataset']}, seed "
             f"{kept['seed']}, {once}. Made on {kept['date']} with", "", f"    {kept['command']}", "",
             f"on {machine['processor']}, {cores} ({machine['system']}, Python {machine['python']}). This page is",
             "made from its results by `python docs/bakeoff_page.py ID --workspace PATH`, and from bakeoff.json by",
             "`python docs/build.py`.", "", "All of them share " + ", ".join(
                 f"{name} {value}" for name, value in kept["config"].items()) + ".", ""]
    lines += [f"- **{column.title}**: {column.help}" + (f", {column.unit}" if column.unit else "")
              for column in table.COLUMNS]
    lines += ["", "The losses are comparable: the same text, seed and budget. One seed does not rank neighbours, no "
              "parameter was tuned for", "any of them, and some have fewer parameters than others. B/tok is the state "
              "divided by n_ctx, also where the state is the", "same at any length. Writing is measured on one core, "
              "one reply, from an empty context to a full one.", "", *_leaders(rows), "",
              "| model | " + " | ".join(column.title for column in table.COLUMNS) + " |",
              "|---|" + "---:|" * len(table.COLUMNS)]
    for row in rows:
        name = table.label(*(row[key] for key in table.IDENTITY))
        lines.append(f"| {name} | " + " | ".join(table.cell(column, row) for column in table.COLUMNS) + " |")
    failed = [row for row in rows if row.get("error")]
    lines += ["", *(f"{table.label(*(row[key] for key in table.IDENTITY))}: {row['error']}  " for row in failed)]
    return "\n".join(lines).rstrip() + "\n"


def _leaders(rows: list[dict[str, Any]]) -> list[str]:
    """The first of the columns in which there is a best."""
    lines = []
    for key, what in (("validation_loss", "Lowest validation loss"), ("tokens_per_second", "Fastest training"),
                      ("generation_tokens_per_second", "Fastest writing"), ("state_bytes", "Smallest state")):
        best = table.ordered(rows, key)[:3]
        cells = [f"{table.label(*(row[name] for name in table.IDENTITY))} ({table.cell(table.BY_KEY[key], row)})"
                 for row in best]
        lines.append(f"{what}: {', '.join(cells)}.  ")
    return lines


def main() -> int:
    """Keep a bake-off's results, if one is named, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bakeoff", nargs="?", metavar="ID")
    parser.add_argument("--workspace", default=None)
    given = parser.parse_args()
    if given.bakeoff:
        from babytui import workspace_choice

        try:
            kept = collect(given.bakeoff, workspace_choice.choose(given.workspace))
        except BabyError as error:
            raise SystemExit(str(error)) from None
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
