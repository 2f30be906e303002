"""Files in memory by large pages, of which a processor needs to look up fewer."""

from __future__ import annotations

import mmap
from contextlib import suppress


def in_large_pages(memory: mmap.mmap) -> None:
    """Ask that what is in no page yet is read in large ones, before any of a mapped file is read.

    Linux keeps a file as it read it: in small pages where nobody asks, and for all who map it later.
    """
    with suppress(OSError):  # a system without large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
