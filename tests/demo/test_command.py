"""The command line of `points demo`: what it takes, and what it refuses before anything is started."""

import click
import pytest
from click.testing import CliRunner

from loadtest.demo.command import KillType, demo
from stream.errors import OperatorError


@pytest.mark.parametrize(
    ("text", "kill"),
    [("intake@40%", ("intake", 0.4)), ("archive@0%", ("archive", 0.0)), ("intake@100%", ("intake", 1.0))],
)
def test_kills(text, kill):
    assert KillType().convert(text, None, None) == kill


@pytest.mark.parametrize(
    "text", ["intake", "intake@40", "kafka@40%", "intake@101%", "intake@-1%", "intake@4.5%"]
)
def test_kills_that_mean_nothing(text):
    with pytest.raises(click.BadParameter, match="is not such as intake@40%"):
        KillType().convert(text, None, None)


def test_a_folder_with_a_platform_is_refused(tmp_path):
    (tmp_path / "stack.json").write_text("{}")
    result = CliRunner().invoke(demo, ["--home", str(tmp_path)])
    assert isinstance(result.exception, OperatorError)
    assert "holds a platform already" in result.exception.message


def test_a_file_that_cannot_be_read_starts_nothing(tmp_path):
    result = CliRunner().invoke(
        demo, ["--taps", str(tmp_path / "none.csv"), "--home", str(tmp_path / "home")]
    )
    assert isinstance(result.exception, OperatorError)
    assert "none.csv: cannot be read" in result.exception.message
    assert not (tmp_path / "home").exists()
