"""`talkie verify` as its users call it: what it says, what it writes, and how `[compute]` of the configuration reaches it."""

import json
import os
import pathlib
import subprocess

import pytest
import stage

ROOT = pathlib.Path(__file__).resolve().parents[2]


def verify(*words, cwd=ROOT, config=""):
    env = {name: value for name, value in os.environ.items() if not name.startswith("TALKIE")}
    if config:
        env["TALKIE_CONFIG"] = str(config)
    return subprocess.run([stage.BINARY, "verify", *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, timeout=240)


SLOW = [pytest.param(one, marks=pytest.mark.slow) for one in ("threads = 1", "")]


@pytest.mark.parametrize("compute", ["threads = 2\ntransformed_mib = 0", *SLOW])
def test_the_nets_agree_however_they_compute(tmp_path, compute):
    config = tmp_path / "talkie.toml"
    config.write_text(f"[compute]\n{compute}\n")
    told = verify("--only", "musetalk", "--allow-missing", "--json", config=config)
    report = json.loads(told.stdout)
    assert told.returncode == 0 and report["summary"]["failed"] == 0 and report["summary"]["passed"] >= 5, told


@pytest.mark.slow
def test_the_fast_profile_stays_within_its_bounds():
    """Also the nets that choose between almost equal values: those are computed strictly."""
    told = verify("--profile", "fast", "--allow-missing", "--json")
    report = json.loads(told.stdout)
    assert told.returncode == 0 and report["summary"]["failed"] == 0, told


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ("compute.threads=0", "compute.threads is 0, it can be 1 to 1024"),
        ("compute.transformed_mib=1000000001", "compute.transformed_mib is 1000000001"),
        ("compute.cores=2", "cores"),
    ],
)
def test_what_cannot_be_is_refused_by_name(conf, words):
    told = verify("--conf", conf)
    assert told.returncode == 1 and words in told.stderr and not told.stdout, told


def test_without_a_kit_it_says_where_one_is(tmp_path):
    told = verify(cwd=tmp_path)
    assert told.returncode == 1 and "--goldens" in told.stderr, told
