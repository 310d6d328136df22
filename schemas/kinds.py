"""The closed list of kinds of row: what spoke, or what the platform did by itself.

Codes are stored in the ledger for ever.
"""

from enum import IntEnum


class Kind(IntEnum):
    """Codes of column `kind`; the name is what apps and analysts see."""

    NONE = 0  # a record that could not be read far enough to say
    REPORT = 1
    # The platform's own rows, which belong to no record.
    GENESIS = 20
    EXPIRY = 21
    # Commands, from topic `commands` alone.
    APP = 40
    CLOCK = 41
    ADOPT = 42
    REPLAY = 43
    DISMISS = 44


NAMES: dict[int, str] = {int(kind): "" if kind is Kind.NONE else kind.name.lower() for kind in Kind}
