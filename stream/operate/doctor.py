"""Checks of everything a stack needs, each with what to do when it fails. They change nothing; to be told the
broker's time, one writes an empty record to topic `clock`, which nobody reads."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from schemas.topics import topic_specs
from stream import folder, stack_file
from stream.embedded import jars, kafka, keeper, ports, processes, redis
from stream.engine import redis_health
from stream.errors import OperatorError
from stream.operate.dead_letter_watch import old_dead_letters
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


class Warned(Exception):
    """All goes on, but an operator should know; its text says what, its second one what to do."""


class Skipped(Exception):
    """The check has no object here; its text says why."""


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
        ("python", _python),
        ("data folder", (lambda: _folder(home)) if local else _not_embedded),
        ("disk", lambda: _disk(home)),
        ("java", _java if local else _not_embedded),
        ("kafka jars", (lambda: _jars(home)) if local else _not_embedded),
        ("valkey-server", (lambda: str(redis.executable())) if local else _not_embedded),
        ("ports", (lambda: _ports(home)) if local else _not_embedded),
        ("keeper", (lambda: _keeper(home)) if local else _not_embedded),
        ("kafka", lambda: _kafka(settings)),
        ("topics", lambda: _topics(settings)),
        ("redis", lambda: _redis(settings)),
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


def _not_embedded() -> str:
    raise Skipped("the services are not embedded")


def _python() -> str:
    return f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"  # the CLI refused an older one


def _existing(path: Path) -> Path:
    """The nearest folder above `path` that is there already."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def _folder(home: Path) -> str:
    nearest = _existing(home)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise OperatorError(f"{nearest} is no folder you can write.", "set POINTS_HOME to one.")
    if nearest != home:
        return f"{home}, to be made by `points up`"
    if home.stat().st_mode & 0o077:
        raise OperatorError(f"{home} can be read by others.", f"run `chmod 700 {home}`.")
    return str(home)


def _disk(home: Path) -> str:
    free_bytes = shutil.disk_usage(_existing(home)).free
    if free_bytes < folder.FREE_BYTES_MIN:
        raise OperatorError(
            f"{free_bytes >> 20} MiB free: too little.", "free some space, or move POINTS_HOME."
        )
    return f"{free_bytes / 2**30:.1f} GiB free"


def _java() -> str:
    done = subprocess.run(
        [str(kafka.java()), "-version"], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        raise OperatorError(f"{kafka.java()} does not run: {done.stderr}", "run `make clean setup`.")
    return done.stderr.splitlines()[0]


def _jars(home: Path) -> str:
    cache = jars.cache_folder(home)
    missing = jars.missing_jars(home)
    return f"{missing} to be downloaded by the next `points up` to {cache}" if missing else f"all in {cache}"


def _ports(home: Path) -> str:
    stack = stack_file.read(home)
    if stack is None:
        raise Skipped("chosen by the first `points up`")
    running = {kafka.NAME: kafka.find(home)}
    foreign = [
        f"{name} {stack.ports[name]}"
        for name, process in running.items()
        if process is None and name in stack.ports and not ports.is_free(stack.ports[name])
    ]
    if foreign:
        return f"taken by another program: {', '.join(foreign)}; the next `points up` chooses others"
    return ", ".join(f"{name} {port}" for name, port in sorted(stack.ports.items()))


def _keeper(home: Path) -> str:
    if not any(service.find(home) for service in keeper.SERVICES.values()):
        raise Skipped("there is nothing to keep: no service runs")
    if processes.find(home, keeper.NAME) is None:
        raise OperatorError("The keeper does not run: nobody starts what dies again.", "run `points up`.")
    if told := keeper.words(keeper.told(home)):
        todo = "see docs/runbook.md, a service was started again."
        raise Warned("; ".join(told), todo)
    return f"keeps {', '.join(keeper.SERVICES)}"


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
