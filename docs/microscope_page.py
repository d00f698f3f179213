"""docs/microscope.md: what can be seen inside a model. The tables are what tiny models of all variants show."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np

from engine import registry
from engine.config import Config
from engine.model import Model
from engine.probe import look

HERE = Path(__file__).resolve().parent
KINDS = {"map": "T × T map", "gates": "T gates", "activations": "T activations"}


def observed() -> dict[tuple[str, str], list[tuple[str, str, str, str, str]]]:
    """{("attention", "mha"): [(name, title, kind, of, about), …]} of every registered variant, from a look at each."""
    attentions, networks = registry.attention.names(), registry.network.names()
    found = {}
    for attention, network in zip_longest(attentions, networks, fillvalue=None):
        config = Config.read({"c_attention": attention or attentions[0], "c_network": network or networks[0],
                              "n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 4, "n_ctx": 8, "s_window": 2})
        (layer,) = look(Model.create(config, 5), np.arange(5)).layers
        for slot, name, shown in (("attention", attention, layer.attention), ("network", network, layer.network)):
            if name:
                found[slot, name] = [(one.name, one.title, KINDS[one.kind], one.of, one.about) for one in shown]
    return found


def page() -> str:
    """The page."""
    lines = [(HERE / "microscope_intro.txt").read_text(encoding="utf-8").rstrip(), ""]
    seen = observed()
    for slot in ("attention", "network"):
        lines += [f"### {slot.capitalize()}", "", "| variant | id | what | kind | a number is |",
                  "|---|---|---|---|---|"]
        for (where, name), shown in sorted(seen.items()):
            if where == slot:
                lines += [f"| {name} | {one} | {title} | {kind}{each} | {about} |"
                          for one, title, kind, of, about in shown
                          for each in ["" if of == "layer" else f" for each {of}"]]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
