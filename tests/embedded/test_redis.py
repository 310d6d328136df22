"""The embedded Redis: who may reach it, what its user may do, and what becomes of a damaged file."""

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis as client_of
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from sinks.fingerprint import FINGERPRINT
from sinks.redis_connection import connect
from sinks.redis_store import RedisStore
from stream import folder, stack_file
from stream.embedded import processes, redis
from stream.errors import OperatorError
from stream.stack_file import REDIS_ADMIN, REDIS_WORKER, StackFile
from tests.redis.changes import AFTER, change, move, state

ONCE = Retry(NoBackoff(), 0)


class Home:
    """A data folder with a Redis, and no Kafka."""

    def __init__(self, path: Path) -> None:
        self.path, self.said = path, []
        folder.prepare(path)
        self.stack = StackFile(
            "test", 4, False, "c", "", {}, "worker's", "", {}, redis_admin_password="admin's"
        )

    def up(self) -> None:
        self.said.clear()
        redis.ensure_running(self.path, self.stack, self.said.append)

    def kill(self) -> None:
        if process := redis.find(self.path):
            process.kill()
            processes._children[process.pid].wait(10)

    def url(self, user: str) -> str:
        password = {REDIS_WORKER: self.stack.redis_password, REDIS_ADMIN: self.stack.redis_admin_password}
        return stack_file.redis_url(self.path, self.stack, user, password[user])

    def client(self, user: str = REDIS_WORKER) -> client_of.Redis:
        return client_of.Redis.from_url(self.url(user), driver_info=None)

    def commit(self, *steps: tuple[int, int]) -> None:
        async def commit() -> None:
            store = RedisStore(connect(self.url(REDIS_WORKER)))
            for shard, seq in steps:
                await move(store, change(shard, seq))
            await store.close()

        asyncio.run(commit())


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "数据 folder")
    try:
        yield made
    finally:
        made.kill()


