"""A stand-in for CuPy over NumPy, for tests on machines without a GPU: it computes what CuPy computes, refuses what
CuPy refuses, and counts what makes the host wait.

`with installed(): …` makes it the module `cupy`. Its arrays are of a class of their own: NumPy's functions and arrays
do not mix with them, an element is an array without dimensions, `out=`, `where=` and `mode=` are taken where CuPy takes
them and nowhere else, and uninitialised memory is not a number. What was read from CuPy's source is CuPy 14.

Every operation goes through `launch`, so that a stream can be captured: operations are noted, memory is afterwards what
it was before, and launching the graph does them again on the same memory.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

ROUND = 512  # bytes; what CuPy's pool rounds up to
UNSUPPORTED = 801, 900  # cudaErrorNotSupported, cudaErrorStreamCaptureUnsupported


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime's: `status` is CUDA's number."""

    def __init__(self, status: int):
        self.status = status
        names = {35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
                 100: "cudaErrorNoDevice: no CUDA-capable device is detected",
                 101: "cudaErrorInvalidDevice: invalid device ordinal",
                 900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing"}
        super().__init__(names.get(status, f"cudaError {status}"))


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory's."""

    def __init__(self, size: int, total: int, limit: int = 0):
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
                         + (f", limit set to: {limit:,} bytes)." if limit else ")."))


