"""Small files of taps, in the data set's own form."""

from collections.abc import Callable
from pathlib import Path

import pytest

HEADER = "card_no,deal_date,deal_type,deal_money,deal_value,equ_no,company_name,station"


@pytest.fixture
def taps_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows below the header into a file and returns its path."""

    def write(*rows: str, header: str = HEADER) -> Path:
        path = tmp_path / "taps.csv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    return write
