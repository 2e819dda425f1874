"""Devices a server or a take is to compute on, as far as they can be tried without a card: what is missing is told, and nothing computes elsewhere in silence."""

import json
import shutil
import subprocess

import pytest

import stage

MISSING = "there is no talkie-worker-cuda beside it"


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """The program without whatever else was built beside it."""
    program = tmp_path / "bin" / "talkie"
    program.parent.mkdir()
    shutil.copy2(stage.BINARY, program)
    monkeypatch.setattr(stage, "BINARY", program)


def test_a_gpu_that_nobody_can_use_is_told(tmp_path):
    """`MUSETALK_GPU_ID` is in every .env of the original: without a program for cards the CPU computes, and the start says so."""
    server = stage.Talkie(tmp_path, env={"MUSETALK_GPU_ID": "1"})
    server.start()
    try:
        assert "MUSETALK_GPU_ID is 1" in server.log() and "the CPU computes" in server.log()
        assert len(server.workers()) == 1
    finally:
        server.stop()


def test_a_number_that_is_none_is_refused(tmp_path):
    server = stage.Talkie(tmp_path, env={"MUSETALK_GPU_ID": "first"})
    server.start(wait=False)
    assert server.process.wait(30) == 1
    assert "MUSETALK_GPU_ID" in server.log() and "is `first`" in server.log(), server.log()


def test_a_configured_card_is_not_replaced_by_the_cpu(tmp_path):
    server = stage.Talkie(tmp_path, "--conf", 'compute.device="cuda"')
    server.start(wait=False)
    assert server.process.wait(30) == 1
    assert MISSING in server.log(), server.log()
    server = stage.Talkie(tmp_path / "none", "--conf", "compute.gpus=[]")
    server.start(wait=False)
    assert server.process.wait(30) == 1
    assert "compute.gpus is []" in server.log(), server.log()
    server = stage.Talkie(tmp_path / "twice", "--conf", "compute.gpus=[1, 1]")
    server.start(wait=False)
    assert server.process.wait(30) == 1
    assert "each once" in server.log(), server.log()


def test_a_take_on_a_card_needs_one(tmp_path, media):
    out = tmp_path / "take.mp4"
    command = [str(stage.BINARY), "generate", "--device", "cuda", "--image", str(media.portrait), "--seconds", "1", "--out", str(out), "--json", "--quiet"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    error = json.loads(told.stdout)["error"]
    assert told.returncode == 1 and error["code"] == "no_cuda" and MISSING in error["message"], error
    assert not out.exists()
