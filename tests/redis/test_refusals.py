"""What a Redis refuses is a doubt: told with what to do, nothing half done, and exact once it goes on."""

import os
import threading
from contextlib import suppress

import msgspec
import pytest
import redis
from redis._parsers.base import BaseParser

from schemas.topics import COMMANDS
from sinks.redis_connection import connect
from sinks.redis_errors import ADVICE, Forbidden, Refused, told_as_doubt
from sinks.redis_store import RedisStore
from stream.engine import tenure as tenure_module
from stream.engine.redis_guard import GuardedStore
from stream.errors import OperatorError
from stream.telemetry.alerts import ALERTS
from tests.making import APPS, BUS, METRO, NOON_MS, record, registered, uid
from tests.metrics.feeding import decide_all, scraped
from tests.model.driver import Faulty, World, fold
from tests.redis.changes import AFTER, BEFORE, change, move, state
from tests.redis.conftest import KINDS
from tests.redis.servers import CONFIGURATION, Server, server

ALERT = next(alert for alert in ALERTS if alert.name == "PointsRedisRefuses")


@pytest.mark.parametrize("code", ADVICE)
def test_each_refusal_is_a_doubt_that_says_what_to_do(code: str) -> None:
    with pytest.raises(Refused) as caught, told_as_doubt():
        raise BaseParser.parse_error(f"{code} 7000 host:6379")
    assert caught.value.code == code
    assert ADVICE[code] in str(caught.value)
    assert caught.value.__cause__ is not None, "an answer of Redis, and no rival's"


def test_what_nobody_can_wait_for_is_no_doubt() -> None:
    with pytest.raises(redis.ResponseError), told_as_doubt():
        raise BaseParser.parse_error("WRONGTYPE Operation against a key of the wrong kind; -OOMPH")
    with pytest.raises(Forbidden), told_as_doubt():
        raise BaseParser.parse_error("NOPERM User worker has no permissions to run the 'exec' command")


@pytest.mark.parametrize(
    ("configuration", "login", "said"),
    [("", "worker:wrong@", "invalid"), ("", "nobody:secret@", "invalid"), ("requirepass top\n", "", "HELLO")],
)
@pytest.mark.parametrize("kind", KINDS)
def test_who_may_not_log_in_does_not_wait_for_it_and_goes_on_with_what_is_right(
    kind: str, configuration: str, login: str, said: str, run
) -> None:
    """No second try mends it. An open connection stays: it is a new one that is refused."""

    async def play(right: str, wrong: str) -> None:
        store = GuardedStore(RedisStore(connect(wrong)))
        with pytest.raises(OperatorError, match=said) as caught:
            await store.load_head(0)
        assert "POINTS_REDIS_URL" in caught.value.todo
        await store.close()
        store = GuardedStore(RedisStore(connect(right)))
        assert await store.load_head(0) is None
        await store.close()

    with server(kind, CONFIGURATION + configuration, ":top@" * bool(configuration)) as made:
        run(play(made.url, made.url.replace("worker:secret@", login)))


class Refusing:
    """Makes a server refuse writes, and stop that."""

    def __init__(self, made: Server) -> None:
        self._server, self._admin = made, made.admin

    def OOM(self) -> None:
        self._admin.config_set("maxmemory", 1)

    def NOREPLICAS(self) -> None:
        self._admin.config_set("min-replicas-to-write", 1)

    def READONLY(self) -> None:
        self._admin.replicaof("127.0.0.1", 1)

    def MISCONF(self) -> None:
        self._admin.config_set("save", "3600 1")
        gone = self._server.folder / "gone"
        gone.mkdir()
        self._admin.config_set("dir", str(gone))
        os.rmdir(gone)
        self._admin.bgsave()
        while self._admin.info("persistence")["rdb_last_bgsave_status"] == "ok":
            pass

    def BUSY(self) -> None:
        self._admin.config_set("lua-time-limit", 1)
        loop = threading.Thread(target=self._loop)
        loop.start()
        while True:
            try:
                self._admin.ping()
            except redis.ResponseError:
                return

    def _loop(self) -> None:
        with pytest.raises(redis.ResponseError, match="killed"), self._server.another_admin() as client:
            client.eval("while true do end", 0)

    def heal(self, code: str) -> None:
        if code == "BUSY":
            self._admin.script_kill()
        elif code == "READONLY":
            self._admin.replicaof("NO", "ONE")
        else:
            self._admin.config_set("maxmemory", 0)
            self._admin.config_set("min-replicas-to-write", 0)
            self._admin.config_set("dir", str(self._server.folder))
            self._admin.config_set("save", "")


