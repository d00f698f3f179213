"""Other files made of one: changed as bytes, as JSON, as lines of it, as safetensors and .zip with right checksums."""

from __future__ import annotations

import hashlib
import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

LARGEST = 1 << 15  # bytes of a mutated file; of lines, each of which is a file in itself, a quarter
Rng = random.Random

TOKENS = [
    b"null",
    b"true",
    b"NaN",
    b"Infinity",
    b"-",
    b"1e999",
    b"-1e-999",
    b"0",
    b"-0.0",
    b"1" * 400,
    b'"',
    b'\\"',
    b"\\",
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\\u001b[2J"',
    "\u202e".encode(),
    b"\xed\xa0\x80",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x1f\x8b\x08\x00",
    b"\x00",
    b"\r",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"[[",
    b"]]",
    b"{}",
    b"[]",
    b'{"":',
    b"[[[[[[[[[[",
    b" " * 90,
    b"\n",
    b"../../etc/passwd",
    b"/dev/zero",
    b"_finetuned",
    b"block_0_",
    b"9" * 20,
    b"1.5",
    b"e5",
    b"0.1,",
]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**53,
    2**63,
    2**64,
    -(2**63),
    10**30,
    0.5,
    -0.5,
    1e-320,
    1e300,
    1e308,
    -1e308,
    "",
    "x",
    "0",
    "1e400",
    "nan",
    "None",
    "last",
    "../..",
    "/etc/passwd",
    "a\0b",
    "\x1b]52;c;AAAA\x07",
    "\u202eabc",
    "\x9b31m",
    "[red]x[/]",
    "x" * 5000,
    "\u0301\u0316" * 2000,
    [],
    {},
    [[]],
    [None],
    [1, [2]],
    {"a": {}},
    [[[[[[[[[]]]]]]]]],
    [0] * 500,
    ["a", "a"],
    "mha",
    "word",
    "char",
    "fp16",
    "auto",
    "gpu",
    1 << 20,
    65536,
    [1 << 40],
    [0, 1 << 47, 1 << 47],
]


def mutate(data: bytes, rng: Rng, others: list[bytes], kind: str) -> bytes:
    """Another file: between one and five changes of what can be changed in one of this kind."""
    for _ in range(1 + int(rng.expovariate(1))):
        choice = rng.random()
        if kind == "archive" and choice < 0.8:
            data = _archive(data, rng)
        elif kind in ("checkpoint", "adapter") and choice < 0.8:
            data = _safetensors(data, rng)
        elif kind in ("events", "results") and choice < 0.6:
            data = _lines(data, rng)
        elif kind not in ("text", "checkpoint", "adapter", "archive") and choice < 0.6:
            data = _json(data, rng)
        else:
            data = _bytes(data, rng, others)
    return data[: LARGEST // 4 if kind in ("events", "results") else LARGEST]


def _bytes(data: bytes, rng: Rng, others: list[bytes]) -> bytes:
    a, b = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    short = data[a : min(b, a + 40)]
    what = rng.randrange(9)
    if what == 0:  # one bit
        return data[:a] + bytes([data[a] ^ (1 << rng.randrange(8))]) + data[a + 1 :] if a < len(data) else data
    if what == 1:
        return data[:a] + rng.choice(TOKENS) + data[a:]
    if what == 2:
        return data[:a] + rng.choice(TOKENS) + data[min(b, a + 8) :]
    if what == 3:
        return data[:a] + data[min(b, a + 40) :]
    if what == 4:
        return data[:a]
    if what == 5:  # once more, or very often
        return data[:a] + short * rng.choice((2, 3, 60, 3000)) + data[a:]
    if what == 6:
        return data[:a] + rng.choice(TOKENS) * rng.choice((2, 9, 300, 20000)) + data[a:]
    if what == 7 and others:
        other = rng.choice(others)
        return data[:a] + other[rng.randrange(len(other) + 1) :]
    return data[:a] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9))) + data[b:]


def _json(data: bytes, rng: Rng) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _bytes(data, rng, [])
    value = _changed(value, rng)
    try:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.3, indent=rng.choice((None, None, 4)))
    except (ValueError, RecursionError):
        return data
    return text.encode("utf-8", "surrogatepass")


def _changed(value: Any, rng: Rng) -> Any:
    """`value` with one of its nodes, any of them, changed."""
    nodes = list(_nodes(value))
    if not nodes:
        return rng.choice(VALUES)
    if rng.random() < 0.5:  # one of the outermost: a matrix has far more places than the file has keys
        nodes = [node for node in nodes if node[0] is value]
    parent, key = rng.choice(nodes)
    what = rng.randrange(10)
    if what > 7:  # hardly: most files that are changed more are refused at the first field
        parent[key] = _nearly(parent[key], rng)
    elif what < 4:
        parent[key] = rng.choice(VALUES)
    elif what == 4:
        del parent[key]
    elif what == 5:
        other, place = rng.choice(nodes)
        parent[key] = (
            json.loads(json.dumps(other[place]))
            if place in other or (isinstance(other, list) and place < len(other))
            else None
        )
    elif isinstance(parent, dict):
        new = rng.choice(
            (
                str(key) + "_",
                str(key)[:-1],
                "s_head",
                "lr",
                "babytui_format",
                "block_0_aft_q_weight",
                "vocab",
                str(rng.choice(VALUES)),
            )
        )
        parent[new] = parent.pop(key) if what == 6 else rng.choice(VALUES)
    else:
        parent[key : key + 1] = [parent[key]] * rng.choice((0, 2, 2, 50))
    return value


