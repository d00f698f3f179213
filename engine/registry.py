"""Registries: the one place that knows which variants exist.

A variant is a file in a folder (engine/attention/mha.py) that registers a class under the file's name. Names are
read from the folder, so that listing them imports no arrays; a class is imported when it is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from engine.errors import ConfigError, shown

T = TypeVar("T", bound=type)


class Registry:
    """Classes of one kind by name. `package` is the dotted folder whose files each register one class; it is read once
    in a process."""

    def __init__(self, kind: str, package: str):
        self.kind = kind
        self.package = package
        self._classes: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}

    def register(self, name: str, *, aliases: tuple[str, ...] = ()) -> Callable[[T], T]:
        """Class decorator: files the class under `name` (the file's name) and its historic `aliases`."""

        def decorate(cls: T) -> T:
            cls.name = name  # type: ignore[attr-defined]
            self._classes[name] = cls
            self._aliases.update(dict.fromkeys(aliases, name))
            return cls

        return decorate

    def names(self) -> tuple[str, ...]:
        """All names, in alphabetical order. Imports nothing."""
        return tuple(sorted(self._files | set(self._classes)))

    @cached_property
    def _files(self) -> frozenset[str]:
        folder = Path(__file__).parent.joinpath(*self.package.split(".")[1:])
        return frozenset(module.name for module in pkgutil.iter_modules([str(folder)])
                         if not module.name.startswith("_"))

    def get(self, name: str) -> Any:
        """The class of `name` or of its alias. ConfigError (with the nearest name) when there is none."""
        name = self.resolve(name)
        if name not in self._classes:
            importlib.import_module(f"{self.package}.{name}")
        return self._classes[name]

    def aliases(self, name: str) -> tuple[str, ...]:
        """The historic names of an imported variant."""
        return tuple(alias for alias, own in self._aliases.items() if own == name)

    def resolve(self, name: str) -> str:
        """The registered name for `name` or a historic alias. ConfigError (with the nearest name) if there is none."""
        if name in self.names():
            return name
        for known in self.names():  # aliases are written in the files: read them only when one is needed
            if known not in self._classes:
                importlib.import_module(f"{self.package}.{known}")
        if name in self._aliases:
            return self._aliases[name]
        near = difflib.get_close_matches(name, [*self.names(), *self._aliases], n=1, cutoff=0.3)
        hint = f"; did you mean '{near[0]}'?" if near else f"; choose one of {', '.join(self.names())}."
        raise ConfigError(f"There is no {self.kind} {shown(name)}{hint}")


attention = Registry("attention", "engine.attention")
network = Registry("network", "engine.network")
tokenizer = Registry("tokenizer", "engine.tokenizer")
