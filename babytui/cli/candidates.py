"""babytui candidates"""

from __future__ import annotations

from typing import Any

from babytui import workspace_choice
from babytui.cli.inference import known_prompt
from babytui.cli.output import Output, table
from engine.errors import ConfigError, UsageError

BAR = 16  # columns of the longest bar


def run(arguments: Any) -> int:
    """The likeliest next tokens, with their probabilities after each filter of the sampler."""
    from babytui import candidates, checkpoint_models, library
    from engine.generate import Sampler

    out: Output = arguments.out
    step = checkpoint_models.which(arguments.step)
    workspace = workspace_choice.choose(arguments.workspace)
    baby = library.load(arguments.guid, workspace, step="now" if step is None else step)
    prompt = known_prompt(baby, arguments)
    try:
        sampler = Sampler(arguments.temperature, arguments.top_k, arguments.top_p, arguments.min_p,
                          arguments.repetition, arguments.seed)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    found = candidates.table(baby, [int(i) for i in baby.encode(prompt)] if prompt else [0], sampler,
                             count=arguments.count)
    if out.json:
        out.data({"guid": baby.guid, "step": baby.step, "prompt": prompt or None, **found.to_dict()})
        return 0
    shown = found.shown
    most = max((row.after for row in found.rows), default=0) or 1
    rows = [["", "token", *(candidates.title(found.steps[i].name) for i in shown), ""]]
    for number, row in enumerate(found.rows, 1):
        bar = "█" * round(BAR * row.after / most) or ("▏" if row.after else "")
        rows.append([str(number), repr(row.text), *(candidates.percent(row.shares[i]) for i in shown), bar])
    rows.append(["", "left", *(f"{found.steps[i].left:,}" for i in shown), ""])
    for line in table(rows, right=(0, *range(2, 2 + len(shown)))):
        out.print(line)
    out.say(f"Per cent of {found.vocab_size:,} tokens, after {found.seen} in view"
            + (f"; {baby.name} as it was at step {baby.step:,}." if baby.step is not None else "."))
    return 0
