"""Compiled libraries: found again when nothing changed, built afresh when anything did."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tpainn_calc import compiler
from tpainn_calc.compiler import Library, cache_root, compile_library, find_compiler, library_path
from tpainn_calc.errors import BuildError

SOURCE = 'extern "C" int answer() { return ANSWER; }\n'


@pytest.fixture
def library(tmp_path, monkeypatch) -> Library:
    """A library that compiles in no time."""
    monkeypatch.setenv("TPAINN_CACHE", str(tmp_path / "cache"))
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    source, header = tmp_path / "answer.cpp", tmp_path / "answer.h"
    header.write_text("#define ANSWER 42\n")
    source.write_text(f'#include "answer.h"\n{SOURCE}')
    return Library(name="libanswer.so", sources=[source], headers=[header])


def answer(path: Path) -> int:
    return ctypes.CDLL(str(path)).answer()


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_built_once(library, monkeypatch):
    said: list[str] = []
    path = compile_library(library, said.append)
    assert path == library_path(library)
    assert path.is_relative_to(cache_root())
    assert answer(path) == 42
    assert len(said) == 1
    assert said[0].startswith("compiling libanswer.so for torch ")
    built = path.stat().st_mtime_ns

    def never(*_, **__):
        raise AssertionError("compiled twice")

    monkeypatch.setattr(compiler, "_compile", never)
    assert compile_library(library, said.append) == path
    assert path.stat().st_mtime_ns == built
    assert len(said) == 1
    assert files(path.parent) == ["build.log", "libanswer.so", "lock"]


def with_(library: Library, **changes) -> Library:
    return Library(**{**vars(library), **changes})


def test_key_changes_with_everything_that_matters(library, monkeypatch, tmp_path):
    paths = [library_path(library)]
    paths += [
        library_path(with_(library, **change))
        for change in (
            {"flags": ["-DX"]},
            {"links": ["-lm"]},
            {"include": [str(tmp_path)]},
            {"rpath": [str(tmp_path / "lib")]},
            {"key": ["another version of LAMMPS"]},
        )
    ]
    other = tmp_path / "c++"
    other.write_text("#!/bin/sh\necho another compiler\n")
    other.chmod(0o755)
    environments = [{"TPAINN_MARCH": "x86-64"}, {"TPAINN_MARCH": "x86-64-v2"}, {"CXX": str(other)}]
    for environment in environments:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            paths.append(library_path(library))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "99.0")
        paths.append(library_path(library))
    with monkeypatch.context() as patch:
        patch.setattr(torch._C, "_GLIBCXX_USE_CXX11_ABI", "other")
        paths.append(library_path(library))
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "processor", lambda: "flags: fpu")
        paths.append(library_path(library))
    assert library_path(library) == paths[0]  # all of it was undone
    for changed in (*library.sources, *library.headers):
        changed.write_text(changed.read_text() + "// changed\n")
        paths.append(library_path(library))
    assert len(set(paths)) == len(paths)
    assert all(path.name == "libanswer.so" for path in paths)


def test_changed_source_is_compiled_afresh(library):
    old = compile_library(library)
    library.headers[0].write_text("#define ANSWER 43\n")
    new = compile_library(library)
    assert new != old
    assert answer(new) == 43
    assert answer(old) == 42  # still there for whoever uses it


def refused(library: Library) -> str:
    with pytest.raises(BuildError) as caught:
        compile_library(library, pytest.fail)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_no_compiler(library, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent/g++")
    message = refused(library)
    assert "$CXX = '/nonexistent/g++' is not a program" in message
    assert "install g++" in message
    assert not cache_root().exists()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "no g++, c++ or clang++ on PATH" in refused(library)


def test_error_of_the_compiler(library):
    library.sources[0].write_text("int main( { return 0; }\n\nnonsense\n")
    with pytest.raises(BuildError) as caught:
        compile_library(library)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("compiling libanswer.so failed: ")
    assert "answer.cpp:1" in message
    log = Path(message.rpartition("(see ")[2].removesuffix(")"))
    assert "answer.cpp" in log.read_text()
    assert files(log.parent) == ["build.log", "lock"]
    # a repaired source is another key
    library.sources[0].write_text(f'#include "answer.h"\n{SOURCE}')
    assert answer(compile_library(library)) == 42


def test_killed_compiler_leaves_no_half_written_library(library, monkeypatch, tmp_path):
    """A compiler that writes half a file and fails; the next attempt starts afresh."""
    bad = tmp_path / "bad-c++"
    bad.write_text(
        "#!/bin/sh\n"
        'while [ $# -gt 0 ]; do [ "$1" = -o ] && echo half > "$2"; shift; done\n'
        "echo 'fatal error: Killed signal terminated program' >&2\nexit 1\n"
    )
    bad.chmod(0o755)
    # the same key for both compilers, as for one that is killed the first time
    monkeypatch.setattr(compiler, "_compiler_version", lambda: "one")
    good = find_compiler()
    monkeypatch.setenv("CXX", str(bad))
    with pytest.raises(BuildError, match="Killed signal"):
        compile_library(library)
    target = library_path(library)
    assert not target.exists()
    assert files(target.parent) == ["build.log", "lock"]
    monkeypatch.setenv("CXX", good)
    assert compile_library(library) == target
    assert answer(target) == 42


def test_compiler_that_cannot_run(library, monkeypatch, tmp_path):
    broken = tmp_path / "broken-c++"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setattr(compiler, "_compiler_version", lambda: "broken")
    with pytest.raises(BuildError, match="cannot run the compiler"):
        compile_library(library)


def test_folder_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TPAINN_CACHE", str(tmp_path / "a"))
    assert cache_root() == tmp_path / "a"
    monkeypatch.delenv("TPAINN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_root() == tmp_path / "b" / "tpainn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "tpainn"
    assert not (tmp_path / "a").exists()


def test_two_processes_compile_once(library):
    code = f"""
