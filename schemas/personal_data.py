"""Shapes of personal data that no record may carry (管理办法 Art. 28, 30; PIPL Art. 51).

A resident ID number is 17 digits and a check character (GB 11643): division code, birth date, serial and the
ISO 7064 MOD 11-2 check; all are verified, so that an order number of 18 digits is not taken for one (a random
one passes by a chance below 1 in 5,000). A mobile number is recognised only as a whole value.
"""

import datetime as dt
import re
from collections.abc import Iterable

# Both begin with the first of 11 or more digits in a row (a phone number with a + before it). Such rows are
# looked for first, and most texts have none: a scan for either pattern itself costs 4 us a record.
_AS_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_MANY_ZEROS = b"0" * 11
_MANY_DIGITS = re.compile("[0-9]{11,}")
_ID_NUMBER = re.compile("[1-9][0-9]{16}[0-9Xx](?![0-9])")
_PHONE = re.compile(r"""(?<![^"\n])(?:\+?86)?1[3-9][0-9]{9}(?![^"\n])""")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"
# First two digits of a division code: provinces, municipalities, autonomous regions, Hong Kong to overseas.
_REGIONS = frozenset(
    [
        "11",
        "12",
        "13",
        "14",
        "15",
        "21",
        "22",
        "23",
        "31",
        "32",
        "33",
        "34",
        "35",
        "36",
        "37",
        "41",
        "42",
        "43",
        "44",
        "45",
        "46",
        "50",
        "51",
        "52",
        "53",
        "54",
        "61",
        "62",
        "63",
        "64",
        "65",
        "71",
        "81",
        "82",
        "83",
    ]
)


def is_id_number(text: str) -> bool:
    """Whether 18 characters are a resident ID number with valid region, date and check character."""
    if text[:2] not in _REGIONS:
        return False
    try:
        born = dt.date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(w * int(c) for w, c in zip(_WEIGHTS, text[:17], strict=True))
    return born.year >= 1900 and _CHECK[total % 11] == text[17].upper()


def holds_personal_data(texts: Iterable[str]) -> bool:
    """Whether any text holds an ID number, or is (or quotes) a mobile number as a whole value."""
    joined = "\n".join(texts)
    if _MANY_ZEROS not in joined.encode().translate(_AS_ZEROS):
        return False
    for digits in _MANY_DIGITS.finditer(joined):
        start = digits.start()
        if _PHONE.match(joined, start - joined.endswith("+", 0, start)):
            return True
        number = _ID_NUMBER.match(joined, start)
        if number and is_id_number(number.group()):
            return True
    return False
