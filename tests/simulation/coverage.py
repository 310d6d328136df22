"""Situations that the seeds of a run must have met: a generator that never makes them proves nothing.

TigerBeetle's fuzzers ran over a broken query engine for months, because none of them made the query that
broke it. So a long run in which one of these counts zero fails, whatever else it found.
"""

SITUATIONS = (
    # zombies and late writers
    "intake: a zombie keeps its shards",
    "intake: a shard handed over with nothing unpublished",
    "ledger: a block of a former owner accepted",
    "ledger: a block of a former owner ignored",
    "ledger: a repeated or late block ignored",
    "fault: append arrives late",
    "fault: append arrives twice",
    # processes that die or fall silent, at both sides of each effect
    "fault: crash before append",
    "fault: crash after append",
    "fault: crash before commit",
    "fault: crash after commit",
    "fault: crash before publish",
    "fault: crash after publish",
    "fault: crash before reset",
    "fault: crash after reset",
    "fault: crash after ledger read",
    "fault: intake stops for a while",
    "fault: archive stops for a while",
    # answers that never come
    "fault: answer lost: append",
    "fault: answer lost: commit",
    "fault: answer lost: publish",
    "fault: answer lost: reset",
    "fault: request lost: append",
    "fault: request lost: commit",
    # Redis
    "redis: rolled back",
    "redis: emptied",
    "redis: script torn",
    "redis: rolled back while an append was under way",
    # ClickHouse
    "archive: a run of several blocks",
    "archive: a run cut at a month",
    "archive: answer of an insert lost",
    "archive: an insert repeated",
    "archive: an insert of a former owner",
    "archive: rows lost",
    "archive: a worker halts because rows were lost",
    "fault: ClickHouse down",
    # the group and the transport
    "fault: rebalance of intake",
    "fault: rebalance of archive",
    "transport: a delivery lost",
    "transport: an offset gap",
    "fault: a topic apart from its shard",
    "fault: no answer: ends of topics",
    "kafka: outcomes for a topic that does not exist",
    "kafka: a topic made again",
    "kafka: commands made again",
    "kafka: records deleted unread",
    "transport: a source stopped: deleted_unread",
    "transport: a source stopped: made_again",
    "operator: a topic adopted",
    "operator: commands adopted",
    "intake: made again between fetch and append",
    "intake: a quota of rows used up",
    "fair: a record waits behind one that came later",
    # the platform settles what was refused
    "replay: of other bytes",
    "replay: of an app that is not registered",
    "replay: credited",
    "replay: malformed",
    "replay: duplicate",
    "replay: already_claimed",
    "replay: app_not_active",
    "dismissed",
    # decisions
    "cycle: two apps merged",
    "cycle: another day",
    "claim: won and lost in one cycle",
    "fault: broker clock steps",
    "time: a clock command",
    "time: a jump beyond the late window",
    *(
        f"verdict: {verdict}"
        for verdict in (
            "malformed",
            "app_not_active",
            "forbidden_operation",
            "duplicate",
            "occurred_in_future",
            "too_late",
            "methodology_unknown",
            "activity_invalid",
            "already_claimed",
            "cap_reached",
            "credited_in_part",
            "credited",
            "expired",
            "command_applied",
            "unreadable_batch",
            "deleted_unread",
        )
    ),
)
