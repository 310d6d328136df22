"""docs/changes.md: this release has its entry, and each entry says what it asks of an operator."""

import re
from importlib.metadata import version

from schemas.block import RELEASE
from schemas.formats import FORMATS
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "changes.md").read_text("utf-8")
BRINGS = re.compile(r"(New format, rebuild|New format|Rebuild|Neither)\.")


def entries() -> dict[str, str]:
    """The text of each release's entry, the newest first."""
    parts = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_this_release_has_the_first_entry() -> None:
    assert next(iter(entries())) == RELEASE
    assert version("points").removesuffix(".0") == RELEASE, "pyproject.toml has another version"


def test_each_entry_says_first_whether_it_brings_a_format_or_a_rebuild() -> None:
    for release, text in entries().items():
        assert BRINGS.match(text.strip()), release


def test_every_format_that_is_read_was_brought_by_a_release_and_has_a_golden_ledger() -> None:
    for number in FORMATS:
        assert any(f"Format {number}" in text for text in entries().values()), number
        assert (ROOT / "tests" / "golden" / f"format_{number}").is_dir(), number
