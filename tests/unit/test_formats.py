"""Rows of an older format are read as the newest format's, step by step; each step once, in order."""

import pyarrow as pa
import pytest

from schemas import formats
from schemas.formats import FORMATS, Format, upcast


def later(number: int) -> Format:
    """A format that adds a column with its number."""

    def step(rows: pa.RecordBatch) -> pa.RecordBatch:
        return rows.append_column(f"of_{number}", pa.array([number] * rows.num_rows))

    return Format({}, step)


@pytest.mark.parametrize(("number", "added"), [(1, ["of_2", "of_3"]), (2, ["of_3"]), (3, [])])
def test_older_rows_take_each_step_to_the_newest_format(
    monkeypatch: pytest.MonkeyPatch, number: int, added: list[str]
) -> None:
    monkeypatch.setattr(formats, "FORMATS", {1: FORMATS[1], 2: later(2), 3: later(3)})
    monkeypatch.setattr(formats, "NEWEST", 3)
    rows = pa.RecordBatch.from_pydict({"uid": ["a", "b"]})
    assert upcast(rows, number).schema.names == ["uid", *added]