@dataclass
class Hardware:
    """What is found, and what went on.

    driver, runtime: CUDA versions as 1000·major + 10·minor. memory: bytes of one GPU, limit: of the pool (0 = none).
    fails: numbers of allocations, counted from 1, that find no memory. synchronisations: by what caused them.
    broken: raised by whatever asks for the devices. used, held: bytes of arrays, and of the pool that they come from;
    peak: the most that it held.
    """

    devices: int = 1
    name: str = "Stand-in"
    capability: str = "90"
    driver: int = 12040
    runtime: int = 12090
    memory: int = 1 << 34
    limit: int = 0
    fails: frozenset[int] = frozenset()
    broken: Exception | None = None
    device: int = 0
    allocations: int = 0
    used: int = 0
    held: int = 0
    peak: int = 0
    uploads: int = 0
    synchronisations: Counter[str] = field(default_factory=Counter)
    forbidden: bool = False
    capture: list[Callable[[], Any]] | None = None
    captured: list[np.ndarray] = field(default_factory=list)  # what a graph's pointers lead to
    free: Counter[int] = field(default_factory=Counter)
    owners: dict[int, Any] = field(default_factory=dict)

    def synchronise(self, what: str) -> None:
        """The host waits for the device. AssertionError within `no_synchronisation`, CUDARuntimeError in a capture."""
        self.synchronisations[what] += 1
        assert not self.forbidden, f"{what} makes the host wait for the device"
        if self.capture is not None:
            raise CUDARuntimeError(900)

    def upload(self) -> None:
        """Something is copied from the host's pageable memory."""
        self.uploads += 1
        if self.capture is not None:
            raise CUDARuntimeError(900)

    def allocate(self, array: np.ndarray) -> np.ndarray:
        """Let the memory of a new array be the device's. OutOfMemoryError."""
        size = -(-array.nbytes // ROUND) * ROUND
        if size:
            self.allocations += 1
            room = self.limit or self.memory
            if not self.free[size] and self.held + size > room:
                self.held, self.free = self.used, Counter()
            if self.allocations in self.fails or (not self.free[size] and self.held + size > room):
                raise OutOfMemoryError(size, self.held, self.limit)
            if self.free[size]:
                self.free[size] -= 1
            else:
                self.held += size
                self.peak = max(self.peak, self.held)
            self.used += size
            self.owners[id(array)] = weakref.ref(array)
            if self.capture is not None:
                self.captured.append(array)
            weakref.finalize(array, self._release, self.owners, id(array), size).atexit = False
        return array

    def _release(self, owners: dict[int, Any], identity: int, size: int) -> None:
        owners.pop(identity, None)
        if owners is self.owners:  # else it is of an earlier machine
            self.used -= size
            self.free[size] += 1

    def launch(self, work: Callable[[], Any]) -> Any:
        """What `work` gives; it is noted while a stream is captured."""
        if self.capture is not None:
            self.capture.append(work)
        with np.errstate(all="ignore"):  # a GPU says nothing
            return work()


state = Hardware()


@contextmanager
def no_synchronisation() -> Iterator[None]:
    """Nothing in this block may make the host wait for the device."""
    before, state.forbidden = state.forbidden, True
    try:
        yield
    finally:
        state.forbidden = before


# Arrays ---------------------------------------------------------------------------------------------------------------


def _names(text: str) -> list[str]:
    return text.split()


def _unsupported(value: Any) -> TypeError:
    return TypeError(f"Unsupported type {type(value)}")


def _fresh(shape: Any, dtype: Any) -> np.ndarray:
    """Memory that nobody has written to."""
    array = np.empty(shape, dtype)
    array.fill(np.nan if array.dtype.kind in "fc" else True if array.dtype.kind == "b" else np.iinfo(array.dtype).max)
    return state.allocate(array)


def _result(work: Callable[[], Any]) -> ndarray:
    """A new array of what `work` computes."""
    made = np.array(state.launch(work))
    if made.dtype.kind not in "?bhilqBHILQefdFD" and made.dtype.char not in "?bhilqBHILQefdFD":
        raise TypeError(f"Unsupported dtype {made.dtype}")
    _renew(made, work)
    return ndarray._of(state.allocate(made))


def _renew(target: np.ndarray, work: Callable[[], Any]) -> None:
    """In a graph, `work` writes to `target` instead of making something new."""
    if state.capture is not None:
        state.capture[-1] = lambda: np.copyto(target, work(), casting="unsafe")


def _shares(made: np.ndarray, given: np.ndarray) -> bool:
    """Whether an array is a view of another, or of what that is a view of."""
    def owner(x: np.ndarray) -> np.ndarray:
        while isinstance(x.base, np.ndarray):
            x = x.base
        return x
    return owner(made) is owner(given)


def plain(value: Any) -> Any:
    """Device arrays as the NumPy arrays that hold their contents. TypeError for NumPy's own arrays."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise _unsupported(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    return value


class ndarray:
    """cupy.ndarray: contents on a device. See the module."""

    __slots__ = ("__weakref__", "_host")
    __hash__ = None  # type: ignore[assignment]
    __array_priority__ = 100

    def __init__(self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"):
        if memptr is None:
            self._host = _fresh(shape, dtype)
        else:
            self._host = np.ndarray(shape, dtype, memptr._buffer, memptr._offset, strides)

    @classmethod
    def _of(cls, host: np.ndarray) -> ndarray:
        array = cls.__new__(cls)
        array._host = host
        return array

    # What it is

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    T = property(lambda self: ndarray._of(self._host.T))
    base = property(lambda self: self._host.base)

    @property
    def flags(self) -> Any:
        flags = self._host.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous,
                               owndata=flags.owndata)

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self._host.ctypes.data, device=Device(state.device), device_id=state.device)

    @property
    def device(self) -> Any:
        return Device(state.device)

    def __len__(self) -> int:
        if not self._host.ndim:
            raise TypeError("len() of unsized object")
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        if not self._host.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self._host)))

    # To the host

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        if blocking:
            state.synchronise("get")
        if out is not None:
            assert out.shape == self.shape and out.dtype == self.dtype and out.flags.c_contiguous
            out[...] = self._host
            return out
        return self._host.copy()

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError("Shape or dtype mismatch")
        state.upload()
        self._host[...] = arr

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy "
                        "array explicitly.")

    def _value(self, what: str) -> Any:
        state.synchronise(what)
        return self._host.item()

    def item(self) -> Any:
        return self._value("item")

    def tolist(self) -> Any:
        state.synchronise("tolist")
        return self._host.tolist()

    def __float__(self) -> float:
        return float(self._value("float"))

    def __int__(self) -> int:
        return int(self._value("int"))

    def __bool__(self) -> bool:
        state.synchronise("bool")
        return bool(self._host)

    def __repr__(self) -> str:
        state.synchronise("repr")
        return repr(self._host)

    def __format__(self, spec: str) -> str:
        return format(self._value("format"), spec)

    # NumPy's functions, which NumPy gives to us

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = getattr(cupy, ufunc.__name__, None)
        if function is None:
            return NotImplemented
        if "out" in options:
            (options["out"],) = options["out"]
        return getattr(function, method)(*inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        ours = getattr(cupy, function.__name__, None)
        if ours is None or not all(issubclass(kind, (ndarray, np.ndarray)) for kind in types):
            return NotImplemented
        return ours(*args, **options)

    # Parts

    def _key(self, key: Any) -> tuple[Any, bool]:
        """The index for NumPy, and whether there are arrays in it."""
        arrays = False
        parts = []
        for part in key if isinstance(key, tuple) else (key,):
            if isinstance(part, (list, np.ndarray)):
                state.upload()
                part = ndarray._of(np.array(part))
            if isinstance(part, ndarray):
                arrays = True
                if part.dtype.kind == "b":
                    state.synchronise("index by a mask")
                part = part._host
            parts.append(part)
        return tuple(parts), arrays

    def __getitem__(self, key: Any) -> ndarray:
        host = self._host
        index, arrays = self._key(key)
        if arrays:
            return _result(lambda: np.array(host[index]))
        made = host[index]
        return ndarray._of(made if isinstance(made, np.ndarray) else host[(*index, ...)])

    def __setitem__(self, key: Any, value: Any) -> None:
        host = self._host
        index, arrays = self._key(key)
        if isinstance(value, ndarray):
            source = value._host
            if arrays and source.ndim:
                places = np.arange(host.size).reshape(host.shape)[index].reshape(-1)
                assert len(np.unique(places)) == len(places), "which of several values is kept, CuPy does not define"
        elif arrays:
            state.upload()
            source = np.array(value)
        else:
            source = np.asarray(value, self.dtype)
            if source.ndim:
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")

        def write() -> None:
            host[index] = source

        state.launch(write)

    def fill(self, value: Any) -> None:
        self[...] = value

    # Arithmetic: see below the class

    def dot(self, b: Any, out: Any = None) -> Any:
        return cupy.dot(self, b, out)

    def copy(self, order: str = "C") -> ndarray:
        host = self._host
        return _result(lambda: host.copy())

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def astype(self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None,
               copy: bool = True) -> ndarray:
        host = self._host
        if not copy and host.dtype == dtype:
            return self
        return _result(lambda: host.astype(dtype))

    def view(self, dtype: Any = None) -> ndarray:
        return ndarray._of(self._host.view() if dtype is None else self._host.view(dtype))

    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        made = self._host.reshape(*shape, order=order)
        return ndarray._of(made) if _shares(made, self._host) else _result(lambda: self._host.reshape(*shape))


_OPERATORS = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
              "mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
              "lshift": "left_shift", "rshift": "right_shift"}
_COMPARISONS = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
                "ne": "not_equal"}
_SCALARS = (bool, int, float, complex, np.generic)


def _operate(name: str, swapped: bool = False, inplace: bool = False) -> Any:
    def method(self: ndarray, other: Any) -> Any:
        if not isinstance(other, (*_SCALARS, ndarray, np.ndarray)):
            return NotImplemented
        function = getattr(cupy, name)
        pair = (other, self) if swapped else (self, other)
        return function(*pair, out=self) if inplace else function(*pair)
    return method


for _name, _function in {**_OPERATORS, **_COMPARISONS}.items():
    setattr(ndarray, f"__{_name}__", _operate(_function))
for _name, _function in _OPERATORS.items():
    setattr(ndarray, f"__r{_name}__", _operate(_function, swapped=True))
    setattr(ndarray, f"__i{_name}__", _operate(_function, inplace=True))
for _name, _function in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_name}__", lambda self, _function=_function: getattr(cupy, _function)(self))
ndarray.__pos__ = lambda self: self.copy()  # type: ignore[attr-defined]
ndarray.__matmul__ = _operate("matmul")  # type: ignore[attr-defined]
ndarray.__rmatmul__ = _operate("matmul", swapped=True)  # type: ignore[attr-defined]


# Functions ------------------------------------------------------------------------------------------------------------


class ufunc:
    """An element-wise function: cupy.ufunc."""

    _SCATTERS = ("add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor")

    def __init__(self, function: np.ufunc):
        self.__name__ = self.name = function.__name__
        self._function = function
        self.nin, self.nout, self.types = function.nin, function.nout, function.types

    def __call__(self, *args: Any, out: Any = None, where: Any = None, dtype: Any = None,
                 casting: str = "same_kind") -> Any:
        function, inputs, given = self._function, args[: self.nin], args[self.nin :]
        if len(inputs) < self.nin or len(given) > self.nout:
            raise TypeError(f"Wrong number of arguments for {self.name}")
        if out is not None and given:
            raise ValueError("Cannot specify 'out' as both a positional and keyword argument")
        if out is None and given:
            (out,) = given
        elif isinstance(out, tuple):
            (out,) = out
        for value in inputs:
            if not isinstance(value, (ndarray, *_SCALARS)):
                raise _unsupported(value)
        hosts = [plain(value) for value in inputs]
        options: dict[str, Any] = {"dtype": dtype, "casting": casting}
        if where is not None:
            if isinstance(where, ndarray) and where.dtype != bool:
                raise TypeError("Cannot cast array data to bool according to the rule 'safe'")
            options["where"] = plain(where)
        if out is None:
            if self.nout > 1:
                return tuple(_result(lambda i=i: function(*hosts, **options)[i]) for i in range(self.nout))
            return _result(lambda: function(*hosts, **options))
        if not isinstance(out, ndarray):
            raise TypeError("Output arguments type must be cupy.ndarray")
        shape = np.broadcast_shapes(*(np.shape(host) for host in hosts))
        if out.shape != shape:
            raise ValueError("Out shape is mismatched")
        target = out._host
        state.launch(lambda: function(*hosts, out=target, **options))
        return out

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"`{self.name}.reduce` is not supported yet")
        return getattr(cupy, "sum" if self.name == "add" else "prod")(array, axis, dtype, out, keepdims)

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"`{self.name}.accumulate` is not supported yet")
        return getattr(cupy, "cumsum" if self.name == "add" else "cumprod")(array, axis, dtype, out)

    def reduceat(self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        if self.name != "add":
            raise NotImplementedError(f"`{self.name}.reduceat` is not supported yet")
        host, places = plain(array), plain(indices)
        return _result(lambda: np.add.reduceat(host, places, axis, dtype))

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        raise AssertionError("CuPy adds up in any order here: use a product with a one-hot matrix")

    def outer(self, a: Any, b: Any, **options: Any) -> Any:
        return self(a.reshape(a.shape + (1,) * b.ndim), b.reshape((1,) * a.ndim + b.shape), **options)


_UFUNCS = _names("""
add subtract multiply divide true_divide floor_divide remainder mod power float_power negative positive absolute abs
fabs sign exp exp2 expm1 log log2 log10 log1p sqrt square cbrt reciprocal sin cos tan arcsin arccos arctan arctan2
hypot sinh cosh tanh arcsinh arccosh arctanh maximum minimum fmax fmin fmod modf divmod ldexp frexp copysign
nextafter floor ceil trunc rint isnan isinf isfinite signbit logical_and logical_or logical_xor logical_not
bitwise_and bitwise_or bitwise_xor invert left_shift right_shift less less_equal greater greater_equal equal
not_equal logaddexp logaddexp2 gcd lcm
""")

# The functions that are offered and CuPy's parameters of them. Those of _WAITING make the host wait.
_FUNCTIONS = {
    "sum": "a axis dtype out keepdims", "prod": "a axis dtype out keepdims", "mean": "a axis dtype out keepdims",
    "max": "a axis out keepdims", "min": "a axis out keepdims", "amax": "a axis out keepdims",
    "amin": "a axis out keepdims", "argmax": "a axis dtype out keepdims", "argmin": "a axis dtype out keepdims",
    "var": "a axis dtype out ddof keepdims", "std": "a axis dtype out ddof keepdims", "any": "a axis out keepdims",
    "all": "a axis out keepdims", "count_nonzero": "a axis", "cumsum": "a axis dtype out",
    "cumprod": "a axis dtype out",
    "argsort": "a axis kind", "sort": "a axis kind",
    "unique": "ar return_index return_inverse return_counts axis equal_nan", "searchsorted": "a v side sorter",
    "nonzero": "a", "flatnonzero": "a", "argwhere": "a", "bincount": "x weights minlength",
    "clip": "a a_min a_max out",
    "concatenate": "tup axis out dtype casting", "stack": "tup axis out dtype casting", "vstack": "tup dtype casting",
    "hstack": "tup dtype casting", "where": "condition x y", "tril": "m k", "triu": "m k",
    "repeat": "a repeats axis",
    "tile": "A reps", "roll": "a shift axis", "einsum": "", "tensordot": "a b axes", "inner": "a b",
    "outer": "a b out",
    "vdot": "a b", "kron": "a b", "isclose": "a b rtol atol equal_nan", "allclose": "a b rtol atol equal_nan",
    "array_equal": "a1 a2 equal_nan", "around": "a decimals out", "diff": "a n axis", "trace":
    "a offset axis1 axis2 dtype out", "take_along_axis": "a indices axis", "digitize": "x bins right",
    # views where they can be
    "reshape": "a newshape order", "ravel": "a order", "swapaxes": "a axis1 axis2", "transpose": "a axes",
    "moveaxis": "a source destination", "broadcast_to": "array shape", "squeeze": "a axis", "expand_dims": "a axis",
    "atleast_1d": "", "atleast_2d": "", "split": "ary indices_or_sections axis",
    "array_split": "ary indices_or_sections axis", "flip": "a axis", "diagonal": "a offset axis1 axis2",
}
_WAITING = ("unique", "nonzero", "flatnonzero", "argwhere", "bincount")
_METHODS = _names("""
sum prod mean max min argmax argmin var std any all cumsum cumprod argsort nonzero clip repeat ravel swapaxes
squeeze diagonal trace
""")
_CREATIONS = {"zeros": "shape dtype order", "ones": "shape dtype order", "full": "shape fill_value dtype order",
              "arange": "start stop step dtype", "eye": "N M k dtype order", "identity": "n dtype",
              "tri": "N M k dtype", "linspace": "start stop num endpoint retstep dtype axis",
              "zeros_like": "a dtype order subok shape", "ones_like": "a dtype order subok shape",
              "full_like": "a fill_value dtype order subok shape"}


def _limited(name: str, allowed: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """TypeError for parameters that CuPy's function has not."""
    names = allowed.split()
    if name in ("einsum", "atleast_1d", "atleast_2d"):
        return
    for option in options:
        if option not in names[len(args) :]:
            raise TypeError(f"{name}() got an unexpected keyword argument '{option}'")
    if len(args) > len(names):
        raise TypeError(f"{name}() takes {len(names)} positional arguments but {len(args)} were given")


def _function(name: str, allowed: str) -> Callable[..., Any]:
    numpys = getattr(np, name)

    def function(*args: Any, **options: Any) -> Any:
        _limited(name, allowed, args, options)
        if options.get("kind", "stable") not in (None, "stable"):
            raise ValueError("unsupported kind")
        names = allowed.split()
        if "out" in names and len(args) > names.index("out"):
            place = names.index("out")
            args, options["out"] = (*args[:place],), args[place]
            options |= dict(zip(names[place + 1 :], args[place + 1 :], strict=False))
        out = options.pop("out", None)
        if name in _WAITING or (name == "where" and len(args) == 1):
            state.synchronise(name)
        if args and isinstance(args[0], (list, tuple)) and name in ("concatenate", "stack", "vstack", "hstack"):
            for part in args[0]:
                if not isinstance(part, ndarray):
                    raise TypeError("Only cupy arrays can be concatenated")
        hosts, rest = plain(args), {key: plain(value) for key, value in options.items()}
        if allowed.startswith("a ") and isinstance(args[0], _SCALARS):
            raise TypeError(f"{name}() takes a cupy.ndarray")
        if out is not None:
            if not isinstance(out, ndarray):
                raise TypeError("Output arguments type must be cupy.ndarray")
            target = out._host
            made = numpys(*hosts, **rest)
            if np.shape(made) != target.shape:
                raise ValueError("Out shape is mismatched")
            state.launch(lambda: np.copyto(target, numpys(*hosts, **rest), casting="same_kind"))
            return out
        made = numpys(*hosts, **rest)
        sources = [x for x in _flat(hosts) if isinstance(x, np.ndarray)]
        if isinstance(made, (tuple, list)):
            return type(made)(_adopt(part, sources, lambda i=i: numpys(*hosts, **rest)[i])
                              for i, part in enumerate(made))
        return _adopt(made, sources, lambda: numpys(*hosts, **rest))

    function.__name__ = name
    return function


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _adopt(made: Any, sources: list[np.ndarray], work: Callable[[], Any]) -> ndarray:
    """The result of a function: a view of what it was given, or new."""
    if isinstance(made, np.ndarray) and any(_shares(made, source) for source in sources):
        return ndarray._of(made)
    return _result(work)


def _method(name: str) -> Any:
    return lambda self, *args, **options: getattr(cupy, name)(self, *args, **options)


for _name in _METHODS:
    setattr(ndarray, _name, _method(_name))


def _transpose(self: ndarray, *axes: Any) -> ndarray:
    return ndarray._of(self._host.transpose(*axes))


def _flatten(self: ndarray, order: str = "C") -> ndarray:
    host = self._host
    return _result(lambda: host.flatten(order))


def _take(a: ndarray, indices: Any, axis: Any = None, out: Any = None) -> ndarray:
    host = a._host
    if isinstance(indices, (list, np.ndarray)):
        state.upload()
        indices = ndarray._of(np.array(indices))
    places = plain(indices)
    if out is None:
        return _result(lambda: np.take(host, places, axis))
    if out.dtype != a.dtype:
        raise TypeError("Output dtype mismatch")
    target = out._host
    if np.take(host, places, axis).shape != out.shape:
        raise ValueError("Output shape mismatch")
    state.launch(lambda: np.copyto(target, np.take(host, places, axis)))
    return out


ndarray.transpose = _transpose  # type: ignore[attr-defined]
ndarray.flatten = _flatten  # type: ignore[attr-defined]
ndarray.take = _take  # type: ignore[attr-defined]


def _creation(name: str, allowed: str) -> Callable[..., Any]:
    numpys = getattr(np, name)

    def function(*args: Any, **options: Any) -> Any:
        _limited(name, allowed, args, options)
        args, options = plain(args), {key: plain(value) for key, value in options.items()}
        return _result(lambda: numpys(*args, **options))

    function.__name__ = name
    return function


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype)


