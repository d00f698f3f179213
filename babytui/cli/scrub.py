"""babytui scrub"""

from __future__ import annotations

from typing import Any

from babytui import workspace_choice
from babytui.cli.inference import prompt_of
from babytui.cli.output import Output

MARK = "▸"  # before the first token that differs


def run(arguments: Any) -> int:
    """The same prompt and seed at every checkpoint of a run, and where what it says begins to differ."""
    from babytui import checkpoint_models, scrubbing
    from babytui.visible import visible

    out: Output = arguments.out
    scrubber = scrubbing.Scrubber(
        workspace_choice.choose(arguments.workspace), arguments.guid, prompt_of(arguments.prompt),
        tokens=arguments.tokens, seed=1 if arguments.seed is None else arguments.seed,
        temperature=arguments.temperature, top_k=arguments.top_k, top_p=arguments.top_p, min_p=arguments.min_p,
        repetition=arguments.repetition)
    frames, before = [], None
    for index in range(len(scrubber.places)):
        frame = scrubber.frame(index)
        place = frame.differs(before)
        frames.append({"step": frame.step, "label": frame.label, "generation": frame.opening + frame.reply,
                       "ids": list(frame.ids), "differs": place})
        if not out.json:
            told = ("" if before is None else "the same as before" if place is None
                    else f"differs from token {place + 1:,} on")
            out.print(frame.label + (f" · {told}" if told else ""))
            cut = len(frame.pieces) if place is None else place
            text = frame.opening + "".join(frame.pieces[:cut])
            text += MARK + "".join(frame.pieces[cut:]) if place is not None else ""
            for line in visible(text).split("\n"):
                out.print("  " + line)
            out.print()
        before = frame
    if out.json:
        out.data({"guid": scrubber.guid, "prompt": scrubber.prompt or None, "seed": scrubber.sampling["seed"],
                  "checkpoints": frames})
    out.say(f"{len(frames)} places of {scrubber.name}; to keep more, {checkpoint_models.KEEP_MORE}.")
    return 0
