"""Checkpoints: every byte comes back or none does."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.errors import FormatError, NotFound
from store import checkpoint
from store.atomic import StoreError

DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.uint64, np.uint8, np.bool_]
META = {"step": 7, "rng": 2**127 + 3, "best": float("inf"), "rate": 0.1, "config": {"n_emb": 64}, "text": "ä\ud83d"[:1]}


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
                       st.sampled_from(DTYPES).flatmap(
                           lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))),
                       max_size=5))
def test_round_trip(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("c") / "step.safetensors"
    checkpoint.write(path, arrays, META)
    back, meta = checkpoint.read(path)
    assert meta == META and list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


def test_other_layouts_and_big_endian(tmp_path):
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    checkpoint.write(tmp_path / "c", {"t": a.T, "s": a[::2], "b": a.astype(">f4")}, {})
    back, _ = checkpoint.read(tmp_path / "c")
    assert np.array_equal(back["t"], a.T) and np.array_equal(back["s"], a[::2]) and np.array_equal(back["b"], a)


def test_any_safetensors_reader_opens_it(tmp_path):
    numpy_reader = pytest.importorskip("safetensors.numpy")
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "m": np.ones(3), "n": np.array([1, 2], np.int64)}
    checkpoint.write(tmp_path / "c.safetensors", arrays, META)
    found = numpy_reader.load_file(tmp_path / "c.safetensors")
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_every_damage_is_noticed(tmp_path):
    path = tmp_path / "c.safetensors"
    checkpoint.write(path, {"w": np.arange(4, dtype=np.float32), "v": np.ones((2, 3))}, {"step": 1})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
        with pytest.raises(FormatError):
            checkpoint.read(path)
    for length in [0, 5, 8, 40, len(whole) - 8, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"c\.safetensors"):
            checkpoint.read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(FormatError):
        checkpoint.read(path)


def forged(table: dict, data: bytes = b"") -> bytes:
    header = json.dumps(table).encode()
    return struct.pack("<Q", len(header)) + header + data


ABOUT = {"babytui": "{}", "sha256": "a" * 64}


@pytest.mark.parametrize("table", [
    {"__metadata__": ABOUT, "w": {"dtype": "F32", "shape": [5_000_000_000, 5], "data_offsets": [0, 100_000_000_000]}},
    {"__metadata__": ABOUT, "w": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 4]}},
    {"__metadata__": ABOUT, "w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}},
    {"__metadata__": ABOUT, "w": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 6]}},
    {"__metadata__": ABOUT, "w": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 4]}},
    {"__metadata__": ABOUT, "w": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}},
    {"__metadata__": ABOUT, "w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
    {"__metadata__": ABOUT, "w": 3}, {"__metadata__": {}}, {"__metadata__": 1}, {},
    {"__metadata__": {"babytui": "[1]", "sha256": "a" * 64}}, {"__metadata__": {"babytui": "{", "sha256": "a" * 64}},
    {"__metadata__": {"babytui": "{}", "sha256": "é" * 64}},
    {"__metadata__": {"babytui": "[" * 50_000, "sha256": "a" * 64}},
])
def test_what_is_announced_is_checked_before_memory_is_taken(tmp_path, table):
    path = tmp_path / "c.safetensors"
    path.write_bytes(forged(table, b"\0" * 4))
    with pytest.raises(FormatError):
        checkpoint.read(path)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    for text in (data, struct.pack("<Q", len(data)) + data):
        path.write_bytes(text)
        with pytest.raises(FormatError):
            checkpoint.read(path)


def test_refused_before_writing_and_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    checkpoint.write(path, {"w": np.ones(2)}, {"step": 1})
    for arrays, meta in [({"w": np.array(["a"])}, {}), ({"w": np.array([object()])}, {}), ({}, {"a": object()}),
                         ({"__metadata__": np.ones(1)}, {})]:
        with pytest.raises(FormatError, match="was not written"):
            checkpoint.write(path, arrays, meta)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="disk is full"):
        patch.setattr(os, "fsync", full)
        checkpoint.write(path, {"w": np.zeros(2)}, {"step": 2})
    assert os.listdir(tmp_path) == [path.name] and checkpoint.read(path)[1] == {"step": 1}
    with pytest.raises(FormatError, match="more than the 10"):
        checkpoint.read(path, limit=10)
    with pytest.raises(NotFound):
        checkpoint.read(tmp_path / "no")
