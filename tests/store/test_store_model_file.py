"""The model file: exact round trips, and one sentence for every file that is not one."""

from __future__ import annotations

import json
import math
import os
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.errors import FormatError, NotFound
from store import model_file, model_writing
from store.atomic import StoreError
from store.model_file import is_tensor, read_model, read_shapes, write_model

SMALL_SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)


def finite(dtype):
    return hnp.arrays(dtype, SMALL_SHAPES, elements={"allow_nan": False, "allow_infinity": False})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model_x.json"


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(["wte_weight", "wpe_weight", "block_0_mha_q_weight", "block_12_x"]),
                       st.one_of(finite(np.float32), st.none(), st.integers(-2**53, 2**53),
                                 st.floats(allow_nan=False, allow_infinity=False))))
def test_round_trip_is_exact_in_float32(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("m") / "m.json"
    write_model(path, arrays)
    back = read_model(path)
    assert list(back) == list(arrays)
    for name, value in arrays.items():
        if isinstance(value, np.ndarray):
            assert back[name].dtype == np.float32 and back[name].shape == value.shape
            assert back[name].tobytes() == value.astype(np.float32).tobytes()  # -0.0 too
        else:
            assert back[name] == value and type(back[name]) is type(value)
    assert read_shapes(path) == {k: v if v is None else np.shape(v) for k, v in arrays.items()}
    text = path.read_bytes()
    write_model(path, back)
    assert path.read_bytes() == text


@settings(max_examples=40, deadline=None)
@given(finite(np.float64))
def test_round_trip_is_exact_in_float64(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("m") / "m.json"
    write_model(path, {"wte_weight": array})
    assert read_model(path, dtype="float64")["wte_weight"].tobytes() == array.tobytes()


def test_float32_is_written_as_its_shortest_text(path):
    write_model(path, {"wte_weight": np.array([0.1, 1e-45, 16777216], np.float32), "wpe_weight": np.array([0.1])})
    assert json.loads(path.read_text()) == {"wte_weight": [0.1, 1e-45, 16777216.0], "wpe_weight": [0.1]}
    assert b"0.10000000149" not in path.read_bytes()


def test_any_layout_is_written_and_blocks_join(path, monkeypatch):
    monkeypatch.setattr(model_writing, "_NUMBERS", 10)
    a = np.arange(60, dtype=np.float32).reshape(12, 5)
    arrays = {"wte_weight": a, "wpe_weight": a.T, "ln_f_gamma": a[::-2, 1], "lm_head_weight": np.asfortranarray(a),
              "block_0_x": a.astype(">f4"), "block_0_scale": np.float32(0.1), "block_0_n": np.int64(3),
              "block_0_zero": np.array(0.5, np.float32)}
    write_model(path, arrays)
    back = read_model(path)
    assert all(np.array_equal(back[name], np.asarray(value, np.float32)) for name, value in arrays.items()
               if name not in ("block_0_scale", "block_0_zero", "block_0_n"))
    assert (back["block_0_scale"], back["block_0_zero"], back["block_0_n"]) == (0.1, 0.5, 3)


@pytest.mark.parametrize(("value", "word"), [
    (np.array([1, np.nan], np.float32), "not finite"), (np.array([np.inf]), "not finite"), (math.nan, "cannot be"),
    (np.zeros((0, 3), np.float32), "empty"), (np.zeros((1,) * 5, np.float32), "5 dimensions"), ("text", "str"),
    (True, "bool"), (np.array(["a"]), "<U1"), (np.array([True]), "bool"), (np.array([1j]), "complex"), ([1.0], "list")])
def test_what_cannot_be_written_leaves_the_old_file(path, value, word):
    path.write_bytes(b"old")
    with pytest.raises(FormatError, match="wte_weight") as caught:
        write_model(path, {"wpe_weight": np.ones(2, np.float32), "wte_weight": value})
    assert word in str(caught.value) and "model_x.json" in str(caught.value)
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 2000, "wte\ud800", 3])
def test_a_name_that_could_not_be_read_is_not_written(path, name):
    with pytest.raises(FormatError, match="not a name"):
        write_model(path, {name: None})


