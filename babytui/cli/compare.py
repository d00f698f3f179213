"""babytui compare"""

from __future__ import annotations

import secrets
import sys
from typing import Any

from babytui import comparison, workspace_choice
from babytui.cli.info import facts
from babytui.cli.output import Output, table
from babytui.comparison import Comparison, shown, told
from babytui.visible import cut
from engine.errors import BabyError

_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "repetition")
_WIDEST = 24


def run(arguments: Any) -> int:
    """Show what differs between models, and with a prompt what each of them writes."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    found = comparison.compare(workspace, arguments.guid)
    if not arguments.json:
        _tables(found, arguments.all, out)
    if arguments.prompt is None:
        if arguments.json:
            out.data(_data(found, arguments.all))
        return 0
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    replies, code = _replies(found, arguments, seed, out)
    differ = comparison.first_difference([reply["pieces"] for reply in replies if "pieces" in reply])
    if arguments.json:
        for reply in replies:
            reply.pop("pieces", None)
        out.data({**_data(found, arguments.all), "prompt": arguments.prompt, "seed": seed, "replies": replies,
                  "first_difference": differ})
    else:
        out.say(f"Seed {seed}; " + ("they write the same." if differ is None else
                                    f"the first token that differs is number {differ + 1}."))
    return code


def _tables(found: Comparison, everything: bool, out: Output) -> None:
    models = found.models
    rows = [("", *(cut(model.label, _WIDEST) for model in models))]
    rows += [(name, *(cut(value, _WIDEST) for value in values)) for name, values in told(found)]
    for line in table(rows):
        out.print(line)
    out.print()
    differences = found.differences(everything=everything)
    if not differences:
        out.print("Their configurations are the same.")
        return
    lines = [("parameter", *(cut(model.label, _WIDEST) for model in models))]
    lines += [(one.name, *(cut(shown(value), _WIDEST) for value in one.values)) for one in differences]
    for line in table(lines):
        out.print(line)


def _data(found: Comparison, everything: bool) -> dict[str, Any]:
    models = [{**facts(model.entry), "status": model.status or None, "steps": model.steps, "seconds": model.seconds,
               "final_train_loss": model.final_train, "final_validation_loss": model.final_validation,
               "best_validation_loss": model.best and model.best[1], "best_step": model.best and model.best[0]}
              for model in found.models]
    return {"models": models, "differences": {one.name: list(one.values)
                                              for one in found.differences(everything=everything)}}


def _replies(found: Comparison, arguments: Any, seed: int, out: Output) -> tuple[list[dict[str, Any]], int]:
    """Lets one after the other write, each from the same seed. One that cannot is told and does not keep the others."""
    options = {name: getattr(arguments, name) for name in _OPTIONS}
    replies: list[dict[str, Any]] = []
    code = 0
    for model in found.models:
        if not arguments.json:
            out.print()
            out.print(f"── {model.label} " + "─" * max(3, 60 - len(model.label)))
        try:
            baby = comparison.open_model(model)
            generation = baby.generate(arguments.prompt, arguments.tokens, seed=seed, **options)
        except BabyError as error:
            out.warn(f"babytui: {error}")
            replies.append({"guid": model.entry.guid, "error": str(error)})
            code = error.exit_code
            continue
        pieces = []
        try:
            if not arguments.json:
                out.write(generation.opening)
            for piece in generation:
                pieces.append(piece)
                if not arguments.json:
                    out.write(piece)
        except BabyError as error:
            out.warn(f"babytui: {error}")
            code = error.exit_code
        finally:
            generation.close()
        if not arguments.json:
            out.write("\n")
            sys.stdout.flush()
        replies.append({"guid": baby.guid, "generation": generation.text, "tokens": generation.count,
                        "tokens_per_second": generation.tokens_per_second, "pieces": pieces})
    return replies, code
