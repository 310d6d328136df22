"""docker-compose.yml is parsed, not run: what must hold of it whatever Docker does."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream import settings as settings_module
from stream.embedded import kafka_config
from stream.embedded.redis import WORKER_COMMANDS, WORKER_KEYS
from stream.engine import redis_health
from stream.operate.platform.setup import PRINCIPALS
from tests.redis.servers import server

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
WORKERS = ("setup", "intake", "archive")
LONG_RUNNING = sorted(set(SERVICES) - {"setup"})
# ${NAME} or ${NAME:?message}; $$NAME is the container's own variable.
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)(:\?[^}]*)?\}")


def example_names() -> list[str]:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    return [line.partition("=")[0] for line in lines if line and not line.startswith("#")]


def interpolated(value: str) -> str:
    return VARIABLE.sub("4", value)


def test_services_are_those_of_the_design() -> None:
    assert set(SERVICES) == {"kafka", "redis", "clickhouse", *WORKERS}


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_every_service_that_stays_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "start_period", "retries"} <= set(check)
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_to_a_release(name: str) -> None:
    assert re.search(r":\d+\.\d+\.\d+", SERVICES[name]["image"])


def test_worker_image_is_built_from_a_pinned_base_with_the_locked_packages() -> None:
    dockerfile = SERVICES["setup"]["build"]["dockerfile_inline"]
    assert re.search(r"^FROM python:3\.11\.\d+-slim", dockerfile)
    uv = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert f"uv=={uv.group(1)}" in dockerfile
    assert "uv sync --frozen" in dockerfile
    assert "COPY . " not in dockerfile, "a data folder or .env would become part of the image"
    for source in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / part).exists() for part in source.split())


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert "network_mode" not in SERVICES[name]
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", ["kafka", "redis", "clickhouse"])
def test_data_lives_in_named_volumes(name: str) -> None:
    assert [volume.partition(":")[0] for volume in SERVICES[name]["volumes"]] == [name]
    assert name in COMPOSE["volumes"]


def test_every_variable_is_required_and_explained_and_no_more() -> None:
    used = {match.group(1) for match in VARIABLE.finditer(TEXT)}
    required = {match.group(1) for match in VARIABLE.finditer(TEXT) if match.group(2)}
    assert used == required == set(example_names())


def test_no_secret_is_committed() -> None:
    assert all(
        line.endswith("=")
        for line in (ROOT / ".env.example").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    for line in TEXT.splitlines():
        if re.search(r"password\s*[=:]|requirepass", line, re.IGNORECASE):
            assert "${" in line or "$$" in line, line


@pytest.mark.parametrize("name", WORKERS)
def test_workers_settings_are_accepted(name: str) -> None:
    env = {key: interpolated(value) for key, value in SERVICES[name]["environment"].items()}
    settings = settings_module.load(env)
    assert not settings.embedded
    assert settings.kafka_bootstrap == "kafka:9092"


def test_each_worker_has_its_own_password_only() -> None:
    for name in ("intake", "archive"):
        env = {key: interpolated(value) for key, value in SERVICES[name]["environment"].items()}
        assert list(settings_module.load(env).credentials) == [name]


def test_set_up_has_the_passwords_of_the_platform_and_of_no_app() -> None:
    env = {key: interpolated(value) for key, value in SERVICES["setup"]["environment"].items()}
    assert set(settings_module.load(env).credentials) == set(PRINCIPALS)


def test_workers_wait_for_the_set_up() -> None:
    for name in ("intake", "archive"):
        waits = SERVICES[name]["depends_on"]
        assert waits["setup"] == {"condition": "service_completed_successfully"}
        assert set(waits) == {"setup", "kafka", "redis", "clickhouse"}


def properties_of(config: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in COMPOSE["configs"][config]["content"].splitlines())


def test_kafka_has_the_limits_of_the_embedded_one() -> None:
    properties = properties_of("kafka_server")
    own = {"listener.name.apps.max.connections": "listener.name.outside.max.connections"}
    by_address = ("max.connections.per.ip", "max.connections.per.ip.overrides")
    for name, value in kafka_config.LIMITS.items():
        if name not in by_address:  # all apps of the machine come from the bridge's address
            assert properties[own.get(name, name)] == str(value)
    heap_mib = (
        int(re.search(r"-Xmx(\d+)g", SERVICES["kafka"]["environment"]["KAFKA_HEAP_OPTS"]).group(1)) << 10
    )
    assert heap_mib << 19 > kafka_config.QUEUED_BYTES_MAX + kafka_config.REQUEST_BYTES_MAX, "half the heap"
    assert "ExitOnOutOfMemoryError" in SERVICES["kafka"]["environment"]["KAFKA_OPTS"]


def test_kafkas_logs_are_bounded() -> None:
    assert SERVICES["kafka"]["logging"]["options"].keys() == {"max-size", "max-file"}
    properties = properties_of("kafka_log4j2")
    for appender in ("stdout", "writes"):
        kind = properties[f"appender.{appender}.type"]
        assert kind == "Console" or properties[f"appender.{appender}.policies.size.size"]


def test_kafka_lets_nobody_in_without_log_in_and_right() -> None:
    properties = properties_of("kafka_server")
    protocols = dict(part.split(":") for part in properties["listener.security.protocol.map"].split(","))
    assert set(protocols.values()) == {"SASL_PLAINTEXT"}
    assert properties["authorizer.class.name"].endswith("StandardAuthorizer")
    assert properties["allow.everyone.if.no.acl.found"] == "false"
    assert properties["auto.create.topics.enable"] == "false"


def test_redis_keeps_everything() -> None:
    lines = COMPOSE["configs"]["redis"]["content"].splitlines()
    assert {"appendonly yes", "maxmemory-policy noeviction", "set-max-intset-entries 8192"} <= set(lines)


def test_redis_starts_with_its_configuration_and_its_worker_has_the_rights_of_the_embedded_one() -> None:
    content = interpolated(COMPOSE["configs"]["redis"]["content"])
    with server("valkey", "port 0\nunixsocket redis.sock\n" + content, "admin:4@") as made:
        users = {user.split()[1]: user for user in made.admin.acl_list()}
        rights = [*(f"+{command}" for command in WORKER_COMMANDS), *(f"~{keys}" for keys in WORKER_KEYS)]
        granted = [word for word in users["worker"].split() if word[0] in "+~"]
        assert sorted(granted) == sorted(rights)
        assert " off " in users["default"]
        assert list(redis_health.faults({k: str(v) for k, v in made.admin.info().items()})) == []


def test_a_filled_in_env_file_cannot_be_committed() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
