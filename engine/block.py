"""One block: an attention and a network, each with a residual connection and a layer norm.

    pre:   a = x + Att(LN1 x),   out = a + Net(LN2 a)
    post:  u = LN1(x + Att x),   out = LN2(u + Net u)            (Xiong et al., arXiv 2002.04745)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine import registry
from engine.backend import Array
from engine.config import Config
from engine.functional import layer_norm, layer_norm_backward
from engine.parameters import Gradients, LayerGradients, Parameters, Tensor
from engine.tape import Tape
from engine.variant import State, Weights, rows


class Block:
    """Block `index` of a model. Shapes: x, y, dy, dx (B, T, n_emb)."""

    def __init__(self, index: int, config: Config, dtype: Any):
        self.prefix = f"block_{index}_"
        self.pre = config.c_sequence == "pre"
        self.attention = registry.attention.get(config.c_attention)(config, dtype)
        self.network = registry.network.get(config.c_network)(config, dtype)

    @classmethod
    def tensors(cls, index: int, config: Config) -> list[Tensor]:
        """The block's weights in file order."""
        D = config.n_emb
        own = [Tensor(f"block_{index}_ln{n}_{part}", (D,), init)
               for n in (1, 2) for part, init in (("gamma", "ones"), ("beta", "zeros"))]
        for variant in (registry.attention.get(config.c_attention), registry.network.get(config.c_network)):
            for t in variant.tensors(config):
                own.append(replace(t, name=f"block_{index}_{variant.name}_{t.name}"))
        return own

    def bind(self, params: Parameters) -> None:
        """Take the block's views of the weights."""
        self.norms = params.layer(self.prefix)
        self.a: Weights = params.layer(f"{self.prefix}{self.attention.name}_")
        self.n: Weights = params.layer(f"{self.prefix}{self.network.name}_")

    def _norm(self, n: int, x: Array, tape: Tape) -> Array:
        return layer_norm(rows(x), self.norms[f"ln{n}_gamma"], self.norms[f"ln{n}_beta"], tape).reshape(x.shape)

    def _norm_backward(self, n: int, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        dx, dgamma, dbeta = layer_norm_backward(rows(dy), self.norms[f"ln{n}_gamma"], tape)
        g.add(f"ln{n}_gamma", dgamma)
        g.add(f"ln{n}_beta", dbeta)
        return dx.reshape(dy.shape)

    def forward(self, x: Array, tape: Tape) -> Array:
        """The block's output; saves on the tape what `backward` needs."""
        return self.run(x, tape, lambda z: self.attention.forward(self.a, z, tape),
                         lambda z: self.network.forward(self.n, z, tape))

    def prefill(self, x: Array, states: tuple[State, State], tape: Tape) -> Array:
        """The outputs for the next tokens; advances the states."""
        return self.run(x, tape, lambda z: self.attention.prefill(self.a, z, states[0], tape),
                         lambda z: self.network.prefill(self.n, z, states[1], tape))

    def prefill_at(self, x: Array, states: tuple[State, State], place: Array, tape: Tape) -> Array:
        """The output for one token at a position that is read from an array, see `Variant.prefill_at`."""
        return self.run(x, tape, lambda z: self.attention.prefill_at(self.a, z, states[0], place, tape),
                         lambda z: self.network.prefill_at(self.n, z, states[1], place, tape))

    def run(self, x: Array, tape: Tape, attention: Callable[[Array], Array],
            network: Callable[[Array], Array]) -> Array:
        """The block's output when its two parts are these functions, whose results are changed."""
        if self.pre:
            a = attention(self._norm(1, x, tape))
            a += x
            y = network(self._norm(2, a, tape))
            y += a
            return y
        s = attention(x)
        s += x
        u = self._norm(1, s, tape)
        y = network(u)
        y += u
        return self._norm(2, y, tape)

    def backward(self, dy: Array, tape: Tape, gradients: Gradients) -> Array:
        """dx; adds the gradients of the block's weights. dy may be overwritten."""
        g = gradients.layer(self.prefix)
        ga = gradients.layer(f"{self.prefix}{self.attention.name}_")
        gn = gradients.layer(f"{self.prefix}{self.network.name}_")
        if self.pre:
            da = self._norm_backward(2, self.network.backward(self.n, dy, tape, gn), tape, g)
            da += dy
            dx = self._norm_backward(1, self.attention.backward(self.a, da, tape, ga), tape, g)
            dx += da
            return dx
        dm = self._norm_backward(2, dy, tape, g)
        du = self.network.backward(self.n, dm, tape, gn)
        du += dm
        ds = self._norm_backward(1, du, tape, g)
        dx = self.attention.backward(self.a, ds, tape, ga)
        dx += ds
        return dx

    def state(self, batch: int) -> tuple[State, State]:
        """Fresh decode states of the attention and the network."""
        return self.attention.state(batch), self.network.state(batch)
