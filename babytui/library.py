"""babytui as a library: load a model, ask it for logits, let it write, train another.

The command line, the shell and the app go through the same functions.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

from babytui import devices, workspace_choice
from babytui.process import past
from babytui.runs import SHIPPED, Run
from babytui.runs import start as _start
from engine.config import Config, remarks
from engine.errors import FormatError, NotFound
from store.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

    from engine.generate import Token
    from engine.probe import Look, Stretch
    from store.workspace import Entry


class Baby:
    """A model with its tokenizer. config, tokenizer and params are plain data; `model` is engine.model.Model.

    step: that of the run's checkpoint it is from; None for a finished model, from its file.
    """

    def __init__(self, model: Any, tokenizer: Any, *, guid: str = "", name: str = "",
                 workspace: Workspace | None = None, step: int | None = None):
        self.model = model
        self.tokenizer = tokenizer
        self.guid = guid
        self.name = name or guid[:8]
        self.workspace = workspace
        self.step = step
        self._sha256 = ""
        self.remarks = remarks(model.config.values)  # what has to be known before it is used, a sentence each

    def __repr__(self) -> str:
        return f"<Baby {self.name} {self.guid[:8]}, {self.model.n_parameters:,} parameters>"

    @property
    def config(self) -> Config:
        """The model's configuration: `baby.config.n_emb`."""
        return self.model.config

    @property
    def params(self) -> Mapping[str, np.ndarray]:
        """Parameter arrays by name, in the model file's order."""
        return self.model.params

    @property
    def sha256(self) -> str:
        """Of all that a reply depends on: the parameters that make the model, its vocabulary and its weights. The same
        for a checkpoint and the model file that was made of it. Worked out when first asked for."""
        if not self._sha256:
            import json

            from engine.backend import host
            from engine.config import MODEL
            from engine.model import infer

            config = infer(self.config, self.params)  # what its shapes say is the same before and after a file
            about = {p.name: config.values[p.name] for p in config.active() if p.group == MODEL}
            about |= {"d_type": self.config.d_type, "separator": getattr(self.tokenizer, "separator", "")}
            digest = hashlib.sha256(json.dumps([about, self.tokenizer.vocab], sort_keys=True).encode())
            for name, weights in self.params.items():
                values = host(weights)
                digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
                digest.update(values.data if values.flags.c_contiguous else values.tobytes())
            self._sha256 = digest.hexdigest()
        return self._sha256

    def encode(self, text_or_ids: str | Iterable[int]) -> Any:
        """Token ids (T,). TextError names symbols that the vocabulary lacks."""
        import numpy as np

        if isinstance(text_or_ids, str):
            return self.tokenizer.encode(text_or_ids)
        ids = np.asarray(list(text_or_ids), np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.model.vocab_size):
            raise NotFound(f"Token ids go from 0 to {self.model.vocab_size - 1}; {int(ids.max())} is not among them.")
        return ids

    def logits(self, text_or_ids: str | Iterable[int]) -> np.ndarray:
        """What the model expects after each token: (T, V)."""
        return self.model.logits(self.encode(text_or_ids))

    def look(self, text_or_ids: str | Iterable[int], *, layers: Sequence[int] | None = None, observe: bool = True,
             top: int = 5) -> Look:
        """What happens in the model while it reads at most n_ctx tokens: attention maps, gates, what each layer would
        say next; see engine.probe.look. ConfigError, FormatError."""
        from engine import probe

        return probe.look(self.model, self.encode(text_or_ids), layers=layers, observe=observe, top=top)

    def surprise(self, text_or_ids: str | Iterable[int], stride: int | None = None) -> Iterator[Stretch]:
        """How well each token of a text of any length is foreseen, stretch by stretch; see engine.probe.surprise."""
        from engine import probe

        return probe.surprise(self.model, self.encode(text_or_ids), stride)

    def stream(self, prompt: str | Iterable[int] = "", max_tokens: int = 500, *, temperature: float = 1.0,
               top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, repetition: float = 1.0,
               seed: int | None = None, cache: bool | None = None) -> Iterator[str]:
        """The continuation of `prompt`, piece by piece as it is written. Closing the iterator stops it."""
        return iter(self.generate(prompt, max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
                                  repetition=repetition, seed=seed, cache=cache))

    def generate(self, prompt: str | Iterable[int] = "", max_tokens: int = 500, *, temperature: float = 1.0,
                 top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, repetition: float = 1.0,
                 seed: int | None = None, cache: bool | None = None, kept: Sequence[int] = ()) -> Generation:
        """As `stream`, with what a face needs to know: seed, times, tokens. seed None draws one and tells it; cache
        None takes the model's infr_cache. kept: the ids that the reply begins with, which it goes on from as if it had
        just written them; max_tokens counts those that come after."""
        from engine.generate import Sampler

        seed = secrets.randbits(32) if seed is None else seed
        sampler = Sampler(temperature, top_k, top_p, min_p, repetition, seed)
        return Generation(self, prompt, max_tokens, sampler, self.config.infr_cache if cache is None else cache, kept)


