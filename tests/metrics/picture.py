"""Makes docs/status.svg: `POINTS_HOME=... python -m tests.metrics.picture` with workers and traffic running."""

import io
import os
import time
from pathlib import Path

from rich.console import Console

from stream.commands.status import REFRESH_S, Watch
from stream.metrics.screen import HISTORY
from stream.settings import home_folder

WIDTH = 104
TO = Path(__file__).parents[2] / "docs" / "status.svg"


def main() -> None:
    """Watches for as long as a sparkline reaches back, then draws."""
    watch = Watch(home_folder(os.environ))
    for _ in range(HISTORY):
        watch.look(WIDTH)
        time.sleep(REFRESH_S)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(watch.look(WIDTH))
    console.save_svg(str(TO), title="points status --watch")


if __name__ == "__main__":
    main()
