"""MuseTalk's whole pipeline at full size against the official one rebuilt on PyTorch (peer.py), in one run, with the same seeded weights and the same
number of threads: a frame of a take, the preparation of a frame, the time to the first frame, memory. Prints the table of docs/bench.md
("Pipeline") and ends with 1 if a limit is missed. Ours runs as its users run it: `talkie generate`."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TALKIE = os.environ.get("TALKIE_BIN") or str(ROOT / "target/release/talkie")
# of the clip, of a short take, of a long take; a frame of the peer costs about nine seconds
CLIP, SHORT, LONG = 6, 8, 16
# of a clip whose preparation ours is measured by, less that of one of two frames
PREPARED = 16
# of the clip that the time to the first frame is told for
TEN_SECONDS = 250
FPS = 25
LIMITS = {"pipeline": 2.5, "prepare": 2.0, "first": 10.0, "memory": 1.0}


def models(seeded, folder):
    """The seeded files, but for the last layers of the three nets that look for the face. Seeded, those find none, and nothing behind them would be
    run; rewritten, they see a face in every frame and skin wherever they look, after the same work."""
    for source in seeded.glob("*/*"):
        (folder / source.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / source.parent.name / source.name).symlink_to(source.resolve())

    def rewrite(name, change):
        held = torch.load(seeded / name, map_location="cpu", weights_only=False)
        change(held.get("state_dict", held))
        (folder / name).unlink()
        torch.save(held, folder / name)

    def detector(held):
        # 300 pixels at each place of the coarsest level, none at the others
        for key in [key for key in held if "_mbox_" in key]:
            held[key].zero_()
        for key in [key for key in held if key.endswith("_conf.bias")]:
            found = key.startswith("conv7_2")
            held[key][:-1], held[key][-1] = (-8, 8) if found else (8, -8)
        held["conv7_2_mbox_loc.bias"][2:] = -2.67

    def pose(held):
        # points that nobody is sure of: the detector's box counts
        for axis in "xy":
            held[f"head.cls_{axis}.weight"].zero_()

    def parser(held):
        held["conv_out.conv_out.weight"].zero_()[1] = 0.01

    rewrite("s3fd/s3fd-619a316812.pth", detector)
    rewrite("dwpose/dw-ll_ucoco_384.pth", pose)
    rewrite("face-parse-bisent/79999_iter.pth", parser)


def ffmpeg(*words):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, words)], check=True)


class Ours:
    """`talkie generate`, with a home of its own."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TALKIE", "XDG_"))}
        self.env = kept | {"HOME": str(folder / "home"), "TALKIE_MODELS": str(folder / "models")}

    def take(self, clip, frames):
        """(report, CPU seconds of all its processes, wall seconds, peak MiB of one of them)"""
        out = self.folder / "ours.mp4"
        subject = ["--video", clip, "--audio", self.folder / "voice.wav", "--duration", frames / FPS, "--set", f"batch_size={self.options.batch}"]
        how = ["--conf", f"compute.threads={self.options.threads}", "--conf", f"compute.profile={self.options.profile}"]
        command = [TALKIE, "generate", "--engine", "musetalk", *subject, *how, "--out", out, "--overwrite", "--json", "--quiet"]
        begun = time.time()
        with tempfile.TemporaryFile() as told:
            process = subprocess.Popen([str(word) for word in command], stdout=told, env=self.env)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            told.seek(0)
            report = json.load(told)
        if status or report["frames"] != frames or "face_missing" in str(report["warnings"]):
            raise SystemExit(f"a take of {frames} frames failed: {report}")
        cpu, wall = used.ru_utime + used.ru_stime, time.time() - begun
        print(f"ours, {clip.stem}, {frames} frames: {cpu:.1f} s of CPU, {wall:.1f} s, first frame after {report['first_frame']:.1f} s", file=sys.stderr)
        return report, cpu, wall, used.ru_maxrss / 1024


