"""One process, models for different devices: one device for all of them, and a sentence. The GPU is a stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from strict_xp import installed

from babytui import devices, library
from engine import backend
from engine.config import Config
from engine.errors import ConfigError
from engine.estimate import calibrate
from engine.model import Model
from store import artifacts
from store.workspace import Workspace

VALUES = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 1, "n_ctx": 16, "batch_size": 4}
GUIDS = {"cpu": "00000000-0000-4000-8000-000000000001", "gpu": "00000000-0000-4000-8000-000000000002"}
VOCAB = list(" abcdefg")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With the same model twice, for either device."""
    made = Workspace(tmp_path / "w").ensure()
    arrays = Model.create(Config.read(VALUES), len(VOCAB)).export()
    for device, guid in GUIDS.items():
        artifacts.save_config(made, guid, Config.read({**VALUES, "c_device": device}).to_dict())
        artifacts.save_tokenizer(made, guid, "char", VOCAB)
        artifacts.save_model(made, guid, arrays)
    return made


@pytest.fixture(autouse=True)
def undecided() -> Iterator[None]:
    """As in a process that has loaded nothing."""
    before, backend.chosen = backend.chosen, None
    yield
    backend.chosen = before


def said(baby: library.Baby) -> str:
    reply = baby.generate("ab", 12, seed=3)
    assert len(list(reply.tokens())) == 12
    return reply.text


@pytest.mark.parametrize(("first", "second"), [("gpu", "cpu"), ("cpu", "gpu")])
def test_the_first_model_decides(workspace, first, second):
    expected = said(library.load(GUIDS["cpu"], workspace))
    with installed():
        one = library.load(GUIDS[first], workspace)
        two = library.load(GUIDS[second], workspace)
        assert [baby.config.c_device for baby in (one, two)] == [first, first]
        assert not one.remarks and "as the model that was loaded before it does" in two.remarks[-1]
        assert [said(one), said(two), said(one)] == [expected] * 3


def test_another_gpu_is_another_device():
    with installed(devices=3):
        assert devices.here(Config.read({"c_device": "gpu", "c_device_gpu_core": 2}))[1] == []
        config, (remark,) = devices.here(Config.read({"c_device": "gpu", "c_device_gpu_core": 1}))
        assert config.c_device_gpu_core == 2 and remark.startswith("It computes on GPU 2, ")


def test_without_a_gpu_it_is_the_cpu_every_time(workspace):
    for _ in range(2):
        baby = library.load(GUIDS["gpu"], workspace)
        assert baby.config.c_device == "cpu" and "none can be used here" in baby.remarks[-1]


def test_a_form_for_another_device_turns_nothing_over(workspace):
    """What a step takes there is measured in another process; the models of this one talk on."""
    asked = Config.read({**VALUES, "c_device": "gpu"})
    baby = library.load(GUIDS["cpu"], workspace)
    with pytest.raises(ConfigError, match="c_device") as caught:  # no CuPy there
        devices.calibrated(asked, 0.01)
    assert caught.value.field == "c_device" and said(baby)
    with installed():
        baby = library.load(GUIDS["cpu"], workspace)
        assert devices.calibrated(asked.replace(c_device="cpu"), 0.01) == calibrate(asked.replace(c_device="cpu"))
        assert said(baby) and baby.config.c_device == "cpu"
    with installed():
        backend.chosen = None
        baby = library.load(GUIDS["gpu"], workspace)
        assert devices.calibrated(asked.replace(c_device="cpu", n_emb=16, head_size=16), 0.01) > 0
        assert backend.xp.kernels and said(baby)
