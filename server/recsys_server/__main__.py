"""``recsys-server``: the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial

from recsys_server import lean_imports

SWITCH_SECONDS = 0.0002
"""A thread that writes keeps the interpreter's lock no longer than this from who serves."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; the exit status: 0 after a drain, 1 when it cannot serve, 2 for wrong use."""
    lean_imports.refuse()
    sys.setswitchinterval(SWITCH_SECONDS)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait must not take the processor from the engine
    for library in ("OMP", "OPENBLAS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")  # nor should those that help: the front needs it too
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines would stand between those of the log
    import uvloop  # noqa: PLC0415  # all after refuse()

    from recsys.errors import RecsysError  # noqa: PLC0415
    from recsys.registry import Registry  # noqa: PLC0415
    from recsys_server import app, logs, settings, workers  # noqa: PLC0415

    try:
        options, root = settings.read(argv)
        logs.to_stderr()
        registry, announce = Registry(root), partial(print, flush=True)
        if options.server.workers > 1:
            return workers.run(options, registry, announce)
        uvloop.run(app.run(options, registry, announce))
    except RecsysError as error:
        print(f"recsys-server: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before it served
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
