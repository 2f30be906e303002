"""``python -m recsys_server.verify PATH``: whether a bundle can be served, if its files are as they were written.

What a bundle is made of can kill the process that reads it, or be answered from wrongly without a sign: XGBoost trusts
its models, and libraries change. So the server lets a process of its own try. Exit code 0, or 1 and one line on
standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path

from recsys_server import lean_imports


def main() -> int:
    """Load it, and compare the golden answers."""
    lean_imports.refuse()
    from recsys import bundle  # noqa: PLC0415  # after refuse()
    from recsys.errors import RecsysError  # noqa: PLC0415

    path = Path(sys.argv[1])
    try:
        bundle.check_golden(path, bundle.load(path, verified=True))
    except (RecsysError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
