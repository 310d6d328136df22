"""Reads and commits as an explicit-state model: one shard, two workers, and every order of what may happen.

Each letter of `ids` is a record with that id, of a person of that name; one that comes again must become a
duplicate. A block decides one record. Both workers believe that the shard is theirs; each recovers, decides,
appends and commits as stream/engine's recovery.py and cycle.py do, and its appends may arrive late. Redis may
be emptied, a connection lost, a worker started again, each as often as the bounds say.

What a worker sends is a row of groups: one group is run by Redis at once, between two of them the other
worker may act. A single command is a group, and so is MULTI ... EXEC.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

NAMES = "AB"  # of the workers
SENT_MAX = 2  # appends under way at once

Chain = tuple[tuple[int, bool], ...]  # blocks of one history: (record, whether it was credited)


class Form(NamedTuple):
    """The groups of a read, of a commit, and of a reset; here as the store sends them.

    `reopens`: a lost connection is opened again by the client, which tells nobody.
    """

    read: str = "UNWATCH MULTI head state EXEC | WATCH | head"
    commit: str = "MULTI write EXEC"
    reset: str = (
        "tear | UNWATCH WATCH | mine | MULTI forget-some EXEC"
        " | UNWATCH WATCH | mine | MULTI forget-the-rest EXEC"
    )
    reopens: bool = False


class Bounds(NamedTuple):
    """How far the search goes; what is left of that, in a state."""

    ids: str = "xyx"
    ledger: int = 4  # records of it, those included that do not count
    emptied: int = 0
    lost: int = 0
    restarts: int = 0


class Redis(NamedTuple):
    head: Chain | None = None  # None: no such key
    torn: str = ""
    credits: tuple[int, int] = (0, 0)  # of x and of y: what the persons hold
    members: frozenset[str] = frozenset()  # ids that are remembered


class Worker(NamedTuple):
    """`doing`, `group`: where it stands; `head`: on what it decides; `block`: what it wants Redis to be."""

    doing: str = "load"
    group: int = 0
    head: Chain = ()
    credits: tuple[int, int] = (0, 0)  # as it read them, and what is remembered
    members: frozenset[str] = frozenset()
    block: Chain = ()
    ledger_end: int = 0  # one after the last record that it has read or written
    live: bool = False  # deciding, not recovering
    written: bool = False  # its block came directly after all that it has read
    watch: str = ""  # of its connection: "", "clean", "dirty", "lost"


class State(NamedTuple):
    redis: Redis
    ledger: tuple[Chain, ...]  # blocks, each with its whole history; () for a record that does not count
    sent: frozenset[tuple[str, Chain]]  # appends under way, of whom ("" if nobody waits for it)
    workers: tuple[Worker, Worker]
    left: Bounds


class Broken(Exception):
    """A promise does not hold."""


def accepted(ledger: tuple[Chain, ...]) -> Chain:
    """The chain: each record counts that counted when it came, for every reader alike."""
    return max(ledger, key=len, default=())


def fold(chain: Chain, ids: str) -> tuple[tuple[int, int], frozenset[str]]:
    """What Redis must hold at a head."""
    credited = [ids[record] for record, credit in chain if credit]
    return (credited.count("x"), credited.count("y")), frozenset(ids[record] for record, _ in chain)


class Model:
    """All that may happen next, from a state."""

    def __init__(self, form: Form) -> None:
        self._read, self._commit, self._reset = (
            row.split(" | ") for row in (form.read, form.commit, form.reset)
        )
        self._reopens = form.reopens
        self._unwatches = form.read.startswith("UNWATCH")

    def next(self, state: State) -> Iterator[tuple[str, State]]:
        """Each event, told, with the state after it. Raises `Broken` if one breaks a promise by itself."""
        left = state.left
        for name, block in state.sent:
            if len(state.ledger) < left.ledger:
                yield f"the ledger gets {block}", arrived(state, name, block)
        if left.emptied:
            fewer = left._replace(emptied=left.emptied - 1)
            yield "Redis is emptied", touched(state._replace(redis=Redis(), left=fewer))
        for who, worker in enumerate(state.workers):
            name = NAMES[who]
            if left.lost and worker.watch in ("clean", "dirty"):
                fewer = state._replace(left=left._replace(lost=left.lost - 1))
                watch = "" if self._reopens else "lost"
                yield f"{name} loses its connection", put(fewer, who, worker._replace(watch=watch))
            if left.restarts and worker.doing != "load":
                fewer = state._replace(left=left._replace(restarts=left.restarts - 1))
                yield f"{name} is started again", gives_up(fewer, who)
            for told, after in self._steps(state, who, worker):
                yield f"{name} {told}", after

    def _steps(self, state: State, who: int, worker: Worker) -> Iterator[tuple[str, State]]:
        """What a worker may do next: recover, block by block, and then decide, record by record."""
        if worker.doing == "load":
            redis, found = state.redis, worker._replace(ledger_end=len(state.ledger))
            if redis.head is None or redis.torn:
                yield "finds no usable head", put(state, who, found._replace(doing="reset"))
            else:
                yield f"finds head {redis.head}", at_its_head(state, who, found._replace(head=redis.head))
        elif worker.doing == "reset":
            yield self._send(self._reset, state, who, at_its_head)
        elif worker.doing == "read" and not worker.live:
            yield self._send(self._read, state, who, has_read)
        elif worker.doing == "read" and len(state.sent) < SENT_MAX:
            yield self._send(self._read, state, who, decides)
        elif worker.doing == "commit":
            if worker.live:
                yield "waits no longer", self._doubts(state, who)
            if worker.written or not worker.live:
                yield self._send(self._commit, state, who, has_committed)

    def _send(
        self, groups: list[str], state: State, who: int, then: Callable[[State, int, Worker], State]
    ) -> tuple[str, State]:
        """One group is run by Redis. `then`: what the worker does after the last one."""
        worker, redis = state.workers[who], state.redis
        group = groups[worker.group]
        if worker.watch == "lost":
            return "has no connection", self._doubts(state, who)
        for command in group.split():
            if command in ("UNWATCH", "EXEC"):
                worker = worker._replace(watch="")
            elif command == "WATCH":
                worker = worker._replace(watch=worker.watch or "clean")
            elif command == "MULTI" and worker.watch == "dirty":
                if groups is self._read:
                    raise Broken("a read is refused, though nothing that it reads was touched")
                return f"{group}: refused", self._doubts(put(state, who, worker._replace(watch="")), who)
            elif command == "head" and (redis.torn or (redis.head or ()) != worker.head):
                return f"{group}: another head", self._doubts(put(state, who, worker), who)
            elif command == "mine" and redis.torn != NAMES[who]:
                return f"{group}: of another", self._doubts(put(state, who, worker), who)
            elif command == "state":
                worker = worker._replace(credits=redis.credits, members=redis.members)
            else:
                redis = written(redis, command, NAMES[who], worker, state.left.ids)
        after = state._replace(redis=redis)
        if (redis.head, redis.torn) != (state.redis.head, state.redis.torn):
            after = touched(after)
        if worker.group + 1 < len(groups):
            return group, put(after, who, worker._replace(group=worker.group + 1))
        return group, then(after, who, worker._replace(group=0))

    def _doubts(self, state: State, who: int) -> State:
        """It recovers, on its connection or a new one: what was watched matters where no UNWATCH follows."""
        watch = state.workers[who].watch
        return gives_up(state, who, "" if self._unwatches or watch == "lost" else watch)


def at_its_head(state: State, who: int, worker: Worker) -> State:
    """It holds Redis's head, and reads for the next block of the ledger, or for the next record."""
    fresh = Worker("read", head=worker.head, ledger_end=worker.ledger_end, watch=worker.watch)
    chain, done = accepted(state.ledger[: worker.ledger_end]), len(worker.head)
    if chain[:done] != worker.head:
        return gives_up(state, who, worker.watch)
    if len(chain) > done:
        return put(state, who, fresh._replace(block=chain[: done + 1]))
    return put(state, who, fresh._replace(live=True, doing="read" if done < len(state.left.ids) else "rest"))


