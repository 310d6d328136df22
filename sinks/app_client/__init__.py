"""A client for apps: hand a behaviour over and forget it; it is sent, retried and answered, whatever dies.

Start with `AppClient`. It stands on schemas alone and needs nothing of the platform's own programs.
"""

import logging

from sinks.app_client.client import AppClient, AsyncAppClient
from sinks.app_client.errors import ClientError, IdTakenError, OutboxFullError, Refused
from sinks.app_client.standing import Answer, Standing

__all__ = [
    "Answer",
    "AppClient",
    "AsyncAppClient",
    "ClientError",
    "IdTakenError",
    "OutboxFullError",
    "Refused",
    "Standing",
]

logging.getLogger("points.app_client").addHandler(logging.NullHandler())  # shown where the app wants it
