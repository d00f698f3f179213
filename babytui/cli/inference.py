"""babytui inference"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from babytui import workspace_choice
from babytui.cli.output import Output, seconds
from engine.errors import BabyError, RunError, TextError, UsageError
from store.workspace import Workspace


def run(arguments: Any) -> int:
    """Let a model write to standard output, and keep the text in outputs/."""
    from babytui import checkpoint_models, library

    out: Output = arguments.out
    if arguments.raw and arguments.json:
        raise UsageError("--raw and --json are two forms of the same text; give one of them.")
    workspace = workspace_choice.choose(arguments.workspace)
    if arguments.replay is not None:
        return _replay(arguments, workspace)
    step = checkpoint_models.which(arguments.step)
    baby = library.load(arguments.guid, workspace, step="now" if step is None else step)
    shipped = baby.workspace is not None and baby.workspace.root != workspace.root
    if shipped and arguments.guid == "last":
        out.say(f"{workspace.root} has no model yet; this is the one that ships.")
    for remark in baby.remarks:
        out.say(remark)
    if baby.step is not None:
        out.say(f"{baby.name} as it was at step {baby.step:,}.")
    prompt = known_prompt(baby, arguments)
    generation = baby.generate(prompt, arguments.tokens, temperature=arguments.temperature, top_k=arguments.top_k,
                               top_p=arguments.top_p, min_p=arguments.min_p, repetition=arguments.repetition,
                               seed=arguments.seed, cache=False if arguments.no_cache else None)
    interrupted = _stream(generation, out, arguments.raw)
    if arguments.json:
        out.data({"guid": baby.guid, "step": baby.step, "prompt": generation.prompt, "generation": generation.text,
                  "tokens": generation.count, "seconds": generation.seconds,
                  "prefill_seconds": generation.prefill_seconds, "tokens_per_second": generation.tokens_per_second,
                  "seed": generation.seed, "cache": generation.cache})
    out.say(f"{generation.count} tokens in {seconds(generation.seconds)}, {generation.tokens_per_second:.0f} tokens/s, "
            f"seed {generation.seed}")
    if not (arguments.no_save or shipped):
        _save(workspace, baby.guid, generation, out)
    return 130 if interrupted else 0


def _replay(arguments: Any, workspace: Workspace) -> int:
    """Write the text of a receipt again; 1, and a sentence, when it is another."""
    from babytui import receipts, settings

    out: Output = arguments.out
    for argument in arguments.action.arguments:
        value = getattr(arguments, argument.name)
        if argument.name not in ("replay", "raw", "no_save") and value not in (None, False, argument.default,
                                                                               settings.default_of(argument)):
            called = argument.flags[-1] if argument.flags else argument.metavar
            raise UsageError(f"--replay takes everything from the receipt; leave out {called}.")
    replay = receipts.Replay(receipts.load(arguments.replay), workspace)
    written: list[str] = []

    def pieces() -> Iterator[str]:
        for piece in replay:
            written.append(piece)
            yield piece

    if _write(pieces(), replay.close, out, arguments.raw):
        return 130
    difference = replay.difference()
    if arguments.json:
        out.data({"guid": replay.baby.guid, "step": replay.baby.step, "prompt": replay.receipt.prompt,
                  "generation": "".join(written), "tokens": len(replay.ids), "same": not difference,
                  "difference": difference})
    if difference:
        raise RunError(difference)
    out.say(f"{len(replay.ids)} tokens, the same as those of the receipt.")
    return 0


def known_prompt(baby: Any, arguments: Any) -> str:
    """The prompt that was given, without what the model does not know if that was asked for. TextError."""
    prompt = prompt_of(arguments.prompt)
    if missing := baby.tokenizer.missing(prompt):
        if not arguments.skip_unknown:
            few = ", ".join(repr(symbol) for symbol in missing[:8]) + (", …" if len(missing) > 8 else "")
            raise TextError(f"{baby.name} does not know {few}; add --skip-unknown to leave out what it does not know.")
        prompt = baby.tokenizer.keep(prompt)
    return prompt


def prompt_of(given: str | None) -> str:
    """What --prompt says; - reads it from standard input. TextError."""
    if given != "-":
        return given or ""
    data = sys.stdin.buffer.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TextError("The prompt on standard input is not UTF-8 text.") from None
    return text.removesuffix("\n").removesuffix("\r")


def _stream(generation: Any, out: Output, raw: bool) -> bool:
    """Write a generation with its prompt as it comes. Whether ctrl+c ended it."""
    return _write(itertools.chain([generation.opening], generation), generation.close, out, raw)


def _write(pieces: Iterable[str], close: Callable[[], None], out: Output, raw: bool) -> bool:
    """Write pieces of text as they come (nothing with --json). Whether ctrl+c ended it."""

    def write(text: str) -> None:
        if not out.json:
            out.write(text, raw=raw)

    interrupted = False
    try:
        for piece in pieces:
            write(piece)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        close()
    if sys.stdout.isatty() and not raw:
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
