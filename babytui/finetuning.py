"""Fine-tuning: what of which model learns which text. Worked out before anything is written, then an ordinary run.

The worker comes here for the model and the vocabulary that such a run begins with, and for what its artifacts say.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babytui import library, runs
from babytui.visible import visible
from engine.config import ALIASES, MODEL, PARAMETERS, Config
from engine.errors import BabyError, ConfigError, FormatError, RunError, TextError, UsageError
from store.model_file import LIMIT as MODEL_LIMIT
from store.names import FINETUNED, new_guid, short, split_guid
from store.reading import open_regular
from store.workspace import Workspace

if TYPE_CHECKING:
    from engine.adaptation import Adaptation
    from engine.estimate import Estimate
    from engine.model import Model
    from engine.tokenizer._base import Tokenizer
    from store.workspace import Entry

# Unless the user says otherwise (docs/finetune.md has the measurements behind them):
RATE = 1 / 3  # of the base's r_learn
LORA_RATE = 3.0  # the same with low-rank adapters
EPOCHS = 3  # passes over the text
FEWEST, MOST = 30, 1000  # steps
SHOWN_SYMBOLS = 16
_TOLD = 200  # characters of one fact that a file tells


class PromptError(TextError):
    """The prompt has symbols that nobody knows."""


@dataclass(frozen=True)
class Base:
    """The model that is fine-tuned. config: as the shapes of its file correct it, for this machine. sha256: of its
    file. rate: the r_learn that it was trained with from nothing, which fine-tuning of fine-tuning must not lower again
    and again. remarks: what has to be known of it."""

    workspace: Workspace
    guid: str
    name: str
    sha256: str
    config: Config
    tokenizer: Tokenizer
    rate: float
    remarks: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its name and the start of its GUID."""
        return f"{self.name} ({short(self.guid)})"


@dataclass(frozen=True)
class Prepared:
    """A run that could begin: everything about it has been checked and nothing written.

    symbols: what the text adds to the vocabulary. strange: it has nothing but new ones. chosen: parameters that the
    user did not set. estimate, full: the cost of this run and of one that trains everything.
    """

    base: Base
    name: str
    prompt: str
    config: Config
    adaptation: Adaptation
    paths: list[Path]
    dataset: str
    tokens: int
    symbols: list[str]
    strange: bool
    chosen: dict[str, Any]
    estimate: Estimate
    full: Estimate
    notes: list[str] = field(default_factory=list)

    @property
    def vocab_size(self) -> int:
        return len(self.base.tokenizer.vocab) + len(self.symbols)

    @property
    def share(self) -> float:
        """Memory for training, as a share of what training everything takes."""
        return self.estimate.training_bytes / self.full.training_bytes

    def symbols_sentence(self) -> str:
        """Which symbols are new; they are shown so that none can drive the terminal."""
        count = len(self.symbols)
        if not count:
            return f"{self.dataset} has no symbols that {self.base.name} does not know."
        return f"{count:,} new {'symbol' if count == 1 else 'symbols'}: {self.symbols_list()}"

    def symbols_list(self) -> str:
        """The new symbols; of many the first."""
        few = " ".join(visible(symbol, newlines=False) if symbol.strip() else repr(symbol)
                       for symbol in (symbol[:20] for symbol in self.symbols[:SHOWN_SYMBOLS]))
        more = len(self.symbols) - SHOWN_SYMBOLS
        return few + (f" … and {more:,} more" if more > 0 else "")

    def warnings(self) -> list[str]:
        """What makes little sense or will not fit, a sentence each."""
        if not self.strange:
            return list(self.estimate.warnings)
        return [f"{self.base.name} knows no symbol of {self.dataset}: what it has learnt about its own symbols will "
                "help little.", *self.estimate.warnings]

    def choices(self) -> str:
        """What was chosen in place of the user."""
        own = "".join(f"; {name} {_plain(value)}" for name, value in self.chosen.items())
        return f"Parameters start from those of {self.base.name}{own}."


