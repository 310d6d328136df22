"""Progress on standard error while the demo runs."""

import datetime as dt
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Screen:
    """One bar for each app's sent and answered records, and one line for each step before and after."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("")
        self._status.start()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._bars: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> "Screen":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hide()

    def step(self, message: str) -> None:
        """What is going on, replaced by the next step."""
        self._status.update(message)

    def say(self, message: str) -> None:
        """Something that shall stay on the screen."""
        self._console.print(message, highlight=False, soft_wrap=True)

    def show_bars(self, totals: dict[str, int]) -> None:
        """Bars in place of steps, from now on: so many records of each app."""
        self._status.stop()
        self._bars["", ""] = self._progress.add_task("replayed Saturdays", total=None)
        for app, total in totals.items():
            for what in ("sent", "answered"):
                self._bars[app, what] = self._progress.add_task(f"{app} {what}", total=total)
        self._progress.start()

    def saturday(self, date: dt.date, number: int, of: int) -> None:
        """Which Saturday begins."""
        self._progress.update(
            self._bars["", ""], description=f"replayed as {date}", completed=number, total=of
        )

    def sent(self, app: str, records: int) -> None:
        """So many more records of an app are sent."""
        self._progress.advance(self._bars[app, "sent"], records)

    def answered(self, app: str, records: int) -> None:
        """So many more records of an app have their outcome."""
        self._progress.advance(self._bars[app, "answered"], records)

    def hide_bars(self) -> None:
        """Steps in place of bars."""
        self._progress.stop()
        self._status.start()

    def hide(self) -> None:
        """Leaves the screen to whoever writes next."""
        self._progress.stop()
        self._status.stop()
