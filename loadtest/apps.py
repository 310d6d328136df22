"""The apps of the demo, the benchmark and the tests, and their way onto a platform."""

from collections.abc import Callable, Iterable

from schemas.kinds.app import App
from stream.operate.platform.kafka_quota import Quota
from stream.operate.platform.onboarding import onboard
from stream.settings import Settings

METRO = App("metro", "illustrative metro code app", ["SZ-METRO"], ["metro-gate"])
BUS = App("bus", "illustrative bus code app", ["SZ-BUS-BEV"], ["bus-reader"])
# A city's metro takes the QR codes of several apps: one trip may be reported by two of them.
RIDECODE = App("ridecode", "illustrative ride code app of another company", ["SZ-METRO"], ["metro-gate"])
APPS = (METRO, BUS, RIDECODE)
# They send a day's load in a minute: nothing of it is to be slowed down.
QUOTA = Quota(produce_bytes_s=1 << 30, consume_bytes_s=1 << 30, request_percent=1_000)


def with_apps(
    settings: Settings, apps: Iterable[App] = APPS, progress: Callable[[str], None] = lambda _: None
) -> Settings:
    """Registers apps; returns the settings with their passwords."""
    for app in apps:
        settings = onboard(settings, app, QUOTA, progress)
    return settings
