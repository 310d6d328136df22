"""What a shard remembers of reports, and looks up for them: keyed 64-bit hashes of ids and claims. Pure."""

from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from schemas.reports import Reports
from schemas.rules import Rules

_Numbers = np.ndarray  # of int64, row by row


class Members(NamedTuple):
    """Row by row; 0 for what is no report, or has not the fields of a claim.

    A generation is an Asia/Shanghai day of behaviour. The day is part of a claim's member: a trip claimed
    five days ago is another one than today's of the same number, also where both are looked up in one cycle,
    so no verdict depends on how records fell into cycles.
    """

    id: list[int]  # of (app, report_id)
    claim: list[int]  # of (person, methodology, claim key), in the generation of the behaviour's day
    claim_before: list[int]  # as a claim of the day before has it, and of the day after
    claim_after: list[int]
    lookups: dict[int, list[int]]  # by generation


def members_of(
    reports: Reports, days: _Numbers, app_keys: list[str], rules: Rules, key: bytes, newest: int
) -> Members:
    """`days`: generations; `app_keys`: whose id it is; `newest`: the last day that a report can have now."""
    keyed = blake2b(digest_size=8, key=key)
    ids = [app_key + i if i else "" for app_key, i in zip(app_keys, reports.report_id, strict=True)]
    id_member = _hashes(ids, keyed)
    raw = _hashes(_claims(reports, rules), keyed)
    claim, before, after = (_on(raw, days + step) for step in (0, -1, 1))
    lookups = _lookups(id_member, days, raw, newest)
    return Members(id_member.tolist(), claim.tolist(), before.tolist(), after.tolist(), lookups)


def _claims(reports: Reports, rules: Rules) -> list[str]:
    """The behaviours' own keys, the same whichever app reports them. '' where a field of it is missing."""
    keys = {name: versions[0].claim_key for name, versions in rules.methodologies.items()}
    texts = []
    columns = (reports.uid, reports.methodology, reports.occurred_ms, reports.source_txn)
    for uid, methodology, ms, source_txn in zip(*columns, strict=True):
        text = f"{uid}\0{methodology}" if methodology in keys else ""
        for name in keys.get(methodology, ()):
            part = ms if name == "occurred_at" else source_txn
            text = f"{text}\0{part}" if text and part != "" else ""
        texts.append(text)
    return texts


def _hashes(texts: list[str], keyed: blake2b) -> _Numbers:
    """Keyed, as apps must not be able to make ids that collide. 0 for no text; a hash of 0 is taken for 1.

    A copy of `keyed`, which has the key in it already, costs 0.6 us; taking the key anew 0.8.
    """
    digests = []
    for text in texts:
        digest = keyed.copy()
        digest.update(text.encode())
        digests.append(digest.digest())
    found = np.frombuffer(b"".join(digests), "<i8").astype(np.int64)
    found[found == 0] = 1
    return np.where(np.array(texts, object) == "", 0, found)


def _on(raw: _Numbers, days: _Numbers) -> _Numbers:
    """The members that claims have in the generations of these days."""
    members = raw ^ days
    members[members == 0] = 1
    return np.where(raw == 0, 0, members)


def _lookups(ids: _Numbers, days: _Numbers, raw: _Numbers, newest: int) -> dict[int, list[int]]:
    """An id is looked up in its own day; a claim also a day to either side, as a trip may cross midnight.

    Nothing can stand in a generation after `newest`: today's reports, which are most, are spared the look-up
    of tomorrow.
    """
    lookups: dict[int, list[int]] = {}
    for day in np.unique(days[ids != 0]).tolist():
        of_day = days == day
        lookups.setdefault(day, []).extend(ids[of_day & (ids != 0)].tolist())
        claims = raw[of_day & (raw != 0)]
        for near in (day - 1, day, day + 1):
            if near <= newest and len(claims):
                lookups.setdefault(near, []).extend(_on(claims, np.full(len(claims), near)).tolist())
    return lookups
