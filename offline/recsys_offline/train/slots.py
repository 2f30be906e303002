"""How many places of a slate the cold items get: as many as proved to cost next to nothing in the newest window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.slate import Asked, Slots, assemble
from recsys.sources import PopularitySource
from recsys.types import Bools, Float32s
from recsys_offline.train.blending import DEPTH, ndcg_of
from recsys_offline.train.training_set import Replay

SHARES = (0.1, 0.05)
LEAST_SHARES = (0.0, 0.05)
"""Of the modes. Where something new is wanted, new items are shown: what nobody sees nobody buys, in no window."""
LARGEST_LOSS = 0.005
"""Share of NDCG@20 that more slots than the least may cost."""


def choose(parts: Sequence[Replay], blend: Float32s, reserved: Bools, popular: PopularitySource, least: float) -> float:
    """The largest share for the sources with their own slots that costs a mode next to no NDCG@20, or the least one.

    Where those sources propose nothing in the window, slots cost nothing there, which says nothing of what they would
    cost: the least one again.

    Args:
        parts: replays of the newest window in the mode.
        blend: float32[3, S], weights of stage 1.
        reserved: bool[S], the sources with their own slots.
        popular: fills slates.
        least: what is taken where all cost more, or nothing tells what they cost.
    """
    if not any(np.isfinite(part.candidates.rank[:, reserved]).any() for part in parts):
        return least
    without = _quality(parts, blend, popular, ())
    for share in SHARES:
        slots = tuple(Slots(int(column), (share, share)) for column in np.flatnonzero(reserved))
        if _quality(parts, blend, popular, slots) >= (1 - LARGEST_LOSS) * without:
            return share
    return least


def _quality(parts: Sequence[Replay], blend: Float32s, popular: PopularitySource, slots: tuple[Slots, ...]) -> float:
    """Mean NDCG@20 of the slates of stage 1."""
    values = []
    for part in parts:
        score = part.candidates.blend(blend, part.batch.mode)
        slates = assemble(part.batch, part.candidates, score, [Asked(DEPTH)] * len(part.batch), popular, slots)
        query = np.repeat(np.arange(len(slates)), [len(slate.position) for slate in slates])
        place = np.concatenate([np.arange(len(slate.position)) for slate in slates])
        position = np.concatenate([slate.position for slate in slates])
        label = (position >= 0) & part.label[position]
        values.append(ndcg_of(query, -place.astype(np.float32), label, part.relevant))
    return float(np.concatenate(values).mean())
