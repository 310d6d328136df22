"""Numbers that belong to nobody, as people and programs write them; and what only looks like one."""

ID_NUMBER, WRONG_CHECK = "44030519900101123X", "440305199001011230"
PHONE = "13800138000"
# In a name, which has no blanks.
AS_NAMES = [
    PHONE, f"86{PHONE}", f"0086{PHONE}", f"86-{PHONE}", f"0086-{PHONE}", "138-0013-8000", "138.0013.8000",
    "138_0013_8000", "138:0013:8000", "0086-138-0013-8000", f"{PHONE}.0", f"20240907-{PHONE}", f"tel:{PHONE}",
    "20240907-86-138-0013-8000", "13000000000", "19999999999",
    ID_NUMBER, ID_NUMBER.lower(), "440305-19900101-123X", "440305.1990.01.01.123X", "4403-0519-9001-0112-3X",
    f"x-{ID_NUMBER}.y", f"u{ID_NUMBER}", f"{ID_NUMBER}-1", f"7-{ID_NUMBER}", "440305_19900101_123_X",
    "440305--19900101.-123X",
]  # fmt: skip
IN_TEXTS = [
    "138 0013 8000", "+86 138 0013 8000", f"+86{PHONE}", f"+86-{PHONE}", f"(+86) {PHONE}", f" {PHONE} ",
    "138 - 0013 - 8000", "138\u00a00013\u00a08000", f"0086 {PHONE}", f"name\n{PHONE}", f"+{PHONE}",
    "440305 19900101 123X", f"ID: {ID_NUMBER}, of a friend", "44 03 05 19 90 01 01 12 3X",
]  # fmt: skip
NOT_FOUND = [  # listed in docs/apps.md
    f"gate-{PHONE}", f"t{PHONE}", f"{PHONE}-1", "1380-0138-000", "138 00138000", f"call {PHONE}",
    "\uff11\uff13\uff18\uff10\uff10\uff11\uff13\uff18\uff10\uff10\uff10", "0755-83911234", "440305900101123",
]  # fmt: skip
LOOKS_ALIKE = [
    WRONG_CHECK, "04030519900101123X", "440305199002301234", "99030519900101123X", "1" + ID_NUMBER,
    ID_NUMBER[:17] + "0X", "12999999999", "20000000000", "1380013800", "138001380001",
    "440304-20241001-0011", "440304202410010011", "44030418991231001X",
]  # fmt: skip
