"""Mutated files of every kind (tests/support/fuzzing.py): a sentence or a good file, in bounded time and memory.

BABYTUI_FUZZ_SEED chooses other files; BABYTUI_FUZZ_FILES how many (in thousands) the long test makes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fuzzing
import pytest
from fuzz_targets import KINDS, target

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FUZZER = Path(fuzzing.__file__)
SEED = int(os.environ.get("BABYTUI_FUZZ_SEED", 5))
SLOW_SHARES = {
    "tokenizer": 14,
    "text": 13,
    "archive": 3,
    "adapter": 12,
    "checkpoint": 12,
    "model": 12,
    "settings": 9,
    "completion": 7,
    "conversation": 6,
    "config": 7,
    "report": 5,
    "plan": 3,
    "trash": 1,
    "results": 2,
    "events": 2,
}  # of a hundred


def fuzz(kinds: str, count: int, out: Path) -> list[dict[str, Any]]:
    """What a process of its own found in `count` files of each kind."""
    done = subprocess.run(
        [sys.executable, FUZZER, kinds, str(count), str(SEED), CORPUS, out],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    assert done.returncode == 0, f"seed {SEED}, {kinds}: {done.stderr[-3000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found: list[dict[str, Any]]) -> None:
    for one in found:
        words = "\n\n".join(f"{name}: {text}" for name, text in one["failures"].items())
        assert not one["failures"], f"seed {SEED}, {one['kind']}:\n{words}"
        assert one["over"] <= fuzzing.ROOM, (
            f"seed {SEED}, {one['kind']}: {one['over'] / 2**20:.0f} MiB over the baseline"
        )


def test_there_is_a_seed_of_every_kind():
    assert {path.name for path in CORPUS.iterdir()} == set(KINDS) == set(SLOW_SHARES)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 1 << 17


REFUSED = {"model/lacking", "plan/run", "plan/finetune"}  # these two are no plans of a bake-off, which is looked at too


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_are_good_files(kind):
    """Else mutation would begin where nothing is read any more: after a change of a format, run fuzz_seeds.py again."""
    with target(kind) as run:
        for path in sorted((CORPUS / kind).iterdir()):
            if f"{kind}/{path.name}" not in REFUSED:
                run(path.read_bytes())


def test_some_mutated_files_of_every_kind(tmp_path):
    found = fuzz(",".join(KINDS), 40, tmp_path)
    check(found)
    assert [one["kind"] for one in found] == list(KINDS) and all(one["files"] == 40 for one in found)


@pytest.mark.slow
def test_a_hundred_thousand_mutated_files(tmp_path):
    thousands = float(os.environ.get("BABYTUI_FUZZ_FILES", 102)) / 100
    print(f"fuzz seed {SEED}")
    with ThreadPoolExecutor(2) as two:  # processes at a time
        found = list(
            two.map(lambda kind: fuzz(kind, round(1000 * thousands * SLOW_SHARES[kind]), tmp_path)[0], SLOW_SHARES)
        )
    for one in found:
        print({key: value for key, value in one.items() if key != "failures"})
    check(found)
    assert sum(one["files"] for one in found) >= 100_000 or thousands < 1


# --- the fuzzer itself finds what it looks for ------------------------------------------------------------------------

PLANTED = {
    "KeyError": "value = json.loads(data); value['a']['b']",
    "Hang": "json.loads(data)\nif data.count(b'0') > 3: exec('while True: pass')",
    "MemoryError": "json.loads(data)\nif data.count(b'[') > 3: bytearray(1 << 30)",
    "AssertionError": "assert len(json.loads(data)) < 2",
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_faults_are_found(tmp_path, name):
    """In a process of its own, whose memory is bounded."""
    code = f"""
import json, sys
sys.path[:0] = {[str(FUZZER.parents[2]), str(FUZZER.parent)]}
from pathlib import Path
import fuzzing
from engine.errors import FormatError
fuzzing.HANG = 0.05
def target(data):
    try:
        exec({PLANTED[name]!r}, {{"json": json, "data": data}})
    except (ValueError, TypeError, RecursionError):
        raise FormatError("no") from None
seeds = [b'{{"a": {{"b": [1, 2.5]}}}}']
found = fuzzing.fuzz("config", target, seeds, 300, 1, Path({str(tmp_path)!r}))
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    failures = json.loads(done.stdout)["failures"]
    assert any(found.startswith(name) for found in failures), failures
    assert any(tmp_path.iterdir())  # the file is kept


def test_what_reaches_something_new_is_mutated_further(tmp_path):
    """Coverage guides it: behind four conditions that no mutation of the seed meets at once."""
    path = fuzzing.ROOT / "store" / "in_our_rooms.py"  # never written: only the name that frames are known by counts
    source = (
        "def look(data):\n    if data[:1] != b'a':\n        return\n    if data[1:2] != b'b':\n        return\n"
        "    if data[2:3] != b'c':\n        return\n    raise KeyError('found')\n"
    )
    space: dict[str, Any] = {}
    exec(compile(source, str(path), "exec"), space)
    rng, coverage = random.Random(1), fuzzing.Coverage()
    pool, tries = [b"zzzz"], 0
    found = False
    while not found and tries < 200_000:
        tries += 1
        at, data = rng.randrange(4), bytearray(rng.choice(pool))
        data[at] = rng.randrange(256)
        with coverage:
            try:
                space["look"](bytes(data))
            except KeyError:
                found = True
        if coverage.new:
            pool.append(bytes(data))
    assert found and len(pool) >= 3  # by chance it would take 2^24 tries
