"""One BLAS thread to a process.

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
