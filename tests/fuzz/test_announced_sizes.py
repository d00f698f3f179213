"""Small files that announce large things, and large files with nothing in them: refused at once, for every kind.

In a process that may take 64 MiB more than it has, within the second that the fuzzer allows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import fuzz_targets
import fuzzing
import pytest
from historic import GUID
from mutation import signed

HUGE = 100 << 30  # bytes
HEADER = {
    "__metadata__": {"babytui": "{}"},
    "weights/wte_weight": {"dtype": "F32", "shape": [5000, 5_000_000], "data_offsets": [0, HUGE]},
}
PLAN: dict[str, Any] = json.loads((Path(__file__).parent / "corpus" / "plan" / "run").read_bytes())


def _model() -> bytes:
    """The globals of a vocabulary of one symbol and a context of a million, as its config might say."""
    return json.dumps(
        {
            "wte_weight": [[0.5] * 8],
            "wpe_weight": [[0.5] * 8],
            "ln_f_gamma": [1] * 8,
            "ln_f_beta": [0] * 8,
            "lm_head_weight": [[0.5]] * 8,
            "block_1023_ln1_gamma": [1] * 8,
        }
    ).encode()


def _bomb() -> bytes:
    """A text of 2 GB in 2 kB: gzip in gzip is no text, so it is many members, each of a million spaces."""
    import gzip

    return gzip.compress(b" " * (1 << 20), 9, mtime=0) * 31  # 31 MiB of nothing but space in 32 kB


def _checkpoint(**changes: Any) -> bytes:
    """The one of the corpus with other meta data, its checksum right."""
    data = (Path(__file__).parent / "corpus" / "checkpoint" / "step").read_bytes()
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    meta = json.loads(table["__metadata__"]["babytui"])
    table["__metadata__"]["babytui"] = json.dumps({**meta, **changes})
    return signed(table, data[8 + length :])


ANNOUNCED = {
    "checkpoint": [
        signed(HEADER, b""),
        (HUGE).to_bytes(8, "little") + b"{}",
        b"\xff" * 8 + b"{" * 1000,
        _checkpoint(vocab=[str(i) for i in range(3000)]),
        _checkpoint(step=1 << 60),
    ],
    "adapter": [signed(HEADER, b"")],
    "config": [
        json.dumps({"n_emb": 1 << 62}).encode(),
        b'{"n_layers": ' + b"9" * 4000 + b"}",
        b'{"a":' + b"[" * 9 + b'"' + b'\\"' * 16000,
    ],
    "tokenizer": [
        json.dumps({"vocab_size": 10**12, "vocab": []}).encode(),
        b'{"vocab": ["' + b"x" * (1 << 19) + b'"]}',
        b'{"vocab": [' + b"[]," * 10000 + b"[]]}",
    ],
    "model": [_model(), b'{"wte_weight": [' + b"[" * 30000, b'{"wte_weight": [[' + b"1e999," * 5000 + b"1]]}"],
    "report": [b'{"n_epochs": 1e308, "babytui_curve": [' + b"[]," * 9000 + b"3], x"],
    "completion": [b'{"generation": ' + b"[" * 30000],
    "conversation": [
        b'{"babytui_conversation": 1, "exchanges": [' + b"{}," * 9000 + b"{}]}",
        b'{"babytui_conversation": 1, "exchanges": [], "vocabularies": [{"separator": "", "symbols": [[1, "'
        + b"x" * (1 << 19)
        + b'"]]}]}',
    ],
    "plan": [json.dumps({**PLAN, "created": 1e300}).encode(), json.dumps({**PLAN, "vocab_size": -1}).encode()],
    "settings": [b'{"n_emb": ' + b"1" * 5000 + b"}"],
    "text": [_bomb(), b"\x1f\x8b\x08\x00", b"\x00" * 1000],
}


@pytest.mark.parametrize("kind", ANNOUNCED)
def test_what_is_announced_is_not_believed(kind, tmp_path):
    said = _in_a_small_process(kind, ANNOUNCED[kind], tmp_path)
    assert len(said) == len(ANNOUNCED[kind])
    assert all(sentence.endswith((".", "?")) and "\n" not in sentence for sentence in said), said


def _in_a_small_process(kind: str, files: list[bytes], folder: Path) -> list[str]:
    """What is said of each file, in a process with little memory."""
    for number, data in enumerate(files):
        (folder / f"{number:03}").write_bytes(data)
    code = f"""
