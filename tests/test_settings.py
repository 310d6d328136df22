"""Settings: what the environment may say, what contradicts what, and that secrets stay secret."""

from pathlib import Path

import msgspec
import pytest

from stream import settings as settings_module
from stream import stack_file
from stream.errors import OperatorError
from stream.settings import Settings
from stream.stack_file import StackFile

SECRETS = {
    "kafka_controller_password": "secret-controller",
    "kafka_passwords": {"admin": "secret-admin", "intake": "secret-intake", "app-metro": "secret-metro"},
    "redis_password": "secret-redis",
    "query_token": "secret-query",
}
REAL = {
    "POINTS_KAFKA_BOOTSTRAP": "k1:9092,k2:9092",
    "POINTS_REDIS_URL": "rediss://:secret-redis@cache:6379/0",
    "POINTS_CLICKHOUSE_DSN": "clickhouse://points:secret-clickhouse@ch:8123/points",
    "POINTS_KAFKA_PASSWORD_INTAKE": "secret-intake",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder whose stack was made, and does not run."""
    stack = StackFile(
        platform_id="test",
        shards=4,
        simulated_clock=True,
        kafka_cluster_id="c",
        ports={"kafka": 20001, "kafka-apps": 20005, "kafka-controller": 20002, "query": 20004},
        **SECRETS,
    )
    stack_file.write(tmp_path, stack)
    return tmp_path


def load_error(env: dict[str, str], home: Path) -> str:
    with pytest.raises(OperatorError) as caught:
        settings_module.load(env, home)
    assert caught.value.todo
    return caught.value.message


def test_embedded_settings_come_from_the_stack(home: Path) -> None:
    settings = settings_module.load({}, home)
    assert settings.embedded
    assert settings.clickhouse_dsn == f"chdb://{home}/clickhouse"
    assert settings.kafka_client("intake") == {
        "bootstrap_servers": "127.0.0.1:20001",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "intake",
        "sasl_plain_password": "secret-intake",
    }
    assert settings.librdkafka("app-metro")["sasl.password"] == "secret-metro"


def test_environment_wins_for_passwords(home: Path) -> None:
    settings = settings_module.load({"POINTS_KAFKA_PASSWORD_APP_METRO": "rotated"}, home)
    assert settings.password("app-metro") == "rotated"


def test_home_comes_from_the_environment(home: Path) -> None:
    assert settings_module.load({"POINTS_HOME": str(home)}).home == home
    assert settings_module.home_folder({}) == Path(".points").absolute()


def test_real_services(tmp_path: Path) -> None:
    settings = settings_module.load(REAL, tmp_path)
    assert not settings.embedded
    assert settings.query_url is None
    assert (settings.kafka_security, settings.kafka_sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
    assert settings.kafka_client("intake")["ssl_context"]
    with pytest.raises(OperatorError, match="POINTS_KAFKA_PASSWORD_APP_METRO"):
        settings.password("app-metro")


def test_no_stack_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        settings_module.load({}, tmp_path)
    assert "points up" in caught.value.todo


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POINTS_SHARDS", "8"),
        ("POINTS_PLATFORM_ID", "other"),
        ("POINTS_SIMULATED_CLOCK", "0"),
    ],
)
def test_what_is_fixed_for_life_cannot_be_set_otherwise(home: Path, name: str, value: str) -> None:
    assert name in load_error({name: value}, home)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POINTS_SHARDS", "0"),
        ("POINTS_SHARDS", "four"),
        ("POINTS_SHARDS", "-1"),
        ("POINTS_SHARDS", "٤"),
        ("POINTS_PLATFORM_ID", "Shenzhen Demo"),
        ("POINTS_SIMULATED_CLOCK", "yes"),
        ("POINTS_KAFKA_SECURITY", "PLAINTEXT"),
        ("POINTS_KAFKA_SASL_MECHANISM", "PLAIN"),
        ("POINTS_KAFKA_BOOTSTRAP", "kafka"),
        ("POINTS_KAFKA_BOOTSTRAP", "http://kafka:9092"),
        ("POINTS_KAFKA_CA_FILE", "/nowhere/ca.pem"),
        ("POINTS_REDIS_URL", "redis://cache:6379/0"),
        ("POINTS_REDIS_URL", "http://:secret-redis@cache"),
        ("POINTS_CLICKHOUSE_DSN", "chdb:///var/lib"),
    ],
)
def test_a_broken_rule_names_variable_and_value(tmp_path: Path, name: str, value: str) -> None:
    message = load_error({**REAL, name: value}, tmp_path)
    assert name in message
    assert "must be" in message
    assert "secret-" not in message


def test_half_a_platform_is_refused(tmp_path: Path) -> None:
    message = load_error({"POINTS_REDIS_URL": REAL["POINTS_REDIS_URL"]}, tmp_path)
    assert "POINTS_KAFKA_BOOTSTRAP" in message
    assert "POINTS_CLICKHOUSE_DSN" in message


def test_real_clock_cannot_be_moved(tmp_path: Path) -> None:
    assert "POINTS_SIMULATED_CLOCK" in load_error({**REAL, "POINTS_SIMULATED_CLOCK": "1"}, tmp_path)


def test_real_kafka_needs_a_password(tmp_path: Path) -> None:
    env = {name: value for name, value in REAL.items() if "PASSWORD" not in name}
    assert "password" in load_error(env, tmp_path)


def test_misspelt_variable_names_the_nearest(home: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        settings_module.load({"POINTS_SHRADS": "4"}, home)
    assert "did you mean POINTS_SHARDS?" in caught.value.todo


def test_a_path_that_kafka_would_misread_is_refused(tmp_path: Path) -> None:
    assert "POINTS_HOME" in load_error({"POINTS_HOME": str(tmp_path / "a,b")}, None)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"shards": 4}', b"\xff\xfe"])
def test_damaged_stack_file_says_what_to_do(home: Path, content: bytes) -> None:
    stack_file.stack_path(home).write_bytes(content)
    assert "stack.json is damaged" in load_error({}, home)


def test_stack_file_is_for_its_owner_only(home: Path) -> None:
    assert stack_file.stack_path(home).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == ["stack.json"]


def shown(settings: Settings) -> str:
    return repr(settings) + str(settings) + msgspec.json.encode(settings.public()).decode()


def test_no_secret_is_shown(home: Path) -> None:
    assert "secret-" not in shown(settings_module.load({}, home))
    assert "secret-" not in shown(settings_module.load(REAL, home))


def test_every_principal_is_named_without_its_password(home: Path) -> None:
    public = settings_module.load({}, home).public()
    assert public["kafka_principals"] == ["admin", "app-metro", "intake"]


def test_settings_cannot_be_changed(home: Path) -> None:
    with pytest.raises(AttributeError):
        settings_module.load({}, home).shards = 5
