"""The projection's name stands for all that it depends on: whatever changes in Redis changes the name.

A small ledger is folded, and what goes to Redis for it is compared byte by byte with what this release is
known to send. It goes through all that a state is made by: ids and claims, caps, expiries, commands,
generations that are dropped, by time and by a jump of it.
"""

import datetime as dt
import hashlib
import subprocess
import sys
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from schemas.state import Head, Lag, Person
from sinks import fingerprint, redis_commands, redis_keys
from sinks.redis_keys import Keys
from stream.core import apply as fold
from stream.core import members
from stream.core.decide import decide
from stream.core.read import read_records
from tests.making import (
    APPS,
    COMMANDS,
    METRO,
    NOON,
    NOON_MS,
    clock,
    cycle,
    head,
    platform,
    record,
    registered,
    remember,
    uid,
)

# Where this fails, Redis would hold something else than before. Then:
#   1. if the fingerprint is the old one, count `FOLD` in sinks/fingerprint.py up;
#   2. put what the test found in place of this;
#   3. say "rebuild" of the next release in docs/changes.md: it builds its projection beside the one in use.
PROJECTION = ("5fda72", "2e30f5f36a8147c9")
# What the ledger's rows hold for ids and claims, and each fold takes as it is: no rebuild makes others of it.
# So where this fails, reports that were remembered would be credited again: it takes a new format, whose
# reader makes the members of older rows anew.
MEMBERS = [1213716884939306451, -7039826538973384150, -1548042995663224844, -7966371152211286535]
DAY = dt.timedelta(days=1)


def trip(name: str, days: int = 0, person: int = 0, km: int = 4, at: dt.datetime = NOON) -> tuple:
    """A report of METRO, of a trip so many days before `at`."""
    said = {"uid": uid(0, person), "activity": {"distance_m": km * 1_000}, "source_txn": name}
    return METRO, record(name, at - days * DAY, **said), int(at.timestamp() * 1_000)


def later(days: int, *trips: tuple) -> list[tuple]:
    """The same trips, sent so many days later."""
    return [trip(name, ago, person, km, NOON + days * DAY) for name, ago, person, km in trips]


ANOTHER = msgspec.structs.replace(APPS["bus"], id="ferry", active=False, scenes=["渡轮"], rows_per_day=7)
CYCLES = [
    [trip("a"), trip("b", 1), trip("c", 9, person=1), trip("d", 10), trip("a"), trip("long", km=60)],
    [(COMMANDS, registered(ANOTHER), NOON_MS + 1)],
    later(1, ("a", 1, 0, 5), ("e", 0, 1, 1), ("f", 9, 2, 3)),
    later(9, ("g", 8, 0, 2), ("h", 9, 1, 2)),
    later(10, ("i", 0, 0, 2)),
    [(COMMANDS, clock(NOON + 4_000 * DAY), NOON_MS + 11 * 86_400_000)],
    later(4_000, ("j", 0, 0, 2), ("k", 1, 1, 3)),
]


def sent_to_redis() -> bytes:
    """What is sent for the small ledger. Hashes of blocks are left out of it: they cover Arrow's and zstd's
    bytes, which belong to the versions of these."""
    state = head(seq=-1, hash=bytes(32), lags={"outcomes.metro": Lag(3, bytes(32))})
    persons: dict[str, Person] = {}
    seen: dict[int, set[int]] = {}
    sent = []
    for number, records in enumerate(CYCLES, 1):
        taken, place = cycle(*records, after=state), platform()
        reading = read_records(taken, place.rules, place.dedupe_key, state.format)
        found = {m for day, ms in reading.members.lookups.items() for m in ms if m in seen.get(day, ())}
        block = decide(place, state, taken, reading, persons, found, number - 1, state.lags)
        change = fold.apply(block._replace(hash=bytes([number]) * 32), state, persons, number)
        sent += redis_commands.write_change(Keys(0, "name"), change)
        state, persons = change.head, persons | change.persons
        remember(seen, change)
    return repr(sent).encode()


