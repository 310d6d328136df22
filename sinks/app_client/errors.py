"""What can go wrong between an app and its client. None of these carries a value that a record holds."""

from schemas.verdicts import Verdict


class ClientError(Exception):
    """Anything that this client refuses or cannot do; the message says what to change."""


class Refused(ClientError):
    """Not a record that the platform could take, found before anything was stored or sent."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        super().__init__(f"{verdict.code}: {detail}")
        self.verdict = verdict
        self.detail = detail


class IdTakenError(ClientError):
    """The outbox holds another record under this report_id; an id names one record for ever."""


class OutboxFullError(ClientError):
    """As many records as the outbox takes have no answer yet: the one way in which the client pushes back."""
