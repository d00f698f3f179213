"""What is told about drivers, GPUs and CuPy, for machines that have some of them, the wrong ones, or none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_driver import FakeCuda, FakeGpu, FakeManager
from strict_xp import CUDARuntimeError, installed

from engine import backend, device
from engine.config import Config
from engine.device import Driver, Gpu, Package, advice
from engine.errors import ConfigError
from engine.estimate import estimate

ROOT = Path(__file__).resolve().parents[2]


def machine(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda | None, manager: FakeManager | None = None,
            packages: list[Package] | None = None) -> None:
    """This machine has such a driver, such an NVML and such packages."""
    libraries = {device._DRIVERS: cuda, device._MANAGERS: manager}
    monkeypatch.setattr(device, "_library", lambda names: libraries[names])
    if packages is not None:
        monkeypatch.setattr(device, "packages", lambda: packages)


def cupy(cuda: int | None, version: str = "14.2.0") -> Package:
    return Package(f"cupy-cuda{cuda}x" if cuda else "cupy", version, cuda)


def test_a_driver_is_described(monkeypatch):
    cuda = FakeCuda(13010, (FakeGpu("H", (9, 0), 100, 60), FakeGpu("A", (8, 6), 50, 20)))
    manager = FakeManager(cuda)
    machine(monkeypatch, cuda, manager)
    found = device.driver()
    assert found is not None and found.cuda == (13, 1) and not found.problem
    assert found.gpus == (Gpu("H", "9.0", 100, 60), Gpu("A", "8.6", 50, 20))
    assert manager.open == 0


@pytest.mark.parametrize("fails", ["handle", "memory", "library"])
def test_free_memory_may_be_unknown(monkeypatch, fails):
    cuda = FakeCuda()
    manager = FakeManager(cuda, fails)
    machine(monkeypatch, cuda, None if fails == "library" else manager)
    found = device.driver()
    assert found is not None and found.gpus[0].free is None and found.gpus[0].memory == 80 << 30
    assert manager.open == 0
    assert device.memory(0) is None


@pytest.mark.parametrize(("status", "words"), [(100, "there is no GPU"), (804, "so old a driver"), (12345, "12345")])
def test_a_driver_that_does_not_begin(monkeypatch, status, words):
    machine(monkeypatch, FakeCuda(init=status))
    found = device.driver()
    assert found is not None and found.gpus == () and words in found.problem
    assert words in advice(found, [cupy(12)])


def test_a_driver_without_a_gpu(monkeypatch):
    machine(monkeypatch, FakeCuda(gpus=()))
    found = device.driver()
    assert found is not None and "there is no GPU" in advice(found, [cupy(12)])


READY = (Gpu("H", "9.0", 1),)


@pytest.mark.parametrize(("cuda", "line"), [
    ((12, 0), "'cupy-cuda12x[ctk]'"), ((12, 9), "'cupy-cuda12x[ctk]'"), ((13, 0), "'cupy-cuda13x[ctk]'"),
    ((14, 2), "'cupy-cuda13x[ctk]'")])
def test_the_line_that_installs_cupy(cuda, line):
    said = advice(Driver(cuda, gpus=READY), [])
    assert f"pip install {line}" in said and f"CUDA {cuda[0]}.{cuda[1]}" in said


@pytest.mark.parametrize(("cuda", "packages", "words"), [
    ((12, 4), [cupy(13)], ["cupy-cuda13x needs CUDA 13", "CUDA 12.4 at most", "pip uninstall -y cupy-cuda13x",
                           "pip install 'cupy-cuda12x[ctk]'"]),
    ((13, 0), [cupy(11)], ["pip uninstall -y cupy-cuda11x", "pip install 'cupy-cuda13x[ctk]'"]),
    ((13, 0), [cupy(12), cupy(13)], ["cupy-cuda12x, cupy-cuda13x", "pip uninstall -y cupy-cuda12x cupy-cuda13x",
                                     "pip install 'cupy-cuda13x[ctk]'"]),
    ((11, 8), [], ["too old", "CUDA 11.8", "update the driver"])])
def test_what_does_not_match(cuda, packages, words):
    said = advice(Driver(cuda, gpus=READY), packages)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(("cuda", "packages"), [((12, 4), [cupy(12)]), ((13, 0), [cupy(12)]), ((13, 0), [cupy(13)]),
                                                ((12, 4), [cupy(None)])])
def test_what_matches(cuda, packages):
    assert advice(Driver(cuda, gpus=READY), packages) == ""


def test_no_driver_at_all():
    assert "No NVIDIA driver" in advice(None, [cupy(12)])


def test_installed_packages_are_found_by_name(tmp_path, monkeypatch):
    for name in ("cupy_cuda12x", "cupy-cuda114", "cupy", "cupyx-thing", "numpy_cupy"):
        folder = tmp_path / f"{name}-1.5.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert device.packages() == [Package("cupy", "1.5", None), Package("cupy-cuda114", "1.5", 11),
                                 Package("cupy-cuda12x", "1.5", 12)]


def test_no_cupy_is_a_sentence_with_the_line(monkeypatch):
    machine(monkeypatch, FakeCuda(12020), packages=[])
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ConfigError, match=r"pip install 'cupy-cuda12x\[ctk\]'.*c_device to cpu") as caught:
        backend.use("gpu")
    assert caught.value.field == "c_device"


def test_a_library_that_cupy_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "cupy.py").write_text("raise ImportError('libnvrtc.so.12: cannot open shared object file\\nmore')")
    machine(monkeypatch, FakeCuda(13000), packages=[cupy(12)])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(ConfigError, match=r"libnvrtc.so.12: cannot open shared object file\); run pip install "
                                          r"'cupy-cuda12x\[ctk\]'"):
        backend.use("gpu")


def test_a_gpu_that_does_not_answer(monkeypatch):
    machine(monkeypatch, None, packages=[cupy(12)])
    with installed(broken=CUDARuntimeError(35)), pytest.raises(ConfigError, match="No NVIDIA driver was found"):
        backend.use("gpu")
    machine(monkeypatch, FakeCuda(), packages=[cupy(12)])
    with installed(broken=CUDARuntimeError(100)), pytest.raises(ConfigError, match="no CUDA-capable device"):
        backend.use("gpu")
    assert backend.xp._module is backend.np


@pytest.mark.parametrize(("devices", "core", "words"), [(1, 1, "there is 1 GPU"), (2, 5, "there are 2 GPUs")])
def test_a_gpu_that_is_not_there(devices, core, words):
    with installed(devices=devices), pytest.raises(ConfigError, match=words) as caught:
        backend.use("gpu", core)
    assert caught.value.field == "c_device_gpu_core"


def test_the_gpu_that_was_asked_for_is_used():
    with installed(devices=3) as hardware:
        backend.use("gpu", 2)
        assert hardware.device == 2


def test_memory_is_told_with_and_without_cupy(monkeypatch):
    cuda = FakeCuda(gpus=(FakeGpu(memory=10 << 30, free=4 << 30),))
    machine(monkeypatch, cuda, FakeManager(cuda))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert device.memory(0) == ((4 << 30) - device.CONTEXT, 10 << 30)
    assert device.memory(1) is None
    with installed(memory=1 << 20):
        backend.use("gpu")
        kept = backend.xp.zeros(1 << 15, "f8")  # is this process's own, and so counts as free
        assert device.memory(0) == (1 << 20, 1 << 20) and kept.nbytes == 1 << 18


def test_the_cpu_asks_no_driver():
    code = ("import ctypes, sys; asked = []; before = ctypes.CDLL.__init__\n"
            "def note(self, name, *a, **k):\n    asked.append(name); before(self, name, *a, **k)\n"
            "ctypes.CDLL.__init__ = note\n"
            "from engine.config import Config; from engine.model import Model; from engine.estimate import estimate\n"
            "config = Config.read({}); Model.create(config, 9); estimate(config)\n"
            "import json; print(json.dumps([n for n in asked if n and ('cuda' in n or 'nvidia' in n)]"
            " + [m for m in sys.modules if m.split('.')[0] in ('cupy', 'cupyx')]))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def doctor() -> dict[str, tuple[str, str]]:
    """What the doctor says of the GPU, by what it is about."""
    from babytui.cli import doctor as verb

    found: Any = verb._gpu()
    return {what: (state, text) for what, state, text in found}


def test_doctor_without_anything(monkeypatch):
    machine(monkeypatch, None, packages=[])
    assert doctor() == {"GPU": ("note", "none; the CPU does everything")}


def test_doctor_with_a_gpu_and_cupy(monkeypatch):
    cuda = FakeCuda(12040, (FakeGpu("Test GPU", (8, 6), 24 * 10**9, 20 * 10**9),))
    machine(monkeypatch, cuda, FakeManager(cuda), [cupy(12)])
    with installed(runtime=12090):
        found = doctor()
    assert "CUDA up to 12.4" in found["driver"][1]
    assert found["GPU 0"] == ("ok", "Test GPU, compute capability 8.6, 24 GB of memory, 20 GB free")
    assert found["CuPy"] == ("ok", "cupy-cuda12x 14.2.0, CUDA 12.9; --set c_device=gpu uses it")


def test_doctor_with_a_gpu_and_the_wrong_cupy(monkeypatch):
    machine(monkeypatch, FakeCuda(12040), packages=[cupy(13)])
    state, text = doctor()["CuPy"]
    assert state == "note" and "pip uninstall -y cupy-cuda13x" in text


@pytest.mark.parametrize("d_type", ["fp32", "fp64"])
def test_an_estimate_warns_of_a_gpu_that_is_too_small(monkeypatch, d_type):
    config = Config.read({"c_device": "gpu", "batch_size": 64, "n_ctx": 256, "d_type": d_type})
    need = estimate(config).training_bytes
    for free, warned in ((need // 2, True), (2 * need, False)):
        cuda = FakeCuda(gpus=(FakeGpu(memory=64 << 30, free=free + device.CONTEXT),))
        machine(monkeypatch, cuda, FakeManager(cuda))
        monkeypatch.delitem(sys.modules, "cupy", raising=False)
        said = [warning for warning in estimate(config).warnings if "GPU" in warning]
        assert bool(said) == warned
        if warned:
            batch = int(said[0].split("batch_size to ")[1].split(",")[0])
            smaller = config.replace(batch_size=batch)
            assert 1 <= batch < 64 and estimate(smaller).training_bytes <= free < need


def test_a_gpu_is_calibrated_on_more_than_launches():
    from engine import estimate as costs

    config = Config.read({"n_ctx": 256, "n_emb": 384, "head_size": 384, "n_heads": 6, "batch_size": 64})
    small, large = (costs._stand_in(config.replace(c_device=name)) for name in ("cpu", "gpu"))
    assert small.batch_size < large.batch_size
    with installed() as hardware:
        tiny = Config.read({"c_device": "gpu", "n_ctx": 8, "n_emb": 8, "head_size": 8, "n_heads": 1, "batch_size": 2})
        assert costs.calibrate(tiny, seconds=0.01) > 0 and hardware.synchronisations
