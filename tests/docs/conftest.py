"""Code blocks of a page, read from its source and run in their order, as a reader would.

Every block runs, in a folder of its page, unless a comment before it says otherwise; comments are
in the page's source and not on the page::

    <!-- skip: reason -->            not run: it needs what no test machine has
    <!-- parse: reason -->           commands are held against the real parsers, but not run
    <!-- replace: A -> B -->         run with B in place of A, to make it short (repeatable)
    <!-- schema: NAME -->            YAML of this kind of configuration, perhaps a part of it
    <!-- alone: reason -->           Python in a process of its own
    <!-- before: TEXT -->            lines that the test puts in front of a block
    <!-- hidden: LANGUAGE            a block that only the test sees: files that a manual
    ... -->                          takes for granted

A block whose first line is a comment with a file name, such as ``# in.npt``, is that file.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import glob
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from sybil import Document
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, RawFencedCodeBlockLexer

import training
from tpainn_calc.base.schema import check_config

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.md"))
MANUALS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*MANUALS, *TUTORIALS]
LANGUAGES = {"bash", "python", "yaml", "lammps", "text"}
MARKS = ("skip", "parse", "alone", "replace", "schema", "before")
FILE = re.compile(r"^# ([\w./-]+\.\w+)$")
# what a shell block may call beside our own commands
FOREIGN = {"[", "apt-get", "cd", "cmake", "cp", "export", "git", "lmp", "mypy", "pip", "printf"}
FOREIGN |= {"pytest", "python", "python3", "ruff", "source"}
LAUNCHERS = {"mpiexec", "srun"}


@dataclass(frozen=True)
class Block:
    """One block of code of a page.

    Attributes
    ----------
    page : Path
    line : int
        Of its first line of code, from 1.
    language : str
    text : str
        As printed.
    marks : dict of str to list of str
        What the comments before it say.
    """

    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, list[str]] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Page and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """Name of the file that the block shows, if it shows one."""
        match = FILE.match(self.text.partition("\n")[0])
        return match[1] if match else None

    @property
    def tested(self) -> str:
        """Text as the test runs it: shortened, and with what it takes for granted."""
        text = self.text
        for rule in self.marks.get("replace", []):
            old, _, new = (part.strip() for part in rule.partition("->"))
            assert old in text, f"{self.place}: there is no {old!r} to replace"
            text = text.replace(old, new)
        return "\n".join([*self.marks.get("before", []), text])


def blocks_of(page: Path) -> list[Block]:
    """Blocks of a page, hidden ones included, in their order."""
    document = Document.parse(str(page))
    fenced = RawFencedCodeBlockLexer(re.compile(r"(?P<info>[^\n]*)\n"))(document)
    marks = DirectiveInHTMLCommentLexer("|".join([*MARKS, "hidden"]))(document)
    blocks: list[Block] = []
    pending: dict[str, list[str]] = {}
    end = 0  # of the last mark, its --> not counted: the block follows at once
    for region in sorted([*fenced, *marks], key=lambda r: r.start):
        line = document.text.count("\n", 0, region.start) + 2
        between = document.text[end : region.start].strip().removeprefix("-->").strip()
        if pending and between:
            raise ValueError(f"{page}:{line}: the comment {pending} is not right before a block")
        if "info" in region.lexemes:
            language = region.lexemes["info"].partition(" ")[0]
            if not language.startswith("{"):  # of MyST: not code
                blocks.append(Block(page, line, language, str(region.lexemes["source"]), pending))
            pending = {}
        elif region.lexemes["directive"] == "hidden":
            language = region.lexemes["arguments"]
            blocks.append(Block(page, line, language, str(region.lexemes["source"]), pending))
            pending = {}
        else:
            said = "\n".join([region.lexemes["arguments"], str(region.lexemes["source"])])
            pending.setdefault(region.lexemes["directive"], []).append(said.strip())
            end = region.end
    return blocks


def commands_of(text: str) -> Iterator[list[str]]:
    """Words of every command of a shell block; comments and assignments left out."""
    for line in re.sub(r"\\\n", "  ", text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if re.fullmatch(r"[;&|()]+", word):
                if words:
                    yield words
                words = []
            elif words or not re.match(r"[A-Za-z_]\w*=", word):
                words.append(word)


def entry_points() -> dict[str, Callable[[Sequence[str]], int]]:
    """Our commands, as ``setup.cfg`` declares them."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    mains = {}
    for line in lines:
        name, module, function = re.split(r"\s*=\s*|:", line)
        mains[name] = getattr(import_module(module), function)
    return mains


