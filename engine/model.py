"""The model: embeddings, blocks, a last layer norm and an untied head.

    x = wte[ids] + wpe[position];  x = block_i(x);  logits = LN_f(x)·W + b        (Radford et al., GPT-2, 2019)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from engine import backend, contents, registry
from engine.adaptation import Adaptation
from engine.backend import Arena, Array, xp
from engine.block import Block
from engine.config import Config
from engine.device import guarded
from engine.errors import ConfigError, FormatError
from engine.functional import (
    column_sums,
    cross_entropy,
    cross_entropy_backward,
    gather_rows,
    layer_norm,
    layer_norm_backward,
    scatter_rows,
)
from engine.parameters import Gradients, Parameters, Tensor
from engine.tape import Tape, tape_for
from engine.variant import State, linear, rows

States = list[tuple[State, State]]
_BLOCK = re.compile(r"block_(\d+)_([a-z0-9]+)_(.+)")


def tensors(config: Config, vocab_size: int) -> list[Tensor]:
    """Every weight of a model in file order: globals, then the blocks. Allocates nothing."""
    return list(each_tensor(config, vocab_size))


def each_tensor(config: Config, vocab_size: int) -> Iterator[Tensor]:
    """The same one by one: whoever looks for them in a file need not list those of a thousand blocks to miss one."""
    V, D = vocab_size, config.n_emb
    yield from (Tensor("wte_weight", (V, D), "embedding"),
                Tensor("wpe_weight", (config.n_ctx, D), "embedding"), Tensor("ln_f_gamma", (D,), "ones"),
                Tensor("ln_f_beta", (D,), "zeros"), Tensor("lm_head_weight", (D, V)),
                Tensor("lm_head_bias", (V,), "zeros", optional=True))
    for i in range(config.n_layers):
        yield from Block.tensors(i, config)


def lowest(declared: Sequence[Tensor], n_layers: int) -> int:
    """The lowest block in which anything is trained; -1 when the embeddings are, n_layers when only the head is."""
    trained = {t.corrects[0] if t.corrects else t.name for t in declared if not t.frozen}
    if trained & {"wte_weight", "wpe_weight"}:
        return -1
    return min((int(match[1]) for name in trained if (match := _BLOCK.match(name))), default=n_layers)


class Model:
    """A GPT. `params` maps file names to weights; `extra` keeps what a file held beside them.

    The weights begin at 0: use `create` for random ones or `from_arrays` for those of a file. adaptation: what is
    trained, None = everything.
    """

    def __init__(self, config: Config, vocab_size: int, adaptation: Adaptation | None = None):
        self.config = config.validate()
        self.adaptation = adaptation or Adaptation()
        if config.c_device == "gpu" or xp._module is not np:
            backend.use(config.c_device, config.c_device_gpu_core, config.c_device_gpu_tensor, config.d_type == "fp16")
        self.vocab_size = vocab_size
        self.storage = backend.STORAGE[config.d_type]
        self.dtype = backend.COMPUTE[config.d_type]
        declared = self.adaptation.tensors(tensors(config, vocab_size))
        with guarded(config, lambda: "lower n_emb or n_layers, or set c_device to cpu"):
            self.params = Parameters(declared, self.dtype, self.adaptation.scale)
        self.extra: dict[str, Any] = {}
        self.arena = Arena()
        self.blocks = [Block(i, config, self.dtype) for i in range(config.n_layers)]
        self.bind()
        self._start = lowest(declared, config.n_layers)

    def bind(self) -> None:
        """Let the blocks take their views of the weights; needed when those have moved."""
        for block in self.blocks:
            block.bind(self.params)

    @classmethod
    def create(cls, config: Config, vocab_size: int) -> Model:
        """A newborn model with random weights from n_seed."""
        model = cls(config, vocab_size)
        model.params.initialise(config.n_seed, config.n_layers, config.c_init)
        model.round()
        return model

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return self.params.count

    @property
    def causal(self) -> bool:
        """Whether no token sees a later one. If not, there is no `prefill` and no `step`."""
        return all(variant.causal(self.config) for variant in _variants(self.config))

    @property
    def n_trained(self) -> int:
        """How many numbers are trained: weights that are not frozen, or the adapters' own."""
        return self.params.n_trained

    def round(self) -> None:
        """Bring the weights to what the storage type can hold (halves on a CPU)."""
        if self.storage is not self.dtype:
            self.params.flat[...] = self.params.flat.astype(self.storage)

    # Files ------------------------------------------------------------------------------------------------------------

    @classmethod
    def from_arrays(cls, config: Config, arrays: Mapping[str, Any], *, source: str = "The model",
                    adaptation: Adaptation | None = None) -> Model:
        """A model from the contents of a model file: shapes decide what the config does not say.

        Null biases are 0, historic names are ours, what is not ours is kept in `extra`. FormatError names the tensor or
        the parameter that does not fit, see engine/contents.py; `source` begins its message. adaptation: what of it
        will be trained; adapters begin afresh and correct nothing yet.
        """
        contents.check_variants(config, list(arrays), source)
        arrays = _ours(config, arrays)
        config = infer(config, arrays, source)
        contents.check(config, each_tensor(config, len(arrays["wte_weight"])), arrays, source)
        model = cls(config, arrays["wte_weight"].shape[0], adaptation)
        left = dict(arrays)
        for name, view in model.params.items():
            value = left.pop(name, None)
            if value is not None:
                view[...] = xp.asarray(value)
        model.extra = left
        model.params.initialise_adapters(config.n_seed)
        model.round()  # adapters as well: what goes on from a checkpoint of the first step rounds them
        model.params.keep_base()
        return model

    def adapters(self) -> dict[str, np.ndarray]:
        """The low-rank factors by the name of their matrix: `<name>.lora_a` (D, r) and `<name>.lora_b` (r, E).

        The exported matrix is the one before plus adaptation.scale · A·B.
        """
        found = [name for adapter in self.params.adapters for name in (adapter.a, adapter.b)]
        return {name: np.array(backend.host(self.params.joined[name])) for name in found}

    def export(self) -> dict[str, Any]:
        """The contents of a model file, in order: host arrays in the storage type, scalars, then `extra`."""
        values: dict[str, Any] = {}
        order = []
        for block in self.blocks:
            order += [name for name in self.params if name.startswith(f"{block.prefix}ln")]
            for variant in (block.attention, block.network):
                prefix = f"{block.prefix}{variant.name}_"
                order += [prefix + name for name in variant.file_order(self.config)]
                values |= {prefix + name: value for name, value in variant.scalars(self.config).items()}
                values |= {prefix + name: self.extra.get(prefix + name, np.zeros(shape, self.storage))
                           for name, shape in variant.unused(self.config).items()}
        for name, view in self.params.items():
            values[name] = np.ascontiguousarray(backend.host(view).astype(self.storage))
        out = {name: values[name] for name in [*(n for n in self.params if not n.startswith("block_")), *order]}
        return {**out, **{name: value for name, value in self.extra.items() if name not in out}}

    # Forward and backward ---------------------------------------------------------------------------------------------

    def embed(self, ids: Array, start: int, tape: Tape) -> Array:
        """The input of the first block (B, T, n_emb) for ids (B, T), of which the first stands at position `start`."""
        B, T = ids.shape
        x = tape.empty(B, T, self.config.n_emb)
        gather_rows(self.params["wte_weight"], ids, x)
        x += self.params["wpe_weight"][start : start + T]
        return x

    def head(self, x: Array, tape: Tape) -> Array:
        """Logits (N, V) of the last block's output (…, n_emb), N tokens in all."""
        z = layer_norm(rows(x), self.params["ln_f_gamma"], self.params["ln_f_beta"], tape)
        logits = linear(z, self.params["lm_head_weight"], self.params["lm_head_bias"], tape)
        tape.save(z)
        return logits

    def forward(self, ids: Array, tape: Tape) -> Array:
        """Logits (B·T, V) for ids (B, T), T ≤ n_ctx. Saves on the tape what `backward` needs."""
        x = self.embed(ids, 0, tape)
        recording = tape.recording
        for number, block in enumerate(self.blocks):
            tape.recording = recording and number >= self._start  # nothing below is trained
            x = block.forward(x, tape)
        tape.recording = recording
        return self.head(x, tape)

    def backward(self, dlogits: Array, ids: Array, tape: Tape, gradients: Gradients) -> Array:
        """Adds every gradient; returns that of the embedded input (B, T, n_emb), or of the lowest trained block's."""
        B, T = ids.shape
        D = self.config.n_emb
        g = gradients.layer("")
        z = tape.pop()
        g.product("lm_head_weight", z, dlogits)
        g.rows("lm_head_bias", dlogits)
        dz = linear(dlogits, self.params["lm_head_weight"].T, None, tape)
        dx, dgamma, dbeta = layer_norm_backward(dz, self.params["ln_f_gamma"], tape)
        g.add("ln_f_gamma", dgamma)
        g.add("ln_f_beta", dbeta)
        dx = dx.reshape(B, T, D)
        for block in reversed(self.blocks[max(0, self._start) :]):
            dx = block.backward(dx, tape, gradients)
        if g.wants("wte_weight"):
            g.add("wte_weight", scatter_rows(ids.reshape(-1), rows(dx), self.vocab_size, tape))
        if g.wants("wpe_weight"):
            positions = tape.empty(self.config.n_ctx, D)
            positions[T:] = 0
            column_sums(dx.reshape(B, T * D), out=positions[:T].reshape(-1))
            g.add("wpe_weight", positions)
        return dx

    def loss_and_gradients(self, ids: Array, targets: Array, gradients: Gradients, *, step: int = 0, shard: int = 0,
                           scale: float = 1.0) -> float:
        """Adds the gradients of scale · mean cross entropy; returns the mean (nats per token).

        ids, targets: (B, T). Dropout depends on (n_seed, step, shard) only.
        """
        tape = tape_for(self.arena, self.dtype, self.config.n_seed, step, shard, self.config.r_dropout)
        return float(self.losses_and_gradients(ids, targets, gradients, tape, scale / ids.size).mean())

    def losses_and_gradients(self, ids: Array, targets: Array, gradients: Gradients, tape: Tape, scale: float) -> Array:
        """Adds the gradients of scale · Σ cross entropy; the losses (B·T,) in nats, float64. Waits for no device."""
        losses = cross_entropy(self.forward(ids, tape), targets.reshape(-1), tape, scale)
        self.backward(cross_entropy_backward(scale, tape), ids, tape, gradients)
        return losses

    def losses(self, ids: Array, targets: Array) -> Array:
        """Cross entropy of every token (B, T) in nats, float64, without dropout."""
        tape = self.tape()
        return cross_entropy(self.forward(ids, tape), targets.reshape(-1), tape).reshape(ids.shape)

    def logits(self, ids: Any) -> Array:
        """Logits for every position: ids (T,) → (T, V) or (B, T) → (B, T, V). T ≤ n_ctx."""
        ids = xp.asarray(ids)
        self.check(ids)
        batch = xp.atleast_2d(ids)
        return self.forward(batch, self.tape()).reshape(*ids.shape, self.vocab_size).copy()

    def tape(self) -> Tape:
        """A tape for a forward pass that no backward pass follows."""
        return Tape(self.arena, self.dtype)

    def check(self, ids: Array) -> None:
        """ConfigError when ids are empty, longer than the context or outside the vocabulary."""
        T = ids.shape[-1]
        if not 0 < T <= self.config.n_ctx:
            raise ConfigError(f"{T} tokens do not fit the context; give from 1 to {self.config.n_ctx}.", "n_ctx")
        if int(ids.min()) < 0 or int(ids.max()) >= self.vocab_size:
            raise ConfigError(f"A token id is outside the vocabulary of {self.vocab_size}.")

    # One token at a time ----------------------------------------------------------------------------------------------

    def state(self, batch: int = 1) -> States:
        """Fresh decode states for `batch` replies."""
        return [block.state(batch) for block in self.blocks]

    def prefill(self, ids: Array, states: States, start: int = 0) -> Array:
        """Logits (B, V) after ids (B, T), of which the first stands at position `start`; advances the states."""
        tape = self.tape()
        x = self.embed(ids, start, tape)
        for block, state in zip(self.blocks, states, strict=True):
            x = block.prefill(x, state, tape)
        return self.head(x[:, -1], tape)

    def step(self, ids: Array, states: States, position: int) -> Array:
        """Logits (B, V) after the next ids (B,), which stand at `position` < n_ctx; advances the states.

        For many tokens of a small model there is engine/prepared.py, the same function in less time.
        """
        return self.prefill(ids[:, None], states, position)

    def step_at(self, ids: Array, states: States, place: Array) -> Array:
        """The same at a position that is read from an array, place (1,) int64, and without advancing
        `State.position`: whatever the position, it is the same work on the same memory."""
        tape = self.tape()
        x = tape.empty(len(ids), 1, self.config.n_emb)
        gather_rows(self.params["wte_weight"], ids[:, None], x)
        x += xp.take(self.params["wpe_weight"], place, axis=0)
        for block, state in zip(self.blocks, states, strict=True):
            x = block.prefill_at(x, state, place, tape)
        return self.head(x[:, -1], tape)


