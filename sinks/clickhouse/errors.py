"""Which of ClickHouse's errors pass by themselves. The list is closed: everything else stops the worker."""

from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

RETRIABLE: dict[int, str] = {
    32: "ATTEMPT_TO_READ_AFTER_EOF",  # the connection broke in the middle
    74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",  # the disk is full, as the operating system says it
    159: "TIMEOUT_EXCEEDED",
    198: "DNS_ERROR",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    236: "ABORTED",  # the server is shutting down
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    285: "TOO_FEW_LIVE_REPLICAS",
    319: "UNKNOWN_STATUS_OF_INSERT",
    364: "RECEIVED_ERROR_TOO_MANY_REQUESTS",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    439: "CANNOT_SCHEDULE_TASK",
    473: "DEADLOCK_AVOIDED",
    745: "SERVER_OVERLOADED",
    749: "TCP_CONNECTION_LIMIT_REACHED",
    999: "KEEPER_EXCEPTION",
}


class ArchiveUnavailable(Exception):
    """ClickHouse cannot answer now. What was being written is there as a whole or not at all."""


class ArchiveDamaged(Exception):
    """The archive contradicts itself or the ledger; `message` says how, `todo` how to put it right."""

    def __init__(self, message: str, todo: str) -> None:
        super().__init__(message, todo)
        self.message = message
        self.todo = todo


class QueryRefused(Exception):
    """A query that is not answered; `code` is ClickHouse's, 0 if unknown; the rest as in `Answer`."""

    def __init__(self, code: int, message: str, verb: str = "", tables: tuple[str, ...] = ()) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.verb = verb
        self.tables = tables

    @classmethod
    def of(cls, code: int, name: str, message: str) -> "QueryRefused":
        """A refusal in the words of ClickHouse: `name` is what it calls `code`."""
        return cls(code, f"Code: {code}. DB::Exception: {message}. ({name})")


class QueryEnded(QueryRefused):
    """A query that could only be ended together with the process that it ran in."""


def is_retriable(error: BaseException) -> bool:
    """Whether the same call may succeed later without anybody's help, or after freeing disk space."""
    code = getattr(error, "code", None)
    if isinstance(error, ClickHouseError) and code:
        return code in RETRIABLE
    # Without a server's code: the connection failed, or the operating system refused (a full disk, say).
    return isinstance(error, OperationalError | OSError)
