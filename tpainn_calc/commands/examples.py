"""``tpainn examples``: LAMMPS inputs and configurations that come with the package."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tpainn_calc.base.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tpainn_calc.commands import Commands

# where setup.cfg installs them, below the environment's folder
_INSTALLED = ("share", "tpainn", "examples")
_SUFFIXES = (".yaml", ".smi", ".extxyz", ".gz", ".data", ".safetensors", ".md")


def add_parser(commands: Commands) -> None:
    """Arguments of the command."""
    parser = commands.add_parser("examples", help="copy the examples, or list them")
    parser.add_argument("folder", nargs="?", type=Path, help="where to; none: list them")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the examples, or copy them into a folder."""
    files = find_examples()
    if arguments.folder is None:
        print("\n".join(files))
        return 0
    for name in files:
        if (arguments.folder / name).exists():
            raise ConfigError(f"{arguments.folder / name} exists already: choose another folder")
    for name, source in files.items():
        target = arguments.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    print(f"{len(files)} files in {arguments.folder}")
    return 0


def find_examples() -> dict[str, Path]:
    """Path of every example, by its name such as ``lammps/in.npt``.

    Raises
    ------
    DataError
        If they are not there.
    """
    found = _installed() or _in_checkout()
    if not found:
        raise DataError("the examples were not installed with the package: install it again by pip")
    return dict(sorted(found.items()))


def _installed() -> dict[str, Path]:
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed = files("tpainn") or []
    except PackageNotFoundError:
        return {}
    found = {}
    for path in listed:
        for k in range(len(path.parts) - len(_INSTALLED)):
            if path.parts[k : k + len(_INSTALLED)] == _INSTALLED:
                found["/".join(path.parts[k + len(_INSTALLED) :])] = Path(str(path.locate()))
    return {name: path for name, path in found.items() if path.is_file()}


def _in_checkout() -> dict[str, Path]:
    folder = Path(__file__).resolve().parents[2] / "examples"
    return {
        str(path.relative_to(folder)): path
        for path in folder.rglob("*")
        if path.is_file() and (path.suffix in _SUFFIXES or path.name.startswith("in."))
    }
