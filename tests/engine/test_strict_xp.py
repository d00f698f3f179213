"""The stand-in for CuPy refuses what CuPy refuses; where CuPy is installed, its parameters are CuPy's."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import strict_xp
from strict_xp import CUDARuntimeError, Hardware, cupy, installed, no_synchronisation


@pytest.fixture(autouse=True)
def hardware() -> Iterator[Hardware]:
    with installed() as found:
        yield found


HOST = np.arange(6.0).reshape(2, 3)
REFUSED: list[tuple[str, Callable[[Any], Any], type[Exception]]] = [
    ("numpy of it", np.asarray, TypeError),
    ("numpy added", lambda x: x + HOST, TypeError),
    ("added to numpy", lambda x: HOST + x, TypeError),
    ("added in place to numpy", lambda x: np.add(HOST, x, out=HOST.copy()), TypeError),
    ("vecdot", lambda x: cupy.vecdot(x, x), AttributeError),
    ("numpy's vecdot", lambda x: np.vecdot(x, x), TypeError),
    ("take with a mode", lambda x: cupy.take(x, cupy.asarray([0]), axis=0, mode="clip"), TypeError),
    ("sum where", lambda x: cupy.sum(x, where=x > 0), TypeError),
    ("maximum.reduce", lambda x: cupy.maximum.reduce(x), NotImplementedError),
    ("numpy assigned", lambda x: x.__setitem__(..., HOST), ValueError),
    ("numpy concatenated", lambda x: cupy.concatenate([x, HOST]), TypeError),
    ("out of another shape", lambda x: cupy.exp(x, out=cupy.empty((3, 3))), ValueError),
    ("out of numpy", lambda x: cupy.exp(x, out=HOST.copy()), TypeError),
    ("matmul into another shape", lambda x: cupy.matmul(x, x.T, out=cupy.empty((3, 3))), ValueError),
    ("dot into a column", lambda x: cupy.dot(x, x.T, out=cupy.empty((2, 2)).T), ValueError),
    ("as an index", lambda x: [1, 2][cupy.asarray(1)], TypeError),
    ("resize", lambda x: x.resize(6), AttributeError),
    ("sums into a narrower type", lambda x: cupy.add(x, x, out=cupy.empty((2, 3), int)), TypeError),
]


@pytest.mark.parametrize(("call", "error"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_refused(call, error):
    with pytest.raises(error):
        call(cupy.asarray(HOST))


def test_an_element_is_an_array_and_a_slice_a_view():
    x = cupy.asarray(HOST)
    assert isinstance(x[0, 1], cupy.ndarray) and x[0, 1].shape == () and isinstance(x.sum(), cupy.ndarray)
    x[0][1:] += 10
    x[1, 0] = 7
    x[:, 2:] *= cupy.asarray([[2.0], [3.0]])
    assert np.array_equal(x.get(), [[0, 11, 24], [7, 4, 15]])
    assert np.array_equal(np.exp(x).get(), np.exp(x.get()))


@pytest.mark.parametrize("call", [float, int, bool, lambda x: x.item(), lambda x: x.get(), lambda x: x.tolist(),
                                  lambda x: cupy.unique(x), lambda x: cupy.ones(1)[cupy.asarray([True])],
                                  lambda x: cupy.nonzero(cupy.ones(2)), repr, lambda x: f"{x}"])
def test_what_makes_the_host_wait_is_counted_and_can_be_forbidden(hardware, call):
    x = cupy.asarray(1.0)
    call(x)
    assert sum(hardware.synchronisations.values()) == 1
    with no_synchronisation(), pytest.raises(AssertionError, match="wait"):
        call(x)


def test_unwritten_memory_is_not_a_number():
    assert np.isnan(cupy.empty((2, 2), "f4").get()).all()


def test_a_graph_does_again_what_was_captured():
    stream = cupy.cuda.Stream(non_blocking=True)
    x, total = cupy.asarray([1.0, 2.0]), cupy.zeros(2)
    with stream:
        stream.begin_capture()
        made = x * 3
        total += made
        with pytest.raises(CUDARuntimeError):
            made.get()
        with pytest.raises(NotImplementedError):
            cupy.matmul(x[None], x)
        graph = stream.end_capture()
    assert np.array_equal(total.get(), [0, 0]) and np.isnan(made.get()).all()
    graph.launch()
    x[...] = 5
    graph.launch()
    assert np.array_equal(total.get(), [18, 21]) and np.array_equal(made.get(), [15, 15])


def test_the_pool_keeps_what_it_had(hardware):
    x = cupy.zeros(1000)
    assert hardware.used == hardware.held == 8192
    del x
    assert hardware.used == 0 and hardware.held == 8192
    cupy.zeros(1000)
    assert hardware.held == 8192
    cupy.get_default_memory_pool().free_all_blocks()
    assert hardware.held == 0


def test_memory_has_a_limit(hardware):
    cupy.get_default_memory_pool().set_limit(8192)
    kept = cupy.zeros(512)
    with pytest.raises(strict_xp.OutOfMemoryError, match="allocating 4,608 bytes"):
        cupy.zeros(513)
    assert kept.nbytes == 4096


_ASK = """
import inspect, json, cupy
from typing import Any
found = {}
for name in json.loads(input()):
    value = getattr(cupy, name, None)
    try:
        found[name] = None if value is None else list(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        found[name] = []
print(json.dumps(found))
"""


def test_functions_and_parameters_are_those_of_cupy():
    tables = {**strict_xp._FUNCTIONS, **strict_xp._CREATIONS}
    own = ["empty", "array", "asarray", "ascontiguousarray", "copyto", "take"]
    names = [*tables, *own, *strict_xp._UFUNCS]
    done = subprocess.run([sys.executable, "-c", _ASK], input=json.dumps(names), capture_output=True, text=True,
                          check=False)
    if done.returncode:
        pytest.skip("CuPy is not installed")
    theirs = json.loads(done.stdout.splitlines()[-1])
    assert [name for name, parameters in theirs.items() if parameters is None] == []
    ours = {name: allowed.split() for name, allowed in tables.items()}
    ours |= {name: list(inspect.signature(getattr(cupy, name)).parameters) for name in own}
    unknown = {name: extra for name, parameters in ours.items()
               if theirs[name] and (extra := set(parameters) - set(theirs[name]))}
    assert unknown == {}
