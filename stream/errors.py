"""The one kind of error that an operator meets, and the one way in which a worker gives up."""

import os
import sys

import structlog

log = structlog.get_logger()


class OperatorError(Exception):
    """Something only the operator can put right: `message` says what is wrong, `todo` what to do next.

    The CLI shows both without a traceback and ends with exit code 1. Bugs are never dressed as this.
    """

    def __init__(self, message: str, todo: str) -> None:
        super().__init__(message, todo)
        self.message = message
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.message} To go on: {self.todo}"


def end_process(error: BaseException) -> None:
    """Ends a worker at once with exit code 1, so that nothing goes on after an error that nobody understood.

    Not by an exception: Faust would restart the agent, without the batch that it had in hand. Whatever was
    half done is settled by the recovery of whoever takes the shards over.
    """
    if isinstance(error, OperatorError):
        log.error("worker stopped", reason=error.message, todo=error.todo)
    else:
        log.error("worker stopped", reason=repr(error), exc_info=error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