def open_base(reference: str, workspace: Workspace) -> Base:
    """The model with this GUID, start of a GUID or name ("baby": the one that ships), read whole.

    NotFound, FormatError.
    """
    baby = library.load(reference, workspace)
    assert baby.workspace is not None  # of one that was loaded
    digest = model_sha256(baby.workspace, baby.guid)
    about = baby.config.extra.get("babytui_base")
    rate = about.get("r_learn") if isinstance(about, dict) else None
    try:
        rate = PARAMETERS["r_learn"].coerce(baby.config.r_learn if rate is None else rate)
    except ConfigError:
        rate = baby.config.r_learn
    return Base(baby.workspace, baby.guid, baby.name, digest, Config(baby.config.values), baby.tokenizer, rate,
                baby.remarks)


def model_sha256(home: Workspace, guid: str) -> str:
    """The SHA-256 of a model's file in hexadecimal. NotFound, FormatError."""
    with open_regular(home.find("model", guid), MODEL_LIMIT)[0] as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prepare(base: Base, workspace: Workspace, names: Sequence[str | os.PathLike[str]], *,
            changes: Mapping[str, Any] | None = None, adaptation: Adaptation | None = None,
            name: str | None = None, prompt: str = "") -> Prepared:
    """What fine-tuning `base` on these texts would be. changes: parameters by name, also as text. name: None or empty
    makes one of the base's and the text's.

    ConfigError with its field (a parameter, freeze, rank, alpha, target or name), TextError, PromptError, NotFound.
    """
    from babytui import texts
    from engine import data
    from engine.adaptation import Adaptation
    from engine.estimate import estimate

    changes = dict(changes or {})
    adaptation = adaptation or Adaptation()
    config = _configure(base, changes)
    paths = texts.find(workspace, names)
    dataset = texts.dataset(paths)
    tokens, symbols, strange, notes = _compare(base, paths)
    unknown = [s for s in base.tokenizer.missing(prompt) if s not in symbols]
    if unknown:
        few = ", ".join(map(repr, unknown[:8]))
        raise PromptError(f"The prompt has symbols that neither {base.name} nor the text has: {few}; leave them out.")
    chosen = _defaults(base, config, changes, tokens, bool(adaptation.rank))
    config = config.replace(**chosen).validate()
    data.train_tokens(tokens, config)
    adaptation = replace(adaptation, new_symbols=len(symbols))
    vocab_size = len(base.tokenizer.vocab) + len(symbols)
    cost = estimate(config, vocab_size=vocab_size, text_tokens=tokens, adaptation=adaptation)
    full = estimate(config, vocab_size=vocab_size, text_tokens=tokens) if adaptation else cost
    try:
        chosen_name = runs.choose_name(workspace, name, f"{base.name}-{dataset}")
    except UsageError as error:
        raise ConfigError(str(error), "name") from None
    return Prepared(base, chosen_name, prompt, config, adaptation, paths, dataset, tokens, symbols, strange, chosen,
                    cost, full, notes)


def _configure(base: Base, changes: Mapping[str, Any]) -> Config:
    """The base's parameters with what the user changes; ConfigError for one that is the model itself."""
    config = Config.read(changes, base=base.config)
    for name, parameter in PARAMETERS.items():
        if (parameter.group == MODEL or name == "c_tokenizer") and config.values[name] != base.config.values[name]:
            raise ConfigError(f"{name} is part of what {base.name} is ({_plain(base.config.values[name])}) and stays "
                              "in fine-tuning; train a new model to change it.", name)
    return config


def _compare(base: Base, paths: Sequence[Path]) -> tuple[int, list[str], bool, list[str]]:
    """Of the texts: tokens, new symbols, whether they have nothing but new symbols, and notes of how they were read.

    The last answer is kept, for a form that asks at every key.
    """
    from babytui import texts

    stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths)
    key = (base.sha256, tuple(base.tokenizer.vocab[-1:]), stamps)
    if key not in _compared:
        text = texts.read(paths)
        known, found = base.tokenizer.ids.keys(), base.tokenizer.distinct(text)
        symbols = sorted(found - known)
        strange = bool(symbols) and known.isdisjoint(found)
        _compared.clear()
        _compared[key] = base.tokenizer.count(text), symbols, strange, list(text.notes)
    return _compared[key]


_compared: dict[Any, tuple[int, list[str], bool, list[str]]] = {}


