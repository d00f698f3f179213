"""One BLAS thread to a process, and what BLAS there is.

Training spreads over processes, and generation multiplies small matrices, for which waiting threads cost more than they
bring: beside a run that uses every core, two threads made generation ten times slower than one. Where a second one
helps, engine/threads.py adds it for a moment.
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
    from engine.threads import openblas

    found = openblas()
    return (found.kernels, found.threads) if found else None
