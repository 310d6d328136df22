"""Every setting of a process, read once from the environment and the embedded stack's file."""

import os
import re
import ssl
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from stream import stack_file
from stream.errors import OperatorError

PASSWORD_PREFIX = "POINTS_KAFKA_PASSWORD_"  # noqa: S105 - the name of a variable
CLIENT_ID_PREFIX = "points-"  # of a worker's Kafka client; its release and its projection follow
TEST_PREFIX = "POINTS_TEST_"
VARIABLES = {
    "POINTS_HOME": "data folder of the embedded stack and of chDB; default ./.points",
    "POINTS_PLATFORM_ID": "name of the platform, part of its genesis block; default shenzhen-demo",
    "POINTS_SHARDS": "partitions of every topic, fixed for life; default 4",
    "POINTS_SIMULATED_CLOCK": "1 lets a clock command move the time; embedded stack only; default 0",
    "POINTS_KAFKA_BOOTSTRAP": "host:port,... of a real Kafka; unset means the embedded stack",
    "POINTS_KAFKA_APPS_BOOTSTRAP": "host:port,... where apps reach that Kafka; default: the same",
    "POINTS_KAFKA_SECURITY": "SASL_SSL (default) or SASL_PLAINTEXT",
    "POINTS_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512 (default) or SCRAM-SHA-256",
    "POINTS_KAFKA_CA_FILE": "certificate authority of the brokers, if it is a private one",
    "POINTS_REDIS_URL": "redis:// or rediss:// URL with the password",
    "POINTS_CLICKHOUSE_DSN": "clickhouse://user:password@host:8123/database",
    "POINTS_METRICS_ADDRESS": "host:port of a worker's /metrics; default 127.0.0.1:0, a free port",
}
PUBLIC = (
    *("home", "platform_id", "shards", "simulated_clock", "kafka_bootstrap", "kafka_apps_bootstrap"),
    *("kafka_security", "kafka_sasl_mechanism", "kafka_ca_file", "query_url"),
)
REAL_SERVICES = ("POINTS_KAFKA_BOOTSTRAP", "POINTS_REDIS_URL", "POINTS_CLICKHOUSE_DSN")


