"""Every snippet of the README and of the pages runs, in its order and in an empty folder.

How, and what a page may say about its blocks: see conftest.py.
"""

from __future__ import annotations

import re

import pytest


def test_a_tutorial_runs_from_nothing_to_its_figure(tutorial, reader, folder):
    reader.read(tutorial)
    assert list(folder.glob("*.png")), "a tutorial ends with a figure"


def test_every_block_of_a_manual_runs(manual, reader, folder):
    reader.read(manual)


def test_commands_within_sentences_exist(page, reader):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    names = "|".join(reader.shell.mains)
    for command, words in re.findall(rf"`({names})((?: [^`]+)?)`", text):
        reader.shell.check_mention(command, words, page.name)


def test_every_block_is_fenced(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    assert not re.findall(r"\n\n    \S[^\n]*", text)


def test_what_no_test_machine_can_run(skipped):
    pytest.skip(f"{skipped.place}: {'; '.join(skipped.marks['skip'])}")
