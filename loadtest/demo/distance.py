"""Distance from the full fare: what the two demo apps know of a trip, and what they make of it.

Full fare, not the money paid: discounts for transfers and cards do not shorten a trip.
"""

from bisect import bisect_right

from loadtest.demo.taps import Kind, Tap

# Lower end of each band of the metro's fare table, by full fare in yuan: 2 yuan up to 4 km, then 1 yuan per
# 4 km up to 12 km, per 6 km up to 24 km, per 8 km beyond. The lower end is conservative: nobody is credited
# for a metre that the fare does not prove. Only the first band would then be 0.
METRO_FIRST_BAND_M = 1_000
_METRO_BANDS_M = {2: METRO_FIRST_BAND_M, 3: 4_000, 4: 8_000, 5: 12_000, 6: 18_000, 7: 24_000}
_METRO_LAST_YUAN, _METRO_STEP_M = 7, 8_000

# A bus fare says little about distance: one fixed distance for each fare class, an assumption.
BUS_CLASSES_M = {
    100: 3_000,
    150: 4_000,
    200: 5_000,
    250: 6_000,
    300: 8_000,
    400: 10_000,
    500: 12_000,
    600: 15_000,
    700: 18_000,
    800: 20_000,
    1_000: 25_000,
}

ASSUMPTIONS = (
    "metro: the lower end of the band that the full fare proves (2 yuan up to 4 km, +1 yuan per 4 km to "
    "12 km, per 6 km to 24 km, per 8 km beyond); first band: 1 km",
    "metro, 15 yuan or more (business class, probably): the app inverts the fare naively, to more than "
    "the 80 km that the methodology allows",
    "bus: one distance per fare class, "
    + ", ".join(f"{fen / 100:g} yuan {m // 1000} km" for fen, m in BUS_CLASSES_M.items())
    + "; a fare between two classes counts as the lower",
    "fare missing, 0 or in no table: no distance, not reported",
    "a metro trip that ends where it began is no trip: not reported",
)


def metro_distance_m(fare_fen: int) -> int | None:
    """Lower end of the fare's band; None for a fare that the table does not have."""
    yuan, rest = divmod(fare_fen, 100)
    if rest or yuan < min(_METRO_BANDS_M):
        return None
    beyond = yuan - _METRO_LAST_YUAN
    if beyond > 0:
        return _METRO_BANDS_M[_METRO_LAST_YUAN] + beyond * _METRO_STEP_M
    return _METRO_BANDS_M[yuan]


def bus_distance_m(fare_fen: int) -> int | None:
    """The fixed distance of the fare's class; None below the first class."""
    position = bisect_right(list(BUS_CLASSES_M), fare_fen)
    return list(BUS_CLASSES_M.values())[position - 1] if position else None


def distance_m(tap: Tap) -> int | None:
    """The distance that an app reports for a behaviour; None where it cannot know one."""
    if tap.fare_fen is None:
        return None
    return metro_distance_m(tap.fare_fen) if tap.kind == Kind.EXIT else bus_distance_m(tap.fare_fen)
