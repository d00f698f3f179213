"""From a file to ids as a run does it: the memory that the ids need, whatever the text and whoever cuts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from babytui import texts
from engine import registry
from engine.config import Config
from store.workspace import Workspace

ROOT = Path(__file__).parents[2]
CHILD = """
import json, sys
from pathlib import Path
from babytui import texts
from engine import data, registry
from engine.config import Config

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

config = Config.read({"c_tokenizer": sys.argv[1]})
before = peak()
text = texts.read([Path(sys.argv[2])])
vocab_size, digest = texts.check(config, text), texts.digest(text)
tokenizer = registry.tokenizer.get(config.c_tokenizer).fit(text)
ids = tokenizer.encode(text)
print(json.dumps({"more": peak() - before, "ids": ids.nbytes, "tokens": len(ids), "count": tokenizer.count(text)}))
"""
LINE = "\u201cD\u00e9j\u00e0 vu\u201d \u4f60 \U0001f476, said the cat. Nobody else had seen it yet.\r\n"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.slow
@pytest.mark.parametrize("kind", registry.tokenizer.names())
def test_a_long_text_takes_the_memory_of_its_ids(tmp_path, kind):
    path = tmp_path / "long.txt"
    path.write_bytes(b"\xef\xbb\xbf" + LINE.encode() * (30_000_000 // len(LINE.encode())))
    done = subprocess.run([sys.executable, "-c", CHILD, kind, str(path)], cwd=ROOT, capture_output=True, text=True,
                          timeout=120)
    found = json.loads(done.stdout or pytest.fail(done.stderr))
    assert found["tokens"] == found["count"] > 6_000_000
    assert found["more"] < 1.2 * found["ids"] + 20_000_000, "as one string it would take 100 MB and more"


def test_a_text_is_recognised_by_what_it_says(tmp_path):
    """Line ends, marks, encodings and packing do not count; and checkpoints of old hold this very number."""
    (tmp_path / "a.txt").write_bytes("Gr\u00fc\u00dfe\nan alle\n".encode())
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf" + "Gr\u00fc\u00dfe\r\nan alle\r\n".encode())
    (tmp_path / "c.txt").write_bytes("Gr\u00fc\u00dfe\ran alle\r".encode("latin-1"))
    digests = {texts.digest(texts.read([tmp_path / name])) for name in ("a.txt", "b.txt", "c.txt")}
    assert digests == {"d2b1d90928c236f3e868a03714cb70d552f5c1cf84a75392d146520c29663e19"}


def test_what_is_added_is_what_is_read(tmp_path):
    path = tmp_path / "dos.txt"
    path.write_bytes(b"\xef\xbb\xbf" + LINE.encode() * 20_000)
    workspace = Workspace(tmp_path / "w")
    added = texts.add(workspace, str(path))
    assert added.path.read_bytes() == LINE.replace("\r", "").encode() * 20_000
    assert "already" in texts.add(workspace, str(path)).notes[-1]
    assert texts.check(Config.read({}), texts.read([added.path])) == len(set(LINE) - {"\r"})