from pathlib import Path
from tpainn_calc.compiler import Library, compile_library
library = Library({library.name!r}, [Path({str(library.sources[0])!r})],
                  [Path({str(library.headers[0])!r})])
print(compile_library(library, print))
"""
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    path = library_path(library)
    assert [said[-1] for said in lines] == [str(path)] * 2
    assert sum(len(said) for said in lines) == 3  # one of them said that it was compiling
    assert answer(path) == 42


def test_without_a_compiler_what_fits_is_found(library, monkeypatch):
    path = compile_library(library)
    monkeypatch.setenv("CXX", "/nonexistent/g++")
    assert library_path(library) != path  # another compiler would be another folder
    assert compile_library(library) == path
    with pytest.raises(BuildError, match="no C\\+\\+ compiler"):
        compile_library(with_(library, flags=["-DX"]))
    monkeypatch.setattr(torch, "__version__", "99.0")
    with pytest.raises(BuildError, match="no C\\+\\+ compiler"):
        compile_library(library)


def test_a_binary_for_any_processor_is_found_on_another(library, monkeypatch):
    monkeypatch.setenv("TPAINN_MARCH", "x86-64-v3")
    here = library_path(library)
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: "flags : fpu")
    assert library_path(library) == here
    monkeypatch.delenv("TPAINN_MARCH")
    assert library_path(library) != here


def test_the_cache_is_private_whatever_the_umask(library):
    before = os.umask(0)
    try:
        path = compile_library(library)
    finally:
        os.umask(before)
    for place in (path, path.parent, cache_root()):
        assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", ["library", "folder", "root"])
def test_what_others_can_write_is_not_loaded(library, place):
    path = compile_library(library)
    broken = {"library": path, "folder": path.parent, "root": cache_root()}[place]
    broken.chmod(0o777)
    message = refused(library)
    assert f"{broken} can be written by others" in message
    assert "set TPAINN_CACHE to a folder of your own" in message


def test_what_others_own_is_not_loaded(library, monkeypatch):
    path = compile_library(library)
    monkeypatch.setattr(os, "getuid", lambda: os.stat(path).st_uid + 1)
    if os.stat(path).st_uid == 0:  # root is trusted by all
        assert compile_library(library) == path
        os.chown(path, 12345, -1)
    assert "belongs to another user" in refused(library)


def test_links_are_not_followed(library, tmp_path):
    path = compile_library(library)
    other = tmp_path / "planted.so"
    path.rename(other)
    path.symlink_to(other)
    assert "is a link" in refused(library)


def test_a_planted_folder_is_not_compiled_into(library):
    folder = library_path(library).parent
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert "can be written by others" in refused(library)
