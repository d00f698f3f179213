"""One BLAS thread to a process, and what BLAS there is.

Training spreads over processes, and generation multiplies small matrices, for which waiting threads cost more than they
bring: beside a run that uses every core, two threads made generation ten times slower than one.
"""

from __future__ import annotations

import os

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def one_thread() -> None:
    """Set it for this process, unless its user chose otherwise. Call it before numpy is imported."""
    for name in THREADS:
        os.environ.setdefault(name, "1")


def name() -> str:
    """NumPy's BLAS and its version; "unknown" when NumPy does not say. Imports numpy."""
    import numpy as np

    try:
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    except (KeyError, TypeError):
        return "unknown"
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def kernel() -> tuple[str, int] | None:
    """The kernels and the number of threads that the loaded OpenBLAS uses; None for any other BLAS. Imports numpy."""
    import ctypes

    import numpy as np  # noqa: F401  # loads it

    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            libraries = {line.split(maxsplit=5)[-1].strip() for line in maps if "openblas" in line}
        for path in libraries:
            library = ctypes.CDLL(path)
            for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("", ""), ("scipy_", "")):
                core = getattr(library, f"{prefix}openblas_get_corename{suffix}", None)
                threads = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
                if core is not None and threads is not None:
                    core.restype = ctypes.c_char_p
                    return core().decode(), threads()
    except OSError:
        pass
    return None
