"""Raise a tiny GPT from scratch in the terminal: train it, watch it learn, look inside it and talk to it.

    import babytui
    baby = babytui.load("last", workspace=".")
    for piece in baby.stream("Once upon", max_tokens=200, temperature=0.8, seed=1): print(piece, end="")
    for event in babytui.train({"n_layers": 2}, inputs=["a.txt"], workspace=".", steps=200): print(event)

Importing this module imports neither numpy nor textual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Baby", "Generation", "__version__", "finetune", "load", "train"]

if TYPE_CHECKING:
    from babytui.library import Baby, Generation, finetune, load, train


def __getattr__(name: str) -> Any:
    if name in __all__:
        from babytui import library

        return getattr(library, name)
    raise AttributeError(f"module 'babytui' has no attribute '{name}'")
