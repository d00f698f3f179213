"""babytui look and babytui tensors: what they print is what the library says."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from babytui import library, looking, pictures
from babytui.actions.looking import WHAT
from babytui.visible import cells
from engine.config import Config
from engine.model import Model
from engine.tokenizer.char import Char
from engine.tokenizer.word import Word
from store import artifacts
from store.workspace import Workspace, new_guid

PROMPT = "The cat"


@pytest.fixture
def look(command, trained):
    """`look("--what", "lens")` on the model "tiny"."""
    return lambda *words: command("look", "tiny", *words, "--workspace", trained[0].root)


@pytest.fixture
def baby(trained) -> library.Baby:
    return library.load("tiny", trained[0])


def keep(folder, vocab, *, kind="char", name="odd", **values):
    """A random model in a workspace of its own."""
    workspace = Workspace(folder)
    workspace.ensure()
    config = Config.read({"n_layers": 2, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 16, "c_tokenizer": kind,
                          **values})
    guid = new_guid()
    artifacts.save_config(workspace, guid, {**config.to_dict(), "babytui_name": name}, {})
    artifacts.save_tokenizer(workspace, guid, kind, vocab)
    artifacts.save_model(workspace, guid, Model.create(config, len(vocab)).export())
    return workspace


def test_every_choice_is_told(look, baby):
    for what in WHAT:
        done = look("--prompt", PROMPT, "--what", what)
        assert done.code == 0 and done.out and "\x1b" not in done.out, done.err
        assert max(cells(line) for line in done.out.splitlines()) <= 80
        found = look("--prompt", PROMPT, "--what", what, "--json")
        assert found.data["guid"] == baby.guid and found.data["what"] == what and found.data["causal"] is True
    assert look("--prompt", PROMPT, "--json").data["what"] == "lens"


def test_attention_as_numbers_and_shades(look, baby):
    seen = baby.look(PROMPT)
    data = look("--prompt", PROMPT, "--what", "attention", "--json").data
    assert [token["text"] for token in data["tokens"]] == list(PROMPT)
    (one,) = data["layers"]
    np.testing.assert_array_equal(one["values"], seen.layers[0].attention[0].values)
    assert one["labels"] == ["head 0", "head 1"]
    assert (one["layer"], one["part"], one["variant"]) == (0, "attention", "mha")
    head = look("--prompt", PROMPT, "--what", "attention", "--head", "1", "--json").data["layers"][0]
    np.testing.assert_array_equal(head["values"][0], seen.layers[0].attention[0].values[1])
    text = look("--prompt", PROMPT, "--what", "attention", "--layer", "0", "--head", "1").out.splitlines()
    rows = text[text.index("  head 1") + 2 :][: len(PROMPT)]
    for t, row in enumerate(rows):
        weights = seen.layers[0].attention[0].values[1, t]
        shades = [pictures.SHADES[round(float(np.sqrt(weight / seen.layers[0].attention[0].values[1].max())) * 4)]
                  for weight in weights]
        assert row == f"  {looking.symbol(PROMPT[t])}  {''.join(2 * shade for shade in shades)}".rstrip()


def test_the_lens(look, baby):
    seen = baby.look(PROMPT)
    data = look("--prompt", PROMPT, "--json").data
    assert [layer["layer"] for layer in data["layers"]] == [None, 0]
    last, lens = data["layers"][1], seen.layers[0].lens
    assert last["rank"] == [*lens.rank[:-1].tolist(), None] and last["probability"][-1] is None
    assert last["likeliest"][0][0] == {"id": int(lens.ids[0, 0]), "text": baby.tokenizer.vocab[lens.ids[0, 0]],
                                       "probability": lens.probabilities[0, 0]}
    logits = baby.logits(PROMPT)
    assert [row[0]["id"] for row in last["likeliest"]] == logits.argmax(1).tolist()
    lines = look("--prompt", PROMPT, "--layer", "0").out.splitlines()
    assert lines[3].split()[:3] == ["T", "h", str(lens.rank[0])]


def test_norms(look, baby):
    seen = baby.look(PROMPT)
    first, second = look("--prompt", PROMPT, "--what", "norms", "--json").data["layers"]
    assert first == {"layer": None, "norm": seen.embedding_norm.tolist()}
    assert second["network"] == seen.layers[0].network_norm.tolist() and second["layer"] == 0
    assert f"{seen.layers[0].norm.mean():.3f}" in look("--prompt", PROMPT, "--what", "norms").out


def test_the_loss_of_a_text(look, baby, text_file):
    data = look("--text", text_file, "--tokens", "100", "--json").data
    text = text_file.read_text()[:100]
    assert data["what"] == "loss" and data["tokens"] == 99 and data["first"] == text[0]
    assert [one["text"] for one in data["positions"]] == list(text[1:])
    losses = [one["loss"] for one in data["positions"]]
    stretches = list(baby.surprise(text))
    np.testing.assert_array_equal(losses, np.concatenate([stretch.losses for stretch in stretches]))
    assert data["mean_loss"] == pytest.approx(np.mean(losses))
    assert data["perplexity"] == pytest.approx(np.exp(np.mean(losses)))
    assert data["bits_per_token"] == pytest.approx(np.mean(losses) / np.log(2))
    whole = look("--text", text_file, "--tokens", "100", "--stride", "8", "--json").data
    assert {one["context"] for one in whole["positions"]} == set(range(1, 9))
    done = look("--text", text_file, "--tokens", "100")
    assert "The first 100 of" in done.err
    lines = done.out.splitlines()
    end = lines.index("", next(i for i, line in enumerate(lines) if line.startswith("The␣cat")))
    shown = [line for line in lines if "␣" in line][:1]
    assert shown and end > 0 and f"loss {np.mean(losses):.4f} nats" in done.out
    table = [line.split() for line in lines[lines.index(next(one for one in lines if one.startswith("place"))) + 1 :]]
    worst = sorted(range(len(losses)), key=lambda i: (-losses[i], i))[:10]
    assert [int(row[0]) for row in table] == [i + 1 for i in worst]


def test_the_bars_of_a_text():
    """One bar below each token, as wide as it; a line ends with the width or with a line break."""
    from babytui.cli.look_text import surprising
    from engine.probe import Stretch

    vocab = ["a", "bb", "\n", "世"]
    n = 6
    ids, full = np.array([1, 0, 2, 3, 1, 0]), np.log(4)
    stretch = Stretch(1, ids, full * np.array([1, 0.5, 0, 1, 0.25, 2]), np.zeros(n), np.ones(n, int), ids, ids)
    sums = looking.Surprises(keep=2)
    assert list(surprising([stretch], 0, vocab, 5, sums)) == ["abba␊", " ██▄", "世bba", "██▂▂█"]
    assert sums.count == 6 and sums.right == 6 and [one[1] for one in sums.worst] == [6, 1]


def test_what_cannot_be_done(look, text_file):
    for words, part, code in [
            (["--what", "lens"], "either --prompt or --text", 2), ([], "either --prompt or --text", 2),
            (["--prompt", "a", "--text", text_file], "either --prompt or --text", 2),
            (["--prompt", ""], "nothing to read", 1), (["--prompt", "The §"], "--skip-unknown", 1),
            (["--prompt", "The cat sat on"], "14 tokens do not fit", 2),
            (["--prompt", "a", "--layer", "7"], "0 to 0", 2),
            (["--prompt", "a", "--what", "attention", "--head", "2"], "0 to 1", 2),
            (["--prompt", "a", "--what", "sound"], "lens", 2), (["--prompt", "a", "--layer", "-1"], "at least 0", 2),
            (["--prompt", "at", "--what", "loss", "--stride", "9"], "from 1 to 8", 2),
            (["--prompt", "a", "--what", "loss"], "two tokens", 1), (["--text", "nowhere"], "no text", 1)]:
        done = look(*words)
        assert (done.code, done.out) == (code, "") and part in done.err and done.err.count("\n") == 1, words
    kept = look("--prompt", "The §cat", "--skip-unknown", "--json")
    assert "".join(token["text"] for token in kept.data["tokens"]) == "The cat"


def test_a_text_that_is_longer_than_the_context(look, text_file):
    done = look("--text", text_file, "--what", "attention", "--json")
    assert len(done.data["tokens"]) == 8 and "the first 8 fit" in done.err


def test_a_prompt_from_standard_input(command, trained):
    done = command("look", "tiny", "--prompt", "-", "--json", "--workspace", trained[0].root, stdin="The cat\n")
    assert len(done.data["tokens"]) == 7


@pytest.mark.parametrize(("attention", "network", "said"), [
    ("rfa", "moe", ["weight of the memory", "weights of the experts", "expert 3"]),
    ("moh", "ggl", ["weights of the heads", "mean gate of each group"]),
    ("swh", "lor", ["chosen heads", "frozen layer", "correction"]),
    ("aft", "nft", ["query gates"]), ("gla", "swi", ["channels after ReLU", "swish gates"]),
    ("gqa", "gln", ["gated channels"])])
def test_gates_of_other_variants(command, tmp_path, attention, network, said):
    workspace = keep(tmp_path / "w", list("abc de"), c_attention=attention, c_network=network, n_emb=16, head_size=16,
                     n_heads=4, s_window=3)
    for what in ("gates", "attention", "contribution"):
        done = command("look", "odd", "--prompt", "abc de", "--what", what, "--workspace", workspace.root)
        assert done.code == 0 and max(map(cells, done.out.splitlines())) <= 80
        if what == "gates":
            assert all(part in done.out for part in said)


def test_a_kind_that_a_variant_lacks(command, tmp_path, monkeypatch):
    from engine.attention.mha import Mha
    from engine.network.mlp import Mlp

    workspace = keep(tmp_path / "w", list("ab"))
    monkeypatch.setattr(Mha, "observe", lambda *_: [])
    monkeypatch.setattr(Mlp, "observe", lambda *_: [])
    done = command("look", "odd", "--prompt", "ab", "--what", "gates", "--workspace", workspace.root)
    assert done.code == 2 and "mha and mlp have nothing" in done.err


def test_symbols_that_would_drive_a_terminal(command, tmp_path):
    vocab = ["a", "\x1b", "\x9b", "\n", "\u202e", "[31m", "世", "e\u0301"]
    workspace = keep(tmp_path / "w", [piece for piece in vocab if len(piece) == 1])
    prompt = "a\x1b\n\u202e世"
    for what in WHAT:
        done = command("look", "odd", "--prompt", prompt, "--what", what, "--workspace", workspace.root)
        assert done.code == 0 and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.out)
        assert max(cells(line) for line in done.out.splitlines()) <= 80
    assert "␛" in done.out and "⟨U+202E⟩" in done.out


def test_words_as_tokens(command, tmp_path):
    vocab = Word.fit("the cat saw the extraordinarily long dog").vocab
    workspace = keep(tmp_path / "w", vocab, kind="word")
    for what in WHAT:
        done = command("look", "odd", "--prompt", "the cat saw the extraordinarily long dog", "--what", what,
                       "--workspace", workspace.root)
        assert done.code == 0 and max(cells(line) for line in done.out.splitlines()) <= 80
    assert Char.fit("ab").vocab == ["a", "b"] and "extraordinarily" in done.out


def test_a_long_context_is_averaged(command, tmp_path):
    workspace = keep(tmp_path / "w", list("ab"), n_ctx=400)
    for what in ("attention", "gates", "norms", "contribution"):
        for more in ([], *([["--head", "1"]] if what != "norms" else [])):
            done = command("look", "odd", "--prompt", "ab" * 190, "--what", what, *more, "--workspace", workspace.root)
            assert done.code == 0 and max(cells(line) for line in done.out.splitlines()) <= 80
            assert "mean of about" in done.out or what not in ("attention", "contribution")


# Tensors --------------------------------------------------------------------------------------------------------------


def test_tensors_in_numbers(command, trained):
    workspace, run = trained
    arrays = artifacts.load_model(workspace, run.guid)
    data = command("tensors", "tiny", "--workspace", workspace.root, "--json").data
    assert data["guid"] == run.guid
    names = [name for name, value in arrays.items() if hasattr(value, "shape")]
    assert [one["name"] for one in data["tensors"]] == names
    for one in data["tensors"]:
        array = np.asarray(arrays[one["name"]], np.float64)
        assert one["shape"] == list(array.shape) and one["size"] == array.size and one["not_finite"] == 0
        assert (one["min"], one["max"]) == (array.min(), array.max())
        assert (one["mean"], one["std"]) == (pytest.approx(array.mean()), pytest.approx(array.std()))
        assert one["zeros"] == (array == 0).mean() and sum(one["counts"]) == array.size
    listed = command("tensors", "tiny", "--workspace", workspace.root).out.splitlines()
    assert len(listed) == 1 + len(data["tensors"]) and max(map(cells, listed)) <= 80
    some = command("tensors", "tiny", "block_0_ln?_gamma", "--workspace", workspace.root, "--json").data["tensors"]
    assert [one["name"] for one in some] == ["block_0_ln1_gamma", "block_0_ln2_gamma"]


def test_one_tensor_as_a_picture(command, trained):
    workspace, run = trained
    array = artifacts.load_model(workspace, run.guid)["block_0_mlp_proj_up_weight"]
    words = ("tensors", "tiny", "block_0_mlp_proj_up_weight", "--workspace", workspace.root)
    data = command(*words, "--json").data["tensor"]
    assert np.shape(data["cells"]["mean"]) == array.shape == (8, 32)
    np.testing.assert_allclose(data["cells"]["mean"], array)
    np.testing.assert_allclose(data["cells"]["rms"], np.abs(array))
    lines = command(*words).out.splitlines()
    assert lines[0] == "block_0_mlp_proj_up_weight  8×32, 256 numbers" and "a number's size" in lines[-1]
    rows = lines[-10:-2]
    expected = pictures.shaded(np.abs(array), 0, float(np.abs(array).max()))
    assert rows == [f"  {i}  {row}".rstrip() for i, row in enumerate(expected)]


def test_a_tensor_that_is_not_there(command, trained):
    for name, part in (("wte", "wte_weight"), ("block_9_*", "no tensor"), ("\x1b[31m", "no tensor")):
        done = command("tensors", "tiny", name, "--workspace", trained[0].root)
        assert done.code == 1 and done.out == "" and part in done.err and "\x1b" not in done.err


def test_a_model_without_a_name_and_one_that_ships(command, home):
    assert json.loads(command("tensors", "baby", "--json").out)["name"] == "baby"
    assert command("look", "baby", "--prompt", "Once").code == 0


def test_a_run_that_is_training_and_its_checkpoints(command, long_run):
    where = ("--workspace", long_run.workspace.root)
    assert command("checkpoint", long_run.guid, *where).code == 0
    seen = command("look", long_run.guid, "--prompt", "The", "--json", *where)
    assert seen.code == 0 and seen.data["step"] > 0 and f"step {seen.data['step']:,}" in seen.err
    held = command("tensors", long_run.guid, "wte_weight", "--step", "last", "--json", *where)
    assert held.code == 0 and held.data["step"] > 0 and held.data["tensor"]["name"] == "wte_weight"
    wrong = command("look", long_run.guid, "--prompt", "The", "--step", "soon", *where)
    assert wrong.code == 2 and "--step takes" in wrong.err


@pytest.mark.parametrize(("words", "said"), [
    (("--prompt", "The", "--head", "1"), "--head means nothing to --what lens"),
    (("--prompt", "The", "--what", "loss", "--layer", "0"), "--layer means nothing to --what loss"),
    (("--prompt", "The", "--stride", "4"), "--stride means nothing to --what lens; it is for loss"),
])
def test_an_option_that_would_change_nothing(command, trained, words, said):
    done = command("look", "tiny", *words, "--workspace", trained[0].root)
    assert done.code == 2 and said in done.err
