"""A process computes on one device, as its arrays are of one kind: the first model that it loads decides."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

from engine.config import Config
from engine.errors import ConfigError, RunError

_LONGEST = 120.0  # seconds that another process may take to measure: its kernels are compiled first
_MEASURE = """
import json, sys
from engine.config import Config
from engine.errors import BabyError
from engine.estimate import calibrate
told = json.load(sys.stdin)
try:
    print(json.dumps({"speed": calibrate(Config.read(told["config"]), told["seconds"])}))
except BabyError as error:
    print(json.dumps({"error": str(error), "field": getattr(error, "field", "")}))
"""
_lock = threading.Lock()


def here(config: Config) -> tuple[Config, list[str]]:
    """The config of a model that is about to be loaded as this process can compute it, and a sentence if that is not
    what it asks for: where no GPU answers, or another model was loaded for another device before."""
    from engine import backend
    from engine.device import connect

    asked = (config.c_device, config.c_device_gpu_core if config.c_device == "gpu" else 0)
    with _lock:
        chosen = backend.chosen
        if asked[0] == "gpu" and (chosen is None or chosen[0] == "cpu"):
            try:
                connect(asked[1])
            except ConfigError:
                backend.chosen = "cpu", 0
                return config.replace(c_device="cpu"), ["Its config asks for a GPU; none can be used here, so the CPU "
                                                        "is (`babytui doctor` says why)."]
        if chosen is None or chosen == asked:
            backend.chosen = asked
            return config, []
    where = "the CPU" if chosen[0] == "cpu" else f"GPU {chosen[1]}"
    core = chosen[1] if chosen[0] == "gpu" else config.c_device_gpu_core
    return config.replace(c_device=chosen[0], c_device_gpu_core=core), [
        f"It computes on {where}, as the model that was loaded before it does; a process of its own takes the device "
        "that its config asks for."]


def calibrated(config: Config, seconds: float = 0.5) -> float:
    """As `engine.estimate.calibrate`; for another device than this process computes on, in a process of its own.

    ConfigError when there is no such device, RunError when that process fails.
    """
    from engine import backend
    from engine.estimate import calibrate

    if (config.c_device == "gpu") == bool(backend.xp.kernels):
        return calibrate(config, seconds)
    told = json.dumps({"config": dict(config.values), "seconds": seconds})
    try:
        done = subprocess.run([sys.executable, "-P", "-c", _MEASURE], input=told, capture_output=True, text=True,
                              timeout=_LONGEST, check=True)
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise RunError(f"Training on {config.c_device} could not be measured: {error}.") from error
    if "error" in found:
        raise ConfigError(found["error"], found["field"])
    return float(found["speed"])