def test_keys_that_are_no_tensors_pass_through(path):
    other = {"babytui_config_sha256": "ab]}\"\\", "notes": {"a": [1, "x", None], "b": {}}, "flags": [True, False],
             "ragged": [[1], [1, 2]], "nothing": None, "n": 3, "empty": [], "mixed": [1, "a"], "big": [1e300]}
    write_model(path, {**other, "wte_weight": np.ones((2, 2), np.float32)})
    back = read_model(path)
    assert {key: back[key] for key in other} == other
    assert read_shapes(path) == {"wte_weight": (2, 2)}
    path.write_bytes(b'{"extra_grid": [[1, 2], [3, 4.5]]}')
    assert np.array_equal(read_model(path)["extra_grid"], np.array([[1, 2], [3, 4.5]], np.float32))


REFUSED = [
    ("", "ends too early"), ("[1]", "does not begin"), ("{", "ends too early"),
    ('{"wte_weight": [1, 2', "ends too early"), ('{"wte_weight": [[1, 2], [3', "ends too early"),
    ('{"wte_weight": [1]} x', "goes on after its end"), ('{"wte_weight": [1], "wte_weight": [1]}', "twice"),
    ('{"wte_weight": [[1, 2], [3]]}', "ragged"), ('{"wte_weight": [1, [2]]}', "ragged"),
    ('{"wte_weight": [[1], 2]}', "mixes"), ('{"wte_weight": [[1, [2]]]}', "ragged"),
    ('{"wte_weight": [[[1]], [[1, 2]]]}', "ragged"), ('{"wte_weight": []}', "empty"),
    ('{"wte_weight": [[]]}', "empty"), ('{"wte_weight": [[1], []]}', "ragged"), ('{"wte_weight": ["1"]}', "text"),
    ('{"wte_weight": [1, "2"]}', "text"), ('{"wte_weight": [[1, "2"]]}', "text"), ('{"wte_weight": "1"}', "text"),
    ('{"wte_weight": {}}', "object"), ('{"wte_weight": [{}]}', "object"), ('{"wte_weight": true}', "true or false"),
    ('{"wte_weight": [true]}', "true or"), ('{"wte_weight": [1, true]}', "true or false"),
    ('{"wte_weight": [[0, false]]}', "true or false"), ('{"wte_weight": [1, null]}', "null"),
    ('{"wte_weight": [null]}', "null"), ('{"wte_weight": [NaN]}', "not finite"),
    ('{"wte_weight": [1, NaN]}', "not finite"), ('{"wte_weight": [[1, Infinity]]}', "not finite"),
    ('{"wte_weight": [-Infinity]}', "not finite"), ('{"wte_weight": NaN}', "not finite"),
    ('{"wte_weight": [1e39]}', "too large"), ('{"wte_weight": [1e999]}', "too large"),
    ('{"wte_weight": 1e999}', "too large"), ('{"wte_weight": [[[[[1]]]]]}', "4 dimensions"),
    ('{"wte_weight": [1 2]}', "JSON"), ('{"wte_weight": [1,]}', "JSON"), ('{"wte_weight": [01]}', "JSON"),
    ('{"wte_weight" [1]}', "JSON"), ('{"wte_weight": [1] "x": 1}', "JSON"),
    ('{"other": ' + "[" * 9 + "]" * 9 + "}", "8 levels"), ('{"other": ' + "[" * 100_000, "8 levels"),
    ('{"other": ' + '{"a":' * 9 + "1" + "}" * 9 + "}", "8 levels"), ('{"other": "abc}', "cut off"),
    ('{"other": }', "JSON"), ('{"other": [1, tru]}', "JSON"), ('{"' + "x" * 5000 + '": 1}', "1024 bytes"),
    ("{wte_weight: [1]}", "JSON"), ('{"wte_weight": ' + "1" * 5000 + "}", "too large"),
    ("\x80\x04\x95pickle", "does not begin"),
]


