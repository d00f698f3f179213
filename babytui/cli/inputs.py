"""babytui inputs list, add, fetch"""

from __future__ import annotations

