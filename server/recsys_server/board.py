"""Memory in which the workers of one server tell each other where they are."""

from __future__ import annotations

import mmap
import struct

_SLOT = struct.Struct("<H126s")


class Board:
    """A slot for each process: a port, and a bundle that it has verified. To be made before they are forked.

    A slot that is read while it is written may name a bundle that there is not, which is then verified once more.

    Args:
        slots: processes.
    """

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, slots * _SLOT.size)
        self._slots = slots

    def write(self, slot: int, port: int, bundle_id: str = "") -> None:
        """What a process says of itself; port 0: it does not serve."""
        known = self._read(slot)[1]
        self._memory[slot * _SLOT.size : (slot + 1) * _SLOT.size] = _SLOT.pack(port, bundle_id.encode() or known)

    def port(self, slot: int) -> int:
        """Where a process serves its metrics; 0 while it does not serve."""
        return self._read(slot)[0]

    def verified(self, bundle_id: str) -> bool:
        """Whether a process has verified a bundle."""
        return bundle_id in self.bundle_ids()

    def bundle_ids(self) -> list[str]:
        """What the processes have verified last, each once, also those that have ended."""
        known = (self._read(slot)[1].rstrip(b"\0").decode(errors="replace") for slot in range(self._slots))
        return [*dict.fromkeys(filter(None, known))]

    def _read(self, slot: int) -> tuple[int, bytes]:
        port, bundle_id = _SLOT.unpack_from(self._memory, slot * _SLOT.size)
        return port, bundle_id
