"""Whether the contents of a model file fit a config: known from names and shapes, before anything is allocated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from engine import registry
from engine.config import Config
from engine.errors import ConfigError, FormatError, shown
from engine.parameters import Tensor, index_shape, pieces

_PREFIX = re.compile(r"block_\d+_([a-z0-9]+)_")


def check_variants(config: Config, names: Sequence[str], source: str) -> None:
    """FormatError when the tensors are those of another attention or network than the config names."""
    prefixes = {match[1] for name in names if (match := _PREFIX.match(name))}
    for slot, kind in (("c_attention", registry.attention), ("c_network", registry.network)):
        name = config.values[slot]
        kind.get(name)  # its aliases are known once it is imported
        if prefixes & {name, *kind.aliases(name)}:
            continue
        for other in _resolved(kind, prefixes):
            raise FormatError(f"{source} does not fit its config: {slot} is {name} there, but the tensors are those "
                              f"of {other}.")


def _resolved(kind: registry.Registry, names: set[str]) -> Iterator[str]:
    for name in sorted(names):
        try:
            yield kind.resolve(name)
        except ConfigError:
            continue


def agree(config: Config, found: Mapping[str, Any], source: str) -> Config:
    """The config with what the shapes say. FormatError when it says something else; 0 leaves the choice to them."""
    for name, value in found.items():
        said = config.values[name]
        if name in config.given and said and said != value:
            raise FormatError(f"{source} does not fit its config: {name} is {said} there, but the tensors say {value}.")
    return config.replace(**found)


def check(config: Config, declared: Iterable[Tensor], contents: Mapping[str, Any], source: str) -> None:
    """FormatError names the tensor that is missing, has another shape or one too many of its kind, or the number that
    its tensors contradict. declared: the tensors of a model with this config; contents: under our names."""
    known: set[str] = set()
    for tensor in declared:
        for name, index in pieces(tensor):
            _check_tensor(name, contents.get(name), index_shape(tensor.shape, index), tensor.optional, config, source)
            known.add(name)
    for i in range(config.n_layers):
        for variant in (registry.attention.get(config.c_attention), registry.network.get(config.c_network)):
            for name, value in variant.scalars(config).items():
                full = f"block_{i}_{variant.name}_{name}"
                found = contents.get(full)
                if found is not None and (not isinstance(found, (int, float)) or found != value):
                    raise FormatError(f"{source}: {full} is {_shown(found)}, but its tensors say {value}; the file is "
                                      "damaged.")
    patterns = {_numberless(name) for name in known if _PREFIX.match(name)}
    for name in contents:
        if name not in known and _numberless(name) in patterns:
            raise FormatError(f"{source} holds {shown(name)}, for which its other tensors leave no place; the file is "
                              "damaged.")


def check_state(declared: Iterable[Tensor], arrays: Mapping[str, Any], source: str) -> None:
    """FormatError unless a checkpoint has the weights and moments of a model of these tensors: asked before anything is
    allocated, so that no model is larger than the checkpoint that it is to be filled from."""
    for tensor in declared:
        found = arrays.get(f"weights/{tensor.name}")
        if found is None or found.shape != tensor.shape:
            raise FormatError(f"{source} does not fit this run: weights/{tensor.name} is {_shown(found)}, not "
                              f"{_shape(tensor.shape)} as its plan says.")


def _check_tensor(name: str, value: Any, shape: tuple[int, ...], optional: bool, config: Config, source: str) -> None:
    if value is None:
        if not optional:
            raise FormatError(f"{source} lacks the tensor {name}; it does not belong to this config "
                              f"({config.c_attention}, {config.c_network}).")
    elif getattr(value, "shape", None) != shape:
        raise FormatError(f"{source}: {name} is {_shown(value)}, not {_shape(shape)} as its config and its other "
                          "tensors say.")


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) + (" numbers" if len(shape) == 1 else "") if shape else "a single number"


def _shown(value: Any) -> str:
    return _shape(value.shape) if hasattr(value, "shape") else "missing" if value is None else shown(value)


def _numberless(name: str) -> str:
    """block_0_moe_expert_3_up_weight and block_1_moe_expert_0_up_weight are of one kind."""
    return re.sub(r"\d+", "#", name)
