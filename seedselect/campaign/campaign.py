"""A campaign: a directory that lives from the first pick to the last label."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from seedselect.campaign.ingestion import Labels, read_labels
from seedselect.campaign.input_files import AnyPath, InputFiles, as_path
from seedselect.campaign.manifest import Entry, Manifest, read_manifest
from seedselect.campaign.settings import PickSettings
from seedselect.errors import SeedSelectError
from seedselect.frames.frame import Frame
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import iter_extxyz

if TYPE_CHECKING:
    from ase import Atoms

MANIFEST = "manifest.json"


class Campaign:
    """A campaign directory and its manifest.

    Parameters
    ----------
    directory : path
    manifest : Manifest

    Attributes
    ----------
    settings : PickSettings
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.settings = PickSettings.model_validate(manifest.settings)

    @classmethod
    def open(cls, directory: AnyPath) -> Campaign:
        """Read a campaign.

        Raises
        ------
        SeedSelectError
            If there is none, or its manifest is damaged; it is left as it is then.
        """
        return cls(as_path(directory), read_manifest(as_path(directory)))

    @property
    def entries(self) -> list[Entry]:
        """Chosen frames or rows, round by round in labelling order."""
        return self.manifest.entries

    def labels(self) -> Labels:
        """Return the labels that have come in."""
        return read_labels(self.directory, self.manifest.kind)

    def states(self) -> dict[str, str]:
        """Return key -> "done", "failed" or "pending" for every chosen row."""
        done = self.labels().keys()
        return {
            entry.key: "done" if entry.key in done else "failed" if entry.failed else "pending"
            for entry in self.entries
        }

    def frames(self, keys: Iterable[str]) -> dict[str, Atoms]:
        """Return frames by key, without labels, round by round in labelling order.

        Raises
        ------
        SeedSelectError
            If the campaign is one of table rows, or a frame is in none of the rounds' files.
        """
        if self.manifest.kind != "frames":
            raise SeedSelectError(f"{self.directory}: a campaign of table rows holds no frames")
        wanted = set(keys)
        found: dict[str, Atoms] = {}
        for path in sorted(self.directory.glob("rounds/round_*.extxyz")):
            for atoms in iter_extxyz(path):
                key = str(atoms.info.get("frame_hash", ""))
                if key in wanted:
                    found[key] = atoms
        missing = wanted - set(found)
        if missing:
            raise SeedSelectError(
                f"{self.directory / 'rounds'}: frame {min(missing)} of the campaign is in none of "
                "the rounds' files; put the files back"
            )
        return found

    def input_files(self, name: str) -> InputFiles:
        """Return the files of an input and check that they have not changed."""
        record = self.manifest.inputs.get(name)
        if record is None:
            raise SeedSelectError(f"{self.directory}: the campaign has no input {name!r}")
        files = InputFiles.of([self.directory / path for path in (record.path, *record.more)])
        for path in files.paths:
            if not path.exists():
                raise SeedSelectError(
                    f"{path}: the {name} file of the campaign is missing: put it back there"
                )
        if files.checksum() != record.sha256:
            raise SeedSelectError(
                f"{files}: changed since the campaign began: put the original back, or start a "
                "new campaign"
            )
        return files

    def pools(self) -> list[str]:
        """Return the names of the pools, the first one, "", included."""
        return ["", *(name for name in self.manifest.inputs if name not in ("source", "pool"))]

    def chosen(self, pool: str | None = None) -> dict[str, Frame]:
        """Return the chosen frames, of one pool or of all."""
        from seedselect.campaign.dataset import frames_at

        found: dict[str, Frame] = {}
        first = "pool" if "pool" in self.manifest.inputs else "source"
        for name in self.pools() if pool is None else [pool]:
            mine = [entry for entry in self.entries if entry.pool == name]
            if mine:
                files = self.input_files(name or first)
                frames = frames_at(files, [e.pool_row for e in mine])
                for entry in mine:
                    frame = frames.get(entry.pool_row)
                    if frame is None or frame.key != entry.key:
                        raise SeedSelectError(
                            f"{files}: row {entry.pool_row} is another frame than the campaign's "
                            f"{entry.key}; its manifest is damaged: restore it from a copy"
                        )
                    found[entry.key] = frame
        return found

    def full_keys(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that beginnings of keys, such as ``3f2a`` or ``3f2a...``, stand for.

        Raises
        ------
        SeedSelectError
            If one stands for none that was chosen, or for several.
        """
        known = [entry.key for entry in self.entries]
        found = []
        for key in keys:
            start = key.rstrip(".…")
            matches = [k for k in known if k.startswith(start)] if start else []
            if not matches:
                raise SeedSelectError(f"--failed {key}: not chosen in this campaign")
            if len(matches) > 1 and start not in matches:
                raise SeedSelectError(
                    f"--failed {key}: {len(matches)} frames begin so; give more of the key, such "
                    f"as {matches[0][: len(start) + 4]}"
                )
            found.append(start if start in matches else matches[0])
        return found

    def mark_failed(self, keys: Iterable[str]) -> None:
        """Record that labels of these keys could not be computed."""
        keys = set(self.full_keys(keys))
        self.manifest.entries = [
            entry.model_copy(update={"failed": True}) if entry.key in keys else entry
            for entry in self.entries
        ]
        self.write()

    def write(self) -> None:
        """Write the manifest, which is what makes a round count."""
        write_atomically(self.directory / MANIFEST, self.manifest.to_text())
