"""Shapes of personal data that no record may carry (管理办法 Art. 28, 30; PIPL Art. 51).

A resident ID number is 17 digits and a check character (GB 11643): division code, birth date, serial and the
ISO 7064 MOD 11-2 check; all are verified, so it is looked for anywhere and in any grouping: of random numbers
of 18 digits one in 50,000 passes. Whoever reports was born before the regulation; so a number made of a
division code, the behaviour's day and a serial is never taken for one.

A mobile number has no check digit: 7 of 100 numbers of 11 digits look like one. It is recognised only as a
whole value, also behind a date, in one piece or as people write it: 138 0013 8000.
"""

import datetime as dt
import re
from collections.abc import Iterable

import msgspec

_BORN_BEFORE = 2022  # the regulation is in force from 2022-08-18, and no behaviour before it is taken
_BLANK = r"[^\S\n]"
_SEPARATOR = rf"{_BLANK}*+[._:/-]?+{_BLANK}*+"
_BEFORE_PHONE = rf"(?:[0-9]{{8}}[._:/-])?(?:tel:)?[(+]*+(?:(?:00)?86\)?{_SEPARATOR})?"  # date, country
_GAP = rf"(?=\D){_SEPARATOR}"
_NUMBER = rf"1[3-9][0-9](?:[0-9]{{8}}|{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}})(?:\.0+)?"
# A whole line; the spreadsheet's 13800138000.0, too.
_PHONE = re.compile(rf"^{_BLANK}*+{_BEFORE_PHONE}{_NUMBER}{_BLANK}*+$", re.M | re.I)
_ID_NUMBER = re.compile(rf"(?<![0-9])(?=([1-9](?:{_SEPARATOR}[0-9]){{16}}{_SEPARATOR}[0-9Xx])(?![0-9]))")
_NO_ID_CHARACTER = re.compile("[^0-9Xx]")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"
# First two digits of a division code: provinces, municipalities, autonomous regions, Hong Kong to overseas.
_REGIONS = (11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46)
_REGIONS += (50, 51, 52, 53, 54, 61, 62, 63, 64, 65, 71, 81, 82, 83)
# A string of a JSON text (without its end, if that is missing), or a bare word such as a number.
_VALUE = re.compile(r'"((?:[^"\\]++|\\.)*+)"?|[^"\s,:\[\]{}]++', re.S)

# What no personal data goes without, found at a fraction of the cost: the end of a phone number, and many
# digits, in a text without its separators.
_AS_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_SEPARATORS = b" \t\r\v\f._:/-"
_PHONE_END = re.compile(rb"1[3-9][0-9]{9}0*$", re.M)
_ID_DIGITS = b"0" * 17
# The same for names, which have no blanks: few that hold none are taken for one that does. The first finds a
# 1 and looks back from there, as to look back everywhere takes several times as long.
_PHONE_NAME = re.compile(
    rb"1(?:(?<![0-9]1)|(?<=861))[3-9][0-9](?:[0-9]{8}|[._:-][0-9]{4}[._:-][0-9]{4})(?:\.0+)?$", re.M
)
_ID_NAME = re.compile(
    rb"(?<![0-9])[1-8]-?[0-7](?:-?[0-9]){4}-?(?:1-?9|2-?0)(?:-?[0-9]){9}-?[0-9Xx](?![0-9])".replace(
        b"-?", b"[._:-]?+"
    )
)


def is_id_number(text: str) -> bool:
    """Whether 18 characters are a resident ID number with valid region, date and check character."""
    if int(text[:2]) not in _REGIONS:
        return False
    try:
        born = dt.date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(w * int(c) for w, c in zip(_WEIGHTS, text[:17], strict=True))
    return 1900 <= born.year < _BORN_BEFORE and _CHECK[total % 11] == text[17].upper()


def holds_personal_data(texts: Iterable[str]) -> bool:
    """Whether any line of any text holds an ID number, or is a mobile number."""
    joined = "\n".join(texts)
    bare = joined.encode().translate(None, _SEPARATORS)
    wide = not joined.isascii()  # it may have blanks of other kinds
    if (wide or _PHONE_END.search(bare)) and _PHONE.search(joined):
        return True
    if not wide and _ID_DIGITS not in bare.translate(_AS_ZEROS):
        return False
    return any(is_id_number(_NO_ID_CHARACTER.sub("", found)) for found in _ID_NUMBER.findall(joined))


def may_hold_personal_data(names: str) -> bool:
    """Whether any of many names, one a line, may hold personal data.

    Never False where `holds_personal_data` is True of one; 0.15 us for a record's three, or 0.6 if they have
    many digits.
    """
    text = names.encode()
    if _PHONE_NAME.search(text):
        return True
    return _ID_DIGITS in text.translate(_AS_ZEROS, _SEPARATORS) and _ID_NAME.search(text) is not None


def values_in(json: bytes) -> str:
    """All strings and bare words of a JSON text, names included, one a line; total over any bytes."""
    return "\n".join(
        _unescaped(word) if (word := found[1]) is not None else found[0]
        for found in _VALUE.finditer(json.decode("utf-8", "replace"))
    )


def _unescaped(string: str) -> str:
    if "\\" not in string:
        return string
    try:
        return msgspec.json.decode(f'"{string}"', type=str)
    except msgspec.DecodeError:
        return string
