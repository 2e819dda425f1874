"""Which of fal's clients does what by which way: recorded while the tests run, kept in a table of docs/fal.md.

A test that is marked `fal("feature")` and has a parameter `client` (client, way) fills one cell when it passes."""

import os
import re

import pytest

import stage

DOCUMENT = stage.ROOT / "docs/fal.md"
MODULES = ("test_fal_python", "test_fal_js")
BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"
WAYS = {"tls": "`--port fal=N`", "http": "plain HTTP", "proxy": "`proxyUrl`", "takeover": "`talkie takeover`"}
CLIENTS = {
    "python": "`fal_client`",
    "python-async": "`fal_client`, async",
    "sdk": "`fal` SDK",
    "js": "`@fal-ai/client`",
}
KNOWN = pytest.StashKey[dict]()


def pytest_configure(config):
    config.addinivalue_line("markers", "fal(feature): fills a cell of the matrix in docs/fal.md")
    config.stash[KNOWN] = {"collected": {}, "passed": set()}


def cell(item):
    marker = item.get_closest_marker("fal")
    chosen = getattr(item, "callspec", None) and item.callspec.params.get("client")
    return (chosen[0], marker.args[0], chosen[1]) if marker and chosen else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Notes every cell before anything is deselected; the test of the table comes last."""
    known = config.stash[KNOWN]["collected"]
    for item in items:
        if found := cell(item):
            known.setdefault(item.module.__name__, set()).add(found)
    items.sort(key=lambda item: item.module.__name__ == "test_fal_matrix")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    found = cell(item)
    if found and report.when == "call" and report.passed:
        item.config.stash[KNOWN]["passed"].add(found)


def unfinished(config):
    """Why what ran is not the whole matrix, if it is not."""
    known = config.stash[KNOWN]
    missing = [name for name in MODULES if name not in known["collected"]]
    if missing:
        return f"{', '.join(missing)} did not run"
    # a cell that failed is missing in the table, and the table's test says so; one that was not even tried is no news
    return None if known["passed"] else "no client ran"


def table(cells):
    rows = [f"| client | feature | {' | '.join(WAYS.values())} |", "| --- | --- |" + " --- |" * len(WAYS)]
    order = list(CLIENTS)
    for client, feature in sorted({cell[:2] for cell in cells}, key=lambda row: (order.index(row[0]), row[1])):
        marks = ["yes" if (client, feature, way) in cells else "–" for way in WAYS]
        rows.append(f"| {CLIENTS[client]} | {feature} | {' | '.join(marks)} |")
    return "\n".join(rows)


def written():
    found = re.search(f"{BEGIN}\n(.*?)\n?{END}", DOCUMENT.read_text(), re.S)
    assert found, f"{DOCUMENT} has no {BEGIN} … {END}"
    return found[1]


def write(text):
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


def asked_to_write():
    return os.environ.get("TALKIE_WRITE_MATRIX") == "1"
