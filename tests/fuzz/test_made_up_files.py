"""Files that hypothesis makes up: what is almost right in its keys and types, for every loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fuzz_targets
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine import events
from engine.config import ALIASES, PARAMETERS
from engine.errors import BabyError, FormatError
from store import checkpoint, reports
from store.reading import MAX_DEPTH, parse_json

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # surrogates, controls and marks too
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([0, 1, -1, 1 << 31, 1 << 63, 1e300]))
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)
VALUES = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)), max_leaves=8
)
KEYS = {
    "config": [*PARAMETERS, *ALIASES, "babytui_format", "babytui_name", "babytui_created", "babytui_base", "runtime"],
    "settings": [*PARAMETERS, "last_uuid", "last_prompt"],
    "tokenizer": ["vocab", "vocab_size", "babytui_kind"],
    "report": [*reports.KEYS, *reports.OURS, "num_epochs", "babytui_base"],
    "completion": [
        "prompt",
        "generation",
        "inference_max_tokens",
        "inference_total_time",
        "inference_cache",
        "evaluation",
    ],
    "conversation": ["babytui_conversation", "vocabularies", "exchanges"],
    "plan": [
        "guid",
        "created",
        "name",
        "texts",
        "notes",
        "config",
        "dataset",
        "prompt",
        "time_budget",
        "base",
        "adaptation",
        "trained_parameters",
        "architectures",
        "budget",
        "jobs",
        "vocab_size",
        "seed",
        "machine",
        "text_sha256",
    ],
}


def json_text(value: Any) -> bytes:
    """JSON as Python writes it: with NaN and lone surrogates, which others refuse."""
    return json.dumps(value).encode()


@pytest.mark.parametrize("kind", KEYS)
def test_objects_with_the_right_keys(kind):
    whole = [json.loads(path.read_bytes()) for path in Path(__file__).parent.joinpath("corpus", kind).iterdir()]

    @QUICK
    @given(st.sampled_from(whole), st.dictionaries(st.sampled_from(KEYS[kind]), VALUES, max_size=4))
    def run(base, changes):
        try:
            target(json_text({**base, **changes}))
        except BabyError as error:
            assert str(error) and "\n" not in str(error) and str(error).isprintable()

    with fuzz_targets.target(kind) as target:
        run()


@pytest.mark.parametrize("kind", fuzz_targets.KINDS)
def test_any_bytes(kind):
    @QUICK
    @given(
        st.one_of(
            st.binary(max_size=200), VALUES.map(json_text), st.text(max_size=50).map(lambda text: text.encode("utf-16"))
        )
    )
    def run(data):
        try:
            target(data)
        except BabyError as error:
            assert "\n" not in str(error) and str(error).isprintable()

    with fuzz_targets.target(kind) as target:
        run()


@QUICK
@given(
    st.sampled_from(sorted(events.KINDS)),
    st.dictionaries(
        st.sampled_from(sorted({name for kind in events.KINDS.values() for name in kind.__dataclass_fields__})), VALUES
    ),
)
def test_an_event_is_right_in_every_field_or_none(kind, values):
    """Against the annotations, read here a second time."""
    try:
        event = events.parse({"event": kind, **values})
    except FormatError:
        return
    kinds = {
        "int": (int,),
        "float": (int, float),
        "float | None": (int, float, type(None)),
        "str": (str,),
        "bool": (bool,),
        "Mapping[str, Any]": (dict,),
    }
    for name, field in type(event).__dataclass_fields__.items():
        assert type(getattr(event, name)) in kinds[str(field.type)], name
        if type(getattr(event, name)) is float:
            assert np.isfinite(getattr(event, name))
    assert events.parse(event.to_dict()) == event


def deep(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@QUICK
@given(VALUES, st.integers(2, 3 * MAX_DEPTH))
@example({"a": ['"[[[[[[[[[[[['] * 3, "b": "\\"}, 2)
def test_depth_is_counted_as_json_has_it(value, levels):
    """Against Python's own parser: what is in strings does not count, and nothing else is left out."""
    data = (
        json.dumps({"a": value, "b": json.loads(deep(levels))}, allow_nan=False, default=str)
        if _finite(value)
        else "{}"
    )
    depth = _depth(json.loads(data))
    try:
        parse_json(data.encode(), "x")
        assert depth <= MAX_DEPTH
    except FormatError as error:
        assert depth > MAX_DEPTH or "valid JSON" in str(error)  # numbers and texts that only Python takes


def _finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


SHAPES = st.lists(
    st.one_of(st.integers(0, 3), st.sampled_from([1 << 20, 1 << 40, (1 << 48) - 1, 1 << 48, 1 << 63, -1])), max_size=9
)


@QUICK
@given(
    st.dictionaries(
        TEXT.filter(lambda key: key != "__metadata__"),
        st.tuples(st.sampled_from(["F64", "F32", "F16", "I8", "BOOL", "F8"]), SHAPES),
        max_size=4,
    ),
    st.binary(max_size=64),
    st.booleans(),
)
@example({"a": ("F32", [0, 1 << 47, 1 << 47])}, b"", True)  # no numbers, and no array of it can be made
@example({"a": ("F32", [5_000, 5_000_000])}, b"", True)
def test_headers_of_checkpoints(tmp_path_factory, table, numbers, right):
    from mutation import signed

    path = tmp_path_factory.mktemp("headers") / "a.safetensors"
    entries: dict[str, Any] = {"__metadata__": {"babytui": "{}"}}
    offset = 0
    for key, (dtype, shape) in table.items():
        end = offset + int(np.prod([float(n) for n in shape])) * {"F64": 8, "F32": 4, "F16": 2}.get(dtype, 1)
        entries[key] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    path.write_bytes(signed(entries, numbers[:offset].ljust(min(max(offset, 0), 256), b"\0") if right else numbers))
    try:
        arrays, _ = checkpoint.read(path)
    except FormatError:
        return
    assert {key: (array.shape, array.nbytes) for key, array in arrays.items()} == {
        key: (tuple(entry["shape"]), entry["data_offsets"][1] - entry["data_offsets"][0])
        for key, entry in entries.items()
        if key != "__metadata__"
    }
