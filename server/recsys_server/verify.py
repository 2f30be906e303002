"""``python -m recsys_server.verify PATH``: whether a bundle can be served.

A damaged XGBoost model can kill the process that parses it, or answer wrongly without a sign. So the server lets a
process of its own try first. Exit code 0, or 1 and one line on standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path

from recsys_server import lean_imports


def main() -> int:
    """Hash every file, load, and compare the golden answers."""
    lean_imports.refuse()
    from recsys import bundle  # noqa: PLC0415  # after refuse()
    from recsys.errors import RecsysError  # noqa: PLC0415

    path = Path(sys.argv[1])
    try:
        bundle.check_golden(path, bundle.load(path))
    except (RecsysError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