@pytest.mark.parametrize(("text", "word"), REFUSED)
def test_a_bad_file_is_one_sentence(path, text, word):
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        read_model(path)
    message = str(caught.value)
    assert word in message and message.startswith("model_x.json") and message.endswith(".") and "\n" not in message
    if '"wte_weight":' in text and word not in ("twice", "goes on after its end"):
        assert "wte_weight" in message


def test_names_in_messages_cannot_drive_the_terminal(path):
    path.write_bytes(b'{"wte_\\u001b[31m\\u202e": [1, "x"]}')
    with pytest.raises(FormatError) as caught:
        read_model(path)
    assert str(caught.value).isprintable()


def test_size_kind_and_absence(path, tmp_path):
    write_model(path, {"wte_weight": np.ones(100, np.float32)})
    with pytest.raises(FormatError, match="more than the 100"):
        read_model(path, limit=100)
    with pytest.raises(NotFound):
        read_model(tmp_path / "no.json")
    with pytest.raises(FormatError, match="not a regular file"):
        read_model(tmp_path)
    with pytest.raises(FormatError, match="pickle"):
        read_model(tmp_path / "model_x_all.pkl")
    with pytest.raises(StoreError):
        read_model(path / "below")
    with pytest.raises(ValueError, match="float16"):
        read_model(path, dtype="float16")


def test_indented_files_and_a_byte_order_mark(path):
    arrays = {"wte_weight": [[0.5, -1.25e-3], [3, 4]], "block_0_moe_expansion": 4, "lm_head_bias": None,
              "block_0_hda_delta_scale": [[[[1.5]], [[2.5]]]]}
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(arrays, indent=4).encode().replace(b"\n", b"\r\n"))
    back = read_model(path)
    assert back["block_0_hda_delta_scale"].shape == (1, 2, 1, 1) and back["lm_head_bias"] is None
    assert np.array_equal(back["wte_weight"], np.array(arrays["wte_weight"], np.float32))
    assert read_shapes(path)["block_0_hda_delta_scale"] == (1, 2, 1, 1)


def test_many_keys_and_many_tiny_lists_are_not_kept(path, monkeypatch):
    monkeypatch.setattr(model_file, "_KEYS", 10)
    path.write_text(json.dumps({str(i): 1 for i in range(11)}))
    with pytest.raises(FormatError, match="more than 10 keys"):
        read_model(path)
    monkeypatch.setattr(model_file, "_PARTS", 100)
    path.write_text('{"wte_weight": [' + ",".join(["[[1],[2]]"] * 60) + "]}")
    with pytest.raises(FormatError, match="more than 100 lists"):
        read_model(path)


def test_rows_longer_than_a_piece(path):
    rng = np.random.default_rng(0)
    arrays = {"lm_head_weight": rng.standard_normal((3, 20_000)).astype(np.float32),
              "lm_head_bias": rng.standard_normal(20_000).astype(np.float32),
              "wpe_weight": rng.standard_normal((20_000, 2)).astype(np.float32)}
    write_model(path, arrays)
    back = read_model(path)
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)
    assert read_shapes(path) == {name: array.shape for name, array in arrays.items()}


