"""The pages, and what stands in them: fenced blocks, links, sections."""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^(\s*)```(\S*)[ \t]*\n(.*?)^\s*```[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Fenced(NamedTuple):
    """One fenced block; `sample` is the output that the page shows for it: a text block that follows it with
    at most one line between."""

    page: Path
    line: int
    language: str
    text: str
    sample: str = ""

    @property
    def place(self) -> str:
        """Page and line, to be found again."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def fenced_blocks(page: Path) -> list[Fenced]:
    """All blocks of a page, in order."""
    content = page.read_text("utf-8")
    found = list(_FENCE.finditer(content))
    blocks = []
    for match, after in itertools.zip_longest(found, found[1:]):
        line = content.count("\n", 0, match.start()) + 1
        sample = ""
        if after and after[2] == "text" and content.count("\n", match.end(), after.start()) <= 4:
            sample = after[3]
        indent = match[1].strip("\n")
        text = "".join(row.removeprefix(indent) for row in match[3].splitlines(keepends=True))
        blocks.append(Fenced(page, line, match[2], text, sample))
    return blocks


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def links(page: Path) -> list[str]:
    """The targets of all links of a page, in order."""
    return _LINK.findall(prose(page))


def sections(page: Path) -> list[str]:
    """The headings of a page, of whatever level."""
    return [title.strip() for title in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)]


def anchor(title: str) -> str:
    """The fragment under which a heading is reached."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def header_of(table: str) -> list[str]:
    """The column names of the first table in an output of `points query`."""
    rows = [line for line in table.splitlines() if line.lstrip().startswith("┃")]
    return [name.strip() for name in rows[0].strip().strip("┃").split("┃")] if rows else []
