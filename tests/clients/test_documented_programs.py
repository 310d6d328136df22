"""The programs of docs/apps.md in Java, JavaScript and Go, run as apps: right as they stand, wrong without
what the page says is needed, and cured by sending the same reports with it."""

import json
from collections import Counter

import pytest

from tests.clients.conftest import PAGE, documented
from tests.clients.reports import assert_cured, reports, verdicts
from tests.docs.blocks import PAGES, fenced_blocks

pytestmark = pytest.mark.stack
LANGUAGES = ("java", "js", "go")
NO_KEY = {
    "java": ('"intake.metro", uid, report', '"intake.metro", report'),
    "js": ("key: JSON.parse(report).uid, ", ""),
    "go": ("Key: []byte(about.UID), ", ""),
}
CODECS = {
    "java": ('"compression.type", "zstd"', '"compression.type", "{}"', ("gzip", "snappy", "lz4")),
    "js": ("acks: -1,", "acks: -1, compression: CompressionTypes.{},", ("GZIP", "ZSTD")),
    "go": ("kgo.ZstdCompression()", "kgo.{}Compression()", ("Gzip", "Snappy", "Lz4")),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_documented_program_has_every_report_credited_once(language: str, app, account) -> None:
    sent = reports(f"{language}-documented")
    assert verdicts(sent, app(language, sent), account.shards) == {"credited": len(sent)}
    assert verdicts(sent, app(language, sent), account.shards) == {"duplicate": len(sent)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_record_without_its_key_is_misrouted_wherever_it_falls(language: str, app, account) -> None:
    sent = reports(f"{language}-no-key")
    before = verdicts(sent, app(language, sent, NO_KEY[language]), account.shards)
    assert_cured(before, verdicts(sent, app(language, sent), account.shards))


def test_another_key_than_the_uid_is_misrouted(app, account) -> None:
    sent = reports("js-other-key")
    other_key = ("JSON.parse(report).uid", "JSON.parse(report).report_id")
    before = verdicts(sent, app("js", sent, other_key), account.shards)
    assert_cured(before, verdicts(sent, app("js", sent), account.shards))


@pytest.mark.parametrize(
    ("language", "codec"),
    [(language, codec) for language, (*_, codecs) in CODECS.items() for codec in codecs],
)
def test_every_codec_is_read(language: str, codec: str, app, account) -> None:
    sent = reports(f"{language}-{codec}", 8)
    setting, form, _ = CODECS[language]
    outcomes = app(language, sent, (setting, form.format(codec)))
    assert verdicts(sent, outcomes, account.shards) == {"credited": len(sent)}


def test_kafkajs_hashes_by_murmur2_unless_told_to_be_as_before(app, account) -> None:
    named = "    createPartitioner: Partitioners.DefaultPartitioner,\n"
    sent = reports("js-default", 20)
    assert verdicts(sent, app("js", sent, (named, "")), account.shards) == {"credited": len(sent)}

    sent = reports("js-legacy")
    legacy = (named, named.replace("Default", "Legacy"))
    before = verdicts(sent, app("js", sent, legacy), account.shards)
    assert f"`LegacyPartitioner` {before['misrouted']} misrouted" in PAGE.read_text("utf-8")
    assert_cured(before, verdicts(sent, app("js", sent), account.shards))


def test_kafkajs_without_the_codec_reads_no_outcome_and_loses_none(run, command) -> None:
    sent = reports("js-no-codec", 8)
    no_codec = ("CompressionCodecs[CompressionTypes.ZSTD] = ", "const unused = ")
    unread = run(command("js", no_codec), sent)
    assert unread.returncode == 1
    assert "ZSTD compression not implemented" in unread.stderr

    read = run(command("js", ("if (due) console.log", "console.log")), sent)
    outcomes = [json.loads(line) for line in read.stdout.splitlines()]
    told = Counter(outcome["verdict"] for outcome in outcomes if "-js-no-codec-" in outcome["report_id"])
    assert told == {"credited": len(sent), "duplicate": len(sent)}


def test_every_program_of_the_pages_in_these_languages_is_run_here() -> None:
    found = [block for page in PAGES for block in fenced_blocks(page) if block.language in LANGUAGES]
    here = documented("java"), documented("js"), documented("go", "func main"), documented("go", "sarama")
    assert [block.text for block in found] == list(here)