def _variants(config: Config) -> tuple[Any, Any]:
    return registry.attention.get(config.c_attention), registry.network.get(config.c_network)


def _ours(config: Config, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays under our names and in our form: what the two variants know of their own history."""
    prefixes = {alias: variant for kind, variant in zip((registry.attention, registry.network), _variants(config),
                                                        strict=True)
                for alias in (variant.name, *kind.aliases(variant.name))}
    renamed: dict[str, Any] = {}
    layers: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in arrays.items():
        match = _BLOCK.fullmatch(key)
        variant = prefixes.get(match[2]) if match else None
        if match is None or variant is None:
            renamed[key] = value
            continue
        name = variant.legacy.get(match[3], match[3])
        renamed[f"block_{match[1]}_{variant.name}_{name}"] = value
        layers.setdefault((match[1], variant.name), {})[name] = value
    for (index, prefix), own in layers.items():
        for name, value in prefixes[prefix].convert(own, config).items():
            renamed[f"block_{index}_{prefix}_{name}"] = value
    return renamed


def infer(config: Config, arrays: Mapping[str, Any], source: str = "The model") -> Config:
    """The config with what the shapes of the tensors decide. FormatError when the embeddings are missing, or when the
    config says something else."""
    for name in ("wte_weight", "wpe_weight"):
        if len(getattr(arrays.get(name), "shape", ())) != 2:
            raise FormatError(f"{source} lacks the matrix {name}; it is not a model of this kind.")
    shapes = {name: value.shape for name, value in arrays.items() if hasattr(value, "shape")}
    layers = {int(match[1]) for name in shapes if (match := _BLOCK.fullmatch(name))}
    found: dict[str, Any] = {"n_ctx": shapes["wpe_weight"][0], "n_emb": shapes["wte_weight"][1],
                             "n_layers": len(layers) or config.n_layers}
    try:
        config = contents.agree(config, found, source)
        for variant in _variants(config):
            prefix = f"block_0_{variant.name}_"
            own = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
            config = contents.agree(config, variant.infer(own, config), source)
            config = config.replace(**variant.assume(own, config))
        return config.validate()
    except ConfigError as error:
        raise FormatError(f"{source} does not fit its config: {error}") from None
