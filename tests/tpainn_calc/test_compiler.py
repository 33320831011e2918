"""Compilation on first use: what the cache key sees, and what a user reads when it fails."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import threading
from pathlib import Path

import pytest
import torch

from tpainn_calc import compiler
from tpainn_calc.compiler import Library, compile_library, find_compiler, library_path
from tpainn_calc.errors import BuildError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and none of the user's settings."""
    for name in ("CXX", "TPAINN_MARCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TPAINN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """A library of one function, without torch's headers: it compiles in no time."""
    source = tmp_path / "answer.cpp"
    header = tmp_path / "answer.h"
    header.write_text("#define ANSWER 42\n")
    source.write_text('#include "answer.h"\nextern "C" int answer() { return ANSWER; }\n')
    return Library("libanswer.so", sources=[source], headers=[header])


@pytest.fixture
def needs_compiler() -> None:
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))


def fake_compiler(folder: Path, script: str, name: str = "g++") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("needs_compiler")
def test_compiles_once_and_says_so(library: Library) -> None:
    notes: list[str] = []
    path = compile_library(library, notes.append)
    assert ctypes.CDLL(str(path)).answer() == 42
    assert len(notes) == 1
    assert notes[0].startswith(f"compiling libanswer.so for torch {torch.__version__}")
    stamp = path.stat().st_mtime_ns
    assert compile_library(library, notes.append) == path == library_path(library)
    assert path.stat().st_mtime_ns == stamp
    assert len(notes) == 1


@pytest.mark.usefixtures("needs_compiler")
def test_a_change_of_source_or_header_leads_to_a_new_build(library: Library) -> None:
    before = compile_library(library)
    Path(library.headers[0]).write_text("#define ANSWER 43\n")
    after = compile_library(library)
    assert after != before
    assert before.is_file()
    assert ctypes.CDLL(str(after)).answer() == 43


@pytest.mark.usefixtures("needs_compiler")
def test_threads_that_start_together_compile_once(library: Library) -> None:
    notes: list[str] = []
    threads = [
        threading.Thread(target=compile_library, args=(library, notes.append)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notes) == 1
    assert library_path(library).is_file()


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(torch, "__version__", "99.0"),
        lambda patch: patch.setattr(torch._C, "_GLIBCXX_USE_CXX11_ABI", "other"),
        lambda patch: patch.setattr(compiler, "_processor", lambda: "another processor"),
        lambda patch: patch.setattr(compiler, "_compiler_version", lambda: "g++ 99"),
        lambda patch: patch.setenv("TPAINN_MARCH", "x86-64"),
    ],
    ids=["torch", "abi", "processor", "compiler", "march"],
)
def test_the_key_sees_the_surroundings(
    change, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = library_path(library)
    change(monkeypatch)
    assert library_path(library) != before


@pytest.mark.parametrize("field", ["include", "links", "rpath", "key"])
def test_the_key_sees_the_library(field: str, library: Library) -> None:
    assert library_path(dataclasses.replace(library, **{field: ["x"]})) != library_path(library)


def test_no_compiler(
    library: Library, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notes: list[str] = []
    monkeypatch.setenv("CXX", "/nonexistent/g++")
    with pytest.raises(BuildError, match=r"\$CXX = '/nonexistent/g\+\+' is not a program"):
        compile_library(library, notes.append)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"no g\+\+, c\+\+ or clang\+\+ on PATH; install"):
        compile_library(library, notes.append)
    assert not notes
    assert not cache.exists()


def test_compilers_are_tried_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    clang = fake_compiler(folder, "exit 0", "clang++")
    monkeypatch.setenv("PATH", str(folder))
    assert find_compiler() == str(clang)
    gcc = fake_compiler(folder, "exit 0", "g++")
    assert find_compiler() == str(gcc)
    monkeypatch.setenv("CXX", "clang++")
    assert find_compiler() == str(clang)


def test_a_failure_shows_the_first_error_and_leaves_a_log(
    library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = 'echo "note: hello" >&2; echo "a.cpp:1: error: bad luck" >&2; exit 1'
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path / "bin", script)))
    with pytest.raises(BuildError) as caught:
        compile_library(library)
    message = str(caught.value)
    assert "compiling libanswer.so failed: a.cpp:1: error: bad luck" in message
    assert "\n" not in message
    log = library_path(library).parent / "build.log"
    assert str(log) in message
    assert "note: hello" in log.read_text()
    assert not library_path(library).exists()


def test_a_cache_that_cannot_be_written(
    library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path / "bin", "exit 0")))
    occupied = tmp_path / "file"
    occupied.write_text("")
    monkeypatch.setenv("TPAINN_CACHE", str(occupied))
    with pytest.raises(BuildError, match=r"cannot write the cache .*; set TPAINN_CACHE"):
        compile_library(library)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert compiler.cache_root() == cache
    monkeypatch.delenv("TPAINN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert compiler.cache_root() == Path("/x/tpainn")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert compiler.cache_root() == Path("/home/somebody/.cache/tpainn")


@pytest.mark.usefixtures("needs_compiler")
def test_march_can_be_chosen(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("names an x86-64 architecture")
    monkeypatch.setenv("TPAINN_MARCH", "x86-64")
    path = compile_library(library)
    assert "-march=x86-64 " in (path.parent / "build.log").read_text()
