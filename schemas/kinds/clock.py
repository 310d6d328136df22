"""Kind `clock`: a simulated time, for demos and tests."""

from schemas.kinds.said import Said
from schemas.report import Instant


class ClockCommand(Said, tag="clock"):
    """Sets the shard's time to `at` at this row; it runs on from there. Only where genesis allows it."""

    at: Instant
