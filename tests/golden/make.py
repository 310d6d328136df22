"""`python -m tests.golden.make`: writes the golden ledger of the newest format anew.

Only for a format that is not frozen (docs/changes.md): of a frozen one the files stay as they are, for ever.
"""

from schemas.formats import NEWEST
from tests.golden import ledger, scenario
from tests.releases.release import PRESENT


def main() -> None:
    """Writes the files."""
    folder = ledger.FOLDER / f"format_{NEWEST}"
    golden = ledger.made(PRESENT, scenario.story().turns)
    ledger.write(folder, golden)
    print(f"{folder.relative_to(ledger.FOLDER.parents[1])}: {len(golden.records)} records")


if __name__ == "__main__":
    main()
