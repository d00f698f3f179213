"""babytui look"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from babytui import workspace_choice
from babytui.cli.output import Output, columns
from engine.errors import TextError, UsageError
from store.workspace import Workspace


def run(arguments: Any) -> int:
    """Show what happens inside a model while it reads a prompt or a text."""
    from babytui import looking
    from babytui.cli import look_text

    out: Output = arguments.out
    if (arguments.prompt is None) == (arguments.text is None):
        raise UsageError("Give either --prompt or --text: what the model shall read while it is looked at.")
    what = arguments.what or ("lens" if arguments.text is None else "loss")
    _check_use(arguments, what)
    workspace = workspace_choice.choose(arguments.workspace)
    baby = opened(arguments, workspace, out)
    ids = _ids(baby, arguments, workspace)
    width = columns(sys.stdout)
    if what == "loss":
        return _loss(baby, ids, arguments, width, out)
    if arguments.text is not None and len(ids) > baby.config.n_ctx:
        out.say(f"The text has {len(ids):,} tokens; the first {baby.config.n_ctx} fit the context and are shown.")
        ids = ids[: baby.config.n_ctx]
    seen = baby.look(ids, layers=None if arguments.layer is None else [arguments.layer],
                     observe=what not in ("lens", "norms"))
    page = looking.Page.of(baby, seen, arguments.head)
    if arguments.json:
        out.data({"guid": baby.guid, "name": baby.name, "step": baby.step, **looking.plain(page, what)})
        return 0
    for line in look_text.lines(page, what, width):
        out.print(line)
    return 0


_HEADS = ("attention", "contribution", "gates")
_USED = {"head": _HEADS, "layer": (*_HEADS, "lens", "norms"), "stride": ("loss",)}


def _check_use(arguments: Any, what: str) -> None:
    """UsageError for an option that would change nothing."""
    for name, views in _USED.items():
        if getattr(arguments, name) is not None and what not in views:
            raise UsageError(f"--{name} means nothing to --what {what}; it is for {', '.join(views)}.")


def opened(arguments: Any, workspace: Workspace, out: Output) -> Any:
    """The model that is asked for, at its step; what has to be known of it is said."""
    from babytui import checkpoint_models, library

    step = checkpoint_models.which(arguments.step)
    baby = library.load(arguments.guid, workspace, step="now" if step is None else step)
    for remark in baby.remarks:
        out.say(remark)
    if baby.step is not None:
        out.say(f"{baby.name} as it was at step {baby.step:,}.")
    return baby


def _ids(baby: Any, arguments: Any, workspace: Workspace) -> Any:
    """The tokens that are read."""
    from babytui import texts
    from babytui.cli.inference import prompt_of

    text: Iterable[str] = (prompt_of(arguments.prompt) if arguments.text is None
                           else texts.read(texts.find(workspace, [arguments.text])))
    if missing := baby.tokenizer.missing(text):
        if not arguments.skip_unknown:
            few = ", ".join(repr(symbol) for symbol in missing[:8]) + (", …" if len(missing) > 8 else "")
            raise TextError(f"{baby.name} does not know {few}; add --skip-unknown to leave out what it does not know.")
        text = baby.tokenizer.keep("".join(text))
    ids = baby.tokenizer.encode(text)
    if not len(ids):
        raise TextError("There is nothing to read; give a longer --prompt or --text.")
    return ids


def _loss(baby: Any, ids: Any, arguments: Any, width: int, out: Output) -> int:
    from babytui import looking
    from babytui.cli import look_text

    if arguments.tokens and len(ids) > arguments.tokens and arguments.text is not None:
        out.say(f"The first {arguments.tokens:,} of {len(ids):,} tokens; --tokens 0 reads all.")
        ids = ids[: arguments.tokens]
    vocab, sums = baby.tokenizer.vocab, looking.Surprises()
    if not baby.model.causal:
        out.say("Its tokens see later ones, so it may know what comes next.")
    stretches = baby.surprise(ids, arguments.stride)
    if arguments.json:
        positions = looking.plain_surprises(_watched(stretches, len(ids), out), vocab, sums)
        out.data({"guid": baby.guid, "name": baby.name, "step": baby.step, "what": "loss",
                  "causal": baby.model.causal, **sums.facts(), "first": vocab[ids[0]], "positions": positions})
        return 0
    for line in look_text.surprising(stretches, int(ids[0]), vocab, width, sums):
        out.print(line)
    out.print()
    for line in look_text.worst(sums, ids, vocab, width):
        out.print(line)
    out.say("A bar is a token's loss; a full one is no better than guessing.")
    return 0


def _watched(stretches: Iterable[Any], total: int, out: Output) -> Iterator[Any]:
    """The same, with a line that tells how far it is."""
    for stretch in stretches:
        yield stretch
        done = stretch.start + len(stretch.ids)
        out.line(f"{done:,} of {total:,} tokens")
    out.clear()
