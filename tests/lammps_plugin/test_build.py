"""Building: the key of the cache, missing parts, what LAMMPS' users read, site builds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest
import torch

from lammps_plugin import build, doctor, installation, locate
from lammps_plugin.cli import main
from lammps_plugin.run import LammpsError, run_captured
from tpainn_calc import compiler
from tpainn_calc.base.errors import BuildError, TPaiNNError


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


@pytest.mark.parametrize("package", ["torch", "lammps", "mpich"])
def test_another_version_is_another_build(monkeypatch, package):
    before = installation.installation_key(), compiler.library_path(build.plugin_library())
    true_version = metadata.version

    def version(name: str) -> str:
        return "9999.1" if name == package else true_version(name)

    monkeypatch.setattr(metadata, "version", version)
    if package == "torch":
        monkeypatch.setattr(torch, "__version__", "9999.1")
        monkeypatch.setattr(build, "ops_library", lambda: Path("same"))
    assert installation.installation_key() != before[0]
    assert compiler.library_path(build.plugin_library()) != before[1]


def test_changed_source_is_another_build(monkeypatch, tmp_path):
    before = installation.installation_key(), compiler.library_path(build.plugin_library())
    copy = tmp_path / "src"
    shutil.copytree(installation.SOURCES, copy)
    (copy / "options.h").write_text("// changed\n")
    monkeypatch.setattr(installation, "SOURCES", copy)
    monkeypatch.setattr(build, "SOURCES", copy)
    assert installation.installation_key() != before[0]
    assert compiler.library_path(build.plugin_library()) != before[1]


@pytest.fixture
def other_cache(monkeypatch, tmp_path, plugin):
    """A cache of its own, with a copy of the plugin."""
    monkeypatch.setenv("TPAINN_CACHE", str(tmp_path))
    folder = tmp_path / "tpainnplugin-copy"
    folder.mkdir(mode=0o700)
    shutil.copy2(plugin, folder / plugin.name)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(build, "build_plugin", lambda: folder / plugin.name)
    return tmp_path


def test_equal_sources_elsewhere_are_another_build(tmp_path):
    """Their plugin brings operators of its own, which torch refuses beside those that are there."""
    for package in ("lammps_plugin", "tpainn_calc"):
        folder = Path(import_module(package).__file__).parent
        shutil.copytree(folder, tmp_path / package, ignore=shutil.ignore_patterns("*.safetensors"))
    script = "from lammps_plugin import installation as i; print(i.__file__, i.installation_key())"
    done = child("-P", "-c", script, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    place, key = done.stdout.split()
    assert Path(place) == tmp_path / "lammps_plugin" / "installation.py"
    assert key != installation.installation_key()


def test_a_note_that_leads_nowhere_is_ignored(other_cache):
    note = other_cache / f"lammps-{installation.installation_key()}.path"
    note.write_text(f"{other_cache}/nowhere/tpainnplugin.so\n")
    found = locate.find_plugin()
    assert found.parent.name == "tpainnplugin-copy"
    assert note.read_text() == f"{found}\n"


@pytest.mark.parametrize("place", ["", "note", "tpainnplugin-copy", "tpainnplugin-copy/library"])
def test_a_cache_that_others_can_write_is_refused(other_cache, place, plugin):
    found = locate.find_plugin()  # leaves the note
    assert locate.find_plugin() == found
    note = next(other_cache.glob("*.path"))
    path = other_cache / place.replace("library", plugin.name).replace("note", note.name)
    path.chmod(path.stat().st_mode | 0o020)
    with pytest.raises(BuildError, match="can be written by others"):
        locate.find_plugin()


def test_a_note_out_of_the_cache_is_refused(other_cache, tmp_path_factory, plugin):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / plugin.name
    elsewhere.touch()
    note = other_cache / f"lammps-{installation.installation_key()}.path"
    note.write_text(f"{elsewhere}\n")
    with pytest.raises(BuildError, match="is not in the cache"):
        locate.find_plugin()


def test_a_cache_that_cannot_be_written_serves(other_cache, monkeypatch):
    def fail(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(locate, "write_atomically", fail)
    assert locate.find_plugin().is_file()


def test_no_compiler_but_a_full_cache(plugin, tmp_path):
    """As on a compute node: what the login node has compiled is found, by LAMMPS and by ASE."""
    programs = tmp_path / "bin"
    programs.mkdir()
    script = (
        "import lammps_plugin; print(lammps_plugin.plugin_path());"
        "from tpainn_calc import ops; assert ops.load(); print(ops.ops_library())"
    )
    cache = plugin.parent.parent
    done = child("-c", script, PATH=str(programs), CXX="", TPAINN_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    first, second = map(Path, done.stdout.split())
    assert first.name.rsplit("-", 1)[0] == plugin.parent.name.rsplit("-", 1)[0]
    assert second.is_file()
    assert "no C++ compiler" not in done.stderr


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


def test_a_killed_lammps_gives_a_line(tmp_path, capfd):
    (tmp_path / "kill.sh").write_text(
        "p=$PPID\n"
        'while [ "$(cat /proc/$p/comm)" != lmp ]; do p=$(cut -d" " -f4 /proc/$p/stat); done\n'
        "kill -9 $p\n"
    )
    (tmp_path / "in").write_text(f"shell sh {tmp_path}/kill.sh\n")
    assert main(["run", str(tmp_path / "in"), "-log", "none"]) == 2
    assert "error: LAMMPS was ended by signal 9 (Killed)" in capfd.readouterr().err
    with pytest.raises(LammpsError, match="signal 9"):
        run_captured(tmp_path / "in", ["-log", "none"])


def test_captured_runs(tmp_path):
    (tmp_path / "in").write_text('print "T is ${T}"\nno_such_command\n')
    output = tmp_path / "out"
    with pytest.raises(LammpsError, match="ERROR: Unknown command") as caught:
        run_captured(tmp_path / "in", ["-var", "T", "300", "-log", "none"], output=output)
    assert "T is 300" in output.read_text()
    assert caught.value.output == output.read_text()
    with pytest.raises(TPaiNNError, match="no LAMMPS input file"):
        run_captured(tmp_path / "nowhere")


def test_help_and_version_are_fast(capsys):
    script = (
        "import sys; from lammps_plugin.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'ase', 'numpy', 'lammps'} & set(sys.modules), sys.modules.keys()"
    )
    done = child("-c", script)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"tpainn-lammps \d+\.\d+\.\d+\S*", done.stdout.strip())


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
    monkeypatch.setattr(installation, "mpi_library", lambda: None)
    monkeypatch.setattr(doctor, "CHECKS", [c for c in doctor.CHECKS if c[0] == "MPI"])
    assert main(["doctor"]) == 2
    assert "BAD MPI" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("cmake"), reason="no cmake")
def test_site_build_is_configured_by_cmake(tmp_path):
    lammps = installation.lammps_folder() / "cmake" / "LAMMPS"
    mpi = installation.mpi_library()
    assert mpi is not None
    done = subprocess.run(
        [
            "cmake",
            "-S",
            str(installation.SOURCES),
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
            str(installation.SOURCES),
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
