"""Messages are one line, commands end with the right code."""

from __future__ import annotations

import os
import pickle

import pytest

from tpainn_calc.base.command import run_command
from tpainn_calc.base.errors import BusyError, check_choice, did_you_mean
from tpainn_calc.base.locks import Lock
from tpainn_calc.errors import ConfigError, DataError, TPaiNNError


def test_message_is_one_line():
    error = DataError("cannot read:\n  line one\nline two")
    assert str(error) == "cannot read: line one line two"
    assert isinstance(error, TPaiNNError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("cutof", "cutoff"), ("CUTOFF", "cutoff"), ("Skim", "skin"), ("zebra", None), ("", None)],
)
def test_did_you_mean(word, expected):
    answer = did_you_mean(word, ["cutoff", "skin"])
    assert answer == (f' (did you mean "{expected}"?)' if expected else "")


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("cutoff must be positive"), 2, "error: cutoff must be positive\n"),
        (FileNotFoundError(2, "No such", "x.pt"), 2, 'error: "x.pt": no such file\n'),
        (PermissionError(13, "Permission denied", "x"), 2, 'error: "x": Permission denied\n'),
        (OSError("disk\nfull"), 2, "error: disk full\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_run_command_turns_mistakes_into_one_line(capsys, error, code, message):
    assert run_command(raising(error)) == code
    captured = capsys.readouterr()
    assert captured.err == message
    assert captured.out == ""


def test_run_command_passes_results_through():
    assert run_command(lambda: None) == 0
    assert run_command(lambda: 3) == 3


def test_a_defect_is_one_line_and_debug_shows_where(capsys):
    assert run_command(raising(ZeroDivisionError("one\nhalf"))) == 2
    assert capsys.readouterr().err == (
        "error: ZeroDivisionError: one half (--debug before the command shows where)\n"
    )
    assert run_command(raising(ZeroDivisionError()), debug=True) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_wrong_choice_may_be_an_error_of_another_class():
    class Own(TPaiNNError, ValueError):
        pass

    with pytest.raises(Own, match='did you mean "map"'):
        check_choice("sampler", "mapp", ["map", "kdpp"], Own)
    with pytest.raises(ConfigError):
        check_choice("sampler", "mapp", ["map", "kdpp"])


def test_a_busy_message_may_hold_braces(tmp_path):
    path = tmp_path / "{odd}"
    with (
        Lock(path, f"{path}: {{holder}}"),
        pytest.raises(BusyError, match=rf"\{{odd\}}: {os.getpid()}"),
        Lock(path, f"{path}: {{holder}}"),
    ):
        pass
