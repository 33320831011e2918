"""A campaign is labelled whole, resumed or in shares; what fails is one line, and loses nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from pebble.pool.process import TaskManager

from tpainn_calc.base.files import finished_files
from tpainn_calc.base.frames import attach_results, results_of, write_extxyz
from tpainn_calc.errors import ConfigError, DataError, TPaiNNError
from training.cli import main
from training.labels.breakdowns import LabelError
from training.labels.engines.config import AnyEngine, LabelConfig, load_engine
from training.labels.folder import label_lock
from training.labels.labelling import label_campaign

N = 10
HERE = Path(__file__).parent


def engine(calculator: str = "ase.calculators.emt.EMT", **arguments: Any) -> AnyEngine:
    settings = {"kind": "ase", "calculator": calculator, "level": "EMT", "arguments": arguments}
    return LabelConfig.model_validate({"engine": settings}).engine


@pytest.fixture(scope="session")
def fresh_campaign(tmp_path_factory: pytest.TempPathFactory, frames: list[Atoms]) -> Path:
    """Folder with a pool, and a campaign ``c`` of `N` frames, all open."""
    folder = tmp_path_factory.mktemp("campaign")
    pool = []
    for atoms in frames[:20]:
        bare = atoms.copy()
        bare.set_cell([12.0] * 3)
        bare.pbc = True  # which codes of plane waves want
        pool.append(attach_results(bare, **results_of(atoms)))
    write_extxyz(folder / "pool.extxyz", pool)
    command = [sys.executable, "-m", "seedselect.cli", "pick", "pool.extxyz", "-n", str(N)]
    subprocess.run([*command, "-o", "c"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def campaign(fresh_campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(HERE)  # the calculators, for workers too
    shutil.copytree(fresh_campaign, tmp_path / "work")
    return tmp_path / "work" / "c"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def run(campaign: Path, config: AnyEngine, **options: Any) -> Any:
    return label_campaign(campaign, config, progress=False, **options)


def chosen(campaign: Path) -> list[Any]:
    return list(ase.io.read(campaign / "selected.extxyz", ":"))


def states(campaign: Path) -> dict[str, str]:
    entries = json.loads((campaign / "manifest.json").read_text())["entries"]
    failed = {e["key"] for e in entries if e["failed"]}
    path = campaign / "labels.extxyz"
    done = {a.info["frame_hash"] for a in ase.io.read(path, ":")} if path.is_file() else set()
    return {
        e["key"]: "done" if e["key"] in done else "failed" if e["key"] in failed else "pending"
        for e in entries
    }


def test_labels_are_those_of_the_engine(campaign, capsys):
    code = main(["label", str(campaign), "--engine", str(engine_file(campaign)), "--quiet"])
    assert code == 0
    assert f"{N} labelled, 0 failed" in capsys.readouterr().out
    assert set(states(campaign).values()) == {"done"}
    labelled = ase.io.read(campaign / "labelled.extxyz", ":")
    assert [a.info["frame_hash"] for a in labelled] == [
        a.info["frame_hash"] for a in chosen(campaign)
    ]
    for atoms, bare in zip(labelled, chosen(campaign), strict=True):
        assert atoms.info["level"] == "EMT"
        bare.calc = EMT()
        assert atoms.get_potential_energy() == pytest.approx(bare.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), bare.get_forces(), atol=2e-8)


def test_the_engine_and_the_log_are_kept(campaign):
    engine = load_engine(str(engine_file(campaign)))
    run(campaign, engine)
    config = campaign / "labels" / "config.yaml"
    assert load_engine(str(config)) == engine
    assert "stress: true" in config.read_text()  # a default
    kept = config.read_bytes()
    other = engine_file(campaign).with_name("other.yaml")
    other.write_text(engine_file(campaign).read_text().replace("level: EMT", "level: other"))
    with pytest.raises(DataError, match="one level per campaign"):
        run(campaign, load_engine(str(other)))
    assert config.read_bytes() == kept
    log = (campaign / "labels" / "log.txt").read_text()
    assert "torch" in log
    assert f"{N} labelled, 0 failed" in log


def engine_file(campaign: Path) -> Path:
    path = campaign.parent / "engine.yaml"
    path.write_text("engine: {kind: ase, calculator: ase.calculators.emt.EMT, level: EMT}\n")
    return path


def test_frames_are_labelled_once(campaign, threads, tmp_path):
    log = tmp_path / "log"
    config = engine("label_calculators.LoggedEMT", log=str(log))
    assert run(campaign, config, executor=threads).labelled == N
    again = run(campaign, config, executor=threads)
    assert (again.labelled, again.skipped) == (0, N)
    assert len(log.read_text().split()) == N


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("scf", "no convergence in 50 steps"),
        ("nan", "the forces of the engine is not finite"),
        ("net force", "the forces add up to 5.20 eV/Å instead of nothing"),
        ("energy", "eV per atom off what the other 9 labels say"),
    ],
)
def test_failed_frames_are_listed_and_stay_out(campaign, threads, how, reason):
    frames = chosen(campaign)
    heights = sorted(a.positions[0, 2] for a in frames)
    config = engine("label_calculators.FaultyEMT", how=how, limit=float(heights[-2]))
    worst = max(frames, key=lambda a: a.positions[0, 2]).info["frame_hash"]
    summary = run(campaign, config, executor=threads)
    assert (summary.labelled, summary.failed) == (N - 1, 1)
    assert list(summary.reasons) == [worst]
    assert reason in summary.reasons[worst]
    assert "\n" not in summary.reasons[worst]
    assert states(campaign)[worst] == "failed"
    labelled = ase.io.read(campaign / "labelled.extxyz", ":")
    assert len(labelled) == N - 1
    assert worst not in {a.info["frame_hash"] for a in labelled}
    # left alone, until it is asked for
    assert run(campaign, engine(), executor=threads).labelled == 0
    assert run(campaign, engine(), executor=threads, retry_failed=True).labelled == 1
    assert set(states(campaign).values()) == {"done"}
    assert len(ase.io.read(campaign / "labelled.extxyz", ":")) == N


def test_an_engine_that_takes_its_process_down_costs_one_frame(campaign):
    heights = sorted(a.positions[0, 2] for a in chosen(campaign))
    config = engine("label_calculators.FaultyEMT", how="segfault", limit=float(heights[-2]))
    summary = run(campaign, config, jobs=2)
    assert (summary.labelled, summary.failed) == (N - 1, 1)
    assert list(summary.reasons.values()) == ["the engine took its process down, twice"]


def test_a_frame_that_takes_too_long_fails_and_its_engine_ends(
    campaign, tmp_path, capsys, monkeypatch
):
    heights = sorted(a.positions[0, 2] for a in chosen(campaign))
    log, path = tmp_path / "log", tmp_path / "hang.yaml"
    config = engine(
        "label_calculators.FaultyEMT", how="hang", limit=float(heights[-3]), log=str(log)
    )
    path.write_text(json.dumps({"engine": config.model_dump()}))
    is_late = TaskManager.timeout

    def hangs_and_is_late(task: Any) -> bool:
        """The clock of those that hang: others may be slow on a machine with other work."""
        hung = log.read_text().split()[::3] if log.exists() else []
        return str(task.worker_id) in hung and is_late(task)

    monkeypatch.setattr(TaskManager, "timeout", staticmethod(hangs_and_is_late))
    words = ["label", str(campaign), "--engine", str(path), "--quiet", "--jobs", "2"]
    assert main([*words, "--time-limit", "3"]) == 0
    assert f"{N - 2} labelled, 2 failed" in capsys.readouterr().out
    assert sorted(states(campaign).values()) == ["done"] * (N - 2) + ["failed"] * 2
    reasons = [json.loads(p.read_text())["reason"] for p in campaign.glob("labels/*.failed.json")]
    assert reasons == ["took longer than 3 s"] * 2
    for line in log.read_text().splitlines():
        worker, child, scratch = line.split()
        wait_until(lambda pids=(int(worker), int(child)): not any(map(alive, pids)))
        assert not Path(scratch).exists()


def test_a_time_limit_needs_processes(campaign, threads):
    with pytest.raises(ConfigError, match="for processes of this machine"):
        run(campaign, engine(), executor=threads, time_limit=3.0)


@pytest.fixture
def cluster() -> Iterator[str]:
    """Address of a Dask scheduler, with one worker of four threads."""
    distributed = pytest.importorskip("distributed", reason="needs the extra tpainn[dask]")
    options = {"processes": False, "protocol": "tcp://", "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=4, **options) as cluster:
        yield cluster.scheduler_address


def test_workers_of_dask_label(campaign, cluster, capsys):
    path = campaign.parent / "lonely.yaml"
    path.write_text("engine: {kind: ase, calculator: label_calculators.LonelyEMT, level: EMT}\n")
    words = ["label", str(campaign), "--engine", str(path), "--quiet", "--dask", cluster]
    assert main([*words, "--time-limit", "9"]) == 2
    assert "for processes of this machine" in capsys.readouterr().err
    assert main(words) == 0
    assert f"{N} labelled, 0 failed" in capsys.readouterr().out
    assert set(states(campaign).values()) == {"done"}


def test_an_engine_that_always_breaks_is_given_up(campaign, threads):
    config = engine("label_calculators.FaultyEMT", how="bug", limit=-1e9)
    with pytest.raises(LabelError, match=r"KeyError: 'surprise' \(3 frames in a row\)"):
        run(campaign, config, executor=threads)
    assert set(states(campaign).values()) == {"pending"}  # not the frames' fault
    assert run(campaign, engine(), executor=threads).labelled == N


#: As docs/labels.md has it.
MANUAL = (Path(__file__).parents[2] / "docs" / "labels.md").read_text()
VASP = next(block for block in re.findall(r"```yaml\n(.*?)```", MANUAL, re.S) if "Vasp" in block)


def test_an_engine_that_cannot_start_leaves_the_campaign_as_it_was(
    campaign, threads, capsys, monkeypatch
):
    for name in ("ASE_VASP_COMMAND", "VASP_COMMAND", "VASP_SCRIPT"):
        monkeypatch.delenv(name, raising=False)
    path = campaign.parent / "vasp.yaml"
    path.write_text(VASP)
    assert main(["label", str(campaign), "--engine", str(path), "--quiet"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "VASP_COMMAND" in error
    assert "(3 frames in a row)" in error
    assert set(states(campaign).values()) == {"pending"}
    # another level may label it, since there is no label of the first
    assert run(campaign, engine(), executor=threads).labelled == N


def test_an_engine_that_breaks_on_the_only_frame_leaves_it_open(campaign, threads):
    config = engine("label_calculators.FaultyEMT", how="bug", limit=-1e9)
    with pytest.raises(LabelError, match="1 of 1 frames"):
        run(campaign, config, executor=threads, share=(0, N))
    assert not list((campaign / "labels").glob("*.failed.json"))


def test_processes_that_do_not_start_are_one_line(campaign, monkeypatch):
    from training.labels import processes

    monkeypatch.setattr(processes, "start_engine_process", os.readlink)  # a folder is no link
    with pytest.raises(LabelError, match="cannot be kept running; labels are kept"):
        run(campaign, engine())
    assert set(states(campaign).values()) == {"pending"}


def test_full_scratch_disk_is_one_line_and_frames_stay_open(campaign, threads):
    heights = sorted(a.positions[0, 2] for a in chosen(campaign))
    config = engine("label_calculators.FaultyEMT", how="full", limit=float(heights[4]))
    with pytest.raises(LabelError, match="No space left on device"):
        run(campaign, config, executor=threads)
    assert "failed" not in states(campaign).values()
    done = list(states(campaign).values()).count("done")
    assert run(campaign, engine(), executor=threads).labelled == N - done


def test_full_disk_of_the_campaign_loses_nothing(campaign, small_disk, capsys):
    home = small_disk / "work"
    shutil.copytree(campaign.parent, home)
    room = os.statvfs(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (room.f_bavail * room.f_bsize - 3 * 4096))
    command = ["label", str(home / "c"), "--engine", str(engine_file(campaign)), "--quiet"]
    assert main(command) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "No space left on device" in line
    filler.unlink()
    kept = len(list((home / "c" / "labels").glob("*.extxyz")))
    assert main(command) == 0
    assert f"{N - kept} labelled, 0 failed" in capsys.readouterr().out
    assert set(states(home / "c").values()) == {"done"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_killed_run_is_resumed(campaign, tmp_path):
    log = tmp_path / "log"
    text = (
        "engine: {kind: ase, calculator: label_calculators.LoggedEMT, level: EMT,"
        f" arguments: {{log: {log}, wait: 4}}}}\n"
    )
    config = tmp_path / "slow.yaml"
    config.write_text(text)
    command = [sys.executable, "-m", "training.cli", "label", str(campaign), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    process = subprocess.Popen(
        [*command, "--engine", str(config)], env=environment, stderr=subprocess.DEVNULL
    )
    labels = campaign / "labels"
    wait_until(lambda: log.exists() and len(log.read_text().split()) == 4)
    wait_until(lambda: len(finished_files(labels, "*.extxyz")) == 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    worker = int(log.read_text().split()[0])
    wait_until(lambda: not alive(worker))
    kept = {p.name: p.read_bytes() for p in labels.glob("*.extxyz")}
    assert len(kept) == 3
    assert set(states(campaign).values()) == {"pending"}  # nothing was handed over yet
    (labels / ".half.extxyz.tmp").write_text("3\nhalf a fra")
    done = subprocess.run(
        [*command, "--engine", str(config)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{N - len(kept)} labelled, 0 failed, {len(kept)} done before" in done.stdout
    assert set(states(campaign).values()) == {"done"}
    assert all((labels / name).read_bytes() == data for name, data in kept.items())
    assert len(log.read_text().split()) == N + 1  # the one that was under way, and no other


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 1200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_second_worker_gets_one_line(campaign, threads, capsys):
    with label_lock(campaign / "labels"):
        command = ["label", str(campaign), "--engine", str(engine_file(campaign))]
        assert main(command) == 2
        with pytest.raises(DataError, match="is labelling this campaign"):
            run(campaign, engine(), executor=threads, share=(0, 2))
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert f"process {os.getpid()} is labelling this campaign" in error[0]


def test_shares_together_are_the_whole(campaign, threads):
    with label_lock(campaign / "labels", (1, 3)):
        assert run(campaign, engine(), executor=threads, share=(0, 3)).labelled == 4
        with pytest.raises(DataError, match="is labelling this campaign"):
            run(campaign, engine(), executor=threads, share=(1, 3))
    assert set(states(campaign).values()) == {"pending"}
    for k in (1, 2):
        assert run(campaign, engine(), executor=threads, share=(k, 3)).labelled == 3
    assert run(campaign, engine(), executor=threads).labelled == 0
    assert set(states(campaign).values()) == {"done"}


def test_label_of_an_unknown_frame_is_refused(campaign, threads, frames):
    (campaign / "labels").mkdir()
    ase.io.write(campaign / "labels" / "abc123.extxyz", frames[-1])
    with pytest.raises(DataError, match="frame abc123, which was not chosen in this campaign"):
        run(campaign, engine(), executor=threads)
    assert set(states(campaign).values()) == {"pending"}


def test_one_level_per_campaign(campaign, threads):
    run(campaign, engine(), executor=threads)
    other = LabelConfig.model_validate({"engine": {**engine().model_dump(), "level": "EAM"}})
    with pytest.raises(DataError, match="labels of level 'EMT' are here, and the engine gives"):
        run(campaign, other.engine, executor=threads)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "cp2"], 'did you mean "cp2k"?'),
        (["--engine", "missing.yaml"], "cannot read missing.yaml"),
        (["--engine", "tblite", "--share", "3/3"], "--share '3/3'"),
        (["--engine", "tblite", "--jobs", "0"], "--jobs 0"),
        (["--engine", "tblite", "--dask", "here"], "--dask here: no scheduler there"),
        (["--engine", "tblite", "--time-limit", "0"], "--time-limit 0"),
    ],
)
def test_mistakes_on_the_command_line(campaign, capsys, words, message):
    assert main(["label", str(campaign), *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{kind: cp2k, command: no-such-cp2k}", "no program 'no-such-cp2k': apt-get install"),
        ("{kind: ase, calculator: nowhere.Calc, level: x}", "No module named 'nowhere'"),
        ("{kind: tblite, metod: GFN2-xTB}", 'did you mean "method"?'),
    ],
)
def test_engine_that_is_not_there(campaign, capsys, section, message):
    path = campaign.parent / "bad.yaml"
    path.write_text(f"engine: {section}\n")
    assert main(["label", str(campaign), "--engine", str(path)]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert not (campaign / "labels" / "engine.json").exists()


def test_no_campaign(tmp_path):
    with pytest.raises(TPaiNNError, match="Start one with 'seedselect pick'"):
        run(tmp_path, load_engine("tblite"))