def test_it_listens_on_a_socket_of_its_owner_and_nowhere_else(home: Home) -> None:
    home.up()
    assert stack_file.redis_socket(home.path, home.stack).stat().st_mode & 0o777 == 0o600
    process = redis.find(home.path)
    assert [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
    assert redis.find(home.path).exe() == str(redis.executable()), "whatever is on PATH"


def test_nobody_comes_in_without_a_password(home: Home) -> None:
    home.up()
    path = str(stack_file.redis_socket(home.path, home.stack))
    for login in ({}, {"password": "worker's"}, {"username": REDIS_WORKER, "password": "x"}):
        with pytest.raises(client_of.AuthenticationError):
            client_of.Redis(unix_socket_path=path, retry=ONCE, **login).ping()


def test_the_workers_user_may_do_what_the_store_needs_and_no_more(home: Home) -> None:
    home.up()
    worker, admin = home.client(), home.client(REDIS_ADMIN)
    for command in (
        *(
            "FLUSHALL",
            "FLUSHDB",
            "KEYS *",
            "CONFIG GET *",
            "SHUTDOWN",
            "ACL LIST",
            "MONITOR",
        ),
        *("SCRIPT KILL", "SAVE", "REPLICAOF a 1", "MODULE LIST", "CLIENT LIST", "RANDOMKEY", "SELECT 1"),
        *("MGET other", "HSET other a b", "PUBLISH p x", "EVAL return 0", "DEL p:{0}:f:u", "GET p:{0}:f:u"),
    ):
        with pytest.raises(NoPermissionError):
            worker.execute_command(*command.split())
    admin.acl_log_reset()

    async def everything() -> None:
        store = RedisStore(connect(home.url(REDIS_WORKER)))
        await move(store, change(0, 1))
        await store.load_head(0)
        await store.read(0, ["u"], {1: [2]})
        await store.persons(0)
        await store.info()
        assert await store.projections() == {FINGERPRINT}
        assert set(await store.shares()) == {FINGERPRINT}
        await store.reset(0)
        await store.close()

    asyncio.run(everything())
    assert admin.acl_log() == [], "the store asked for something that its user may not do"
    asked = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
    assert set(redis.WORKER_COMMANDS) - asked == {"time"}, "which `points doctor` asks"


def test_what_was_committed_is_there_after_a_kill(home: Home) -> None:
    """Also with the default user off, under whom Redis 7.0 would load its own transactions, and cannot."""
    home.up()
    home.commit((0, 1), (0, 2))
    home.kill()
    home.up()

    async def found() -> str:
        store = RedisStore(connect(home.url(REDIS_WORKER)))
        found = await state(store, 0, 2)
        await store.close()
        return found

    assert asyncio.run(found()) == AFTER


def test_a_path_too_long_for_a_socket_gets_a_short_folder_that_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    home = Home(tmp_path / ("long" * 30))
    try:
        home.up()
        assert home.client().ping()
        short = Path(home.stack.redis_socket_folder)
        assert short.parent == runtime or len(os.fsencode(runtime)) > 60
        assert short.stat().st_mode & 0o777 == 0o700
        assert stack_file.read(home.path).redis_socket_folder == str(short)
        home.kill()
        home.up()
        assert Path(home.stack.redis_socket_folder) == short, "remembered"
        home.kill()
        short.chmod(0o755)
        home.up()
        assert Path(home.stack.redis_socket_folder) != short, "others could read it by now"
    finally:
        home.kill()


def test_a_copy_of_a_folder_with_a_long_path_takes_another_socket(tmp_path: Path) -> None:
    home, copy = Home(tmp_path / ("long" * 30)), Home(tmp_path / ("copy" * 30))
    redis._place_socket(home.path, home.stack)
    copy.stack.redis_socket_folder = home.stack.redis_socket_folder
    redis._place_socket(copy.path, copy.stack)
    assert copy.stack.redis_socket_folder != home.stack.redis_socket_folder


def damaged_contents(home: Path) -> list[bytes]:
    return [path.read_bytes() for path in home.glob("redis-damaged-*/redis/appendonlydir/*.aof")]


@pytest.mark.parametrize("part", ["incr.aof", "base.rdb", "manifest"])
def test_a_file_that_the_server_refuses_is_kept_aside_and_redis_starts_empty(home: Home, part: str) -> None:
    """Wherever a byte is flipped: the server starts with the file or without it, and never stays away."""
    home.up()
    home.commit((0, 1), (0, 2))
    home.kill()
    home.up()
    home.commit((1, 1), (1, 2))  # shard 0 is in the base by now, shard 1 behind it
    home.kill()
    [path] = (home.path / "redis" / "appendonlydir").glob(f"*{part}")
    whole, chosen, refused = path.read_bytes(), random.Random(7), 0
    for _ in range(12):
        at = chosen.randrange(len(whole))
        path.parent.mkdir(exist_ok=True, parents=True)
        flipped = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        kept = {file: file.read_bytes() for file in path.parent.iterdir()}
        path.write_bytes(flipped)
        before = len(damaged_contents(home.path))
        home.up()
        assert home.client().ping()
        if home.said != ["starting Redis"]:
            refused += 1
            assert len(home.said) == 3
            assert "damaged: moved to" in home.said[1]
            assert len(damaged_contents(home.path)) > before
            assert home.client(REDIS_ADMIN).dbsize() == 0
        home.kill()
        for file in path.parent.glob("*"):
            file.unlink()
        for file, content in kept.items():
            file.write_bytes(content)
    assert refused


def test_a_death_that_no_damaged_file_explains_moves_nothing(home: Home) -> None:
    home.up()
    home.commit((0, 1))
    home.kill()
    redis_conf, redis.REDIS_CONF = redis.REDIS_CONF, redis.REDIS_CONF + "no such directive\n"
    try:
        with pytest.raises(OperatorError, match="Redis died") as caught:
            home.up()
    finally:
        redis.REDIS_CONF = redis_conf
    assert "no such directive" in caught.value.message
    assert damaged_contents(home.path) == []
    assert list((home.path / "redis" / "appendonlydir").iterdir())