def _defaults(base: Base, config: Config, changes: Mapping[str, Any], tokens: int, lora: bool) -> dict[str, Any]:
    """Parameters that the user did not set and that fine-tuning wants different from the base's."""
    from engine import data

    given = {ALIASES.get(name, name) for name in changes}
    chosen: dict[str, Any] = {}
    if "r_learn" not in given:
        chosen["r_learn"] = float(f"{min(base.rate * (LORA_RATE if lora else RATE), 10):.2g}")
    if not given & {"n_steps", "n_epochs"}:
        whole = data.steps(data.train_tokens(tokens, config),
                           config.replace(n_steps=0, n_epochs=EPOCHS, s_stride="auto"))
        chosen["n_steps"] = max(FEWEST, min(MOST, whole))
    elif "n_steps" not in given:
        chosen["n_steps"] = 0  # the passes decide
    if "s_warmup" not in given:
        chosen["s_warmup"] = "auto"
    return {name: value for name, value in chosen.items() if value != config.values[name] or name == "r_learn"}


def start(workspace: Workspace, prepared: Prepared, *, time_budget: float | None = None) -> runs.Run:
    """Begin the run in its own process and return when it has begun, as `runs.start` does. RunError."""
    base = prepared.base
    plan = {
        "name": prepared.name,
        "texts": [str(path) for path in prepared.paths], "notes": prepared.notes, "dataset": prepared.dataset,
        "prompt": prepared.prompt, "time_budget": time_budget,
        "base": {"guid": base.guid, "name": base.name, "sha256": base.sha256, "r_learn": base.rate,
                 "workspace": str(base.workspace.root)},
        "adaptation": prepared.adaptation.to_dict(), "trained_parameters": prepared.estimate.trained_parameters,
    }
    return runs.begin(workspace, prepared.config, prepared.vocab_size, plan, target_guid(workspace, base.guid))


def target_guid(workspace: Workspace, guid: str) -> str:
    """What the new model is called: GUID_finetuned, or a new one when that exists or GUID is fine-tuned itself."""
    bare, tuned = split_guid(guid)
    own = bare + FINETUNED
    free = not tuned and not workspace.run_dir(own).exists() and all(e.guid != own for e in workspace.entries())
    return own if free else new_guid() + FINETUNED


def told(entry: Entry) -> list[tuple[str, str]]:
    """What a fine-tuned model's entry says of its base and of what was trained, as (what, value); [] for another."""
    base = entry.base
    if not base:
        return []
    name = f"{base['name']} ({short(base['guid'])})" if base.get("name") else short(base["guid"])
    rows = [("fine-tuned from", name)]
    parts = [f"{base['trained_parameters']:,.0f} numbers"] if "trained_parameters" in base else []
    if base.get("rank"):
        parts.append(f"adapters of rank {base['rank']:g}" + (f" on {' '.join(base['target'])}" if base.get("target")
                                                             else ""))
    if base.get("freeze"):
        parts.append(f"without {' '.join(base['freeze'])}")
    if base.get("new_symbols"):
        parts.append(f"{base['new_symbols']:,.0f} new symbols")
    rows.append(("trained", ", ".join(parts)))
    curve = (entry.report or {}).get("babytui_curve")
    first = curve[0] if isinstance(curve, list) and curve else None
    if isinstance(first, list) and len(first) == 3 and first[0] == 0 and isinstance(first[2], float):
        rows.append(("loss before", f"{first[2]:.3f}"))
    rows += [("adapters", path.name) for path in entry.files if path.suffix == ".safetensors"
             and path.name.startswith("adapter_")]
    return [(what, visible(value[:_TOLD], newlines=False)) for what, value in rows if value]


# --- in the worker ---------------------------------------------------------------------------------------------------