def test_reading_needs_little_more_than_the_arrays(path):
    arrays = {f"block_{i}_w": np.random.default_rng(i).standard_normal((256, 512)).astype(np.float32) for i in range(8)}
    write_model(path, arrays)
    total = sum(a.nbytes for a in arrays.values())
    tracemalloc.start()
    try:
        read_model(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 10 * (1 << 20) and peak < total + 6 * (1 << 20)


# --- against the obvious reader --------------------------------------------------------------------------------------


def obvious(text: bytes) -> dict:
    """The format in plain Python: what read_model must agree with. Raises on anything that is refused."""

    def pairs(items):
        if len(dict(items)) != len(items):
            raise ValueError("duplicate key")
        return dict(items)

    def refuse(constant):
        raise ValueError(constant)

    def check(value, level=1):
        if type(value) is not list or not value or level > 4:
            raise ValueError("no tensor")
        if not all(type(v) in (int, float) for v in value):
            for v in value:
                check(v, level + 1)

    def number(digits):
        if not math.isfinite(float(digits)):
            raise ValueError("too large")
        return float(digits)

    whole = json.loads(text.decode(), object_pairs_hook=pairs, parse_constant=refuse, parse_float=number)
    if type(whole) is not dict:
        raise ValueError("no object")
    for name, value in whole.items():
        if is_tensor(name) and type(value) is list:
            check(value)
            with np.errstate(over="ignore"):
                whole[name] = np.array(value, np.float64).astype(np.float32)
            if not np.isfinite(whole[name]).all():
                raise ValueError("too large")
        elif is_tensor(name) and not (value is None or (type(value) in (int, float) and math.isfinite(value))):
            raise ValueError("no number")
    return whole


NUMBERS = ["0", "-1", "1.5", "1e-3", "0.1", "-0.0", "123456789012345678901", "3.4e38", "-2E+2"]
SPLICES = [b"[", b"]", b",", b'"', b"{", b"}", b"null", b"true", b"NaN", b" ", b"-", b"]]", b"[[", b"\\", b"1e39", b"u",
           b""]


def random_file(rng: random.Random) -> bytes:
    def numbers(count):
        return "[" + rng.choice([",", ", ", ",\n   "]).join(rng.choice(NUMBERS) for _ in range(count)) + "]"

    def nested(depth, width):
        if depth == 1:
            return numbers(width)
        lists = [nested(depth - 1, width) for _ in range(rng.choice([1, 2, 2, 6]))]
        return "[" + rng.choice([",", ",\n "]).join(lists) + "]"

    makers = [lambda: numbers(rng.randint(1, 9)), lambda: nested(2, rng.randint(1, 7)), lambda: rng.choice(NUMBERS),
              lambda: nested(rng.randint(2, 5), 2), lambda: "null", lambda: '"tex]t"', lambda: '{"a":[1,"]",{}]}']
    names = ["wte_weight", "block_0_x", "lm_head_bias", "other", "block_1_ä"]
    items = [json.dumps(rng.choice(names) + str(i), ensure_ascii=rng.random() < 0.5) + rng.choice([":", ": "])
             + rng.choice(makers)() for i in range(rng.randint(0, 4))]
    text = bytearray(("{" + rng.choice([",", ",\n "]).join(items) + "}").encode())
    for _ in range(rng.choice([0, 0, 1, 1, 3])):
        place = rng.randrange(len(text) + 1)
        text[place:place + rng.randint(0, 4)] = rng.choice(SPLICES)
    return bytes(text)


def test_agrees_with_the_obvious_reader_wherever_pieces_end(path, monkeypatch):
    rng = random.Random(5)
    accepted = 0
    for _ in range(1500):
        monkeypatch.setattr(model_file, "_PIECE", rng.choice([32, 48, 64, 1 << 16]))
        monkeypatch.setattr(model_file, "_BLOCK", rng.choice([16, 64, 1 << 20]))
        text = random_file(rng)
        path.write_bytes(text)
        try:
            want = obvious(text)
        except (ValueError, RecursionError):
            want = None
        try:
            got = read_model(path)
        except FormatError:
            got = None
        assert (got is None) == (want is None), text
        if got is None or want is None:
            continue
        accepted += 1
        assert list(got) == list(want), text
        for name in filter(is_tensor, want):
            if want[name] is None or np.ndim(want[name]) == 0:
                assert got[name] == want[name] or got[name] == float(want[name]), text
            else:
                assert got[name].shape == want[name].shape and np.array_equal(got[name], want[name]), text
        assert read_shapes(path) == {n: v if v is None else np.shape(v) for n, v in want.items() if is_tensor(n)}, text
    assert accepted > 150


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(data)
    try:
        read_model(path)
    except FormatError as error:
        assert str(error).isprintable()


def test_every_half_survives_its_shortest_text(tmp_path):
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)].reshape(-1, 2)
    write_model(tmp_path / "model.json", {"wte_weight": values})
    again = read_model(tmp_path / "model.json")["wte_weight"]
    assert np.array_equal(again.astype(np.float16).view(np.uint16), values.view(np.uint16))
