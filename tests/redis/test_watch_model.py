"""The form in which the store reads, commits and resets keeps every promise in every order; others do not."""

from typing import Any

import pytest

from sinks import redis_store
from sinks.fingerprint import FINGERPRINT
from sinks.redis_connection import OwnConnection, connect
from sinks.redis_keys import Keys
from sinks.redis_store import RedisStore
from tests.redis.changes import DAY, UIDS, change
from tests.redis.servers import Server
from tests.redis.watch_model import Bounds, Broken, Form, search

OURS = Form()
BOUNDS = (
    Bounds(emptied=1),
    Bounds(lost=2),
    Bounds(lost=1, restarts=1),
    Bounds(ids="xx", ledger=3, emptied=1, lost=1),
    Bounds(ids="xx", ledger=3, emptied=1, restarts=1),
)
TWICE, NO_FOLD = "the ledger credits one id twice", "Redis is not the fold of its head"
BROKEN = {
    "WATCH alone": (Form(read="UNWATCH WATCH | head | state"), TWICE),
    "WATCH, and the head first and last": (Form(read="UNWATCH WATCH | head | state | head"), TWICE),
    "no look behind the WATCH": (Form(read="UNWATCH MULTI head state EXEC | WATCH"), NO_FOLD),
    "the second look before the WATCH": (Form(read="UNWATCH MULTI head state EXEC | head | WATCH"), NO_FOLD),
    "a second look, and no WATCH": (Form(read="UNWATCH MULTI head state EXEC | head"), NO_FOLD),
    "a connection that opens itself again": (Form(reopens=True), NO_FOLD),
    "a reset that looks and does not WATCH": (
        Form(reset="tear | mine | MULTI forget-some EXEC | mine | MULTI forget-the-rest EXEC"),
        NO_FOLD,
    ),
    "no UNWATCH": (Form(read="MULTI head state EXEC | WATCH | head"), "a read is refused"),
}


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_our_form_breaks_no_promise(bounds: Bounds) -> None:
    states = search(OURS, bounds)
    print(f"{states:,} states")
    assert states > 100_000, "something that was searched before is not reached any more"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_form_is_found(name: str) -> None:
    form, promise = BROKEN[name]
    with pytest.raises(Broken, match=promise) as caught:
        search(form, Bounds(lost=1) if form.reopens else Bounds(emptied=1))
    print(caught.value)


def told(commands: list[tuple], what: str) -> list[str]:
    """Commands in the model's words; those that read or write one thing are one."""
    words: list[str] = []
    for name, *arguments in commands:
        word = {
            "HMGET": "mine" if what == "reset" else "head",
            "MGET": "state",
            "SMISMEMBER": "state",
            "HDEL": "write",
            "HSET": "tear" if what == "reset" else "write",
            "MSET": "write",
            "SADD": "write",
            "UNLINK": "write" if what == "commit" else "forget-some",
            "SCAN": "",
        }.get(name, name)
        if word == "forget-some" and Keys(0, FINGERPRINT).head in arguments:
            word = "forget-the-rest"
        if word and word not in words[-1:]:
            words.append(word)
    return words


def test_the_store_sends_what_the_model_says(
    running: Server, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[tuple]] = []
    exchange = OwnConnection.exchange

    async def watched(own: OwnConnection, commands: list[tuple]) -> list:
        if commands[0][0] not in ("INFO", "BGREWRITEAOF"):
            sent.append(commands)
        return await exchange(own, commands)

    async def play() -> None:
        store = RedisStore(connect(running.url))
        await store.read(0, UIDS, {DAY: [1, 2, 3]})
        await store.commit(change(0, 1))
        [read, commit], sent[:] = sent, []
        assert told(read, "read") == OURS.read.replace(" |", "").split()
        assert told(commit, "commit") == OURS.commit.split()
        await store.reset(0)
        await store.close()

    monkeypatch.setattr(OwnConnection, "exchange", watched)
    monkeypatch.setattr(redis_store, "_PAGE_KEYS", 100)
    run(play())
    tear, page, *more = (word for commands in sent for word in [" ".join(told(commands, "reset"))])
    assert [tear, page] == ["tear", "UNWATCH WATCH mine"]
    pages = " | ".join([page, *more]).removesuffix("MULTI forget-the-rest EXEC")
    assert pages.count("MULTI forget-some EXEC") > 1
    assert set(pages.split(" | ")) == {"UNWATCH WATCH mine", "MULTI forget-some EXEC", ""}
    assert "EXEC | MULTI" not in pages, "each page under a WATCH of its own"