def _nearly(value: Any, rng: Rng) -> Any:
    """A value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return rng.choice(
            (value + 1, value - 1, value * 2, -value, value * 1e6, int(value) if abs(value) < 1e300 else 0)
        )
    if isinstance(value, str):
        return rng.choice(
            (
                value[1:],
                value + value[:50],
                value.swapcase(),
                value + rng.choice(("\n", "\x1b[0m", "é", "\u202e", "\U0001f9ff")),
            )
        )
    return value


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value as (container, key)."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        items = (
            list(here.items()) if isinstance(here, dict) else list(enumerate(here)) if isinstance(here, list) else []
        )
        for key, child in items:
            yield here, key
            if isinstance(child, (dict, list)):
                waiting.append(child)


def _lines(data: bytes, rng: Rng) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    what = rng.randrange(6)
    if what < 4:
        lines[at] = _json(lines[at], rng)
    elif what == 4:
        lines.insert(at, rng.choice(lines))
    else:
        rng.shuffle(lines)
    return b"\n".join(lines)


def _safetensors(data: bytes, rng: Rng) -> bytes:
    """One whose header, meta data or numbers are changed, mostly with a checksum that is right again."""
    try:
        length = struct.unpack("<Q", data[:8])[0]
        table = json.loads(data[8 : 8 + length])
        numbers = data[8 + length :]
        about = table["__metadata__"]
        meta = json.loads(about["babytui"])
    except (ValueError, KeyError, TypeError, RecursionError, struct.error):
        return _bytes(data, rng, [])
    what = rng.randrange(4)
    if what == 0:
        meta = _changed(meta, rng)
        about["babytui"] = json.dumps(meta)
    elif what == 1:
        table = _changed(table, rng)
    elif what == 2:
        numbers = _bytes(numbers, rng, [])
        if rng.random() < 0.5:  # as many as before
            numbers = numbers[: len(data) - 8 - length].ljust(len(data) - 8 - length, b"\x7f")
    else:
        about["babytui"] = json.dumps(_changed(meta, rng))
        table = _moved(table)
    return signed(table, numbers, rng.random() < 0.9)


def _moved(table: dict[str, Any]) -> dict[str, Any]:
    """The header with offsets that fit its shapes again, as far as it has any."""
    sizes = {"F64": 8, "F32": 4, "F16": 2}
    offset = 0
    for key, entry in table.items():
        if key != "__metadata__" and isinstance(entry, dict) and isinstance(entry.get("shape"), list):
            size = sizes.get(str(entry.get("dtype")), 1)
            for side in entry["shape"]:
                size *= side if type(side) is int and 0 <= side < 1 << 20 else 1
            entry["data_offsets"] = [offset, offset + size]
            offset += size
    return table


_PLACES = ["../", "/", "runs/", "models/", "outputs\\", "\x1b[2J", "configs/config_", "a/b/c/", "\u202e", "C:"]


def _archive(data: bytes, rng: Rng) -> bytes:
    """A .zip with another member, name, attribute or count of members; the sums of its manifest are mostly right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            members = [(name, old.read(name)) for name in old.namelist() if len(name) < 200]
    except Exception:  # it is none any more
        return _bytes(data, rng, [])
    if not members:
        return _bytes(data, rng, [])
    at, what = rng.randrange(len(members)), rng.random()
    name, content = members[at]
    if what < 0.5:
        members[at] = name, _json(content, rng)
    elif what < 0.65:
        members[at] = rng.choice(_PLACES) + name[rng.randrange(len(name)):], content
    elif what < 0.8:
        del members[at]
    elif what < 0.9:
        members.append((name, content[: rng.randrange(len(content) + 1)]))
    if rng.random() < 0.8:
        files = {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                 for name, content in members if name != "manifest.json"}
        table = {"babytui_archive": 1, "guid": "", "name": "", "files": files}
        members = [one for one in members if one[0] != "manifest.json"]
        members.append(("manifest.json", json.dumps(table).encode()))
    odd = rng.random() < 0.1
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as new:
        warnings.simplefilter("ignore")  # of two members with one name
        for name, content in members:
            entry = zipfile.ZipInfo(name or "x", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (rng.choice([0o120777, 0o040755, 0]) if odd else 0o100644) << 16
            new.writestr(entry, content)
    return out.getvalue()


def signed(table: Any, numbers: bytes, right: bool = True) -> bytes:
    """A safetensors file of this header; right: with the checksum that belongs to it."""
    about = table.get("__metadata__") if isinstance(table, dict) else None
    if not (right and isinstance(about, dict)):
        header = json.dumps(table).encode()
        return struct.pack("<Q", len(header)) + header + numbers
    about["sha256"] = "0" * 64
    header = json.dumps(table).encode()
    digest = hashlib.sha256(header + numbers).hexdigest()
    header = header.replace(b"0" * 64, digest.encode(), 1)
    return struct.pack("<Q", len(header)) + header + numbers
