"""The yardstick: a plain Faust agent with Redis, as one writes it who knows both and needs no more.

Each report is checked against the schema, taken once (SET NX on its id) and its points added to the person's
balance (HINCRBY), both in one round trip. It keeps no ledger and no archive, knows no expiry and no caps,
answers no app, and after a crash it has counted some reports twice or not at all.

`python -m loadtest.bench.peer <records>` takes that many records, says in a line of JSON what that took from
the first to the last, and ends.
"""

import json
import os
import sys
import time

import faust
import redis.asyncio as aioredis
import uvloop
from faust.types.auth import SASLMechanism

from schemas.codec import read_report
from schemas.report import Report
from stream import stack_file
from stream.settings import Settings, load

PRINCIPAL = TOPIC = GROUP = "bench-peer"
BALANCES = "bench-peer:balances"
CONCURRENCY = 10  # a fifth faster than 1: round trips overlap, and sums do not depend on order
_FACTORS_PER_10 = {"SZ-METRO": 468, "SZ-BUS-BEV": 269}  # mg a metre; 1 mg is 1/1000 point
_TAKE = """
if redis.call('SET', KEYS[1], 1, 'NX') then redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[2]) end
"""


def redis_url(settings: Settings) -> str:
    """Where its own user reaches the stack's Redis."""
    stack = stack_file.read(settings.home)
    assert stack, "the bench has brought it up"
    return stack_file.redis_url(settings.home, stack, PRINCIPAL, settings.password(PRINCIPAL))


def peer_app(records: int) -> faust.App:
    """The app; it ends the process after `records` records."""
    settings = load()
    app = faust.App(
        GROUP,
        broker=f"kafka://{settings.kafka_bootstrap}",
        broker_credentials=faust.SASLCredentials(
            username=PRINCIPAL,
            password=settings.password(PRINCIPAL),
            mechanism=SASLMechanism(settings.kafka_sasl_mechanism),
        ),
        consumer_auto_offset_reset="earliest",
        datadir=settings.home / "run" / "faust-peer",
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.shards,
        web_enabled=False,
    )
    take = aioredis.Redis.from_url(redis_url(settings)).register_script(_TAKE)
    done = 0
    began_s = began_cpu_s = 0.0

    topic = app.topic(TOPIC, value_type=bytes)

    @app.agent(topic, concurrency=CONCURRENCY)  # type: ignore[arg-type]  # it hands over a Stream
    async def collect(stream: faust.Stream) -> None:
        nonlocal done, began_s, began_cpu_s
        async for value in stream:
            if not began_s:
                began_s, began_cpu_s = time.monotonic(), time.process_time()
            report = read_report(value)
            if report.__class__ is Report:
                points_milli = report.activity["distance_m"] * _FACTORS_PER_10[report.methodology] // 10
                await take([f"{PRINCIPAL}:{report.report_id}", BALANCES], [report.uid, points_milli])
            done += 1
            if done == records:
                seconds, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
                # On a line of its own: Faust's spinner leaves escapes behind.
                print("\n" + json.dumps({"seconds": seconds, "cpu_s": cpu_s}), flush=True)
                os._exit(0)

    return app


if __name__ == "__main__":
    uvloop.install()
    faust.Worker(
        peer_app(int(sys.argv[1])), loglevel="WARNING", quiet=True, redirect_stdouts=False
    ).execute_from_commandline()
