"""PARITY.md names tests that exist, and every row says something about its line."""

import ast
import pathlib
import re

import stage

ROOT = stage.ROOT
TEXT = (ROOT / "PARITY.md").read_text()


def names_in(path):
    source = (ROOT / path).read_text()
    if path.endswith(".py"):
        return {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    return set(re.findall(r"fn (\w+)", source))


def rows():
    """(section, file of its tests or None, the cells)"""
    for section in re.split(r"^## ", TEXT, flags=re.M)[1:]:
        title, _, body = section.partition("\n")
        own = re.search(r"^Tests: `([^`]+)`", body, re.M)
        for line in body.splitlines():
            if line.startswith("|") and not line.startswith(("| line", "| ---")):
                yield title, own and own[1], [cell.strip() for cell in line.strip("|").split("|")]


def test_every_named_test_exists():
    named = 0
    for title, own, cells in rows():
        for path, name in re.findall(r"`([\w./-]*)::(\w+)`", cells[-1]):
            path = path or own
            assert path and pathlib.Path(ROOT / path).is_file(), (title, cells)
            assert name in names_in(path), f"{title}: {path}::{name} does not exist"
            named += 1
    assert named > 100


def test_every_row_has_a_test_or_a_reason():
    for title, _, cells in rows():
        assert len(cells) == 3, (title, cells)
        _, how, test = cells
        assert "`" in test and "::" in test or test.startswith("none") and how, (title, cells)


def test_the_five_documents_are_there():
    assert len(re.findall(r"^## ", TEXT, flags=re.M)) == 5