def has_read(state: State, who: int, worker: Worker) -> State:
    return put(state, who, worker._replace(doing="commit", members=frozenset()))


def decides(state: State, who: int, worker: Worker) -> State:
    """It decides the next record by what it has read, and sends the block."""
    record = len(worker.head)
    block = (*worker.head, (record, state.left.ids[record] not in worker.members))
    sent = state.sent | {(NAMES[who], block)}
    return has_read(state._replace(sent=sent), who, worker._replace(block=block))


def arrived(state: State, name: str, block: Chain) -> State:
    """A block comes to the ledger; who waits for it learns whether it came directly after all it knows of."""
    record = block if accepted(state.ledger) == block[:-1] else ()
    after = state._replace(ledger=(*state.ledger, record), sent=state.sent - {(name, block)})
    if name:
        who = NAMES.index(name)
        if state.workers[who].ledger_end == len(state.ledger):
            end = len(after.ledger)
            return put(after, who, state.workers[who]._replace(written=True, ledger_end=end))
    return after


def has_committed(state: State, who: int, worker: Worker) -> State:
    return at_its_head(state, who, worker._replace(head=worker.block))


def gives_up(state: State, who: int, watch: str = "") -> State:
    """Recovery follows; nobody waits any more for what it has sent."""
    sent = frozenset(("" if name == NAMES[who] else name, block) for name, block in state.sent)
    return put(state._replace(sent=sent), who, Worker(watch=watch))


