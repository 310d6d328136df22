"""Makes docs/status.svg: `python -m tests.metrics.picture`, while workers run and reports arrive."""

import io
import os
import re
import time
from pathlib import Path

from rich.console import Console

from stream.operate.commands.status import REFRESH_S, Watch
from stream.settings import home_folder
from stream.telemetry.screen import HISTORY

WIDTH = 104
TO = Path(__file__).parents[2] / "docs" / "status.svg"


def main() -> None:
    """Watches for as long as a sparkline reaches back, then draws."""
    home = home_folder(os.environ)
    watch = Watch(home)
    for _ in range(HISTORY):
        watch.look(WIDTH)
        time.sleep(REFRESH_S)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(watch.look(WIDTH))
    picture = console.export_svg(title="points status --watch")
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)  # nothing is fetched from elsewhere
    picture = picture.replace("Fira Code, ", "").replace("Fira Code", "monospace")
    TO.write_text(picture.replace(str(home), ".points"), "utf-8")


if __name__ == "__main__":
    main()
