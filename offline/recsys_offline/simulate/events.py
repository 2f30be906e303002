"""Events from steps: impression > click > view > cart > purchase, and what goes with them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from recsys.types import SECONDS_PER_DAY, Array, Bools, EventType, Float64s, Int8s, Int32s, Int64s
from recsys_offline.simulate.draws import exponential, geometric, uniform
from recsys_offline.simulate.items import CYCLE_DAYS
from recsys_offline.simulate.sessions import Sessions, make_sessions
from recsys_offline.simulate.steps import Lists, Steps, make_lists, make_steps
from recsys_offline.simulate.taste import affinity, buy_probability, cart_probability
from recsys_offline.simulate.users import Users
from recsys_offline.simulate.world import START_TIME, World

_SEARCHES = 0.1  # share of the sessions without a list that start with a search
_NEEDED = 0.97  # chance of the cart, and then of the purchase, for a staple
_WISHES = 0.06  # share of the views without a cart that end on the wish list, for an average pair
_PUT_BACK = 0.25  # share of the carts not bought that are emptied by hand
_REFUNDS = 0.03  # share of the purchases
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class EventRows:
    """n events in the order of user and time.

    Attributes:
        user_row: int64[n], rows of the users that were asked about.
        item_num: int64[n]; -1 for a search.
        event_type: int8[n].
        second: float64[n], from the start of the period.
        session: int64[n], number of the session among those of its user; -1 for none.
        quantity: int32[n]; 0 where there is none.
        price: float64[n], per unit; NaN where there is none.
        position: int64[n], in the session's list, from 1; 0 where there is none.
    """

    user_row: Int64s
    item_num: Int64s
    event_type: Int8s
    second: Float64s
    session: Int64s
    quantity: Int32s
    price: Float64s
    position: Int64s

    def __len__(self) -> int:
        return len(self.second)

    @property
    def time(self) -> Int64s:
        """int64[n], microseconds since 1970."""
        return START_TIME * _MICROSECONDS + (self.second * _MICROSECONDS).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Shop:
    """What every kind of event is made from."""

    world: World
    users: Users
    sessions: Sessions
    number: Int64s

    def rows(
        self, event_type: EventType, session_row: Int64s, item_num: Array, second: Array, *,
        quantity: Array | int = 0, priced: bool = True, position: Array | int = 0,
    ) -> EventRows:  # fmt: skip
        """Events of one type; a refund happens outside of sessions."""
        n = len(session_row)
        inside = event_type is not EventType.REFUND
        return EventRows(
            user_row=self.sessions.user_row[session_row],
            item_num=item_num,
            event_type=np.full(n, event_type, dtype=np.int8),
            second=second,
            session=self.number[session_row] if inside else np.full(n, -1),
            quantity=np.broadcast_to(np.asarray(quantity, dtype=np.int32), (n,)),
            price=self.world.items.price[item_num] if priced else np.full(n, np.nan),
            position=np.broadcast_to(np.asarray(position, dtype=np.int64), (n,)),
        )


def make_events(world: World, users: Users) -> EventRows:
    """All events of these users in the period."""
    sessions = make_sessions(world, users)
    lists = make_lists(world, users, sessions)
    steps = make_steps(world, users, sessions, lists)
    shop = _Shop(world, users, sessions, sessions.number)
    parts = [_impressions(shop, lists), _searches(shop, lists), *_looks(shop, steps), *_funnel(shop, steps)]
    columns = {column.name: [getattr(part, column.name) for part in parts] for column in fields(EventRows)}
    events = EventRows(**{name: np.concatenate(column) for name, column in columns.items()})
    kept = np.flatnonzero(events.second < world.days * SECONDS_PER_DAY)
    order = kept[np.lexsort((events.second[kept], events.user_row[kept]))]
    return EventRows(*(getattr(events, name)[order] for name in columns))


def _impressions(shop: _Shop, lists: Lists) -> EventRows:
    """Every place of every list."""
    row, column = np.nonzero(lists.item_num >= 0)
    session_row = lists.session_row[row]
    second = shop.sessions.day[session_row] * SECONDS_PER_DAY
    item = lists.item_num[row, column]
    return shop.rows(EventType.IMPRESSION, session_row, item, second, priced=False, position=column + 1)


def _searches(shop: _Shop, lists: Lists) -> EventRows:
    """Searches at the start of sessions; they name no item."""
    searched = uniform(shop.sessions.key, "search") < _SEARCHES
    searched[lists.session_row] = False
    row = np.flatnonzero(searched)
    second = shop.sessions.day[row] * SECONDS_PER_DAY
    return shop.rows(EventType.SEARCH, row, np.full(len(row), -1), second, priced=False)


def _looks(shop: _Shop, steps: Steps) -> list[EventRows]:
    """A view for each step, and the click before it where a list led there."""
    click = np.flatnonzero(steps.position)
    return [
        shop.rows(
            EventType.SELECT_ITEM, steps.session_row[click], steps.item_num[click], steps.second[click] - 1.0,
            position=steps.position[click],
        ),
        shop.rows(EventType.VIEW_ITEM, steps.session_row, steps.item_num, steps.second),
    ]  # fmt: skip


def _funnel(shop: _Shop, steps: Steps) -> list[EventRows]:
    """From views to carts, wish lists, purchases and refunds. Only the first view of an item in a session counts."""
    price = shop.world.items.price[steps.item_num]
    liking = affinity(shop.users, shop.sessions.user_row[steps.session_row], shop.world.items, steps.item_num)
    first = _first_views(steps, len(shop.world.items))
    wanted = np.where(steps.needed, _NEEDED, cart_probability(liking))
    carted = first & (uniform(steps.key, "cart") < wanted)
    bought = carted & (uniform(steps.key, "buy") < np.where(steps.needed, _NEEDED, buy_probability(liking, price)))
    wished = first & ~carted & (uniform(steps.key, "wish") < _WISHES * np.exp(0.3 * liking))
    put_back = carted & ~bought & (uniform(steps.key, "put back") < _PUT_BACK)
    refunded = bought & (uniform(steps.key, "refund") < _REFUNDS)
    paid = _checkout(shop, steps)
    returned = paid + (2.0 + 5.0 * exponential(steps.key, "refund days")) * SECONDS_PER_DAY
    quantity = geometric(steps.key, "quantity", 1.3, 12)
    quantity[CYCLE_DAYS[shop.world.items.category[steps.item_num]] == 0] = 1

    def rows(event_type: EventType, happened: Bools, second: Float64s, quantity: Int64s) -> EventRows:
        """Events of one type at the steps where they happened."""
        at = np.flatnonzero(happened)
        return shop.rows(event_type, steps.session_row[at], steps.item_num[at], second[at], quantity=quantity[at])

    return [
        rows(EventType.ADD_TO_WISHLIST, wished, steps.second + 2.0, np.zeros_like(quantity)),
        rows(EventType.ADD_TO_CART, carted, steps.second + 3.0, quantity),
        rows(EventType.REMOVE_FROM_CART, put_back, steps.second + 30.0, quantity),
        rows(EventType.PURCHASE, bought, paid, quantity),
        rows(EventType.REFUND, refunded, returned, quantity),
    ]


def _first_views(steps: Steps, n_items: int) -> Bools:
    """bool[n]: the session has not looked at this item before."""
    first = np.zeros(len(steps.item_num), dtype=np.bool_)
    first[np.unique(steps.session_row * n_items + steps.item_num, return_index=True)[1]] = True
    return first


def _checkout(shop: _Shop, steps: Steps) -> Float64s:
    """float64[n]: when the basket of the step's session is paid, a while after its last step."""
    last = np.searchsorted(steps.session_row, steps.session_row, side="right") - 1
    waited = 60.0 + 60.0 * exponential(shop.sessions.key[steps.session_row], "checkout")
    paid: Float64s = steps.second[last] + waited
    return paid
