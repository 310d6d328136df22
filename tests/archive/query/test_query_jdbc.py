"""ClickHouse's JDBC drivers, the oldest and the newest in use, as DBeaver, Metabase and Tableau use them."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from stream import folder
from tests.clients import toolchains

PROGRAM = Path(__file__).parent / "jdbc" / "App.java"
SLF4J = "2.0.17"
SHA256 = {
    SLF4J: "7b751d952061954d5abfed7181c1f645d336091b679891591d63329c622eb832",
    "0.4.6": "ccd7dc983d7ed4ee1e1a4ad12a91f5912718ae15f4b6078efd66862f758ff7e9",
    "0.9.6": "65e37f702911abc38a9e904f7f75054d09e33a1b23d79087cd6af2ae506f7ab4",
}
SAID = """\
select a 9007199254740993 1.500 1725667200250 null 7
large {large}
prepared credited 100
product ClickHouse true
tables true true
columns app,credited,day,people,points_milli,records,reduction_mg
database true
types true
kinds of tables true
max rows 5
error true
"""


def jars(version: str, work: Path) -> list[Path]:
    """The driver with what it needs, and the interface of its log, fetched once per user."""
    from jgo.maven import MavenContext

    repository, found = toolchains.cache("jdbc", work), []
    with folder.locked(repository / ".lock"):
        maven = MavenContext(repo_cache=repository)
        for group, name, of, kind in (
            ("com.clickhouse", "clickhouse-jdbc", version, "all"),
            ("org.slf4j", "slf4j-api", SLF4J, ""),
        ):
            jar = Path(maven.project(group, name).at_version(of).artifact(classifier=kind).resolve())
            assert hashlib.sha256(jar.read_bytes()).hexdigest() == SHA256[of], f"{jar.name} is another"
            found.append(jar)
    return found


@pytest.mark.parametrize("version", ["0.4.6", "0.9.6"])
def test_jdbc_selects_prepares_lists_and_limits(version, endpoint, rows, tmp_path):
    command = toolchains.java(PROGRAM.read_text(), tmp_path, jars(version, tmp_path))
    url = f"jdbc:clickhouse://{endpoint.host}:{endpoint.port}/{endpoint.database}"
    done = subprocess.run(
        [*command, url, endpoint.user, endpoint.password, str(rows.shard)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TZ": "Asia/Shanghai"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    large = sum(range(200_000)) + sum(len(str(n)) for n in range(200_000))
    assert done.stdout == SAID.format(large=large), done.stderr[-2000:]