def peer(options, folder):
    """All that it measured."""
    command = [sys.executable, pathlib.Path(__file__).with_name("peer.py"), "--models", folder / "models", "--clip", folder / "clip.mp4"]
    command += ["--voice", folder / "voice.wav", "--work", folder / "peer", "--threads", options.threads, "--batch", options.batch]
    command += ["--takes", SHORT, LONG]
    env = os.environ | {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    found = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, env=env).stdout
    return {name: value for line in found.splitlines() for name, value in json.loads(line).items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--profile", default="strict", choices=["strict", "fast"])
    parser.add_argument("--seeded", type=pathlib.Path, required=True, help="the folder that scripts/seeded.sh prints")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pipeline-"))
    try:
        failed = compare(options, folder)
    finally:
        shutil.rmtree(folder)
    raise SystemExit(1 if failed else 0)


def compare(options, folder):
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {options.threads} threads each, profile {options.profile}\n", flush=True)
    models(options.seeded, folder / "models")
    motion = "scale=720:-2,crop=640:640:x='40+8*sin(t*3)':y=60"
    still = ["-loop", "1", "-r", FPS, "-i", ROOT / "assets/portrait.png", "-vf", motion, "-pix_fmt", "yuv420p"]
    for name, count in (("clip", CLIP), ("two", 2), ("sixteen", PREPARED), ("ten", TEN_SECONDS)):
        ffmpeg(*still, "-frames:v", count, folder / f"{name}.mp4")
    ffmpeg("-i", ROOT / "assets/speech.wav", "-t", (LONG + 0.5) / FPS, folder / "voice.wav")
    ours = Ours(options, folder)
    # what a first process finds out about the machine is kept for the others
    ours.take(folder / "clip.mp4", SHORT)
    report, short, wall, memory = ours.take(folder / "clip.mp4", SHORT)
    _, long, _, long_memory = ours.take(folder / "clip.mp4", LONG)
    _, two, _, _ = ours.take(folder / "two.mp4", LONG)
    _, sixteen, _, _ = ours.take(folder / "sixteen.mp4", LONG)
    ten, _, ten_wall, _ = ours.take(folder / "ten.mp4", options.batch)
    first = lambda report, wall: wall - report["timings"]["total"] + report["first_frame"]  # noqa: E731
    theirs = peer(options, folder)
    start = theirs["loaded_s"] + theirs["first_after_preparing_s"]
    each = (theirs["prepared_s"] - theirs["loaded_s"]) / theirs["frames"]
    rows = [
        ("a frame of a take: nets, resize, blend, encode; s of CPU", (long - short) / (LONG - SHORT), theirs["pipeline_cpu_s"], "pipeline"),
        ("preparation of a frame; s of CPU", (sixteen - two) / (PREPARED - 2), theirs["prepare_cpu_s"], "prepare"),
        ("process start to first frame, clip of 10 s; s", first(ten, ten_wall), start + TEN_SECONDS * each, "first"),
        (f"process start to first frame, clip of {CLIP} frames; s", first(report, wall), start + CLIP * each, None),
        ("peak memory; MiB", max(memory, long_memory), theirs["peak_mib"], "memory"),
    ]
    print(f"| MuseTalk v1.5, 640x640, batch {options.batch} | ours ({options.profile}) | official pipeline on PyTorch f32 | ratio | limit |")
    print("| --- | --- | --- | --- | --- |")
    missed = []
    for title, own, other, limit in rows:
        ratio = other / own
        if limit and ratio < LIMITS[limit]:
            missed.append(title)
        digits = 0 if "MiB" in title else 2
        print(f"| {title} | {own:.{digits}f} | {other:.{digits}f} | {ratio:.2f} | {LIMITS[limit] if limit else ''} |")
    print(f"\nThe peer's first frame of 10 s is what its parts add up to: {start:.1f} s to start, load and make the first batch, and {TEN_SECONDS} frames to be")
    print(f"prepared before, {each:.2f} s each (measured over {theirs['frames']}); the other figures are measured.")
    for title in missed:
        print(f"missed: {title}", file=sys.stderr)
    return missed


if __name__ == "__main__":
    main()
