"""babytui bench: what is chosen, what it prints, and what it says when it cannot."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from babytui import bench
from babytui.bench import SIZES, WORKS
from engine import registry
from engine.errors import RunError

TINY = [word for value in ("n_emb=16", "n_heads=2", "n_ctx=8", "n_layers=1", "batch_size=4")
        for word in ("--set", value)]
PEER = """
import json, sys
if "--help" in sys.argv:
    print("usage: peer [-h] {train,decode} ...")
    sys.exit()
%s
mode, flags = sys.argv[1], dict(word[2:].split("=") for word in sys.argv[2:])
assert flags["n_emb"] == "16" and flags["n_layers"] == "1" and int(flags["threads"]) > 0 and int(flags["steps"]) >= 12
assert set(flags) == {"n_ctx", "n_emb", "n_heads", "n_layers", "batch_size", "threads", "steps"}
print("a word before")
print(json.dumps({"peer": "a peer", "mode": mode, "tokens_per_s": 1e-3}))
"""


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """A peer's program that is very slow."""
    path = tmp_path / "peer.py"
    path.write_text(PEER % "")
    return path


def test_without_a_choice_every_size_and_work():
    assert bench.works() == list(WORKS) and bench.works(["save,decode"]) == ["decode", "save"]
    found = bench.cases()
    assert [case.size for case in found] == list(SIZES) and all(case.pair == ("mha", "mlp") for case in found)
    large = found[2].config
    assert (large.n_ctx, large.n_emb, large.n_heads, large.n_layers, large.batch_size) == (256, 384, 6, 6, 16)


def test_all_variants_are_measured_at_the_small_size():
    found = bench.cases(variants=["all"])
    assert {case.size for case in found} == {"small"}
    assert {case.pair for case in found} == ({(name, "mlp") for name in registry.attention.names()}
                                             | {("mha", name) for name in registry.network.names()})
    assert len(found) == len({case.label for case in found})
    assert [case.label for case in bench.cases(["newborn", "heads"], ["gla/swi", "mha,nft"])] == [
        f"{size}{pair}" for size in ("newborn", "heads") for pair in (" gla/swi", "", " mha/nft")]


def test_parameters_change_every_size():
    (case,) = bench.cases(["small"], changes={"n_emb": "32", "c_network": "swi"})
    assert (case.config.n_emb, case.config.head_size, case.pair) == (32, 32, ("mha", "swi"))
    (case,) = bench.cases(["small"], changes={"n_emb": 32, "head_size": 64})
    assert case.config.head_size == 64


@pytest.mark.parametrize(("words", "said"), [
    (["--size", "smal"], "did you mean 'small'"), (["--size", "xyz"], "small, heads, large, newborn"),
    (["--variants", "glaa"], "did you mean 'gla'"), (["--variants", "gla/mpl"], "did you mean 'mlp'"),
    (["--work", "trane"], "did you mean 'train'"), (["--set", "n_ebm=3"], "did you mean 'n_emb'"),
    (["--set", "n_heads=3"], "does not divide"), (["--repeats", "0"], "from 1 to 99"),
    (["--variants", "all", "--set", "c_network=swi"], "not with both"),
    (["--peer-script", "x.py"], "give both"), (["--peer", "/no/python"], "'/no/python' is not one"),
    (["--peer", sys.executable, "--peer-script", "nowhere.py"], "nowhere.py"),
])
def test_a_wrong_choice_is_one_sentence(command, words, said):
    done = command("bench", *words)
    assert done.code == 2 and said in done.err and done.err.count("\n") == 1 and done.out == ""


