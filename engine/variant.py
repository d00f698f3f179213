"""What a variant is: one file that defines one class with this interface.

`p` holds the variant's weights by name (without the `block_0_mha_` prefix), `g` collects their gradients, `tape` is the
explicit stack between forward and backward. Nothing is kept on the instance but sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engine.backend import Arena, Array, xp
from engine.config import Config
from engine.observation import Observation
from engine.parameters import LayerGradients, Tensor
from engine.tape import Tape

if TYPE_CHECKING:
    from engine.prepared import Fold, Step

Weights = Mapping[str, Array]


class State:
    """Decode state: arrays as attributes, and `position`, the number of tokens seen."""

    def __init__(self, **arrays: Array):
        self.__dict__.update(arrays)
        self.position = 0

    def __getattr__(self, name: str) -> Array:
        raise AttributeError(name)

    def reset(self) -> None:
        """Begin a new conversation."""
        self.position = 0
        for value in self.__dict__.values():
            if not isinstance(value, int):
                value.fill(0)

    @property
    def bytes(self) -> int:
        """Memory held, in bytes."""
        return sum(value.nbytes for value in self.__dict__.values() if not isinstance(value, int))


class Variant:
    """An attention or a network. Shapes: x, y, dy, dx (B, T, n_emb)."""

    name: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]] = ()  # the config's parameters that only some variants use
    legacy: ClassVar[Mapping[str, str]] = {}  # historic tensor names and ours
    mixes_time: ClassVar[bool] = False  # whether a token sees earlier ones
    straight_through: ClassVar[bool] = False  # whether the gradient is that of a surrogate, not of the function itself

    def __init__(self, config: Config, dtype: Any):
        self.config = config
        self.dtype = dtype

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        """The weights: names, shapes and how they begin."""
        return []

    @classmethod
    def scalars(cls, config: Config) -> dict[str, Any]:
        """Plain values that the file format keeps beside the tensors."""
        return {}

    @classmethod
    def file_order(cls, config: Config) -> list[str]:
        """The names of tensors and scalars in the order of the file format."""
        tensors = [name for t in cls.tensors(config) for name in ([part for part, _ in t.parts] or [t.name])]
        return [*tensors, *cls.scalars(config)]

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        """The parameters that the shapes of a file's tensors decide; `config` is what is known without them."""
        return {}

    @classmethod
    def assume(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        """The parameters that make the function of a file which lacks tensors of ours, whatever its config says."""
        return {}

    @classmethod
    def unused(cls, config: Config) -> dict[str, tuple[int, ...]]:
        """Tensors of the file format that nothing is computed with, and their shapes. They are among `file_order`: kept
        as they are, and zeros in a model that has none."""
        return {}

    @classmethod
    def convert(cls, arrays: dict[str, Any], config: Config) -> dict[str, Any]:
        """A file's values for one layer (without prefix, under our names) in the form that this class computes with."""
        return arrays

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        """Floating point operations of the forward pass over one sequence of `tokens`."""
        return 0.0

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        """Numbers kept for the backward pass of one sequence of `tokens`."""
        return 0

    @classmethod
    def kept(cls, config: Config) -> int:
        """Numbers in the decode state of one reply."""
        return 0

    @classmethod
    def causal(cls, config: Config) -> bool:
        """Whether no token sees a later one. If not, there is no `prefill`, and the state is empty."""
        return True

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        """Numbers in what `observe` gives for `tokens`, at most."""
        return 0

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        """What there is to see while one sequence x (T, n_emb) is read: attention weights, gates, activations.

        p, x and what comes back are float64 arrays on the host, computed plainly, without dropout, apart from
        `forward`: whoever looks wants to understand, and is in no hurry. A variant may have nothing to show.
        """
        return []

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        """The output for x in a buffer of its own; saves on the tape what `backward` needs. Leaves x as it is."""
        raise TypeError(f"{type(self).__name__} lacks this method")

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        """dx in a buffer of its own; adds the gradients of the weights to g, which drops those of frozen ones. Leaves
        dy as it is."""
        raise TypeError(f"{type(self).__name__} lacks this method")

    def state(self, batch: int) -> State:
        """A fresh decode state for `batch` replies."""
        return State()

    def prefill(self, p: Weights, x: Array, state: State, tape: Tape) -> Array:
        """The outputs for the next tokens, one or many; advances the state. The same function as `forward`, which would
        be given the earlier tokens as well."""
        raise TypeError(f"{type(self).__name__} lacks this method")

    def prefill_at(self, p: Weights, x: Array, state: State, place: Array, tape: Tape) -> Array:
        """`prefill` of one token, x (B, 1, n_emb), whose position is read from an array: place (1,) int64.

        Its shapes and the memory that it works on do not depend on the position, so that it can be a CUDA graph. It
        reads and writes the state's arrays, and leaves `state.position` as it is.
        """
        if self.mixes_time:
            raise TypeError(f"{type(self).__name__} lacks this method")
        return self.prefill(p, x, state, tape)

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        """A function from [x̂, 1] of the next token, (B, n_emb + 1), to its output, (B, n_emb), that advances the state:
        `prefill` of one token in few calls, with weights arranged for it. See engine/prepared.py.
        """
        arena = Arena()

        def step(x: Array) -> Array:
            y = self.prefill(p, fold.whole(x)[:, None], state, Tape(arena, self.dtype))
            return fold.written(y[:, 0])

        return step


def rows(x: Array) -> Array:
    """(B, T, D) as (B·T, D), a view."""
    return x.reshape(-1, x.shape[-1])


def linear(x: Array, weight: Array, bias: Array | None, tape: Tape) -> Array:
    """x·W + b for x (..., D), W (D, E): (..., E)."""
    if tape.small(x):
        y = x @ weight
    else:
        y = tape.empty(*x.shape[:-1], weight.shape[1])
        xp.matmul(rows(x), weight, out=rows(y))
    if bias is not None:
        y += bias
    return y


class Pointwise(Variant):
    """A network that treats every token alone: there is no state."""

    def prefill(self, p: Weights, x: Array, state: State, tape: Tape) -> Array:
        return self.forward(p, x, tape)
