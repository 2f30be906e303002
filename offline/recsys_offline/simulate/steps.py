"""What users see and look at during a session: lists with their clicks, then items one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import SECONDS_PER_DAY, Bools, Float64s, Int64s
from recsys_offline.simulate.draws import Keys, exponential, fork, geometric, uniform
from recsys_offline.simulate.sessions import Sessions
from recsys_offline.simulate.shelves import WHOLE_SHOP
from recsys_offline.simulate.users import Users
from recsys_offline.simulate.world import START_TIME, World

LIST_SIZE = 8
_LISTED = 0.08  # share of the sessions that start with a list
_LIST_OF_SHOP = 0.5  # share of the lists that are of the whole shop
_MEAN_VIEWS, _MAX_VIEWS = 2.4, 10  # items that a session looks at, beside clicks in lists
_RETURN = 0.3  # chance that a session starts with the last item of the one before
_RETURN_DAYS = 14.0
_MIN_GAP, _MEAN_GAP = 5.0, 40.0  # seconds before a step: at least, and what comes on top on average


@dataclass(frozen=True, slots=True)
class Lists:
    """n lists shown at the start of sessions.

    Attributes:
        session_row: int64[n].
        item_num: int64[n, LIST_SIZE], -1 where the list is shorter.
        clicked: bool[n, LIST_SIZE].
    """

    session_row: Int64s
    item_num: Int64s
    clicked: Bools


@dataclass(frozen=True, slots=True)
class Steps:
    """n items looked at, in the order of session and time.

    Attributes:
        session_row: int64[n].
        item_num: int64[n].
        position: int64[n], of the click in the session's list that led here; 0 for none.
        needed: bool[n]: the staple that the user came for.
        second: float64[n], from the start of the period.
        key: uint64[n].
    """

    session_row: Int64s
    item_num: Int64s
    position: Int64s
    needed: Bools
    second: Float64s
    key: Keys


def make_lists(world: World, users: Users, sessions: Sessions) -> Lists:
    """The lists that a share of the sessions start with: popular items, of the shop or of the session's category."""
    row = np.flatnonzero((uniform(sessions.key, "listed") < _LISTED) & (sessions.needed < 0))
    key = sessions.key[row]
    kind = np.where(uniform(key, "list of shop") < _LIST_OF_SHOP, WHOLE_SHOP, sessions.category[row])
    top = world.shelves.top[world.shelves.week(sessions.day[row]), kind].astype(np.int64)
    # Items sorted by popularity, shuffled a good deal: else nobody could tell position from popularity.
    score = -np.log(exponential(fork(key[:, None], np.arange(top.shape[1])), "shuffle"))
    score -= 0.7 * np.log(np.arange(1, top.shape[1] + 1))
    score[top < 0] = -np.inf
    item = np.take_along_axis(top, np.argsort(-score, axis=1, kind="stable")[:, :LIST_SIZE], axis=1)
    user = users.num[sessions.user_row[row]]
    second = START_TIME + np.floor(sessions.day[row] * SECONDS_PER_DAY)
    clicked = _clicks(world, user, item, second)
    return Lists(row, item, clicked)


def make_steps(world: World, users: Users, sessions: Sessions, lists: Lists) -> Steps:
    """Clicks in the session's list come first, then what the user browses to."""
    views = geometric(sessions.key, "views", _MEAN_VIEWS, _MAX_VIEWS)
    browsed = _browse(world, users, sessions, views)
    browsed_row = np.repeat(np.arange(len(sessions)), views)
    turn = np.arange(len(browsed)) - np.repeat(np.cumsum(views) - views, views)
    list_row, column = np.nonzero(lists.clicked)
    session_row = np.concatenate((lists.session_row[list_row], browsed_row))
    place = np.concatenate((column, LIST_SIZE + turn))
    order = np.argsort(session_row * (LIST_SIZE + _MAX_VIEWS) + place)
    session_row, place = session_row[order], place[order]
    key = fork(sessions.key[session_row], place)
    return Steps(
        session_row=session_row,
        item_num=np.concatenate((lists.item_num[list_row, column], browsed))[order],
        position=np.where(place < LIST_SIZE, place + 1, 0),
        needed=(place == LIST_SIZE) & (sessions.needed[session_row] >= 0),
        second=_seconds(sessions, session_row, key),
        key=key,
    )


def _clicks(world: World, user: Int64s, item: Int64s, second: Float64s) -> Bools:
    """World.clicks of every place of the lists that holds an item: bool of item's shape."""
    row, column = np.nonzero(item >= 0)
    clicked = np.zeros(item.shape, dtype=np.bool_)
    clicked[row, column] = world.clicks(user[row], item[row, column], column + 1, second[row])
    return clicked


def _browse(world: World, users: Users, sessions: Sessions, views: Int64s) -> Int64s:
    """int64[views.sum()]: the items, session after session. The loop is over the turns, all sessions at once."""
    starts = np.cumsum(views) - views
    items = np.empty(int(views.sum()), dtype=np.int64)
    for turn in range(int(views.max(initial=0))):
        row = np.flatnonzero(views > turn)
        keys = fork(fork(sessions.key[row], "turn"), turn)
        browsing = world.browsing(users, sessions.user_row[row], sessions.day[row], keys)
        if turn == 0:
            items[starts] = np.where(sessions.needed >= 0, sessions.needed, browsing.item(sessions.category))
        else:
            last = items[starts[row] + turn - 1]
            items[starts[row] + turn] = browsing.item(browsing.next_category(world.items.category[last]), last)
    back = _returns(world, sessions, views, items[starts + views - 1])
    items[starts[back]] = items[starts[back - 1] + views[back - 1] - 1]
    return items


def _returns(world: World, sessions: Sessions, views: Int64s, last: Int64s) -> Int64s:
    """int64: sessions that start with the last item of the session before, which had looked at others before it."""
    row = np.arange(1, len(sessions))
    wanted = (sessions.user_row[row] == sessions.user_row[row - 1]) & (sessions.needed[row] < 0)
    wanted &= (sessions.day[row] - sessions.day[row - 1] < _RETURN_DAYS) & (views[row - 1] > 1)
    wanted &= uniform(sessions.key[row], "return") < _RETURN
    returned: Int64s = row[wanted & world.items.on_sale(last[row - 1], sessions.day[row])]
    return returned


def _seconds(sessions: Sessions, session_row: Int64s, key: Keys) -> Float64s:
    """float64[n]: when each step happens; steps follow each other after random gaps."""
    gap = _MIN_GAP + _MEAN_GAP * exponential(key, "gap")
    reached = np.cumsum(gap)
    first = np.searchsorted(session_row, session_row, side="left")
    return sessions.day[session_row] * SECONDS_PER_DAY + (reached - (reached - gap)[first])