def newborn(plan: Mapping[str, Any], config: Config, text: Iterable[str]) -> tuple[Model, Tokenizer]:
    """The model and the vocabulary that a fine-tuning run begins with. RunError when the base is another by now."""
    from engine.adaptation import Adaptation, grow
    from engine.model import Model

    about = plan["base"]
    home, guid = Workspace(about["workspace"]), about["guid"]
    try:
        digest = model_sha256(home, guid)
    except (BabyError, OSError) as error:
        raise RunError(f"The model that is fine-tuned cannot be read any more: {error}") from None
    if digest != about["sha256"]:
        raise RunError(f"The model file of {about['name']} has changed since this run was planned; start it again.")
    _, tokenizer, arrays = library.read(home, guid)
    tokenizer = tokenizer.extend(text)
    arrays = grow(arrays, len(tokenizer.vocab), config.n_seed)
    model = Model.from_arrays(config, arrays, source=home.find("model", guid).name,
                              adaptation=Adaptation.read(plan["adaptation"]))
    return model, tokenizer


def record(plan: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """What config and report say under babytui_base: which model it was made from, and what of it was trained."""
    about = {key: plan["base"][key] for key in ("guid", "name", "sha256", "r_learn")}
    return {**about, **plan["adaptation"], "trained_parameters": model.n_trained}


def save_adapter(workspace: Workspace, guid: str, plan: Mapping[str, Any], model: Model, tokenizer: Tokenizer) -> None:
    """Keep the low-rank adapters of a finished run beside its model; nothing when it has none."""
    from store import adapters

    factors = model.adapters()
    if not factors:
        return
    about = record(plan, model)
    count = about["new_symbols"]
    adapters.save(workspace, guid, factors, _new_rows(model, factors, count), {
        "base": {key: about[key] for key in ("guid", "name", "sha256")}, "rank": about["rank"], "alpha": about["alpha"],
        "scale": model.adaptation.scale, "target": about["target"], "freeze": about["freeze"],
        "symbols": tokenizer.vocab[len(tokenizer.vocab) - count:]})


def _new_rows(model: Model, factors: Mapping[str, Any], count: int) -> dict[str, Any]:
    """What belongs to the new symbols, without the adapters' part of it where the vocabulary itself is adapted."""
    import numpy as np

    from engine.adaptation import VOCABULARY, merge

    arrays = {name: np.asarray(value) for name, value in model.export().items() if name in VOCABULARY}
    own = {key: value for key, value in factors.items() if key.rpartition(".")[0] in arrays}
    arrays = merge(arrays, own, -model.adaptation.scale)
    return {name: np.ascontiguousarray(np.moveaxis(np.moveaxis(value, VOCABULARY[name], 0)[-count:], 0,
                                                   VOCABULARY[name]))
            for name, value in arrays.items()} if count else {}


def apply_adapter(model: Model, tokenizer: Tokenizer, sha256: str, path: str | os.PathLike[str],
                  ) -> tuple[Model, Tokenizer]:
    """A base with adapters of a file put on it, and its vocabulary. NotFound, FormatError when it does not fit."""
    import numpy as np

    from engine.adaptation import VOCABULARY, merge
    from engine.model import Model
    from store import adapters

    found = adapters.load(Path(path))
    name = visible(Path(path).name, newlines=False)
    if found.base_sha256 != sha256:
        raise FormatError(f"{name} belongs to another model ({visible(found.base_guid[:46], newlines=False)}, or an "
                          "earlier state of it); adapters fit only the very model they were trained on.")
    known = next((symbol for symbol in found.symbols if symbol in tokenizer.ids), None)
    if known is not None:
        raise FormatError(f"{name}: the model knows {known!r} already, which the file calls new; it is damaged.")
    arrays = model.export()
    for tensor, axis in VOCABULARY.items() if found.symbols else ():
        old, new = arrays[tensor], found.new.get(tensor)
        wanted = list(old.shape)
        wanted[axis] = len(found.symbols)
        if new is None or list(new.shape) != wanted:
            raise FormatError(f"{name}: {tensor} of the new symbols has the shape {getattr(new, 'shape', 'none')}, not "
                              f"{tuple(wanted)}; it does not fit this model.")
        arrays[tensor] = np.concatenate([old, new], axis)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            merged = merge(arrays, found.factors, found.scale)
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from None
    if not all(np.isfinite(merged[key.rpartition(".")[0]]).all() for key in found.factors):
        raise FormatError(f"{name} holds numbers that are too large for this model.")
    return (Model.from_arrays(model.config, merged, source=name),
            type(tokenizer)([*tokenizer.vocab, *found.symbols]))


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
