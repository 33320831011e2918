"""Building: the key of the cache, missing parts, what LAMMPS' users read, site builds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from lammps_plugin import build, doctor, locate
from lammps_plugin.cli import main
from tpainn_calc import compiler
from tpainn_calc.errors import BuildError


def child(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, with a few variables changed ("" removes one)."""
    merged = {k: v for k, v in (os.environ | environment).items() if v}
    return subprocess.run(
        [sys.executable, *arguments],
        env=merged,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_finding_the_plugin_imports_neither_torch_nor_lammps(plugin):
    script = (
        "import sys, lammps_plugin; print(lammps_plugin.plugin_path());"
        "assert 'torch' not in sys.modules and 'lammps' not in sys.modules"
    )
    locate.find_plugin()  # leaves the note
    done = child("-c", script)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == plugin.parent
    assert re.search("plugin.so$", plugin.name)  # LAMMPS' own condition


def test_entry_point_is_callable_without_arguments(plugin):
    (entry,) = (e for e in metadata.entry_points(group="lammps.plugins") if e.name == "tpainn")
    assert Path(entry.load()()) == plugin.parent


def test_cache_roots_agree(monkeypatch, tmp_path):
    for name, value in [("TPAINN_CACHE", str(tmp_path)), ("XDG_CACHE_HOME", str(tmp_path))]:
        monkeypatch.delenv("TPAINN_CACHE", raising=False)
        monkeypatch.setenv(name, value)
        assert locate._cache_root() == compiler.cache_root()


@pytest.mark.parametrize("package", ["torch", "lammps", "mpich"])
def test_another_version_is_another_build(monkeypatch, package):
    before = locate.installation_key(), compiler.library_path(build.plugin_library())
    true_version = metadata.version

    def version(name: str) -> str:
        return "9999.1" if name == package else true_version(name)

    monkeypatch.setattr(metadata, "version", version)
    if package == "torch":
        monkeypatch.setattr(torch, "__version__", "9999.1")
        monkeypatch.setattr(build, "ops_library", lambda: Path("same"))
    assert locate.installation_key() != before[0]
    assert compiler.library_path(build.plugin_library()) != before[1]


def test_changed_source_is_another_build(monkeypatch, tmp_path):
    before = locate.installation_key(), compiler.library_path(build.plugin_library())
    copy = tmp_path / "src"
    shutil.copytree(locate.SOURCES, copy)
    (copy / "options.h").write_text("// changed\n")
    monkeypatch.setattr(locate, "SOURCES", copy)
    monkeypatch.setattr(build, "SOURCES", copy)
    assert locate.installation_key() != before[0]
    assert compiler.library_path(build.plugin_library()) != before[1]


def test_a_note_that_leads_nowhere_is_ignored(monkeypatch, tmp_path, plugin):
    monkeypatch.setenv("TPAINN_CACHE", str(tmp_path))
    (tmp_path / f"lammps-{locate.installation_key()}.path").write_text("/nowhere/tpainnplugin.so\n")
    monkeypatch.setattr(build, "build_plugin", lambda: plugin)
    assert locate.find_plugin() == plugin
    assert "/nowhere" not in (tmp_path / f"lammps-{locate.installation_key()}.path").read_text()


def test_no_compiler(tmp_path):
    nothing = {"CXX": "/nonexistent", "TPAINN_CACHE": str(tmp_path)}
    done = child("-m", "lammps_plugin.cli", "build", **nothing)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "no C++ compiler: $CXX = '/nonexistent' is not a program" in done.stderr


def test_lammps_starts_and_says_why_the_style_is_missing(tmp_path):
    (tmp_path / "in").write_text("pair_style tpainn\n")
    lmp = shutil.which("lmp", path=str(Path(sys.executable).parent))
    assert lmp is not None
    nothing = {"CXX": "/nonexistent", "TPAINN_CACHE": str(tmp_path)}
    done = child(lmp, "-in", str(tmp_path / "in"), "-log", "none", **nothing)
    lines = [s for s in done.stderr.splitlines() if s.startswith("pair_style tpainn is not")]
    assert len(lines) == 1
    assert "no C++ compiler" in lines[0]
    assert "LAMMPS (" in done.stdout  # it did start


def test_missing_mpi_header(monkeypatch):
    monkeypatch.setattr(build, "mpi_header_folder", lambda: None)
    with pytest.raises(BuildError, match=r"no mpi\.h.*pip install mpich"):
        build.plugin_library()


def test_missing_lammps_headers(monkeypatch, tmp_path):
    (tmp_path / "__init__.py").write_text("__version__ = 20250722\n")
    monkeypatch.setattr(build, "lammps_folder", lambda: tmp_path)
    with pytest.raises(BuildError, match="no C\\+\\+ headers"):
        build.plugin_library()


def test_run_complains_about_a_missing_input(capsys):
    assert main(["run", "nowhere.in"]) == 2
    assert capsys.readouterr().err == "error: no LAMMPS input file 'nowhere.in'\n"
    assert main(["run", __file__, "--ranks", "0"]) == 2
    assert "--ranks must be at least 1" in capsys.readouterr().err


def test_run_passes_arguments_on(tmp_path, capfd):
    (tmp_path / "in").write_text('print "T is ${T}"\n')
    assert main(["run", str(tmp_path / "in"), "-var", "T", "300", "-log", "none"]) == 0
    assert "T is 300" in capfd.readouterr().out
    (tmp_path / "in").write_text("no_such_command\n")
    assert main(["run", str(tmp_path / "in"), "-log", "none"]) != 0


def test_parity_command(model_file, box, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lammps_plugin.parity.MODES", [(1, "fold"), (2, "exchange")])
    box.write(tmp_path / "box.xyz")
    assert main(["parity", str(model_file), str(tmp_path / "box.xyz")]) == 0
    out = capsys.readouterr().out
    for words in (
        "eager model",
        "exported model",
        "1 rank, fold",
        "2 ranks, exchange",
        "all agree",
    ):
        assert words in out
    assert main(["parity", str(model_file), "nowhere.xyz"]) == 2
    assert "no structure file 'nowhere.xyz'" in capsys.readouterr().err


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "BAD" not in out
    assert "all is well" in out


def test_doctor_finds_what_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr(locate, "mpi_library", lambda: None)
    monkeypatch.setattr(doctor, "CHECKS", [c for c in doctor.CHECKS if c[0] == "MPI"])
    assert main(["doctor"]) == 2
    assert "BAD MPI" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("cmake"), reason="no cmake")
def test_site_build_is_configured_by_cmake(tmp_path):
    lammps = build.lammps_folder() / "cmake" / "LAMMPS"
    mpi = locate.mpi_library()
    assert mpi is not None
    done = subprocess.run(
        [
            "cmake",
            "-S",
            str(locate.SOURCES),
            "-B",
            str(tmp_path),
            f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}",
            f"-DLAMMPS_DIR={lammps}",
            f"-DMPI_CXX_COMPILER={mpi.parent.parent / 'bin' / 'mpicxx'}",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Build files have been written" in done.stdout


@pytest.mark.skipif(not shutil.which("cmake"), reason="no cmake")
def test_site_build_needs_a_source_tree(tmp_path):
    done = subprocess.run(
        [
            "cmake",
            "-S",
            str(locate.SOURCES),
            "-B",
            str(tmp_path / "build"),
            f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}",
            f"-DLAMMPS_SOURCE_DIR={tmp_path}",
            f"-DMPI_CXX_COMPILER={Path(sys.executable).parent / 'mpicxx'}",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert "has no pair.h" in done.stderr
