"""Writes the generated pages: `python docs/build.py`. A test checks that they are up to date."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import bakeoff_page  # noqa: E402

from engine import registry  # noqa: E402
from engine.config import ALIASES, PARAMETERS, PRESETS  # noqa: E402


def parameters() -> str:
    """docs/parameters.md from engine.config."""
    lines = ["# Parameters", "",
             "Generated from `engine/config.py`. Prefixes: c_ choice, n_ count, r_ rate, s_ size or steps,",
             "d_ data type.",
             "Give them in the form, as `--set name=value`, or in a JSON file (`--config`).", ""]
    for group in dict.fromkeys(p.group for p in PARAMETERS.values()):
        lines += [f"## {group.capitalize()}", ""]
        for p in (p for p in PARAMETERS.values() if p.group == group):
            default = str(p.default).lower() if isinstance(p.default, bool) else p.default
            effects = [f"{name}: {text}" for name in ("size", "speed", "quality")
                       if (text := getattr(p, name)) != "none"]
            # which choices exist is told by the registries; naming them here would list them twice
            allowed = p.allowed
            lines += [f"**{p.name}** = {default} — {p.help}  ", f"{allowed[0].upper()}{allowed[1:]}."
                      + (f" Only for some {p.owner} variants." if p.owner else "")
                      + ("  " if effects else "")]
            if effects:
                lines.append("; ".join(effects).capitalize() + ".")
            lines.append("")
    lines += ["## Historic names", ""] + [f"`{old}` is `{new}`." for old, new in ALIASES.items()]
    lines += ["", "## Presets", "", "| preset | " + " | ".join(PRESETS["newborn"]) + " | r_dropout |",
              "|---" * (len(PRESETS["newborn"]) + 2) + "|"]
    for name, values in PRESETS.items():
        cells = [str(values.get(key, "")) for key in [*PRESETS["newborn"], "r_dropout"]]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def variants() -> str:
    """docs/variants.md from the docstrings of the registered variants."""
    lines = ["# Variants", "", "Generated from the files in `engine/attention` and `engine/network`.",
             "B batch, T tokens, D n_emb, H head_size, h n_heads, d = H/h, V vocabulary, τ r_temp.", ""]
    for kind in (registry.attention, registry.network):
        lines += [f"## {kind.kind.capitalize()}", ""]
        for name in kind.names():
            text = (importlib.import_module(f"{kind.package}.{name}").__doc__ or "").strip()
            lines += [f"### {name}", "", text, ""]
    return "\n".join(lines)


PAGES = {"parameters.md": parameters, "variants.md": variants, "bakeoff.md": bakeoff_page.page}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (HERE / page).write_text(text(), encoding="utf-8")
