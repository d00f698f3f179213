"""Every parameter, once: name, type, range, default, help, and what it does to size, speed and quality.

Forms, command-line flags, completion, validation and the documentation are generated from `PARAMETERS`. This module
imports no arrays. Prefixes: c_ choice, n_ count, r_ rate, s_ size or steps, d_ data type.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine import registry
from engine.errors import ConfigError, shown

MODEL, TEXT, TRAINING, MACHINE = "model", "text", "training", "machine"


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    kind: "choice", "int", "float" or "bool". `words` are values that may stand in place of a number ("auto").
    step: how a form changes it: "pow2" doubles and halves, otherwise the number that is added.
    owner: "attention" or "network" if only variants that name it in their `parameters` use it.
    absent: what a file of the earlier program means that lacks it, where that is not the default.
    before: what a file of ours means that lacks it, since it is older than the parameter, where not the default.
    remarks: values that a person who uses the model has to know about, each with the sentence that says why.
    """

    name: str
    kind: str
    default: Any
    help: str
    size: str = "none"
    speed: str = "none"
    quality: str = "none"
    group: str = MODEL
    low: float | None = None
    high: float | None = None
    options: Callable[[], tuple[str, ...]] = tuple
    words: tuple[str, ...] = ()
    step: float | str = 1
    aliases: tuple[str, ...] = ()
    owner: str | None = None
    absent: Any = None
    before: Any = None
    remarks: Mapping[Any, str] = field(default_factory=dict)

    @property
    def choices(self) -> tuple[str, ...]:
        return self.options()

    @property
    def allowed(self) -> str:
        """The valid values in words: 'a number from 0 to 1', 'one of pre, post'."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "bool":
            return "true or false"
        noun = "a whole number" if self.kind == "int" else "a number"
        if self.high is not None and self.low is not None:
            text = f"{noun} from {plain(self.low)} to {plain(self.high)}"
        elif self.low is not None:
            text = f"{noun} of at least {plain(self.low)}"
        else:
            text = noun
        return " or ".join([text, *self.words])

    def coerce(self, value: Any) -> Any:
        """The value in this parameter's type; numbers may come as text. ConfigError says what is allowed."""
        if self.kind == "choice":
            return self._choice(value)
        if self.kind == "bool":
            truth = {True: True, False: False, "true": True, "false": False, "1": True, "0": False, "yes": True,
                     "no": False, "on": True, "off": False}
            key = value.strip().lower() if isinstance(value, str) else value
            if isinstance(key, (bool, int, str)) and key in truth:
                return truth[key]
            raise self._error(value)
        if isinstance(value, str) and value.strip().lower() in self.words:
            return value.strip().lower()
        number = self._number(value)
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            raise self._error(value)
        return number

    def _number(self, value: Any) -> int | float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise self._error(value)
        try:
            if self.kind == "int" and not isinstance(value, float):
                return int(value)  # not by way of float, which has 53 bits
            number = float(value)
            if not math.isfinite(number) or (self.kind == "int" and number != int(number)):
                raise ValueError
            return int(number) if self.kind == "int" else number
        except (ValueError, OverflowError):
            raise self._error(value) from None

    def _choice(self, value: Any) -> str:
        if isinstance(value, str):
            value = value.strip().lower()
            if value in self.choices:
                return value
            if self.owner is None and self.name in _REGISTRIES:
                try:
                    return _REGISTRIES[self.name].resolve(value)
                except ConfigError as error:
                    raise ConfigError(f"{self.name}: {error}", self.name) from None
            near = difflib.get_close_matches(value, self.choices, n=1)
            if near:
                raise ConfigError(f"{self.name}: {shown(value)} is not {self.allowed}; did you mean '{near[0]}'?",
                                  self.name)
        raise self._error(value)

    def _error(self, value: Any) -> ConfigError:
        return ConfigError(f"{self.name} must be {self.allowed}, not {shown(value)}.", self.name)


def plain(number: float) -> str:
    """A number as people write it: 1048576, 0.05, 1e-06."""
    return str(int(number)) if number == int(number) else f"{number:g}"


_REGISTRIES = {"c_attention": registry.attention, "c_network": registry.network, "c_tokenizer": registry.tokenizer}


def _words(*options: str) -> Callable[[], tuple[str, ...]]:
    return lambda: options