def empty_like(a: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    return ndarray(a.shape if shape is None else shape, a.dtype if dtype is None else dtype)


def array(obj: Any, dtype: Any = None, copy: bool | None = True, order: str = "K", subok: bool = False, ndmin: int = 0,
          *, blocking: bool = False) -> ndarray:
    if isinstance(obj, ndarray):
        same = dtype is None or obj.dtype == dtype
        return obj if same and not copy else obj.astype(obj.dtype if dtype is None else dtype)
    if isinstance(obj, (list, tuple)) and obj and all(isinstance(part, ndarray) for part in obj):
        stacked = cupy.stack(list(obj))
        return stacked if dtype is None else stacked.astype(dtype)
    if not isinstance(obj, _SCALARS):  # a scalar is an argument of a kernel
        state.upload()
    values = np.array(obj, dtype, ndmin=ndmin)
    return _result(lambda: values)


def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False) -> ndarray:
    return array(a, dtype, copy=bool(copy))


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    made = asarray(a, dtype)
    return made if made.flags.c_contiguous else made.copy()


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    return a.get(out=out) if isinstance(a, ndarray) else np.asarray(a)


def copyto(dst: ndarray, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    target, source, mask = dst._host, plain(src), True if where is None else plain(where)
    state.launch(lambda: np.copyto(target, source, casting=casting, where=mask))  # type: ignore[call-overload]


def dot(a: Any, b: Any, out: Any = None) -> Any:
    _cublas()
    left, right = plain(a), plain(b)
    if out is None:
        return _result(lambda: np.dot(left, right))
    if np.result_type(left.dtype, right.dtype) != out.dtype:
        raise ValueError("Not supported dtype combination.")
    if not out.flags.c_contiguous:
        raise ValueError("Output array must be C-contiguous")
    target = out._host
    state.launch(lambda: np.copyto(target, np.dot(left, right)))
    return out


def matmul(a: Any, b: Any, out: Any = None, *, casting: str = "same_kind", dtype: Any = None) -> Any:
    _cublas()
    if not isinstance(a, ndarray) or not isinstance(b, ndarray):
        raise _unsupported(a if not isinstance(a, ndarray) else b)
    left, right = a._host, b._host
    if out is None:
        return _result(lambda: np.matmul(left, right))
    if not isinstance(out, ndarray):
        raise TypeError("return arrays must be of ArrayType")
    target = out._host
    if np.matmul(left, right).shape != target.shape:
        raise ValueError("Output array has an invalid size")
    state.launch(lambda: np.copyto(target, np.matmul(left, right), casting=casting))  # type: ignore[arg-type]
    return out


def _cublas() -> None:
    if state.capture is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")


# Kernels --------------------------------------------------------------------------------------------------------------

TWINS: dict[str, Callable[..., Any]] = {}  # by the name of a kernel: what it does, on NumPy arrays


def on_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy arrays, such as a kernel's twin, as one of the device's arrays.

    What it returns is new on the device, unless it is one of the arrays that it was given.
    """
    def launched(*args: Any, **options: Any) -> Any:
        given = [x for x in [*_flat(args), *_flat(options.values())] if isinstance(x, ndarray)]
        hosts, rest = plain(args), {key: plain(value) for key, value in options.items()}
        kept: list[Any] = []

        def work() -> Any:
            made = function(*hosts, **rest)
            several = made if isinstance(made, tuple) else (made,)
            for before, now in zip(kept, several, strict=False):
                if isinstance(before, np.ndarray) and before is not now:
                    np.copyto(before, now)
            return several

        several = state.launch(work)
        if state.capture is not None:
            kept.extend(several)
        found = []
        for part in several:
            same = [x for x in given if x._host is part]
            if same or not isinstance(part, (np.ndarray, np.generic)):
                found.append(same[0] if same else part)
            elif isinstance(part, np.ndarray) and any(_shares(part, x._host) for x in given):
                found.append(ndarray._of(part))
            else:
                found.append(ndarray._of(state.allocate(np.asarray(part))))
        return found[0] if len(found) == 1 else tuple(found)

    launched.__name__ = getattr(function, "__name__", "kernel")
    return launched


class _Kernel:
    """A kernel does what TWINS says for its name."""

    def __init__(self, name: str):
        self.name = name
        self.attributes: dict[str, int] = {"max_threads_per_block": 1024}
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.name not in TWINS:
            raise NotImplementedError(f"The kernel {self.name} has no twin here")
        return on_host(TWINS[self.name])(*args, **options)


class RawKernel(_Kernel):
    def __init__(self, code: str, name: str, options: tuple[str, ...] = (), backend: str = "nvrtc", **more: Any):
        super().__init__(name)
        self.code, self.options = code, options


class RawModule:
    def __init__(self, *, code: str | None = None, path: str | None = None, options: tuple[str, ...] = (),
                 backend: str = "nvrtc", name_expressions: Any = None, **more: Any):
        self.code, self.options = code, options

    def get_function(self, name: str) -> _Kernel:
        return _Kernel(name)

    def compile(self, log_stream: Any = None) -> None:
        pass


class ElementwiseKernel(_Kernel):
    def __init__(self, in_params: str, out_params: str, operation: str, name: str = "kernel", **more: Any):
        super().__init__(name)


class ReductionKernel(_Kernel):
    def __init__(self, in_params: str, out_params: str, map_expr: str, reduce_expr: str, post_map_expr: str,
                 identity: Any, name: str = "reduce_kernel", **more: Any):
        super().__init__(name)


# cupy.cuda ------------------------------------------------------------------------------------------------------------


class Device:
    """cupy.cuda.Device."""

    def __init__(self, device: int | None = None):
        self.id = state.device if device is None else int(device)

    def use(self) -> None:
        if not 0 <= self.id < state.devices:
            raise CUDARuntimeError(101)
        state.device = self.id

    def __enter__(self) -> Device:
        self._before = state.device
        self.use()
        return self

    def __exit__(self, *_: object) -> None:
        state.device = self._before

    def synchronize(self) -> None:
        state.synchronise("device")

    def __int__(self) -> int:
        return self.id

    @property
    def compute_capability(self) -> str:
        return state.capability

    @property
    def mem_info(self) -> tuple[int, int]:
        return (state.memory - state.held, state.memory)


class MemoryPool:
    """cupy.cuda.MemoryPool, as far as it tells what is held."""

    def used_bytes(self) -> int:
        return state.used

    def total_bytes(self) -> int:
        return state.held

    def free_bytes(self) -> int:
        return state.held - state.used

    def n_free_blocks(self) -> int:
        return sum(state.free.values())

    def free_all_blocks(self, stream: Any = None) -> None:
        state.held, state.free = state.used, Counter()

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        state.limit = int(fraction * state.memory) if fraction is not None else size or 0

    def get_limit(self) -> int:
        return state.limit

    def malloc(self, size: int) -> MemoryPointer:
        return alloc(size)


class MemoryPointer:
    """Memory without a shape, aligned as CuPy's is."""

    def __init__(self, buffer: np.ndarray, offset: int = 0):
        self._buffer, self._offset = buffer, offset

    @property
    def ptr(self) -> int:
        return self._buffer.ctypes.data + self._offset


def alloc(size: int) -> MemoryPointer:
    buffer = state.allocate(np.zeros(size + ROUND, np.uint8))
    return MemoryPointer(buffer, -buffer.ctypes.data % ROUND)


@contextmanager
def using_allocator(allocator: Any = None) -> Iterator[None]:
    """All pools are one here."""
    yield


class Stream:
    """cupy.cuda.Stream. What is launched while it is captured is noted, and not done."""

    _current: list[Stream] = []

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = None):
        self.null = null
        self.ptr = 0 if null else id(self)

    def __enter__(self) -> Stream:
        Stream._current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        Stream._current.pop()

    def use(self) -> Stream:
        Stream._current[-1:] = [self]
        return self

    def synchronize(self) -> None:
        state.synchronise("stream")

    def is_capturing(self) -> bool:
        return state.capture is not None

    def record(self, event: Any = None) -> Any:
        return event or Event()

    def wait_event(self, event: Any) -> None:
        pass

    def begin_capture(self, mode: Any = None) -> None:
        if self.null:
            raise CUDARuntimeError(900)
        alive = [array for reference in state.owners.values() if (array := reference()) is not None]
        self._before = [(array, array.copy()) for array in alive]
        state.capture = []

    def end_capture(self) -> Graph:
        assert state.capture is not None
        graph, state.capture, state.captured = Graph(state.capture, state.captured), None, []
        before = {id(array) for array, _ in self._before}
        for array, contents in self._before:
            array[...] = contents
        for identity, reference in list(state.owners.items()):  # what capturing allocated holds nothing yet
            made = reference()
            if identity not in before and made is not None and made.dtype.kind == "f":
                made.fill(np.nan)
        del self._before
        return graph


