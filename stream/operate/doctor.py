"""Checks of everything a stack needs, each with what to do when it fails. They change nothing; to be told the
broker's time, one writes an empty record to topic `clock`, which nobody reads."""

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from schemas.topics import topic_specs
from stream.embedded import kafka, processes, redis
from stream.engine import redis_health
from stream.errors import OperatorError
from stream.operate import machine, projections
from stream.operate.dead_letter_watch import old_dead_letters
from stream.operate.machine import Skipped, Warned
from stream.operate.platform import clock
from stream.operate.platform.kafka_admin import admin_client, apps_with_topics, topic_differences
from stream.operate.platform.onboarding import registry
from stream.settings import Settings, home_folder, load

ANSWER_TIMEOUT_S = 10
CLOCKS_APART_MS = 60_000  # NTP keeps them within some ms; ages on the screens are wrong by as much
NO_STACK = "no settings to reach it with"


class Check(msgspec.Struct, frozen=True):
    """What one check found."""

    name: str
    result: Literal["ok", "warning", "fail", "skipped"]
    detail: str
    todo: str = ""


def examine(env: Mapping[str, str] = os.environ) -> tuple[list[Check], dict[str, Any] | None]:
    """All checks in the order in which an operator puts things right, and the settings without secrets.

    The settings are None where they cannot be loaded; then there is a failed check that says why.
    """
    settings, loading = _settings(env)
    try:
        home = home_folder(env)
    except OperatorError as error:
        return [_failed("data folder", error)], None
    local = settings is None or settings.embedded
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", machine.check_python),
        ("data folder", (lambda: machine.check_folder(home)) if local else machine.not_embedded),
        ("disk", lambda: machine.check_disk(home)),
        ("java", machine.check_java if local else machine.not_embedded),
        ("kafka jars", (lambda: machine.check_jars(home)) if local else machine.not_embedded),
        ("valkey-server", (lambda: str(redis.executable())) if local else machine.not_embedded),
        ("ports", (lambda: machine.check_ports(home)) if local else machine.not_embedded),
        ("keeper", (lambda: machine.check_keeper(home)) if local else machine.not_embedded),
        ("kafka", lambda: _kafka(settings)),
        ("topics", lambda: _topics(settings)),
        ("redis", lambda: _redis(settings)),
        ("projection", lambda: _projection(settings)),
        ("clocks", lambda: _clocks(settings)),
        ("clickhouse", lambda: _clickhouse(settings)),
        ("refused records", lambda: _refused(settings)),
    ]
    found = [_run(name, check) for name, check in checks[:3]]
    found += [loading, *(_run(name, check) for name, check in checks[3:])]
    return found, settings.public() if settings else None


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, "ok", check())
    except Skipped as reason:
        return Check(name, "skipped", str(reason))
    except Warned as warning:
        return Check(name, "warning", *warning.args)
    except OperatorError as error:
        return _failed(name, error)


def _failed(name: str, error: OperatorError) -> Check:
    return Check(name, "fail", error.message, error.todo)


def _settings(env: Mapping[str, str]) -> tuple[Settings | None, Check]:
    try:
        settings = load(env)
    except OperatorError as error:
        return None, _failed("settings", error)
    kind = "embedded stack" if settings.embedded else "real services"
    return settings, Check("settings", "ok", f"{kind}, platform {settings.platform_id}")


def _kafka(settings: Settings | None) -> str:
    from confluent_kafka import KafkaException

    if settings is None:
        raise Skipped(NO_STACK)
    principal = "admin" if "admin" in settings.credentials else min(settings.credentials)
    try:
        seen = admin_client(settings, principal).list_topics(timeout=ANSWER_TIMEOUT_S)
    except KafkaException as error:
        remedy = "run `points up`." if settings.embedded else "check address, certificate and password."
        if settings.embedded and (process := kafka.find(settings.home)):
            remedy = f"process {process.pid} runs; {processes.log_path(settings.home, kafka.NAME)} says why."
        raise OperatorError(
            f"{settings.kafka_bootstrap} does not let {principal} in: {error.args[0].str()}.", remedy
        ) from error
    return f"{settings.kafka_bootstrap} lets {principal} in, {len(seen.brokers)} broker(s)"


