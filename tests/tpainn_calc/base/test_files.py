"""Files are whole or not there; locks, tables and records."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest

from tpainn_calc.base.errors import BusyError, ConfigError, DataError
from tpainn_calc.base.files import finished_files, replacing, sha256, write_atomically
from tpainn_calc.base.locks import Lock
from tpainn_calc.base.records import first_difference, record_once
from tpainn_calc.base.schema import Section, load_config
from tpainn_calc.base.tables import read_table, write_table


def test_a_file_is_replaced_in_one_piece(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_atomically(path, "first")
    with contextlib.suppress(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "first"
        raise ZeroDivisionError
    assert path.read_text() == "first"
    write_atomically(path, b"second")
    assert path.read_text() == "second"
    assert os.listdir(path.parent) == ["a.txt"]
    assert sha256(path) == "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4"


def test_what_a_killed_process_left_is_no_file(tmp_path):
    write_atomically(tmp_path / "b.h5", "x")
    write_atomically(tmp_path / "a.h5", "x")
    with replacing(tmp_path / "c.h5") as temporary:
        assert temporary.match("*.h5")
        assert finished_files(tmp_path, "*.h5") == [tmp_path / "a.h5", tmp_path / "b.h5"]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def _write_too_much(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_atomically(path, b"x" * 5000)
    except OSError as error:
        sys.exit(0 if error.filename == str(path) else 3)


def test_a_file_that_does_not_fit_leaves_the_old_one_and_is_named(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, "old")
    child = multiprocessing.get_context("fork").Process(target=_write_too_much, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


HOLD = """
import sys
from tpainn_calc.base.locks import Lock
with Lock(sys.argv[1], "busy", shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path):
    """Function that starts a process which holds the lock until its input is closed."""
    running = []

    def start(how):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "lock"), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EIO])
def test_a_file_system_without_locks_is_no_end(tmp_path, monkeypatch, caplog, code):
    def refuse(descriptor, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    other = pytest.raises(OSError, match=os.strerror(code))
    with other if code == errno.EIO else contextlib.nullcontext(), Lock(tmp_path / "lock", "busy"):
        assert "this file system has no locks" in caplog.text


def test_a_lock_is_held_by_one_and_dropped_by_the_kernel(tmp_path, hold):
    holder = hold("alone")
    with (
        pytest.raises(BusyError, match=f"taken by {holder.pid}"),
        Lock(tmp_path / "lock", "taken by {holder}"),
    ):
        pass
    holder.kill()
    holder.wait()
    with Lock(tmp_path / "lock", "taken"):
        pass


def test_a_shared_lock_keeps_out_only_those_who_want_it_alone(tmp_path, hold):
    hold("shared")
    with Lock(tmp_path / "lock", "taken", shared=True):
        pass
    with pytest.raises(BusyError), Lock(tmp_path / "lock", "taken"):
        pass


def test_a_patient_lock_waits(tmp_path, hold):
    holder = hold("alone")
    timer = threading.Timer(0.3, holder.kill)
    timer.start()
    with Lock(tmp_path / "lock", "taken", patience=60.0):
        assert holder.wait(60) == -signal.SIGKILL


def test_tables_keep_numbers_and_names(tmp_path):
    rows = [{"arm": "scratch", "n": 3, "loss": 0.125}, {"arm": "tuned", "extra": 1.0}]
    write_table(tmp_path / "t.csv", rows)
    assert read_table(tmp_path / "t.csv") == rows
    with pytest.raises(DataError, match="no table"):
        read_table(tmp_path / "absent.csv")
    (tmp_path / "t.csv").write_text("a,b\n1,2,3\n")
    with pytest.raises(DataError, match="more fields"):
        read_table(tmp_path / "t.csv")


def test_a_record_is_written_once_and_compared_ever_after(tmp_path):
    path = tmp_path / "record.json"
    record = {"config": {"rate": 0.1, "sizes": (1, 2)}, "level": "PBE"}
    record_once(path, record, "another {key}")
    record_once(path, record, "another {key}")
    with pytest.raises(ConfigError, match=r"^another config.rate \(0.1, now 0.2\)$"):
        record_once(path, {**record, "config": {"rate": 0.2, "sizes": [1, 2]}}, "another {key}")
    path.write_text("{")
    with pytest.raises(DataError, match="damaged"):
        record_once(path, record, "another {key}")


def test_first_difference():
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 1}}) == ""
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}) == "a.c"


class Inner(Section):
    """A section."""

    cutoff: float = 5.0


class Outer(Section):
    """A file."""

    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inner: {cutof: 4}", r'unknown key \'inner.cutof\' \(did you mean "cutoff"\?\)'),
        ("inner: {cutoff: 4, cutoff: 5}", "key 'cutoff' is there twice, again in line 1"),
        ("inner: {}\n\ninner: {}", "key 'inner' is there twice, again in line 3"),
        ("inner: {cutoff: x}", "inner.cutoff: .*valid number"),
        ("- 1", "must hold a mapping"),
        ("a: [", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_faults_of_a_configuration_are_one_line(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path, Outer)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_merged_keys_are_no_duplicates(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("defaults: &d {cutoff: 3}\ninner: {<<: *d, cutoff: 4}\n")
    assert load_config(path, Outer, extra=True).inner.cutoff == 4
