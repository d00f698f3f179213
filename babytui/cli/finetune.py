"""babytui finetune"""

from __future__ import annotations

from typing import Any

from babytui import finetuning, workspace_choice
from babytui.cli.output import Output, size
from babytui.cli.settings import assignments
from babytui.cli.train import stays, watch
from engine.errors import UsageError


def run(arguments: Any) -> int:
    """Say what will be trained and what it costs, start the run and watch it, or leave it at once with --detach."""
    out: Output = arguments.out
    stays(arguments)
    workspace = workspace_choice.choose(arguments.workspace)
    if not arguments.input:
        raise UsageError("Say what it should learn with --input TEXT; `babytui inputs list` shows what there is.")
    from engine.adaptation import Adaptation

    adaptation = Adaptation(tuple(arguments.freeze or ()), arguments.lora or 0, arguments.alpha or 0.0,
                            tuple(arguments.target or ()))
    changes = assignments(arguments)
    base = finetuning.open_base(arguments.guid, workspace)
    prepared = finetuning.prepare(base, workspace, arguments.input, changes=changes, adaptation=adaptation,
                                  name=arguments.name, prompt=arguments.prompt or "")
    for note in [*base.remarks, *prepared.notes]:
        out.say(note)
    _announce(prepared, out)
    started = finetuning.start(workspace, prepared, time_budget=arguments.time)
    out.say(f"The new model is {started.guid}; {base.name} stays as it is.")
    return watch(started, arguments)


def _announce(prepared: finetuning.Prepared, out: Output) -> None:
    """What the run begins with, in sentences."""
    cost = prepared.estimate
    of_full = f", {prepared.share:.0%} of what training all of it takes" if prepared.adaptation else ""
    out.say(f"{prepared.base.label} learns {prepared.dataset}: {cost.parameters:,} parameters, "
            f"{cost.trained_parameters:,} {'numbers' if prepared.adaptation.rank else 'of them'} trained; about "
            f"{size(cost.training_bytes)} of memory{of_full}.")
    out.say(prepared.choices())
    out.say(prepared.symbols_sentence())
    for warning in prepared.warnings():
        out.alarm(warning)