class Generation:
    """One reply as it is written: iterate over its pieces, or over `tokens()`; `close()` stops it.

    prompt: as given (None when it was empty: the model then starts from token 0). ids: its tokens, kept: those that the
    reply began with, written: those that were written here. text: everything so far, prompt included. count: tokens
    written. seconds, prefill_seconds: so far, and until the first token.
    """

    def __init__(self, baby: Baby, prompt: str | Iterable[int], max_tokens: int, sampler: Any, cache: bool,
                 kept: Sequence[int] = ()):
        ids = [int(i) for i in baby.encode(prompt)] if not isinstance(prompt, str) or prompt else []
        self.baby = baby
        self.prompt = (prompt if isinstance(prompt, str) else baby.tokenizer.decode(ids)) or None
        self.ids = ids or [0]
        self.opening = self.prompt if self.prompt is not None else baby.tokenizer.decode(self.ids)
        self.kept = [int(i) for i in baby.encode(kept)] if len(kept) else []
        self.written = array("I")
        self.max_tokens = max_tokens
        self.sampler = sampler
        self.cache = cache and baby.model.causal
        self.count = 0
        self.seconds = 0.0
        self.prefill_seconds = 0.0
        self._pieces = [self.piece(i) for i in self.kept]
        self._closed = False
        self._running = self._run()

    @property
    def seed(self) -> int:
        """The seed that writes this text again."""
        return self.sampler.seed

    @property
    def text(self) -> str:
        """Everything so far, prompt included."""
        return self.opening + "".join(self._pieces)

    @property
    def tokens_per_second(self) -> float:
        """Speed after the first token."""
        seconds = self.seconds - self.prefill_seconds
        return (self.count - 1) / seconds if self.count > 1 and seconds > 0 else 0.0

    def piece(self, id: int) -> str:
        """What a token adds to the text."""
        return getattr(self.baby.tokenizer, "separator", "") + self.baby.tokenizer.vocab[id]

    def tokens(self) -> Iterator[tuple[Token, str]]:
        """Each token with its piece of text."""
        return self._running

    def __iter__(self) -> Iterator[str]:
        try:
            for _, piece in self._running:
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """Stop here; what was written stays. May be called from the piece loop, and twice."""
        self._closed = True
        try:
            self._running.close()
        except ValueError:  # it is running this very moment: it sees _closed before the next token
            pass

    def _run(self) -> Generator[tuple[Token, str], None, None]:
        from engine.generate import stream

        vocab, separator = self.baby.tokenizer.vocab, getattr(self.baby.tokenizer, "separator", "")
        prompt, skip = [*self.ids, *self.kept], len(self.kept)
        begun = time.perf_counter()
        for token in stream(self.baby.model, prompt, self.max_tokens, self.sampler, cache=self.cache, skip=skip):
            if not isfinite(token.logits.max()):
                raise FormatError(f"{self.baby.name} cannot write: what it computes is not finite, its numbers are too "
                                  "large.")
            self.seconds = time.perf_counter() - begun
            self.prefill_seconds = self.prefill_seconds or self.seconds
            self.count += 1
            self.written.append(token.id)
            piece = separator + vocab[token.id]
            self._pieces.append(piece)
            yield token, piece
            if self._closed:
                return

    def completion(self) -> dict[str, Any]:
        """What a completion file holds: prompt, generation, inference_…, and of our own sampler and receipt.
        """
        from babytui import receipts

        sampler = asdict(self.sampler)
        return {"prompt": self.prompt, "generation": self.text, "inference_max_tokens": self.max_tokens,
                "inference_total_time": self.seconds, "inference_cache": self.cache, "babytui_sampler": sampler,
                receipts.KEY: receipts.of(self)}


def locate(reference: str, workspace: Workspace, *, shipped_if_none: bool = False) -> tuple[Workspace, str]:
    """Where a model is: its workspace and GUID. "baby" is the one that ships, unless a model here has that name.

    shipped_if_none: "last" means the shipped one while the workspace has no model.
    """
    try:
        return workspace, workspace.resolve(reference)
    except NotFound:
        empty = shipped_if_none and reference == "last" and not any(entry.has_model for entry in workspace.entries())
        if reference != SHIPPED and not empty:
            raise
    box = Workspace(workspace_choice.BOX)
    for entry in box.entries():
        if entry.has_model:
            return box, entry.guid
    raise NotFound("No model ships with this installation; train one with babytui train.")