class Parsed(Exception):
    """An option parser of a script has accepted its arguments."""


class Shell:
    """Runs shell blocks, or holds their commands against the parsers that they would meet."""

    def __init__(self) -> None:
        self.mains = entry_points()

    def run(self, block: Block) -> None:
        """Run a block: our commands in this process (they start faster), any other in bash."""
        for _, line in self._lines(block):
            words = shlex.split(line, comments=True)
            if words and words[0] in self.mains and not re.search(r"[$|<>;&]", line):
                self.call(block, words)
                continue
            run_program(block, ["bash", "-euo", "pipefail", "-c", line])

    @staticmethod
    def _lines(block: Block) -> Iterator[tuple[int, str]]:
        yield from enumerate(re.sub(r"\\\n", "  ", block.tested).splitlines())

    def call(self, block: Block, words: list[str]) -> None:
        """Run one of our commands as its entry point does."""
        arguments = [f for w in words[1:] for f in (sorted(glob.glob(w)) or [w])]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = self.mains[words[0]](arguments)
            except SystemExit as error:
                code = error.code
        assert not code, f"{block.place}: {shlex.join(words)}: {said.getvalue()[-2000:]}"

    def parse(self, block: Block) -> None:
        """Check that every command exists and takes its options."""
        for written in commands_of(block.tested):
            words = self._without_launcher(written)
            if words[0] in self.mains:
                self._parse_ours(block, words)
            elif words[0] == "make":
                targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
                assert set(words[1:]) <= set(targets), f"{block.place}: {shlex.join(words)}"
            elif words[0].startswith("python") and words[1] == "-m" and "." in words[2]:
                self._parse_module(block, words[2:])
            elif words[:2] == ["pip", "install"]:
                self._check_extras(block, words)
            else:
                assert words[0] in FOREIGN, f"{block.place}: the command {words[0]!r} is not known"

    def check_mention(self, command: str, words: str, page: str) -> None:
        """Check subcommands and options that stand within a sentence."""
        options = re.findall(r"(?<![\w-])--[a-z-]+", words)
        subcommands = re.match(r"[a-z |]*", words.partition("--")[0])
        assert subcommands is not None
        chosen = [word.split()[0] for word in subcommands[0].split("|") if word.strip()]
        texts = [self.help_of(command, name) for name in chosen] or [self.help_of(command)]
        for option in options:
            assert all(option in text for text in texts), f"{page}: `{command}{words}`: {option}"

    def help_of(self, *words: str) -> str:
        """Text that ``--help`` of a command or subcommand prints."""
        said = io.StringIO()
        ended = pytest.raises(SystemExit)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), ended as end:
            self.mains[words[0]]([*words[1:], "--help"])
        assert not end.value.code, f"{' '.join(words)}: {said.getvalue()}"
        return said.getvalue()

    def _without_launcher(self, words: list[str]) -> list[str]:
        if words[0] in LAUNCHERS:
            inner = [k for k, word in enumerate(words) if word in {*self.mains, "lmp"}]
            return words[inner[0] :]
        return words

    def _parse_ours(self, block: Block, words: list[str]) -> None:
        main = self.mains[words[0]]
        with pytest.MonkeyPatch.context() as patch:
            # what comes after the parser, in every one of our commands
            patch.setitem(main.__globals__, "run_command", lambda *_, **__: 0)  # type: ignore[attr-defined]
            self.call(block, words)

    def _parse_module(self, block: Block, words: list[str]) -> None:
        def accept(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
            parsed, unknown = parser.parse_known_args(*args, **kwargs)
            assert parsed is not None
            assert not unknown, f"{block.place}: {unknown}"
            raise Parsed

        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as e:
            patch.setattr(argparse.ArgumentParser, "parse_args", accept)
            patch.setattr(sys, "argv", words)
            try:
                runpy.run_module(words[0], run_name="__main__")
            except Parsed:
                return
            except SystemExit:
                pass
        pytest.fail(f"{block.place}: {shlex.join(words)}: {e.getvalue()}")

    @staticmethod
    def _check_extras(block: Block, words: list[str]) -> None:
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        known = set(setup["options.extras_require"])
        for extras in re.findall(r"(?:tpainn|\.)\[([\w,]+)\]", " ".join(words)):
            assert set(extras.split(",")) <= known, f"{block.place}: no extra {extras}"


def complete(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """Configuration of a kind from a part of one: what is missing is filled in."""
    least: dict[str, dict[str, Any]] = {
        "scratch": {
            "output": "runs/example",
            "data": {"files": ["frames.extxyz"]},
            "optimizer": {"max_steps": 100},
        },
        "classical": {"output": "runs/example", "source": {"kind": "water"}},
        "distill": {},
        "engine": {},
        "loop": {},
        "teachers": {},
    }
    least["autotune"] = least["scratch"]
    least["curve"] = least["scratch"] | {"curve": {"pretrained": "m", "sizes": [10]}}
    merged = dict(least[kind])
    for key, value in content.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and key != "source"
        merged[key] = {**merged[key], **value} if both else value
    return merged


def check_yaml(block: Block) -> None:
    """Hold a block of YAML against the schema of the command that reads it."""
    (kind,) = block.marks["schema"]
    schemas = {
        "autotune": training.AutotuneConfig,
        "classical": training.ClassicalConfig,
        "curve": training.CurveConfig,
        "distill": training.DistillConfig,
        "engine": training.LabelConfig,
        "loop": training.LoopConfig,
        "scratch": training.TrainingConfig,
        "teachers": training.TeachersConfig,
    }
    content = yaml.safe_load(block.text)
    check_config(complete(kind, content), schemas[kind], block.place)


def run_lammps(block: Block) -> None:
    """Run a part of a LAMMPS input on the water of the README, for no step."""
    text = block.tested
    head = ["units metal", "atom_style atomic"]
    if "read_data" not in text:
        head.append("read_data water.data")
    if "pair_style" not in text:
        head += ["pair_style tpainn", "pair_coeff * * water.pt O H"]
    tail = [] if re.search(r"^run", text, re.MULTILINE) else ["run 0"]
    Path("part.in").write_text("\n".join([*head, text, *tail]) + "\n")
    run_program(block, [str(Path(sys.executable).parent / "tpainn-lammps"), "run", "part.in"])


def run_program(block: Block, command: list[str]) -> None:
    """Run a program in the environment of the tests; it must end well."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path}
    )
    said = done.stdout + done.stderr
    errors = [line for line in said.splitlines() if "ERROR" in line or "error:" in line]
    assert done.returncode == 0, f"{block.place}: {errors or said[-1000:]}"


class Reader:
    """Goes through a page, and does what it says."""

    def __init__(self) -> None:
        self.shell = Shell()

    def read(self, page: Path) -> None:
        """Run all blocks of `page` in the working directory, in one namespace."""
        namespace: dict[str, Any] = {"__name__": page.stem}
        for block in blocks_of(page):
            self.do(block, namespace)

    def do(self, block: Block, namespace: dict[str, Any]) -> None:
        """Run, parse or check one block."""
        assert block.language in LANGUAGES, f"{block.place}: language {block.language!r}"
        if block.language == "text" or "skip" in block.marks:
            return
        if "schema" in block.marks:
            check_yaml(block)
        if block.file is not None:
            Path(block.file).write_text(block.tested)
        elif block.language == "python" and "alone" in block.marks:
            Path("alone.py").write_text(block.tested)
            run_program(block, [sys.executable, "alone.py"])
        elif block.language == "python":
            code = compile("\n" * (block.line - 1) + block.tested, str(block.page), "exec")
            exec(code, namespace)
        elif block.language == "bash" and "parse" in block.marks:
            self.shell.parse(block)
        elif block.language == "bash":
            self.shell.run(block)
        elif block.language == "lammps":
            run_lammps(block)
        else:
            assert "schema" in block.marks, f"{block.place}: YAML of which kind of configuration?"


@pytest.fixture(scope="session")
def reader() -> Reader:
    return Reader()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that lies in a clone, as far as the pages can see."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    for name in ("examples", "benchmarks", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each page, and for each block that no test machine can run."""
    for name, pages in (("page", PAGES), ("manual", MANUALS), ("tutorial", TUTORIALS)):
        if name in metafunc.fixturenames:
            ids = [str(page.relative_to(ROOT)) for page in pages]
            metafunc.parametrize(name, pages, ids=ids)
    if "skipped" in metafunc.fixturenames:
        blocks = [b for page in PAGES for b in blocks_of(page) if "skip" in b.marks]
        metafunc.parametrize("skipped", blocks, ids=[block.place for block in blocks])
