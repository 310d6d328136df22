"""The one kind of error that an operator meets."""


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