def _topics(settings: Settings | None) -> str:
    from confluent_kafka import KafkaException

    if settings is None:
        raise Skipped(NO_STACK)
    if "admin" not in settings.credentials:
        raise Skipped("only the admin may see how topics are configured")
    try:
        admin = admin_client(settings)
        apps = set(apps_with_topics(admin))
        with contextlib.suppress(OperatorError):  # Redis's own check tells it
            apps.update(registry(settings))
        specs = topic_specs(settings.shards, sorted(apps))
        differences = topic_differences(admin, specs)
    except KafkaException as error:
        raise Skipped("Kafka does not answer") from error
    told = "; ".join(difference.text for difference in differences)
    if not all(difference.surplus for difference in differences):
        todo = "run `points up`, which makes and corrects topics; what is made again is to be adopted."
        raise OperatorError(told, todo)
    if differences:
        raise Warned(told, "see docs/runbook.md, a topic is missing or has too many partitions.")
    return f"{len(specs)} topics of {settings.shards} partitions"


def _redis(settings: Settings | None) -> str:
    from redis import Redis, RedisError

    if settings is None:
        raise Skipped(NO_STACK)
    address = settings.public()["redis_url"]
    try:
        with Redis.from_url(settings.redis_url, socket_timeout=ANSWER_TIMEOUT_S, driver_info=None) as client:
            info = {name: str(value) for name, value in client.info().items()}
    except RedisError as error:
        remedy = "run `points up`." if settings.embedded else "check address, password and rights."
        raise OperatorError(f"{address} does not answer: {error}.", remedy) from error
    if faults := list(redis_health.faults(info)):
        raise OperatorError(
            f"{address}: " + "; ".join(faults) + ".", "correct it; see docs/runbook.md, Real services."
        )
    return f"{address}, {redis_health.notes(info)}"


def _projection(settings: Settings | None) -> str:
    if settings is None:
        raise Skipped(NO_STACK)
    try:
        found = projections.look(settings)
    except OperatorError as error:
        raise Skipped(f"Kafka and Redis tell, and one does not answer: {error.message}") from error
    if found.todo:
        raise Warned(found.text, found.todo)
    return found.text


def _clocks(settings: Settings | None) -> str:
    from redis import RedisError

    if settings is None:
        raise Skipped(NO_STACK)
    principal = next((name for name in ("admin", "intake", "archive") if name in settings.credentials), None)
    if principal is None:
        raise Skipped("only admin and workers may ask the broker for its time")
    ahead_ms, silent = {"the broker's": clock.broker_ahead_ms(settings, principal)}, ""
    try:
        ahead_ms["Redis's"] = _redis_ahead_ms(settings)
    except RedisError as error:
        silent = f"Redis does not tell its time: {error}"
    told = [f"{clock.difference(-ms)} {whose}" for whose, ms in ahead_ms.items() if abs(ms) > CLOCKS_APART_MS]
    if told:
        raise OperatorError(
            f"This machine's clock is {' and '.join(told)}.",
            "set all clocks by NTP; see docs/runbook.md, clocks differ.",
        )
    if silent:
        raise Skipped(silent)
    return f"Kafka, Redis and this machine agree within {CLOCKS_APART_MS // 1000} s"


def _redis_ahead_ms(settings: Settings) -> int:
    from redis import Redis

    with Redis.from_url(settings.redis_url, socket_timeout=ANSWER_TIMEOUT_S) as client:
        client.ping()  # connects, so that what follows is short
        from_ms = clock.now_ms()
        seconds, microseconds = client.time()
        return clock.outside_ms(seconds * 1_000 + microseconds // 1_000, from_ms, clock.now_ms())


def _refused(settings: Settings | None) -> str:
    if settings is None:
        raise Skipped(NO_STACK)
    try:
        found = old_dead_letters(settings)
    except OperatorError as error:
        raise Skipped(f"the archive tells, and does not answer: {error.message}") from error
    if found:
        told = ", ".join(f"{app} {records}" for app, records in found.items())
        raise Warned(f"refused 20 days ago, and waiting: {told}", "see docs/runbook.md, refused records.")
    return "none waits for longer than 20 days"


def _clickhouse(settings: Settings | None) -> str:
    if settings is None:
        raise Skipped(NO_STACK)
    if settings.embedded:
        raise Skipped("chDB belongs to the archive worker; try `points query 'SELECT 1'` while it runs")
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import ClickHouseError

    address = settings.public()["clickhouse_dsn"]
    try:
        with clickhouse_connect.get_client(dsn=settings.clickhouse_dsn) as client:
            return f"{address}, version {client.server_version}"
    except ClickHouseError as error:
        raise OperatorError(f"{address} does not answer: {error}", "check address and password.") from error
