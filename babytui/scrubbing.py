"""The same prompt and seed at every checkpoint of a run: how what it says came to be what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from babytui import checkpoint_models
from babytui.receipts import first_difference
from engine.errors import NotFound

if TYPE_CHECKING:
    from babytui.checkpoint_models import Kept
    from babytui.library import Baby
    from store.workspace import Workspace

TOKENS = 120


@dataclass(frozen=True)
class Frame:
    """A checkpoint's reply. ids, pieces: of the reply. step: None for the model that the run left."""

    step: int | None
    label: str
    opening: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    sha256: str

    @property
    def reply(self) -> str:
        return "".join(self.pieces)

    def differs(self, before: Frame | None) -> int | None:
        """The place of the first token that is another than in the frame before; None when none is."""
        if before is None or before.ids == self.ids:
            return None
        return first_difference(before.ids, self.ids)


class Scrubber:
    """The places of a run, in order, and the reply of each, written when it is first asked for and then kept.

    NotFound when the run keeps neither a checkpoint nor a model.
    """

    def __init__(self, workspace: Workspace, reference: str, prompt: str, *, tokens: int = TOKENS, **sampling: Any):
        from babytui import library
        from babytui.runs import Run

        self.home, self.guid = library.locate(reference, workspace)
        self.run = Run(self.home, self.guid)
        self.prompt, self.tokens = prompt, tokens
        self.sampling = {"seed": 1, **sampling}
        self._frames: dict[tuple[int | None, str], Frame] = {}
        self.places: list[Kept | None] = []
        entry = self.home.entry(self.guid)
        self.name = entry.name or self.guid[:8]
        self._has_model = entry.has_model
        self.look()
        if not self.places:
            raise NotFound(f"{self.name} keeps no checkpoint and has made no model yet; try again in a moment.")

    def look(self) -> None:
        """Looks again which checkpoints there are."""
        found: list[Kept | None] = list(checkpoint_models.kept(self.run))
        self.places = [*found, None] if self._has_model and not self.run.alive else found

    def label(self, index: int) -> str:
        """What a place is called: step 1,200 (best), or model."""
        place = self.places[index]
        return place.label if place is not None else "model"

    def ready(self, index: int) -> Frame | None:
        """The reply at a place if it was written."""
        return self._frames.get(self._key(index))

    def _key(self, index: int) -> tuple[int | None, str]:
        place = self.places[index]
        return (place.step if place is not None else None), self.prompt

    def frame(self, index: int, cancelled: Callable[[], bool] = lambda: False) -> Frame:
        """The reply at a place. NotFound when its checkpoint was given up meanwhile; TextError when the prompt has
        symbols that the model does not know."""
        from babytui import library

        key = self._key(index)
        if key in self._frames:
            return self._frames[key]
        place = self.places[index]
        baby = checkpoint_models.read(self.run, place) if place is not None else library.load(self.guid, self.home)
        frame = self._write(baby, self.label(index), cancelled)
        if not cancelled():
            self._frames[key] = frame
        return frame

    def _write(self, baby: Baby, label: str, cancelled: Callable[[], bool]) -> Frame:
        generation = baby.generate(self.prompt, self.tokens, **self.sampling)
        pieces = []
        for piece in generation:
            pieces.append(piece)
            if cancelled():
                break
        return Frame(baby.step, label, generation.opening, tuple(generation.written), tuple(pieces), baby.sha256)