@pytest.mark.parametrize("code", ["OOM", "NOREPLICAS", "READONLY", "MISCONF", "BUSY"])
def test_a_commit_that_the_server_refuses_changed_nothing_and_goes_on_later(
    running: Server, run, code: str
) -> None:
    refusing = Refusing(running)

    async def play() -> None:
        store = RedisStore(connect(running.url))
        await move(store, change(0, 1))
        getattr(refusing, code)()
        with pytest.raises(Refused) as caught:
            await move(store, change(0, 2))
        assert caught.value.code == code
        refusing.heal(code)
        assert await state(store, 0, 2) == BEFORE
        await move(store, change(0, 2))
        assert await state(store, 0, 2) == AFTER
        await store.close()

    run(play())


def test_a_server_that_reads_its_file_is_waited_for(running: Server, run) -> None:
    async def commit(*shards: int) -> None:
        store = RedisStore(connect(running.url))
        for shard in shards:
            await move(store, change(shard, 1))
        await store.close()

    async def ask() -> set[str]:
        codes, store = set(), RedisStore(connect(running.url))
        while True:
            try:
                await move(store, change(0, 2))
            except Refused as refusal:
                codes.add(refusal.code)
            else:
                await store.close()
                return codes

    run(commit(0, 1, 2))
    running.restart()
    run(commit(3))  # the first three are in the base now, where loading is slowed down key by key
    running.restart(wait=False, more="key-load-delay 500\nloading-process-events-interval-bytes 1024\n")
    assert run(ask()) == {"LOADING"}


def test_a_cluster_without_slots_refuses(run) -> None:
    async def play(url: str) -> None:
        store = RedisStore(connect(url))
        with pytest.raises(Refused) as caught:
            await store.load_head(0)
        assert caught.value.code == "CLUSTERDOWN"
        await store.close()

    with server("valkey", CONFIGURATION + "cluster-enabled yes\n") as made:
        run(play(made.url))


def test_a_commit_that_began_ends_whole_however_little_memory_is_left(running: Server, run) -> None:
    """Memory is looked at before the transaction's first write: it is refused, or whole, and never torn."""

    async def play() -> None:
        store, ends = RedisStore(connect(running.url)), []
        await move(store, change(0, 1))
        seq = 2
        for spare_bytes in [0, *(2**n for n in range(8, 20))] * 2:
            running.admin.config_set("maxmemory", running.admin.info("memory")["used_memory"] + spare_bytes)
            with suppress(Refused):  # either way, it is whole
                await move(store, change(0, seq))
            running.admin.config_set("maxmemory", 0)
            ends.append(await state(store, 0, seq))
            seq += ends[-1] == AFTER
        assert set(ends) == {BEFORE, AFTER}
        await store.close()

    run(play())


def workload() -> list[tuple[str, bytes, int]]:
    made = [(COMMANDS, registered(app)) for app in APPS.values()]
    made += [(METRO, record(f"r{n}", uid=uid(0, n % 3), source_txn=f"t{n % 50}")) for n in range(60)]
    made += [(BUS, b"{}")]
    return [(topic, value, NOON_MS + 10 * n) for n, (topic, value) in enumerate(made)]


def test_a_worker_waits_for_a_full_redis_and_then_goes_on_exactly(
    running: Server, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenure_module, "RETRY_DELAYS_S", (0.01,))
    world = World(workload())
    told: list[dict] = []

    def fill_up_and_free(metrics) -> None:
        """Full after the first blocks; free again once the worker was refused five times."""
        now = scraped(metrics)
        if now.total("points_redis_refusals_total") >= 5:
            if not told:
                told.append(ALERT.holds(now))
            running.admin.config_set("maxmemory", 0)
        elif now.total("points_blocks_total") >= 2:
            running.admin.config_set("maxmemory", 1)

    async def play() -> None:
        ports = Faulty(world)
        ports.store = GuardedStore(RedisStore(connect(running.url)))
        metrics = await decide_all(world, ports, fill_up_and_free)
        assert told == [{("intake", "OOM"): 1.0}]
        assert ALERT.holds(scraped(metrics)) == {}, "the shard is ready again"
        head, persons, members = fold(await world.accepted())
        store = RedisStore(connect(running.url))
        # A worker that stopped has nothing left to publish, and said so to the next.
        assert await store.load_head(0) == msgspec.structs.replace(head, published_to=head.ledger_next)
        assert await store.persons(0) == persons
        seen = (await store.read(0, [], {day: list(found) for day, found in members.items()})).seen
        assert seen == set().union(*members.values())
        rows = [row for _, b in await world.accepted() for row in b.rows.select(["source"]).to_pylist()]
        assert sum(row["source"] >= 0 for row in rows) == len(workload()), "one row for each record"
        await store.close()
        await ports.store.close()

    run(play())
