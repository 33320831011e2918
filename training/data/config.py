"""Configuration of the data of a run: which frames are read, and how they are split."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from tpainn_calc.base.schema import Fraction, PathText, Positive, Section, Seed


class DataSection(Section):
    """Frames that are read, and their split.

    Attributes
    ----------
    files : list of str
        Extended XYZ (also .gz), folders that ``tpainn-train classical`` wrote, or QM9 as .npz;
        patterns such as ``runs/*/labels.extxyz``. ``${TPAINN_DATA}`` stands for the folder of
        reference data.
    level : str
        Level of theory of the labels. Frames that carry a ``level`` of their own must agree.
    energy_key : str
        Info key of the energy, eV.
    forces_key : str
        Column of the forces, eV/Å.
    stress_key : str
        Info key of the stress, eV/Å³, Voigt order xx yy zz yz xz xy or nine numbers, tension
        positive.
    max_force : float, optional
        Frames with a larger force (eV/Å) on any atom are rejected, counted and listed.
    min_distance : float, optional
        Likewise frames with two atoms closer than this, Å.
    group_by : str, optional
        Info key that names the trajectory of a frame; blocks never cross trajectories.
    whole_groups : bool
        Split by whole groups, such as molecules, instead of by blocks within each.
    block : int
        Consecutive frames that stay together in the split.
    validation, test : float
        Fractions of the blocks.
    test_files : list of str
        The test set, in place of the fraction `test`: all frames of these files. A pattern in
        `files` may match them, too; frames of theirs in other files are an error.
    training_files : list of str
        Files whose frames are trained on, all of them, and never held out: of distorted
        structures, by which errors should not be judged.
    split_seed : int
        Fixes the split, independently of the training seed.
    n_train : int, optional
        Train on this many frames of the training set only, drawn at random. The draws of one
        `subset_seed` are nested: a smaller one is part of every larger one.
    subset_seed : int
        Fixes which frames `n_train` draws.
    """

    files: list[PathText] = Field(min_length=1)
    level: str = ""
    energy_key: str = "energy"
    forces_key: str = "forces"
    stress_key: str = "stress"
    max_force: Positive | None = None
    min_distance: Annotated[float, Field(gt=0, le=10)] | None = None
    group_by: str | None = None
    whole_groups: bool = False
    block: int = Field(1, ge=1)
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.05
    test: Fraction = 0.1
    test_files: list[PathText] = Field(default_factory=list)
    training_files: list[PathText] = Field(default_factory=list)
    split_seed: Seed = 0
    n_train: int | None = Field(None, ge=1)
    subset_seed: Seed = 0

    @model_validator(mode="after")
    def _one_test_set(self) -> Self:
        if self.test_files and self.test and "test" in self.model_fields_set:
            raise ValueError("give test (a fraction of files) or test_files, not both")
        return self
