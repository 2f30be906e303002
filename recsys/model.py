"""All that answers are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from recsys.catalogue import ItemCatalogue
from recsys.interactions import Histories
from recsys.live import LiveEntries
from recsys.ranker import Ranker
from recsys.retriever import Retriever
from recsys.scorer import Scorer
from recsys.slate import Shelf, Slots
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, PopularitySource
from recsys.types import Float32s, Int32s
from recsys.vocabulary import Vocabulary

NO_CATALOGUE = ItemCatalogue.empty(0)


@dataclass(frozen=True, slots=True)
class Model:
    """All that answers are computed from.

    Attributes:
        users: ids of the snapshot's histories.
        items: ids of the catalogue.
        snapshot: state at the end of the bundle's data.
        blend: float32[3, S], weights of the sources in stage 1's order, as in Candidates.blend.
        ranker: stage 2; None where it did not beat stage 1.
        latest: unix seconds; later queries count as asked then, as the ranker has never seen greater ages, and earlier
            ones than the bundle's end as asked at that.
        slots: places kept for some sources.
        catalogue: what the shop says of the items; where it is not given, nothing, and all can be served.
        popular: the source that fills slates and answers where nothing is known.
        als: the source of user and item factors, where the bundle has it.
        shelf: what rules know of the items.
        retriever: by all sources.
        scorer: of the ranker, where there is one.
        live: live events as entries of histories.
        history_of: the histories of some users, as :meth:`recsys.interactions.Histories.rows` tells.
    """

    users: Vocabulary
    items: Vocabulary
    snapshot: Snapshot
    blend: Float32s
    ranker: Ranker | None
    latest: int
    slots: tuple[Slots, ...] = ()
    catalogue: ItemCatalogue = NO_CATALOGUE
    popular: PopularitySource = field(init=False, repr=False, compare=False)
    als: AlsSource | None = field(init=False, repr=False, compare=False)
    shelf: Shelf = field(init=False, repr=False, compare=False)
    retriever: Retriever = field(init=False, repr=False, compare=False)
    scorer: Scorer | None = field(init=False, repr=False, compare=False)
    live: LiveEntries = field(init=False, repr=False, compare=False)
    history_of: Callable[[Int32s], Histories] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.catalogue is NO_CATALOGUE:
            object.__setattr__(self, "catalogue", ItemCatalogue.empty(len(self.items)))
        sources = self.snapshot.sources
        object.__setattr__(self, "popular", next(each for each in sources if isinstance(each, PopularitySource)))
        als = next((each for each in sources if isinstance(each, AlsSource)), None)
        object.__setattr__(self, "als", als)
        object.__setattr__(self, "retriever", Retriever(sources))
        object.__setattr__(self, "shelf", Shelf(self.catalogue, self.items, None if als is None else als.item_factors))
        scorer = self.ranker and self.ranker.scorer(self.snapshot.stats, len(sources))
        object.__setattr__(self, "scorer", scorer)
        object.__setattr__(self, "live", LiveEntries(self.items))
        object.__setattr__(self, "history_of", self.snapshot.histories.reader())