def found() -> tuple[str, str]:
    """The projection's name, and a hash of all that is sent."""
    return fingerprint.FINGERPRINT, hashlib.sha256(sent_to_redis()).hexdigest()[:16]


def test_what_is_sent_to_redis_is_what_its_name_stands_for() -> None:
    assert found() == PROJECTION, "another projection: what to do stands above PROJECTION"


def test_what_rows_remember_is_what_later_releases_look_up() -> None:
    taken, place = cycle(trip("a"), trip("b", 1, person=1)), platform()
    reading = read_records(taken, place.rules, place.dedupe_key, head().format)
    assert reading.members.id + reading.members.claim == MEMBERS, "see MEMBERS"


def test_every_struct_of_the_state_is_part_of_the_name() -> None:
    assert {kind.__name__ for kind in fingerprint._structs(Head)} == {"Head", "Source", "Lag", "App"}


def test_the_small_ledger_goes_through_all_that_makes_a_state() -> None:
    sent = sent_to_redis()
    for word in (b"'MSET'", b"'SADD'", b"d:{0}:name:", b"p:{0}:name:", b"h:{0}:name", b"ferry"):
        assert word in sent
    assert sent.count(b"'UNLINK', 'd:{0}") >= 3, "generations are dropped"


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        ("schemas.limits", "LATE_WINDOW_DAYS", "30"),
        ("schemas.limits", "REMEMBERED_DAYS", "11"),
        ("sinks.redis_keys", "BUCKETS", "128"),
        ("sinks.redis_keys", "Keys.generation", "lambda keys, day, bucket: f'd:{day}'"),
        ("sinks.redis_keys", "Keys.head", "'h'"),
        ("schemas.state", "Person", "msgspec.defstruct('Person', [('lots', dict[int, int])])"),
        ("schemas.state", "Head", "msgspec.defstruct('Head', [(n, int) for n in Head.__struct_fields__])"),
    ],
)
def test_what_can_be_counted_changes_the_name_by_itself(module: str, name: str, value: str) -> None:
    program = (
        f"import msgspec\nimport {module} as changed\nfrom schemas.state import Head\n"
        f"changed.{name} = {value}\nfrom sinks.fingerprint import FINGERPRINT\nprint(FINGERPRINT)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert len(done.stdout.strip()) == 6, done.stderr
    assert done.stdout.strip() != fingerprint.FINGERPRINT


def _claims_without_person(reports: object, rules: object, claims: Callable = members._claims) -> list[str]:
    return [text[33:] for text in claims(reports, rules)]


def _other_hashes(texts: list[str], keyed: object, hashes: Callable = members._hashes) -> np.ndarray:
    return hashes(texts, keyed) >> 1


def _other_retired(before: int, today: int, retired: Callable = fold._retired) -> range:
    return retired(before, today + 1)


def _caps_forgotten(block: object, persons: object, today: int, made: Callable = fold._persons) -> dict:
    return {uid: Person(person.lots) for uid, person in made(block, persons, today).items()}


def _head_without_lags(head: Head) -> bytes:
    return msgspec.msgpack.encode(msgspec.structs.replace(head, lags={}))


@pytest.mark.parametrize(
    ("module", "name", "changed"),
    [
        (members, "_hashes", _other_hashes),
        (members, "_claims", _claims_without_person),
        (fold, "_retired", _other_retired),
        (fold, "_persons", _caps_forgotten),
        (fold, "_commanded", lambda block, head: head),
        (redis_commands, "_encode_head", _head_without_lags),
        (redis_commands, "encode_person", lambda person: msgspec.json.encode(person)),
        (redis_commands, "bucket_of", lambda member: member >> 56 & redis_keys.BUCKETS - 1),
    ],
)
def test_what_cannot_be_counted_changes_what_is_sent(
    module: object, name: str, changed: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = found()
    monkeypatch.setattr(module, name, changed)
    assert found() != before
