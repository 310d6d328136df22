"""Every fare of the data set has its distance, in the generator and in the oracle alike."""

import pytest

from loadtest.demo.distance import bus_distance_m, metro_distance_m
from loadtest.demo.oracle.taps import distance_of

METRO_KM = {200: 1, 300: 4, 400: 8, 500: 12, 600: 18, 700: 24, 800: 32, 900: 40, 1000: 48, 1100: 56, 1200: 64}
METRO_KM |= {1300: 72, 1400: 80, 1500: 88, 1600: 96, 2400: 160, 2800: 192}
BUS_KM = {100: 3, 149: 3, 150: 4, 200: 5, 250: 6, 300: 8, 350: 8, 400: 10, 500: 12, 600: 15, 700: 18, 800: 20}
BUS_KM |= {900: 20, 1000: 25, 2500: 25}


@pytest.mark.parametrize(("fare_fen", "km"), METRO_KM.items())
def test_metro_bands(fare_fen, km):
    assert metro_distance_m(fare_fen) == distance_of("地铁出站", str(fare_fen)) == km * 1000


@pytest.mark.parametrize("fare_fen", [0, 100, 250, 199])
def test_fares_that_the_metro_table_does_not_have(fare_fen):
    assert metro_distance_m(fare_fen) is None
    assert distance_of("地铁出站", str(fare_fen)) == 0


@pytest.mark.parametrize(("fare_fen", "km"), BUS_KM.items())
def test_bus_classes(fare_fen, km):
    assert bus_distance_m(fare_fen) == distance_of("巴士", str(fare_fen)) == km * 1000


@pytest.mark.parametrize("fare_fen", [0, 99])
def test_fares_below_the_first_bus_class(fare_fen):
    assert bus_distance_m(fare_fen) is None
    assert distance_of("巴士", str(fare_fen)) == 0


def test_a_missing_fare():
    assert distance_of("地铁出站", "") == distance_of("巴士", "") == 0
