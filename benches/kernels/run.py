"""Our kernels against PyTorch, the same shapes in turns (ours, peer, ours, peer, ...) in one run; CPU time of one thread, the
best of all turns. Prints the tables of docs/bench.md ("Kernels")."""

import argparse
import os
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]
from side import Side  # noqa: E402

# (batch, in, h, w, out, kernel), what it is
CONVS = [
    ("SD UNet, batch 4, 32x32 latents", [
        (4, 8, 32, 32, 320, 3), (4, 320, 32, 32, 320, 3), (4, 640, 32, 32, 320, 3), (4, 960, 32, 32, 320, 3),
        (4, 640, 32, 32, 640, 3), (4, 320, 32, 32, 4, 3),
        (4, 320, 16, 16, 640, 3), (4, 640, 16, 16, 640, 3), (4, 960, 16, 16, 640, 3), (4, 1280, 16, 16, 640, 3),
        (4, 1920, 16, 16, 640, 3), (4, 1280, 16, 16, 1280, 3),
        (4, 640, 8, 8, 1280, 3), (4, 1280, 8, 8, 1280, 3), (4, 1920, 8, 8, 1280, 3), (4, 2560, 8, 8, 1280, 3),
        (4, 1280, 4, 4, 1280, 3), (4, 2560, 4, 4, 1280, 3)]),
    ("SD VAE decoder, 256x256", [
        (1, 4, 32, 32, 512, 3), (1, 512, 32, 32, 512, 3), (1, 512, 64, 64, 512, 3), (1, 512, 128, 128, 512, 3),
        (1, 512, 128, 128, 256, 3), (1, 256, 128, 128, 256, 3), (1, 256, 256, 256, 256, 3),
        (1, 256, 256, 256, 128, 3), (1, 128, 256, 256, 128, 3), (1, 128, 256, 256, 3, 3)]),
    ("1x1", [(4, 640, 32, 32, 320, 1), (1, 512, 64, 64, 512, 1)]),
]
# our format, op, numbers
OTHERS = [
    ("f32", "linear", (1024, 320, 320)), ("f32", "linear", (1024, 320, 2560)),
    ("f32", "linear", (4096, 320, 320)), ("f32", "linear", (1024, 1280, 1280)),
    ("f32", "linear", (256, 1280, 10240)), ("f32", "linear", (1500, 384, 1536)),
    ("f32", "linear", (4, 1280, 1280)),
    ("bf16", "linear", (1024, 1280, 1280)), ("q8_0", "linear", (1024, 1280, 1280)),
    ("q8_0", "linear", (4, 1280, 1280)),
    ("auto", "matmul", (320, 4096, 2880)),
    ("auto", "attention", (4, 8, 1024, 1024, 40)), ("auto", "attention", (4, 8, 256, 256, 80)),
    ("auto", "attention", (4, 8, 64, 64, 160)), ("auto", "attention", (4, 8, 1024, 50, 40)),
    ("auto", "attention", (1, 6, 1500, 1500, 64)), ("auto", "attention", (1, 16, 257, 257, 80)),
    ("auto", "attention", (1, 4, 2048, 2048, 128)), ("auto", "attention", (1, 1, 1024, 1024, 512)),
    ("auto", "groupnorm", (1, 128, 256, 256)), ("auto", "groupnorm", (1, 512, 64, 64)),
    ("auto", "groupnorm", (4, 320, 32, 32)), ("auto", "groupnorm", (4, 1280, 8, 8)),
    ("auto", "layernorm", (4096, 320)), ("auto", "layernorm", (1500, 384)),
]


def compare(ours, peers, job, options):
    """job: (our variant, op, numbers, peer kinds) -> (how ours is computed, our ms, peers' ms)"""
    variant, op, numbers, kinds = job
    text = " ".join(map(str, numbers))
    name = ours.ask(f"{variant} {op} {text}")
    for kind in kinds:
        peers[kind].ask(f"{kind} {op} {text}")
    # as many runs a turn as fill about 100 ms
    runs = max(1, min(50, int(100 / max(ours.best(1), 0.01))))
    times = [[] for _ in range(1 + len(kinds))]
    for _ in range(options.turns):
        times[0].append(ours.best(runs))
        for column, kind in zip(times[1:], kinds):
            column.append(peers[kind].best(runs if runs > 1 else 1))
    return name, min(times[0]), [min(t) for t in times[1:]]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", default="strict", choices=["strict", "fast"])
    parser.add_argument("--isa", default="")
    parser.add_argument("--peers", default="f32,cl,bf16", help="some of f32, cl (f32, channels last), bf16, which a CPU without AMX takes minutes for")
    parser.add_argument("--only", default="", help="rows that begin so: conv, attention, 'attention 4x8x64'")
    options = parser.parse_args()
    kinds = options.peers.split(",")
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    command = [f"{target}/release/examples/bench", str(options.threads), options.profile]
    ours = Side(command + ([options.isa] if options.isa else []))
    peers = {k: Side(["target/peer-torch/bin/python", "benches/kernels/peer.py", str(options.threads)])
             for k in kinds}
    names = {"f32": "PyTorch f32, ms", "cl": "channels last, ms", "bf16": "PyTorch bf16, ms"}

    def head(first, kinds):
        print(" | ".join([first, *(f"{names[kind]} | ratio" for kind in kinds), ""]).rstrip())
        print("| --- | --- | --- |" + " --- | --- |" * len(kinds))

    def cells(own, others, digits):
        return " | ".join(f"{other:.{digits}f} | {other / own:.2f}" for other in others)

    def wanted(op, numbers):
        return f"{op} {'x'.join(map(str, numbers))}".startswith(options.only)

    for title, shapes in CONVS:
        shapes = [numbers for numbers in shapes if wanted("conv", numbers)]
        if shapes:
            print(f"\n**{title}**\n")
            head("| convolution | variant | ours, ms (GF/s)", kinds)
            for numbers in shapes:
                name, own, others = compare(ours, peers, ("auto", "conv", numbers, kinds), options)
                n, c, h, w, o, k = numbers
                speed = 2e-6 * n * h * w * c * o * k * k / own
                print(f"| {n}x{c}x{h}x{w} -> {o} | {name} | {own:.2f} ({speed:.0f}) | {cells(own, others, 2)} |", flush=True)
    others = [other for other in OTHERS if wanted(*other[1:])]
    if others:
        print("\n**Other operations**\n")
        kinds = [kind for kind in kinds if kind != "cl"]
        head("| operation | ours | ours, ms", kinds)
        for variant, op, numbers in others:
            name, own, times = compare(ours, peers, (variant, op, numbers, kinds), options)
            shape = "x".join(map(str, numbers))
            print(f"| {op} {shape} | {name} | {own:.3f} | {cells(own, times, 3)} |", flush=True)


if __name__ == "__main__":
    main()
