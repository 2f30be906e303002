"""Keeps libraries that training needs, and serving does not, out of the server's process."""

from __future__ import annotations

import sys

_REFUSED = ("implicit", "pandas", "polars", "pyarrow", "sklearn")


def refuse() -> None:
    """Let every later import of such a library fail as if it were not installed.

    XGBoost imports pandas, pyarrow and scikit-learn whenever it finds them, which costs seconds and 140 MB, and does
    without them otherwise. Call this in a process of its own before anything imports ``recsys.bundle``.
    """
    for name in _REFUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None is how an import is refused
