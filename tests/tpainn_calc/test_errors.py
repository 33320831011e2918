"""Messages are one line, commands end with the right code."""

from __future__ import annotations

import pickle

import pytest

from tpainn_calc.errors import ConfigError, DataError, TPaiNNError, did_you_mean, run_cli


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
def test_run_cli_turns_mistakes_into_one_line(capsys, error, code, message):
    assert run_cli(raising(error)) == code
    captured = capsys.readouterr()
    assert captured.err == message
    assert captured.out == ""


def test_run_cli_passes_results_and_defects_through():
    assert run_cli(lambda: None) == 0
    assert run_cli(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        run_cli(raising(ZeroDivisionError()))