def test_every_work_is_a_row_with_its_keys(command):
    done = command("bench", "--size", "small", "--repeats", "1", *TINY, "--json")
    assert done.code == 0, done.err
    assert [row["work"] for row in done.data] == ["train", "memory", "products", *WORKS[1:]]
    for row in done.data:
        assert {"work", "config", "ours", "peer", "ratio", "unit", "cores", "blas"} <= set(row)
        assert row["ours"] > 0 and row["config"]["n_emb"] == 16 and row["cores"] >= 1 and row["peer"] is None
        assert row["machine"]["processor"] and row["blas"] == row["machine"]["blas"]
    products = done.data[2]
    assert products["ratio"] > 0 and products["flops"] > 0 and products["products_seconds"] > 0
    assert {row["unit"] for row in done.data} == {"tokens/s", "bytes", "s"}
    assert "one after the other: 6;" in done.err


def test_a_table_for_people(command):
    done = command("bench", "--work", "prefill", "--variants", "gla", "mha", "--repeats", "1", *TINY)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "cores" in lines[0] and "OPENBLAS_CORETYPE" in lines[0] and "NumPy" in lines[0]
    assert lines[2].split() == ["WORK", "SIZE", "OURS", "RATIO"]
    assert lines[3].startswith("prefill  small gla/mlp") and lines[4].startswith("prefill  small  ")
    assert lines[3].index("tokens/s") == lines[4].index("tokens/s")


@pytest.mark.slow
def test_beside_a_peer(command, peer):
    done = command("bench", "--work", "train", "--work", "prefill", "--size", "small", "--repeats", "2", *TINY,
                   "--peer", sys.executable, "--peer-script", peer, "--json")
    assert done.code == 0, done.err
    train, memory, _, prefill = done.data
    assert train["peer"] == 1e-3 and train["ratio"] == pytest.approx(train["ours"] / 1e-3, rel=0.5)
    assert train["peer_name"] == "a peer" and [len(train["samples"][who]) for who in ("ours", "peer")] == [2, 2]
    assert memory["peer"] > 1e6 and memory["ratio"] == pytest.approx(memory["ours"] / memory["peer"], rel=0.5)
    assert prefill["peer"] is None and "cannot do prefill" in done.err


def test_a_peer_that_breaks_leaves_ours_standing(command, peer):
    peer.write_text(PEER % "sys.exit('out of luck')")
    done = command("bench", "--work", "decode", "--size", "small", "--repeats", "1", *TINY, "--peer", sys.executable,
                   "--peer-script", peer)
    assert done.code == 1 and "peer.py failed: out of luck" in done.err and "decode" in done.out


@pytest.mark.parametrize(("code", "said"), [
    ("raise ModuleNotFoundError(\"No module named 'torch'\")", "has no torch"), ("1 / 0", "division by zero"),
    ("print('hello')", "names none of train"),
])
def test_a_peer_that_cannot_start_ends_it_in_a_sentence(command, peer, code, said):
    peer.write_text(code)
    done = command("bench", *TINY, "--peer", sys.executable, "--peer-script", peer)
    assert done.code == 1 and said in done.err and done.err.count("\n") == 1 and done.out == ""


def test_what_cannot_be_measured_is_one_sentence(monkeypatch):
    (case,) = bench.cases(["small"], changes={"n_emb": 16, "n_heads": 2, "n_ctx": 8, "n_layers": 1})
    monkeypatch.setattr(bench, "run_process", lambda *given: (-9, "", "", 0))
    with pytest.raises(RunError, match=r"^decode small could not be measured: it ended with signal 9\.$"):
        list(bench.Bench([case], ["decode"], 1).rows())


def test_ctrl_c_ends_it_and_leaves_nothing(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(bench.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-P", "-m", "babytui", "bench", "--work", "train", "--repeats", "99",
                                *TINY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    for line in process.stderr:
        if re.match("train small .*tokens/s|.*one after the other", line):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "Interrupted" in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("BABYTUI_TORCH_PYTHON"), reason="BABYTUI_TORCH_PYTHON names no Python")
def test_the_peer_of_ours_can_do_everything(command):
    done = command("bench", "--size", "small", "--repeats", "1", *TINY, "--peer", os.environ["BABYTUI_TORCH_PYTHON"],
                   "--json")
    assert done.code == 0, done.err
    assert all(row["peer"] and row["peer_name"].startswith("torch ") for row in done.data if row["work"] != "products")
