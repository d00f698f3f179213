"""Let a model learn another text: what, how long, which part of it; what that costs is shown as it is typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textual import events, on
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Static

from babytui.finetuning import EPOCHS, FEWEST, MOST
from babytui.tui import backend
from babytui.tui.axis import amount, size
from babytui.tui.panes.base import paragraph
from babytui.tui.panes.form import Rows, shown_value
from babytui.tui.screens.costed_form import CostedForm
from babytui.tui.widgets.fields import ChoiceField, NumberField, TextField
from babytui.tui.widgets.lines import Line, Lines
from engine.config import PARAMETERS
from engine.errors import ConfigError

if TYPE_CHECKING:
    from babytui.finetuning import Prepared
    from babytui.runs import Run
    from store.workspace import Workspace

HELP = {
    "text": "The text to learn: one of the workspace or one that ships.",
    "n_steps": f"End after this many steps. Until it is changed: {EPOCHS} passes over the text, {FEWEST} to {MOST} "
               "steps.",
    "r_learn": PARAMETERS["r_learn"].help + " Until it is changed, it follows from the model's own.",
    "name": "What to call the new model; the one it is made from stays as it is.",
    "prompt": "What the samples during training start with.",
    "freeze": "Tensors that are not trained: patterns such as wte* block_0_* (their names: i, then 5).",
    "rank": "Above 0: only low-rank adapters of this rank are trained, which takes less memory; 0 trains everything.",
    "target": "The matrices that get an adapter, such as *_q_weight; empty: all of the attentions and networks.",
}
_LABELS = {"rank": "lora rank", "target": "lora target"}
_FIELDS = {"alpha": "rank"}  # where a mistake is shown that has no field of its own


@dataclass(frozen=True)
class Wishes:
    """What the form says. changes: parameters that the person set."""

    text: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    freeze: tuple[str, ...] = ()
    rank: int = 0
    target: tuple[str, ...] = ()
    name: str = ""
    prompt: str = ""


class FinetuneScreen(CostedForm[Wishes, "Prepared", "Run"]):
    """The form for one model. Dismisses with the run that has begun, or None."""

    CSS_PATH = ["dialogs.tcss", "finetune.tcss"]

    def __init__(self, guid: str, name: str):
        super().__init__(f"Fine-tune {name}", [("F9", "start"), ("F8", "copy as command"), ("Esc", "back")])
        self._guid = guid
        self._set: set[str] = set()  # parameters that the person changed

    def body(self) -> ComposeResult:
        form = Rows("finetune-form")
        with form:
            yield from self._rows(form)
        yield Lines(id="finetune-cost", classes="cost")
        yield Lines(id="finetune-help")

    def _rows(self, form: Rows) -> Iterable[Widget]:
        steps, rate = PARAMETERS["n_steps"], PARAMETERS["r_learn"]
        for made in (
            ChoiceField([], "", name="text"),
            NumberField(name="n_steps", step=100, low=1, high=steps.high, placeholder="…"),
            NumberField(name="r_learn", step="pow2", low=rate.low, high=rate.high, whole=False, placeholder="…"),
            TextField(name="name", placeholder="the two names", max_length=64),
            TextField(name="prompt", placeholder="none"),
            TextField(name="freeze", placeholder="nothing"),
            NumberField("0", name="rank", step="pow2", low=0, high=4096),
            TextField(name="target", placeholder="every matrix"),
        ):
            yield from form.row(made, str(made.name), _LABELS.get(str(made.name), ""))
        yield Static(classes="end")  # a grid's last row cannot be two lines high, which a sentence may have to be

    def first_focus(self) -> Widget:
        return self.form.fields["text"]

    @on(events.DescendantFocus)
    def _field_focused(self, event: events.DescendantFocus) -> None:
        name = event.widget.name
        if name in self.form.fields:
            self.form.mark(name)
            self.query_one("#finetune-help", Lines).show(lambda width: paragraph(HELP[name], width))

    def edited(self, name: str) -> None:
        if name in PARAMETERS:
            if str(self.form.raw(name)).strip():
                self._set.add(name)
            else:
                self._set.discard(name)

    def wishes(self) -> Wishes:
        raw = self.form.raw
        changes: dict[str, Any] = {name: PARAMETERS[name].coerce(raw(name))
                                   for name in ("n_steps", "r_learn") if name in self._set}
        if changes.get("n_steps") == 0:
            raise ConfigError("n_steps must be at least 1.", "n_steps")
        rank = str(raw("rank")).strip() or "0"
        if not rank.isascii() or not rank.isdigit():
            raise ConfigError("The rank of the adapters is a whole number; 0 trains everything.", "rank")
        return Wishes(raw("text"), changes, _patterns(raw("freeze")), int(rank), _patterns(raw("target")),
                      raw("name").strip(), raw("prompt"))

    def answers(self, workspace: Workspace, wishes: Wishes, wanted: Callable[[], None]) -> Iterator[Prepared]:
        yield backend.prepare_finetuning(workspace, self._guid, wishes)

    def begin(self, workspace: Workspace, wishes: Wishes) -> Run:
        return backend.finetune(workspace, self._guid, wishes)

    def suggestions(self, answer: Prepared) -> dict[str, str]:
        found = {name: shown_value(answer.config.values[name]) for name in ("n_steps", "r_learn")
                 if name not in self._set}
        return found if self.form.raw("name").strip() else {**found, "name": answer.name}

    def told(self, answer: Prepared | None, width: int) -> list[Line]:
        if answer is None:
            return paragraph("working out what it costs", width, "dim") if not self.form.query(".problem") else []
        return cost_lines(answer, width)

    def field_of(self, error: Exception) -> str:
        from babytui.finetuning import PromptError
        from engine.errors import TextError

        if isinstance(error, ConfigError):
            return _FIELDS.get(error.field or "", error.field or "")
        return "prompt" if isinstance(error, PromptError) else "text" if isinstance(error, TextError) else ""

    def command(self, workspace: Workspace, wishes: Wishes) -> str:
        from babytui import actions

        text = str(workspace.inputs) if wishes.text == backend.ALL_TEXTS else wishes.text
        return actions.command_line("finetune", {
            "guid": self._guid, "input": [text] if text else [],
            "set": {name: shown_value(value) for name, value in wishes.changes.items() if name != "n_steps"},
            "steps": wishes.changes.get("n_steps"), "name": wishes.name or None, "prompt": wishes.prompt or None,
            "freeze": list(wishes.freeze), "lora": wishes.rank or None, "target": list(wishes.target),
        }, workspace=str(workspace.root))


def cost_lines(prepared: Prepared, width: int) -> list[Line]:
    """Parameters, memory, new symbols and how long the text is read."""
    cost = prepared.estimate
    share = f", {prepared.share:.0%} of full training" if prepared.adaptation else ""
    trained = f"{amount(cost.trained_parameters)} trained" if prepared.adaptation else "all trained"
    passes = cost.tokens / max(1, prepared.tokens)
    facts = [("parameters", f"{amount(cost.parameters)}, {trained}"), ("memory", size(cost.training_bytes) + share),
             ("text", f"{amount(prepared.tokens)} tokens, read {passes:.1f} times"),
             ("new symbols", prepared.symbols_list() or "none")]
    lines: list[Line] = [[(f"{name:<21}", "label"), (value, "value")] for name, value in facts]
    said = [*prepared.base.remarks, *prepared.warnings()]
    return lines + [line for text in said for line in paragraph(text, width, "warn")]


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\s,]+", text))
