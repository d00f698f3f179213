"""babytui inference"""

from __future__ import annotations

import sys
from typing import Any

from babytui import workspace_choice
from babytui.cli.output import Output, seconds
from babytui.visible import visible
from engine.errors import BabyError, TextError
from store.workspace import Workspace


def run(arguments: Any) -> int:
    """Let a model write to standard output, and keep the text in outputs/."""
    from babytui import library

    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    baby = library.load(arguments.guid, workspace)
    shipped = baby.workspace is not None and baby.workspace.root != workspace.root
    if shipped and arguments.guid == "last":
        out.say(f"{workspace.root} has no model yet; this is the one that ships.")
    for remark in baby.remarks:
        out.say(remark)
    prompt = _prompt(arguments.prompt)
    if missing := baby.tokenizer.missing(prompt):
        if not arguments.skip_unknown:
            few = ", ".join(repr(symbol) for symbol in missing[:8]) + (", …" if len(missing) > 8 else "")
            raise TextError(f"{baby.name} does not know {few}; add --skip-unknown to leave out what it does not know.")
        prompt = baby.tokenizer.keep(prompt)
    generation = baby.generate(prompt, arguments.tokens, temperature=arguments.temperature, top_k=arguments.top_k,
                               top_p=arguments.top_p, min_p=arguments.min_p, repetition=arguments.repetition,
                               seed=arguments.seed, cache=False if arguments.no_cache else None)
    interrupted = _stream(generation, out)
    if arguments.json:
        out.data({"guid": baby.guid, "prompt": generation.prompt, "generation": generation.text,
                  "tokens": generation.count, "seconds": generation.seconds,
                  "prefill_seconds": generation.prefill_seconds, "tokens_per_second": generation.tokens_per_second,
                  "seed": generation.seed, "cache": generation.cache})
    out.say(f"{generation.count} tokens in {seconds(generation.seconds)}, {generation.tokens_per_second:.0f} tokens/s, "
            f"seed {generation.seed}")
    if not (arguments.no_save or shipped):
        _save(workspace, baby.guid, generation, out)
    return 130 if interrupted else 0


def _prompt(given: str | None) -> str:
    if given != "-":
        return given or ""
    data = sys.stdin.buffer.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TextError("The prompt on standard input is not UTF-8 text.") from None
    return text.removesuffix("\n").removesuffix("\r")


def _stream(generation: Any, out: Output) -> bool:
    """Write the text as it comes (nothing with --json). Whether ctrl+c ended it."""
    terminal = sys.stdout.isatty()

    def write(text: str) -> None:
        if not out.json:
            sys.stdout.write(visible(text) if terminal else text)
            sys.stdout.flush()

    interrupted = False
    try:
        write(generation.opening)
        for piece in generation:
            write(piece)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        generation.close()
    if terminal:
        write("\n")
    return interrupted


def _save(workspace: Workspace, guid: str, generation: Any, out: Output) -> None:
    from store import artifacts

    try:
        path = artifacts.save_completion(workspace, guid, generation.completion(), stamped=True)
    except BabyError as error:  # the text was written already; that it is not kept is no reason to fail
        out.warn(f"babytui: the text was not kept: {error}")
    else:
        out.say(f"Kept as {path}")
