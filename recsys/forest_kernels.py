"""The loops of a forest: each tree from its leaves up, for a block of rows at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.kernel import kernel
from recsys.types import Array, Float32s

BLOCK = 224
"""Rows that are worked together: some 80 KB of features, which the second-level cache holds."""
LEAVES, LEAF_LEFT, LEAF_RIGHT, NODES = range(4)
"""What is below a node: two leaves, a leaf on one side, or a node on both."""


@kernel
def score(features: Float32s, nodes: Array, depth: int, base: float) -> Float32s:
    """float32[n], block of rows by block, with a stack of what the sides of a tree made, one layer of it a side."""
    n, width = features.shape
    summed = np.full(n, np.float32(base), dtype=np.float32)
    columns = np.empty(width * BLOCK, dtype=np.float32)
    stack = np.empty((depth + 2) * BLOCK, dtype=np.float32)
    for start in range(0, n, BLOCK):
        rows = min(BLOCK, n - start)
        for row in range(rows):
            for column in range(width):
                columns[column * BLOCK + row] = features[start + row, column]
        top = 0
        for node in nodes:
            if node.below == LEAVES:
                top += 1
            elif node.below == NODES:
                top -= 1
            _choose(stack, top, columns, node)
            if node.is_root:
                for row in range(rows):
                    summed[start + row] += stack[BLOCK + row]
                top = 0
    return summed


@kernel
def _choose(stack: Float32s, top: int, columns: Float32s, node: Any) -> None:
    """One node for a block of rows: the layer ``top`` of the stack, which is the left side's, becomes the node's.

    All positions are unsigned: with signed ones, which may count from the end, the loops would not become vector
    instructions.
    """
    first, mine, other = np.uint64(node.feature * BLOCK), np.uint64(top * BLOCK), np.uint64((top + 1) * BLOCK)
    threshold, missing_left, left, right = node.threshold, node.missing_left, node.left, node.right
    if node.below == LEAVES:
        for row in range(np.uint64(BLOCK)):
            goes_left = _goes_left(columns[first + row], threshold, missing_left)
            stack[mine + row] = left if goes_left else right
    elif node.below == LEAF_LEFT:
        for row in range(np.uint64(BLOCK)):
            goes_left = _goes_left(columns[first + row], threshold, missing_left)
            side = stack[mine + row]
            stack[mine + row] = left if goes_left else side
    elif node.below == LEAF_RIGHT:
        for row in range(np.uint64(BLOCK)):
            goes_left = _goes_left(columns[first + row], threshold, missing_left)
            side = stack[mine + row]
            stack[mine + row] = side if goes_left else right
    else:
        for row in range(np.uint64(BLOCK)):
            goes_left = _goes_left(columns[first + row], threshold, missing_left)
            on_left, on_right = stack[mine + row], stack[other + row]
            stack[mine + row] = on_left if goes_left else on_right


@kernel
def _goes_left(value: float, threshold: float, missing_left: bool) -> bool:
    return bool((value < threshold) | (missing_left & np.isnan(value)))
