"""What is done to pictures, against OpenCV and Pillow, in turns (ours, peer, ours, peer, ...) in one run; CPU time of one thread, the best of
all runs. Both sides must give the same bytes. Prints the table of docs/bench.md ("Pictures")."""

import os
import pathlib
import sys
import tempfile

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]
from side import Side  # noqa: E402

JOBS = [
    ("face cut out, to 256x256 (LANCZOS4)", "crop"),
    ("frame to RTMPose's 288x384 (warpAffine)", "warp"),
    ("square to the face parser's 512x512 (Pillow)", "parser_input"),
    ("labels to soft mask, jaw, offline", "mask offline"),
    ("labels to soft mask, jaw, realtime", "mask realtime"),
    ("face resized and pasted into a copy of its frame", "paste"),
]
TURNS, RUNS = 8, 10


def same(sides, folder):
    paths = [os.path.join(folder, name) for name in ("ours", "peer")]
    for side, path in zip(sides, paths):
        side.ask(f"out {path}")
    ours, peer = (open(path, "rb").read() for path in paths)
    return ours == peer


def main():
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    sides = (Side([f"{target}/release/examples/musetalk-pictures"]),
             Side(["target/peer-pictures/bin/python", "benches/pictures/peer.py"]))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| 1920x1080, a face of 330x420 | ours, ms | OpenCV and Pillow, ms | ratio |")
    print("| --- | --- | --- | --- |")
    for title, job in JOBS:
        best = [float("inf")] * 2
        for side in sides:
            side.ask(job)
        with tempfile.TemporaryDirectory() as folder:
            if not same(sides, folder):
                raise SystemExit(f"{job}: the two sides differ")
        for _ in range(TURNS):
            for i, side in enumerate(sides):
                best[i] = min(best[i], side.best(RUNS))
        print(f"| {title} | {best[0]:.2f} | {best[1]:.2f} | {best[1] / best[0]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