import sys
sys.path[:0] = {[str(fuzzing.ROOT), str(Path(fuzzing.__file__).parent)]}
import json, fuzzing, fuzz_targets
from pathlib import Path
from engine.errors import BabyError
fuzzing.heed()
said = []
with fuzz_targets.target({kind!r}) as target:
    for path in sorted(Path({str(fuzzing.ROOT / "tests" / "fuzz" / "corpus")!r}, {kind!r}).iterdir()):
        try:
            target(path.read_bytes())  # everything is imported before memory is bounded
        except BabyError:
            pass
    files = [path.read_bytes() for path in sorted(Path({str(folder)!r}).iterdir())]
    fuzzing.bound_memory(fuzzing.ROOM)
    for data in files:
        try:
            fuzzing.bounded(target, data)
        except BabyError as error:
            said.append(str(error))
        else:
            said.append("")
print(json.dumps(said))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


READERS = {
    "end": "journal.end(path)",
    "config": "artifacts.load_config(ws, GUID)",
    "tokenizer": "artifacts.load_vocabulary(ws, GUID)",
    "model": "artifacts.load_model(ws, GUID)",
    "report": "artifacts.load_report(ws, GUID)",
    "summary": "reports.read_summary(path)",
    "completion": "artifacts.load_completion(ws, GUID)",
    "conversation": "conversations.load(ws, GUID)",
    "checkpoint": "checkpoint.read(path)",
    "adapter": "adapters.load(path)",
    "plan": "plans.read(path)",
    "text": "reading.read_text(path)",
    "digest": "finetuning.model_sha256(ws, GUID)",
}
QUIET = {
    "events": "runs.Run(ws, GUID).last_events()",
    "status": "runs.Run(ws, GUID).status()",
    "log": "process.last_words(path)",
    "journal": "journal.read(path, 0, 1 << 20)",
    "entries": "ws.entries()",
}


def test_a_file_of_a_hundred_gigabytes_with_nothing_in_it(tmp_path):
    """One that takes no room on the disk. Whoever reads it says how large it is; logs are read at their end."""
    place = {
        "config": "configs/config_{}.json",
        "tokenizer": "tokenizers/tokenizer_{}.json",
        "model": "models/model_{}.json",
        "report": "outputs/report_{}.json",
        "completion": "outputs/completion_{}.json",
        "conversation": "outputs/conversation_{}.json",
        "digest": "models/model_{}.json",
        "events": "runs/{}/events.jsonl",
        "status": "runs/{}/events.jsonl",
        "entries": "runs/{}/plan.json",
    }
    code = f"""
import sys
sys.path[:0] = {[str(fuzzing.ROOT), str(Path(fuzzing.__file__).parent)]}
import json, os, fuzzing, numpy, engine.model
from pathlib import Path
from babytui import finetuning, process, runs
from engine.errors import BabyError
from inputs import reading
from store import adapters, artifacts, checkpoint, conversations, journal, plans, reports
from store.workspace import Workspace
GUID = {GUID!r}
place, readers = {place!r}, {dict(READERS, **QUIET)!r}
fuzzing.heed()
fuzzing.bound_memory(fuzzing.ROOM)
said = {{}}
for name, reader in readers.items():
    ws = Workspace(Path({str(tmp_path)!r}, name)).ensure()
    path = ws.root / place.get(name, "file").format(GUID)
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as file:
        file.truncate({HUGE})
    try:
        fuzzing.bounded(lambda _: eval(reader), b"")
    except BabyError as error:
        said[name] = str(error)
print(json.dumps(said))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert set(said) == set(READERS)
    assert all("bytes" in sentence or name == "end" for name, sentence in said.items()), said


def test_what_takes_the_square_of_its_length():
    """Texts that a look at each quote, or at each pair of accents, would take minutes over."""
    from engine.errors import BabyError
    from store.names import check_name
    from store.reading import parse_json

    fuzzing.heed()
    for text in (b"[" * 9 + b'"' + b'\\"' * 500_000, b'{"a":' + b'["' * 200_000, b"[" * 9 + b'"\\' * 400_000):
        with pytest.raises(BabyError):
            fuzzing.bounded(lambda data: parse_json(data, "x"), text)
    with pytest.raises(BabyError, match="at most 60"):
        fuzzing.bounded(lambda data: check_name(data.decode()), ("a" + "\u0301\u0316" * 200_000).encode())
    assert fuzz_targets.KINDS
