"""What processes of a stack of our own may know of the environment."""

import os


def inherited() -> dict[str, str]:
    """The environment without settings: those of another platform, real services among them, are not ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POINTS_")}