class Settings(msgspec.Struct, frozen=True):
    """The settings of one process. Neither `repr` nor `public` shows a secret."""

    home: Path
    platform_id: str
    shards: int
    simulated_clock: bool
    kafka_bootstrap: str
    kafka_apps_bootstrap: str
    kafka_security: str
    kafka_sasl_mechanism: str
    kafka_ca_file: str | None
    credentials: dict[str, str]
    redis_url: str
    clickhouse_dsn: str
    query_url: str | None  # None with a real ClickHouse, which answers queries itself
    query_token: str | None

    @property
    def embedded(self) -> bool:
        """Whether Kafka, Redis and ClickHouse are those of the data folder."""
        return self.clickhouse_dsn.startswith("chdb:")

    def password(self, principal: str) -> str:
        """The Kafka password of `principal`; OperatorError if this process was not given it."""
        try:
            return self.credentials[principal]
        except KeyError:
            remedy = f"set {PASSWORD_PREFIX}{principal.upper().replace('-', '_')}."
            if self.embedded and principal.startswith("app-"):
                remedy += " The stack keeps no app's: `points app rotate` makes a new one."
            raise OperatorError(f"There is no Kafka password for {principal}.", remedy) from None

    def with_password(self, principal: str, password: str) -> "Settings":
        """These settings, with the Kafka password of one more principal."""
        return msgspec.structs.replace(self, credentials={**self.credentials, principal: password})

    def bootstrap_of(self, principal: str) -> str:
        """Where `principal` reaches Kafka: apps have a listener of their own."""
        return self.kafka_apps_bootstrap if principal.startswith("app-") else self.kafka_bootstrap

    def kafka_client(self, principal: str) -> dict[str, Any]:
        """Keyword arguments with which an aiokafka client connects as `principal`."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_of(principal),
            "security_protocol": self.kafka_security,
            "sasl_mechanism": self.kafka_sasl_mechanism,
            "sasl_plain_username": principal,
            "sasl_plain_password": self.password(principal),
        }
        if self.kafka_security == "SASL_SSL":
            arguments["ssl_context"] = ssl.create_default_context(cafile=self.kafka_ca_file)
        return arguments

    def librdkafka(self, principal: str) -> dict[str, Any]:
        """Configuration with which a confluent-kafka client connects as `principal`.

        A producer adds `partitioner=murmur2_random`, as librdkafka's default is not Kafka's.
        """
        configuration: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_of(principal),
            "security.protocol": self.kafka_security,
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": principal,
            "sasl.password": self.password(principal),
        }
        if self.kafka_ca_file:
            configuration["ssl.ca.location"] = self.kafka_ca_file
        return configuration

    def public(self) -> dict[str, Any]:
        """All settings as plain values, with every secret left out."""
        shown = {name: getattr(self, name) for name in PUBLIC}
        shown |= {"home": str(self.home), "kafka_principals": sorted(self.credentials)}
        return shown | {
            name: _without_password(getattr(self, name)) for name in ("redis_url", "clickhouse_dsn")
        }

    def __repr__(self) -> str:
        return f"Settings({self.public()})"


def load(env: Mapping[str, str] = os.environ, home: Path | None = None) -> Settings:
    """The settings of this process: the environment first, then `<home>/stack.json`.

    Raises OperatorError, naming the variable and its rule, if they are incomplete or contradict each other.
    """
    refuse_unknown_variables(env)
    home = home_folder({**env, "POINTS_HOME": str(home)} if home else env)
    if is_real(env):
        return _real(env, home)
    stack = stack_file.read(home)
    if stack is None:
        raise OperatorError(
            f"There is no stack in {home}.",
            "run `points up`, or set POINTS_HOME to the folder of a stack, "
            "or point " + ", ".join(REAL_SERVICES) + " at real services.",
        )
    return from_stack(stack, home, env)


def home_folder(env: Mapping[str, str]) -> Path:
    """The data folder that the environment names."""
    home = Path(env.get("POINTS_HOME") or ".points").absolute()
    if not re.fullmatch(r"[\w ./+@=-]+", str(home)):
        # Kafka's list of folders, a Java class path and a DSN each give other characters a meaning.
        raise _rule("POINTS_HOME", str(home), "a path of letters, digits, blanks and ./+@=_- only")
    return home


def is_real(env: Mapping[str, str]) -> bool:
    """Whether the environment points at real services; all three, because half a platform is a mistake."""
    given = [name for name in REAL_SERVICES if env.get(name)]
    missing = [name for name in REAL_SERVICES if not env.get(name)]
    if given and missing:
        raise OperatorError(
            f"{' and '.join(given)} set, but not {' and '.join(missing)}: "
            "Kafka, Redis and ClickHouse are all real, or all embedded.",
            f"set {' and '.join(missing)}, or unset {' and '.join(given)}.",
        )
    return bool(given)


def from_stack(stack: stack_file.StackFile, home: Path, env: Mapping[str, str]) -> Settings:
    """The settings of the embedded stack in `home`; what is fixed for life must not be set otherwise."""
    for name, fixed, wanted in (
        ("POINTS_PLATFORM_ID", stack.platform_id, platform_id(env, stack.platform_id)),
        ("POINTS_SHARDS", stack.shards, shards(env, stack.shards)),
        ("POINTS_SIMULATED_CLOCK", stack.simulated_clock, simulated_clock(env, stack.simulated_clock)),
    ):
        if fixed != wanted:
            raise OperatorError(
                f"{name} says {wanted}, but the stack in {home} was made with {fixed}, for life.",
                f"unset {name}, or set POINTS_HOME to a new folder for another platform.",
            )
    return Settings(
        home=home,
        platform_id=stack.platform_id,
        shards=stack.shards,
        simulated_clock=stack.simulated_clock,
        kafka_bootstrap=f"127.0.0.1:{stack.ports['kafka']}",
        kafka_apps_bootstrap=f"127.0.0.1:{stack.ports['kafka-apps']}",
        kafka_security="SASL_PLAINTEXT",
        kafka_sasl_mechanism="SCRAM-SHA-256",
        kafka_ca_file=None,
        credentials={**stack.kafka_passwords, **_passwords(env)},
        redis_url=stack_file.redis_url(home, stack, stack_file.REDIS_WORKER, stack.redis_password),
        clickhouse_dsn=f"chdb://{home}/clickhouse",
        query_url=f"http://127.0.0.1:{stack.ports['query']}",
        query_token=stack.query_token,
    )


def platform_id(env: Mapping[str, str], default: str = "shenzhen-demo") -> str:
    """The platform's name: it becomes part of the genesis block, so it has one spelling."""
    value = env.get("POINTS_PLATFORM_ID") or default
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", value):
        raise _rule("POINTS_PLATFORM_ID", value, "1 to 63 small letters, digits and hyphens")
    return value