def load(reference: str = "last", workspace: str | os.PathLike[str] | Workspace | None = None, *,
         adapter: str | os.PathLike[str] | None = None, step: int | str | None = None) -> Baby:
    """The model with this GUID, start of a GUID or name; "last" is the newest one, "baby" the one that ships.

    workspace: its folder; None chooses as the command line does. step: a checkpoint of its run instead of the model: a
    step, "last", "best", or "now": the model if the run is over and made one, else the newest checkpoint. adapter:
    low-rank adapters that fine-tuning kept (models/adapter_<GUID>_finetuned.safetensors), put on this model, which must
    be the one they were trained on; the result is the fine-tuned model. NotFound, FormatError.
    """
    from engine.model import Model

    chosen = workspace if isinstance(workspace, Workspace) else workspace_choice.choose(workspace)
    home, guid = locate(reference, chosen, shipped_if_none=True)
    entry = home.entry(guid)
    if step is not None:
        from babytui import checkpoint_models

        run = Run(home, guid)
        if step != "now" or (run.plan and (run.alive or not entry.has_model)):
            return checkpoint_models.load(run, "last" if step == "now" else step, fresh=step == "now")
    need_model(home, guid, entry)
    config, tokenizer, arrays = read(home, guid)
    config, moved = devices.here(config)
    model = Model.from_arrays(config, arrays, source=home.find("model", guid).name)
    if len(tokenizer.vocab) != model.vocab_size:
        raise FormatError(f"{home.find('tokenizer', guid).name} has {len(tokenizer.vocab)} symbols but "
                          f"{home.find('model', guid).name} has {model.vocab_size}; they do not belong together.")
    if adapter is not None:
        from babytui import finetuning

        model, tokenizer = finetuning.apply_adapter(model, tokenizer, finetuning.model_sha256(home, guid), adapter)
    baby = Baby(model, tokenizer, guid=guid, name=entry.name, workspace=home)
    baby.remarks += moved
    return baby


def need_model(home: Workspace, guid: str, entry: Entry) -> None:
    """NotFound, with what to do, for a run that has made no model yet."""
    if not entry.has_model and (run := Run(home, guid)).plan:
        raise NotFound(f"{run.name} has no model yet: its run {past(run.status())}; `babytui stop {run.short}` ends a "
                       "live run and keeps its model.")


def read(home: Workspace, guid: str) -> tuple[Config, Any, dict[str, Any]]:
    """The files of a model: its configuration with its tokenizer's kind, the tokenizer, the contents of its model file.

    NotFound, FormatError.
    """
    from engine import registry
    from store import artifacts

    config = artifacts.load_config(home, guid)
    vocab, kind = artifacts.load_vocabulary(home, guid)
    config = config.replace(c_tokenizer=kind or config.c_tokenizer)
    arrays = artifacts.load_model(home, guid, "float64" if config.d_type == "fp64" else "float32")
    return config, registry.tokenizer.get(config.c_tokenizer)(vocab), arrays


def train(config: Mapping[str, Any] | Config | None = None, inputs: Sequence[str | os.PathLike[str]] = (),
          workspace: str | os.PathLike[str] | Workspace | None = None, *, preset: str | None = None,
          steps: int | None = None, time_budget: float | None = None, name: str | None = None, prompt: str = "") -> Run:
    """Train a model in a process of its own. Iterating over the result gives typed events until the run is over.

    config: parameters that differ from the defaults (or from `preset`). inputs: paths or names of texts. Leaving the
    loop leaves the run going: `.command("stop")` ends it and keeps the model, `load(run.guid)` opens it.
    """
    from engine.config import preset as named

    base = named(preset) if preset else None
    chosen = workspace if isinstance(workspace, Workspace) else workspace_choice.choose(workspace)
    complete = config if isinstance(config, Config) else Config.read(config, base=base)
    return _start(chosen, complete, list(inputs), name=name, prompt=prompt, time_budget=time_budget, steps=steps)


def finetune(reference: str, inputs: Sequence[str | os.PathLike[str]],
             workspace: str | os.PathLike[str] | Workspace | None = None, *,
             config: Mapping[str, Any] | None = None, freeze: Sequence[str] = (), lora: int = 0, alpha: float = 0.0,
             target: Sequence[str] = (), steps: int | None = None, time_budget: float | None = None,
             name: str | None = None, prompt: str = "") -> Run:
    """Let a model learn another text, in a process of its own; the model stays, the run's `guid` names the new one.

    reference: as in `load`. inputs: paths or names of texts; their new symbols are appended to the vocabulary. config:
    parameters that differ from the model's; those of its shape may not. freeze: patterns of tensors that are not
    trained. lora: above 0, low-rank adapters of this rank are trained and nothing else, on the matrices that `target`
    names (patterns; without any, all of the attentions and networks), scaled by alpha / lora (alpha 0: by 1).
    Iterating over the result gives typed events until the run is over.
    """
    from babytui import finetuning
    from engine.adaptation import Adaptation

    chosen = workspace if isinstance(workspace, Workspace) else workspace_choice.choose(workspace)
    adaptation = Adaptation(tuple(freeze), lora, alpha, tuple(target))
    changes = {**(config or {}), **({"n_steps": steps} if steps else {})}
    prepared = finetuning.prepare(finetuning.open_base(reference, chosen), chosen, list(inputs), changes=changes,
                                  adaptation=adaptation, name=name, prompt=prompt)
    return finetuning.start(chosen, prepared, time_budget=time_budget)