_ALL: tuple[Parameter, ...] = (
    Parameter("c_sequence", "choice", "pre", "Where the layer norms stand: before each part of a block or after it.",
              quality="pre trains more steadily when there are many layers", options=_words("pre", "post")),
    Parameter("c_attention", "choice", "mha", "How a token looks back at earlier ones.",
              size="depends on the variant", speed="depends on the variant", quality="mha is the reference",
              options=registry.attention.names),
    Parameter("c_network", "choice", "mlp", "How each token is transformed after it has looked back.",
              size="depends on the variant", speed="depends on the variant", quality="mlp is the reference",
              options=registry.network.names),
    Parameter("n_layers", "int", 4, "Number of blocks, one on top of the other.", size="proportional",
              speed="proportional", quality="more layers learn more from enough text", low=1, high=1024, step="pow2"),
    Parameter("n_emb", "int", 128, "Width: how many numbers describe a token.", size="grows with its square",
              speed="grows with its square", quality="the first thing to raise", low=1, high=65536, step="pow2"),
    Parameter("head_size", "int", 128, "Total width of all attention heads; n_heads must divide it.",
              size="proportional (attention)", speed="proportional (attention)", quality="usually equal to n_emb",
              low=1, high=65536, step="pow2", aliases=("s_head",)),
    Parameter("n_heads", "int", 4, "How many things a token can look for at once; divides head_size.",
              speed="more heads are a little slower", quality="heads of 16 to 64 numbers work well",
              low=1, high=4096, step="pow2"),
    Parameter("n_ctx", "int", 64, "Context: how many tokens back the model can see.", size="small",
              speed="grows with its square in most attentions", quality="longer memory, slower learning",
              low=1, high=1 << 20, step="pow2"),
    Parameter("r_temp", "float", 1.0, "Temperature of the attention itself (not of sampling); 1 is the usual thing.",
              quality="below 1 attends more sharply", low=1e-6, high=1000, step=0.1),
    Parameter("n_kv_heads", "int", 0, "Key and value heads shared by groups of query heads; 0 = a quarter of n_heads.",
              size="fewer are smaller", speed="fewer have a smaller cache", low=0, high=4096, step="pow2",
              owner="attention"),
    Parameter("s_window", "int", 32, "How many tokens the sliding window sees, itself included.",
              speed="proportional (attention)", quality="longer exact memory", low=1, high=1 << 20, step="pow2",
              owner="attention"),
    Parameter("s_kernel", "int", 8, "How many tokens the convolution sees, itself included.", size="small",
              speed="proportional (convolution)", low=1, high=4096, step="pow2", owner="attention"),
    Parameter("c_convolution", "choice", "causal",
              "What the convolution sees: a token and those before it, or (centred) as many before as after it.",
              speed="centred cannot keep a cache, generation is much slower",
              quality="centred sees the tokens it should predict, its loss means little",
              options=_words("causal", "centred"), owner="attention", absent="centred",
              remarks={"centred": "This model is not causal: its convolution also sees later tokens (c_convolution "
                                  "is centred, as in The Little Baby before v0.1.25), so every token is generated "
                                  "from the whole context; if a later version wrote it, put \"c_convolution\": "
                                  "\"causal\" into its config file."}),
    Parameter("n_experts", "int", 4, "Number of expert networks that are mixed for every token.", size="proportional",
              speed="proportional", low=1, high=256, step="pow2", owner="network"),
    Parameter("n_rank", "int", 4, "Rank of the trained low-rank correction.", size="proportional", speed="small",
              quality="higher ranks can change more", low=1, high=65536, step="pow2", owner="network"),
    Parameter("n_groups", "int", 4, "Number of groups the width is cut into; divides n_emb.", size="more are smaller",
              speed="more are faster", low=1, high=65536, step="pow2", owner="network"),
    Parameter("ggl_shuffle", "bool", True, "Mix the groups by shuffling their channels.",
              quality="lets groups exchange what they know", owner="network", absent=False),
    Parameter("c_tokenizer", "choice", "char", "What a token is: one character, or one word or run of spaces.",
              group=TEXT, size="words need a larger table", quality="word needs much more text",
              options=registry.tokenizer.names),
    Parameter("r_split", "float", 0.9, "Share of the text to train on; the rest measures validation loss.", group=TEXT,
              quality="below 0.8 wastes text, above 0.95 measures badly", low=0.01, high=1.0, step=0.05),
    Parameter("c_shuffle", "bool", False, "Shuffle large blocks of the text before the split, never single tokens.",
              group=TEXT, quality="validation is drawn from everywhere in the text"),
    Parameter("s_stride", "int", "auto", "Tokens between the starts of two windows; auto = n_ctx at a random offset.",
              group=TEXT, speed="1 makes an epoch n_ctx times longer", low=1, high=1 << 20, words=("auto",),
              step="pow2"),
    Parameter("batch_size", "int", 12, "Windows per step.", group=TRAINING, speed="larger steps are slower",
              quality="larger is steadier; raise r_learn with it", low=1, high=65536, step="pow2",
              aliases=("s_batch",)),
    Parameter("n_epochs", "int", 1, "How often to go through the training text.", group=TRAINING, speed="proportional",
              quality="until validation loss stops falling", low=1, high=1_000_000, aliases=("num_epochs",)),
    Parameter("n_steps", "int", 0, "End after this many steps; when above 0 it decides instead of n_epochs.",
              group=TRAINING, speed="proportional", quality="more steps learn more", low=0, high=10**9, step=500),
    Parameter("r_learn", "float", 0.004, "Learning rate: how far each step goes.", group=TRAINING,
              quality="too low learns slowly, too high diverges; about 0.5 / n_emb is good", low=0, high=10,
              step="pow2", aliases=("lr",)),
    Parameter("c_schedule", "choice", "linear",
              "How the learning rate changes: constant; falling along a cosine to a tenth; or (linear) constant, then "
              "falling in a straight line to 0.", group=TRAINING, quality="linear ends lowest, constant highest",
              options=_words("constant", "cosine", "linear")),
    Parameter("r_cooldown", "float", 0.5,
              "Share of the steps after the warm-up in which a linear schedule falls; 1 = all of them.", group=TRAINING,
              quality="0.5 to 0.7 ends lowest", low=0, high=1, step=0.1),
    Parameter("s_warmup", "float", "auto",
              "Steps that raise the learning rate from 0: none, auto, a fraction of all steps, or a count above 1.",
              group=TRAINING, quality="auto avoids a bad start", low=0, high=10**9, words=("none", "auto"), step=10,
              absent="none"),
    Parameter("r_dropout", "float", 0.0, "Share of values dropped at random in training.", group=TRAINING,
              speed="a little slower", quality="helps when a small text is read many times", low=0, high=0.95,
              step=0.05, aliases=("dropout",)),
    Parameter("r_decay", "float", 0.1, "AdamW's decoupled decay of the matrices.", group=TRAINING,
              quality="keeps weights small", low=0, high=10, step=0.05),
    Parameter("r_beta1", "float", 0.85, "AdamW's memory of the gradient: the share that is kept at each step.",
              group=TRAINING, quality="higher is steadier and slower to turn; 0.8 to 0.9 is good", low=0, high=0.9999,
              step=0.01, before=0.9),
    Parameter("r_beta2", "float", 0.99, "AdamW's memory of the squared gradient: the share that is kept at each step.",
              group=TRAINING, quality="higher is steadier with small batches", low=0, high=0.999999, step=0.01),
    Parameter("c_momentum", "choice", "nesterov",
              "What AdamW goes along: the mean of the gradients so far (plain), or what that mean will be at the next "
              "step if the gradient stays (nesterov).", group=TRAINING, speed="nesterov costs about 1 % of a step",
              quality="nesterov learns faster", options=_words("plain", "nesterov"), before="plain"),
    Parameter("r_clip", "float", 1.0, "Largest norm of the whole gradient; 0 = no clipping.", group=TRAINING,
              quality="one bad batch cannot spoil the run", low=0, high=1e9, step=0.5),
    Parameter("c_init", "choice", "fan",
              "How weights begin: matrices N(0, 1/n) for n inputs and embeddings N(0, 0.5²) (fan), or everything "
              "N(0, 0.02²) (normal); what a block adds at its end is divided by √(2 n_layers) in both.",
              group=TRAINING, quality="fan learns faster", options=_words("fan", "normal"), before="normal"),
    Parameter("n_seed", "int", 1, "Seed of every random number; the same seed gives the same model.", group=TRAINING,
              low=0, high=2**63 - 1),
    Parameter("c_not_finite", "choice", "rollback",
              "When the gradient is not finite in five steps in a row: stop, or go on from the last good checkpoint "
              "with half the learning rate (rollback).", group=TRAINING, options=_words("rollback", "stop")),
    Parameter("d_type", "choice", "fp32", "Number format of the weights.", group=MACHINE,
              size="fp64 doubles, fp16 halves", speed="fp32 is fastest on a CPU",
              quality="fp64 is for exactness, not for learning",
              options=_words("fp16", "fp32", "fp64")),
    Parameter("c_device", "choice", "cpu", "Where to compute.", group=MACHINE, speed="gpu pays off for larger models",
              options=_words("cpu", "gpu")),
    Parameter("c_device_cpu_cores", "int", 0, "Processor cores to use; 0 = all.", group=MACHINE,
              speed="more are faster", low=0, high=4096),
    Parameter("c_device_gpu_core", "int", 0, "Which GPU, counted from 0.", group=MACHINE, low=0, high=64),
    Parameter("c_device_gpu_tensor", "bool", False, "Let the GPU round to TF32 in matrix products.", group=MACHINE,
              speed="faster on a GPU", quality="a little less exact"),
    Parameter("s_checkpoint_seconds", "int", 60, "Seconds between two checkpoints of a run; 0 = not by time.",
              group=MACHINE, speed="below 10 may cost a little", low=0, high=86400, step=10),
    Parameter("s_checkpoint_steps", "int", 0, "Steps between two checkpoints of a run; 0 = not by steps.",
              group=MACHINE, speed="every few steps is slow", low=0, high=10**9, step=100),
    Parameter("n_checkpoints", "int", 3, "How many of the last checkpoints are kept, beside the best. A finished run "
              "keeps only the last and the best, but all of them when this is more than 3.", group=MACHINE, low=1,
              high=1000),
    Parameter("infr_cache", "bool", True, "Keep what was computed for earlier tokens when generating.", group=MACHINE,
              speed="much faster", quality="the same text"),
)