def written(redis: Redis, command: str, name: str, worker: Worker, ids: str) -> Redis:
    """What a writing command makes of Redis; others make nothing of it."""
    if command == "tear":
        return redis._replace(torn=name)
    if command == "forget-some":
        return redis._replace(credits=(0, 0))
    if command == "forget-the-rest":
        return redis._replace(head=None, torn="", members=frozenset())
    if command == "write":
        record, credit = worker.block[-1]
        mine = "xy".index(ids[record])
        credits = list(redis.credits)
        credits[mine] = worker.credits[mine] + credit  # only the person of the record is written
        return Redis(worker.block, "", tuple(credits), redis.members | {ids[record]})
    return redis


def put(state: State, who: int, worker: Worker) -> State:
    first, second = state.workers
    return state._replace(workers=(worker, second) if who == 0 else (first, worker))


def touched(state: State) -> State:
    """The head was written: whoever watches it will be refused."""
    first, second = (
        worker._replace(watch="dirty") if worker.watch == "clean" else worker for worker in state.workers
    )
    return state._replace(workers=(first, second))


def promises(state: State) -> None:
    """Raises `Broken` unless the ledger credits each id once, and Redis is the fold of its head."""
    chain, redis, ids = accepted(state.ledger), state.redis, state.left.ids
    if max(fold(chain, ids)[0]) > 1:
        raise Broken("the ledger credits one id twice")
    if redis.head is not None and not redis.torn:
        if chain[: len(redis.head)] != redis.head:
            raise Broken("Redis has a head that the ledger does not hold")
        if (redis.credits, redis.members) != fold(redis.head, ids):
            raise Broken("Redis is not the fold of its head")


def search(form: Form, bounds: Bounds) -> int:
    """Goes through every state that can be reached, and returns how many there are.

    Raises `Broken` with a shortest story that leads to a broken promise.
    """
    model = Model(form)
    start = State(Redis(head=()), (), frozenset(), (Worker(), Worker()), bounds)
    before: dict[State, State | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        try:
            promises(state)
            for _, after in model.next(state):
                if after not in before:
                    before[after] = state
                    waiting.append(after)
        except Broken as broken:
            raise Broken("\n  ".join([str(broken), *_story(model, before, state)])) from None
    return len(before)


def _story(model: Model, before: dict[State, State | None], state: State) -> list[str]:
    """How a state was reached."""
    lines = []
    while (previous := before[state]) is not None:
        lines.append(next(told for told, after in model.next(previous) if after == state))
        state = previous
    return lines[::-1]
