"""Writes the generated pages: `python docs/build.py`. A test checks that they are up to date."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import bakeoff_page  # noqa: E402
import microscope_page  # noqa: E402

from babytui.actions import ACTIONS, CLI  # noqa: E402
from babytui.settings import SETTINGS, default_keys  # noqa: E402
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


def actions_page() -> str:
    """docs/actions.md from the registry of actions."""
    lines = ["# Actions", "", "Generated from `babytui/actions/`. Everything that can be done, once: a command "
             "(where it says yes), in the shell",
             "`/NAME`, in the app an entry of the palette (ctrl+p) and most with a key. Single letters work where no "
             "text is typed.",
             "Keys are changed in the settings by the name of the action, with a dot for the space.", "",
             "| action | what it does | command | keys in the app |", "|---|---|---|---|"]
    where = {"app": "everywhere", "playground": "everywhere"}
    for action in ACTIONS:
        command = "yes" if CLI in action.where else (f"`{action.same}` shows the same" if action.same else "")
        spots = [(action.node, action.key), *((node, keys) for node, (keys, _) in action.also.items())]
        keys = "; ".join(f"{' '.join(f'`{shown(key)}`' for key in given.split(','))} ({where.get(node, node)})"
                         for node, given in spots if given)
        lines.append(f"| {action.name} | {action.help} | {command} | {keys} |".replace("``", "` `"))
    return "\n".join(lines) + "\n"


def shown(key: str) -> str:
    """A key's name as a person says it, without the app."""
    names = {"left_square_bracket": "[", "right_square_bracket": "]", "question_mark": "?", "slash": "/",
             "equals_sign": "=", "plus": "+", "minus": "-", "colon": ":", "escape": "Esc"}
    return names.get(key, key.upper() if key[0] == "f" and key[1:].isdigit() else key)


SETTINGS_HEAD = """# Settings

Generated from `babytui/settings.py`. They are kept in one TOML file, `~/.config/babytui/settings.toml` on Linux
(`babytui settings --path`; `BABYTUI_SETTINGS` names another). `babytui settings NAME VALUE` changes one, as does the
page of settings in the app (`,`). Comments and keys of other programs in the file are left alone. The command line
comes before the environment, the environment before the file, the file before the default; what is wrong in the file
is told with its line and left out.

| setting | default | values | what it is | variable |
|---|---|---|---|---|
"""
SETTINGS_TAIL = """
Keys are set by the name of an action, with dots for spaces (docs/actions.md has them all); an empty text takes them
away:

```toml
theme = "light"

[sampler]
temperature = 0.6

[keys]
pause = "P,f8"
"chart.log" = "L"
```

In the environment that is `BABYTUI_KEYS='pause=P,f8; chart.log=L'`.

What is the same in every program is no action and stays as it is: Esc, q and ctrl+c leave a page or a dialog, y and n
answer its question, Enter takes what is marked, Tab and the arrows move, numbers choose a part of a page, and a field
or a list has its own keys for editing and moving in it. Two dialogs of a form have F9 (start) and F8 (copy as a
command) beside them.

`NO_COLOR` takes all colours away unless `BABYTUI_THEME` names a theme. Without a theme the app takes what the terminal
says that it can: `dark`, the 16 colours of its own palette (`ansi`), or none (`mono`: bold, dim, underline and reverse
only). Text has a contrast of at least 4.5 to 1 on every ground of a theme, 7 to 1 in the two of high contrast
(`tests/babytui/tui/test_tui_themes.py`).
"""


def settings_page() -> str:
    """docs/settings.md from the registry of settings."""
    rows = []
    for s in SETTINGS.values():
        default = f"{s.default:g}" if isinstance(s.default, float) else str(s.default or "") if s.kind != "bool" \
            else str(s.default).lower()
        default = "0" if s.kind == "int" and not s.default else default
        rows.append(f"| {s.name} | {default} | {s.allowed} | {s.help} | `{s.variable}` |\n".replace("|  |", "| |"))
    example = tomllib.loads(SETTINGS_TAIL.split("```toml")[1].split("```")[0])
    assert set(example["keys"]) <= set(default_keys())
    return SETTINGS_HEAD + "".join(rows) + SETTINGS_TAIL


PAGES = {"actions.md": actions_page, "settings.md": settings_page, "parameters.md": parameters, "variants.md": variants,
         "bakeoff.md": bakeoff_page.page, "microscope.md": microscope_page.page}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (HERE / page).write_text(text(), encoding="utf-8")