PARAMETERS: dict[str, Parameter] = {p.name: p for p in _ALL}
ALIASES: dict[str, str] = {alias: p.name for p in _ALL for alias in p.aliases}

_AGE = {"n_layers": 16, "n_emb": 128, "head_size": 128, "n_heads": 16, "batch_size": 16, "r_learn": 0.001,
        "r_dropout": 0.1}
PRESETS: dict[str, dict[str, Any]] = {
    "newborn": {"n_ctx": 64, "n_emb": 96, "head_size": 96, "n_heads": 4, "n_layers": 2, "batch_size": 12,
                "r_learn": 0.006, "n_steps": 2000},
    "3m": {**_AGE, "n_ctx": 8},
    "6m": {**_AGE, "n_ctx": 16},
    "12m": {**_AGE, "n_ctx": 32},
    "24m": {**_AGE, "n_ctx": 64},
    "48m": {**_AGE, "n_ctx": 128},
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with a field, in one sentence."""

    field: str
    message: str


@dataclass(frozen=True, eq=True)
class Config:
    """A complete set of parameters, read as attributes: `config.n_emb`.

    extra: keys that are not ours. given: the parameters that somebody named; the others are defaults.
    """

    values: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "values":
            raise AttributeError(name)
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(f"There is no parameter '{name}'.") from None

    @classmethod
    def read(cls, raw: Mapping[str, Any] | None = None, *, base: Config | None = None, strict: bool = True) -> Config:
        """Parameters from any mixture of our names and historic ones, numbers also as text; the rest are defaults.

        strict: an unknown key is a ConfigError that suggests the nearest; otherwise it is kept in `extra`.
        Checks each value alone; `validate` checks them together.
        """
        values = dict(base.values) if base else {p.name: p.default for p in _ALL}
        extra = dict(base.extra) if base else {}
        given: dict[str, str] = {}
        for key, value in (raw or {}).items():
            name = key if key in PARAMETERS else ALIASES.get(key)
            if name is None:
                if strict:
                    raise unknown(key)
                extra[key] = value
                continue
            coerced = PARAMETERS[name].coerce(value)
            if name in given and coerced != values[name]:
                raise ConfigError(f"{given[name]} and {key} are the same parameter but differ "
                                  f"({shown(values[name])} and {shown(coerced)}); keep one of them.", name)
            given[name], values[name] = key, coerced
        return cls(values, extra, (base.given if base else frozenset()) | frozenset(given))

    def replace(self, **changes: Any) -> Config:
        """A copy with some parameters changed."""
        return Config.read(changes, base=self)

    @property
    def d_head(self) -> int:
        """Width of one head (d = H / h)."""
        return self.head_size // self.n_heads

    def applies(self, name: str) -> bool:
        """Whether the parameter has any effect with this attention and network."""
        owner = PARAMETERS[name].owner
        if owner is None:
            return True
        return name in _REGISTRIES["c_" + owner].get(self.values["c_" + owner]).parameters

    def active(self) -> Iterator[Parameter]:
        """The parameters that have an effect, in form order."""
        return (p for p in _ALL if self.applies(p.name))

    def to_dict(self, *, extra: bool = True) -> dict[str, Any]:
        """The active parameters under their names, then the keys that were kept."""
        own = {p.name: self.values[p.name] for p in self.active()}
        return {**own, **self.extra} if extra else own

    def problems(self) -> list[Problem]:
        """Everything that contradicts: empty when the configuration can be trained."""
        return [Problem(name, message) for name, holds, message in self._rules() if self.applies(name) and not holds]

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        v = self
        yield ("n_heads", v.head_size % v.n_heads == 0,
               f"n_heads {v.n_heads} does not divide head_size {v.head_size}; "
               f"the nearest that does is {nearest_divisor(v.head_size, v.n_heads)}.")
        yield ("n_kv_heads", v.n_kv_heads == 0 or v.n_heads % v.n_kv_heads == 0,
               f"n_kv_heads {v.n_kv_heads} does not divide n_heads {v.n_heads}; "
               f"the nearest that does is {nearest_divisor(v.n_heads, v.n_kv_heads)}.")
        yield ("n_groups", v.n_emb % v.n_groups == 0,
               f"n_groups {v.n_groups} does not divide n_emb {v.n_emb}; "
               f"the nearest that does is {nearest_divisor(v.n_emb, v.n_groups)}.")
        for name in ("n_groups", "n_experts"):
            yield (name, v.n_layers * v.values[name] <= 1 << 16,
                   f"n_layers {v.n_layers} times {name} {v.values[name]} are more than 65,536 matrices; lower one of "
                   "them.")
        yield ("n_rank", v.n_rank <= v.n_emb, f"n_rank {v.n_rank} is larger than n_emb {v.n_emb}; lower it.")
        yield ("s_stride", v.s_stride == "auto" or v.s_stride <= v.n_ctx,
               f"s_stride {v.s_stride} is larger than n_ctx {v.n_ctx} and would skip text; lower it or use auto.")

    def validate(self) -> Config:
        """This configuration, or a ConfigError with its first problem."""
        for problem in self.problems():
            raise ConfigError(problem.message, problem.field)
        return self


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, all the parameters that a version of ours knew, with those that it did not know as it had them."""
    missing = {p.name: p.before for p in _ALL if p.before is not None and p.name not in values}
    return {**missing, **values}


def effective(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters among `values` that have an effect, as far as the variants they name exist.

    Imports the variants (and numpy) only for files of the earlier program, to which the switches of all were added.
    """
    doubtful = [p for p in _ALL if p.owner and p.absent is not None and values.get(p.name) == p.absent]
    if not doubtful:
        return dict(values)
    try:
        config = Config.read({name: values[name] for name in ("c_attention", "c_network") if name in values})
        idle = {p.name for p in doubtful if not config.applies(p.name)}
    except ConfigError:
        idle = {p.name for p in doubtful}
    return {name: value for name, value in values.items() if name not in idle}


def remarks(values: Mapping[str, Any]) -> list[str]:
    """What a person who uses a model with these parameters has to know, a sentence each."""
    if not any(values.get(p.name) in p.remarks for p in _ALL):
        return []
    values = effective(values)
    return [p.remarks[values[p.name]] for p in _ALL if values.get(p.name) in p.remarks]


def unknown(key: Any) -> ConfigError:
    """The error for a key that is no parameter, with the nearest that is."""
    near = difflib.get_close_matches(str(key), [*PARAMETERS, *ALIASES], n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return ConfigError(f"There is no parameter {shown(str(key))}{hint}", str(key))


def preset(name: str) -> Config:
    """The configuration of a preset; ConfigError names those that exist."""
    if name not in PRESETS:
        raise ConfigError(f"There is no preset {shown(name)}; choose one of {', '.join(PRESETS)}.", "preset")
    return Config.read(PRESETS[name])


def age(config: Config) -> str:
    """The preset whose context is the longest that this configuration reaches, as an age badge."""
    if config.n_emb < 128:
        return "newborn"
    reached = [name for name, values in PRESETS.items() if values["n_ctx"] <= config.n_ctx and name != "newborn"]
    return reached[-1] if reached else "newborn"


def nearest_divisor(number: int, wish: int) -> int:
    """The divisor of `number` that is nearest to `wish` (the smaller of two)."""
    divisors = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return min({*divisors, *(number // d for d in divisors)}, key=lambda d: (abs(d - wish), d))