def shards(env: Mapping[str, str], default: int = 4) -> int:
    """The number of partitions of every topic."""
    value = env.get("POINTS_SHARDS") or str(default)
    if not value.isascii() or not value.isdecimal() or not 1 <= int(value) <= 1024:
        raise _rule("POINTS_SHARDS", value, "a whole number from 1 to 1024")
    return int(value)


def simulated_clock(env: Mapping[str, str], default: bool = False) -> bool:
    """Whether the platform's genesis block shall allow its clock to be moved."""
    return _one_of(env, "POINTS_SIMULATED_CLOCK", ("0", "1"), str(int(default))) == "1"


def refuse_unknown_variables(env: Mapping[str, str]) -> None:
    """A misspelt variable would be a silent default; refuse it and name the nearest."""
    for name in sorted(env):
        known = name in VARIABLES or name.startswith((PASSWORD_PREFIX, TEST_PREFIX))
        if name.startswith("POINTS_") and not known:
            near = get_close_matches(name, VARIABLES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise OperatorError(
                f"{name} is no setting.",
                f"{hint}known are " + ", ".join(VARIABLES) + f", {PASSWORD_PREFIX}<NAME>.",
            )


def _real(env: Mapping[str, str], home: Path) -> Settings:
    if simulated_clock(env):
        raise OperatorError(
            "POINTS_SIMULATED_CLOCK=1 with POINTS_KAFKA_BOOTSTRAP: a real platform's clock cannot be moved.",
            "unset POINTS_SIMULATED_CLOCK, or use the embedded stack.",
        )
    bootstrap = _addresses(env, "POINTS_KAFKA_BOOTSTRAP")
    credentials = _passwords(env)
    if not credentials:
        raise OperatorError(
            "POINTS_KAFKA_BOOTSTRAP is set without any Kafka password.",
            f"set {PASSWORD_PREFIX}INTAKE for the intake worker, {PASSWORD_PREFIX}ARCHIVE for the archive's.",
        )
    ca_file = env.get("POINTS_KAFKA_CA_FILE") or None
    if ca_file and not Path(ca_file).is_file():
        raise _rule("POINTS_KAFKA_CA_FILE", ca_file, "an existing file of certificates")
    return Settings(
        home=home,
        platform_id=platform_id(env),
        shards=shards(env),
        simulated_clock=False,
        kafka_bootstrap=bootstrap,
        kafka_apps_bootstrap=_addresses(env, "POINTS_KAFKA_APPS_BOOTSTRAP", bootstrap),
        kafka_security=_one_of(env, "POINTS_KAFKA_SECURITY", ("SASL_SSL", "SASL_PLAINTEXT"), "SASL_SSL"),
        kafka_sasl_mechanism=_one_of(
            env, "POINTS_KAFKA_SASL_MECHANISM", ("SCRAM-SHA-512", "SCRAM-SHA-256"), "SCRAM-SHA-512"
        ),
        kafka_ca_file=ca_file,
        credentials=credentials,
        redis_url=_url_with_password(env, "POINTS_REDIS_URL", ("redis", "rediss")),
        clickhouse_dsn=_url_with_password(env, "POINTS_CLICKHOUSE_DSN", ("clickhouse",)),
        query_url=None,
        query_token=None,
    )


def _passwords(env: Mapping[str, str]) -> dict[str, str]:
    """Principals' passwords by name: POINTS_KAFKA_PASSWORD_APP_METRO is that of `app-metro`."""
    return {
        name.removeprefix(PASSWORD_PREFIX).lower().replace("_", "-"): value
        for name, value in env.items()
        if name.startswith(PASSWORD_PREFIX) and value
    }


def _addresses(env: Mapping[str, str], name: str, default: str = "") -> str:
    value = env.get(name) or default
    if not all(re.fullmatch(r"[^\s:/]+:[0-9]{1,5}", address) for address in value.split(",")):
        raise _rule(name, value, "host:port, several separated by commas")
    return value


def _one_of(env: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = env.get(name) or default
    if value not in allowed:
        raise _rule(name, value, " or ".join(allowed))
    return value


def _url_with_password(env: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str:
    parts = urlsplit(env[name])
    if parts.scheme not in schemes or not parts.hostname or not parts.password:
        rule = f"{schemes[0]}://user:password@host:port/database, with a password"
        raise _rule(name, _without_password(env[name]), rule)
    return env[name]


def _without_password(url: str) -> str:
    return re.sub(r"://([^:/@]*):.*@", r"://\1:***@", url)


def _rule(name: str, value: str, rule: str) -> OperatorError:
    return OperatorError(f"{name} is {value!r}, but must be {rule}.", f"correct {name} and start again.")
