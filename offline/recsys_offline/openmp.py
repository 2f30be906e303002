"""OpenMP for ``implicit``, on systems that have no ``libgomp.so.1``.

The wheel of ``implicit`` expects the system's copy, which a minimal Debian and every slim image lack. Other wheels,
such as faiss's, bring their own in a folder ``*.libs``, under a name with a hash that nobody else asks for.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path

from recsys.errors import RecsysError

SONAME = b"libgomp.so.1"
_HASHED = re.compile(rb"libgomp-[0-9a-f]+\.so[.0-9]*(?=\0)")


def ensure_openmp() -> None:
    """Make ``libgomp.so.1`` loadable in this process; call it before ``import implicit``.

    Raises:
        RecsysError: neither the system nor an installed package has a copy.
    """
    if sys.platform != "linux" or _loads(SONAME.decode()):
        return
    if not any(_load_as_system_copy(path) for path in bundled_copies()):
        raise RecsysError("libgomp.so.1 is missing: install it (Debian, Ubuntu: apt install libgomp1)")


def bundled_copies() -> list[Path]:
    """The copies that installed packages bring."""
    return [path for folder in sys.path for path in sorted(Path(folder).glob("*.libs/libgomp-*.so*"))]


def renamed(library: bytes) -> bytes:
    """The library with its hashed SONAME overwritten in place by ``libgomp.so.1``."""
    return _HASHED.sub(lambda match: SONAME.ljust(len(match[0]), b"\0"), library)


def _load_as_system_copy(path: Path) -> bool:
    """Load a renamed copy: the loader then takes it for whoever needs ``libgomp.so.1``, as it compares SONAMEs."""
    file = os.memfd_create(SONAME.decode())  # not a file in /tmp, which may be mounted noexec
    try:
        with open(file, "wb", closefd=False) as copy:
            copy.write(renamed(path.read_bytes()))
        return _loads(f"/proc/self/fd/{file}") and _loads(SONAME.decode())
    finally:
        os.close(file)


def _loads(name: str) -> bool:
    """Whether the loader finds, or already has, a library of that name or path."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