class Graph:
    """cupy.cuda.Graph: launching it does what was captured, on the memory of then."""

    def __init__(self, work: list[Callable[[], Any]], memory: list[np.ndarray]):
        self._work, self._memory = work, memory

    def launch(self, stream: Any = None) -> None:
        assert state.capture is None
        with np.errstate(all="ignore"):
            for work in self._work:
                work()

    def upload(self, stream: Any = None) -> None:
        pass


class Event:
    """cupy.cuda.Event."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False):
        self.done = True

    def record(self, stream: Any = None) -> None:
        pass

    def synchronize(self) -> None:
        state.synchronise("event")


def _properties(device: int) -> dict[str, Any]:
    major, minor = divmod(int(state.capability), 10)
    return {"name": state.name.encode(), "totalGlobalMem": state.memory, "major": major, "minor": minor,
            "multiProcessorCount": 132, "sharedMemPerBlockOptin": 227 << 10}


def _count() -> int:
    if state.broken is not None:
        raise state.broken
    return state.devices


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(contents)
    return module


def _build() -> dict[str, ModuleType]:
    """The modules by name."""
    runtime = _module(
        "cupy.cuda.runtime", CUDARuntimeError=CUDARuntimeError, getDeviceCount=_count,
        getDevice=lambda: state.device, setDevice=lambda device: Device(device).use(),
        driverGetVersion=lambda: state.driver, runtimeGetVersion=lambda: state.runtime,
        memGetInfo=lambda: Device().mem_info, getDeviceProperties=_properties, is_hip=False,
        deviceSynchronize=lambda: Device().synchronize(), streamCaptureModeRelaxed=2, streamCaptureModeThreadLocal=1,
        streamCaptureModeGlobal=0)
    memory = _module("cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError, MemoryPool=MemoryPool,
                     MemoryPointer=MemoryPointer, alloc=alloc)
    Stream.null = Stream(null=True)  # type: ignore[attr-defined]
    cuda = _module(
        "cupy.cuda", runtime=runtime, memory=memory, Device=Device, Stream=Stream, Event=Event, Graph=Graph,
        MemoryPool=MemoryPool, MemoryPointer=MemoryPointer, alloc=alloc, using_allocator=using_allocator,
        alloc_pinned_memory=bytearray, cublas=_module("cupy.cuda.cublas"),
        get_current_stream=lambda device_id=-1: Stream._current[-1] if Stream._current else Stream.null,  # type: ignore[attr-defined]
        get_device_id=lambda: state.device, is_available=lambda: _count() > 0)
    pool = MemoryPool()
    top = _module(
        "cupy", __version__="14.2.0", ndarray=ndarray, ufunc=ufunc, cuda=cuda, empty=empty, empty_like=empty_like,
        array=array, asarray=asarray, asanyarray=asarray, ascontiguousarray=ascontiguousarray, asnumpy=asnumpy,
        copyto=copyto, dot=dot, matmul=matmul, take=_take, RawKernel=RawKernel, RawModule=RawModule,
        ElementwiseKernel=ElementwiseKernel, ReductionKernel=ReductionKernel, get_default_memory_pool=lambda: pool,
        shape=np.shape, ndim=np.ndim, isscalar=np.isscalar, result_type=np.result_type, can_cast=np.can_cast,
        promote_types=np.promote_types, broadcast_shapes=np.broadcast_shapes, finfo=np.finfo, iinfo=np.iinfo,
        dtype=np.dtype, newaxis=None, pi=np.pi, inf=np.inf, nan=np.nan, e=np.e,
        get_array_module=lambda *args: top if any(isinstance(x, ndarray) for x in args) else np)
    for name in _names("float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 complex64 "
                       "complex128 bool_ intp"):
        setattr(top, name, getattr(np, name))
    for name in _UFUNCS:
        setattr(top, name, ufunc(getattr(np, name)))
    for name, allowed in _FUNCTIONS.items():
        setattr(top, name, _function(name, allowed))
    for name, allowed in _CREATIONS.items():
        setattr(top, name, _creation(name, allowed))
    return {"cupy": top, "cupy.cuda": cuda, "cupy.cuda.runtime": runtime, "cupy.cuda.memory": memory,
            "cupy.cuda.cublas": cuda.cublas}


modules = _build()
cupy: Any = modules["cupy"]


@contextmanager
def installed(**hardware: Any) -> Iterator[Hardware]:
    """`import cupy` finds the stand-in, on a machine with this Hardware. Afterwards the engine computes on the CPU.

    Products go through a slow libcublas that reads the same memory, kernels are their twins.
    """
    from fake_cublas import FakeCublas

    from engine import backend, cublas, kernels

    state.__init__(**hardware)  # type: ignore[misc]
    Stream._current.clear()

    def library(_: Any) -> cublas.Library:
        found = cublas.Library(FakeCublas())
        multiply = found.gemm
        found.gemm = lambda *args: state.launch(lambda: multiply(*args))
        return found

    cublas.products.cache_clear()
    twins = {name: on_host(twin) for name, twin in kernels.TWINS.items() if hasattr(kernels, name)}
    with (mock.patch.dict(sys.modules, modules), mock.patch.object(cublas, "library", library),
          mock.patch.multiple(kernels, **twins)):
        backend.chosen = None
        try:
            yield state
        finally:
            backend.use("cpu")
            backend.chosen = None
