"""Our kernels against PyTorch, the same shapes in turns (ours, peer, ours, peer, ...) in one run; CPU time of one thread, the
best of all turns. Prints the tables of docs/bench.md ("Kernels")."""

import argparse
import os
import subprocess
import sys

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
# our format, op, numbers, peer's kind
OTHERS = [
    ("f32", "linear", (1024, 320, 320), "f32"), ("f32", "linear", (1024, 320, 2560), "f32"),
    ("f32", "linear", (4096, 320, 320), "f32"), ("f32", "linear", (1024, 1280, 1280), "f32"),
    ("f32", "linear", (256, 1280, 10240), "f32"), ("f32", "linear", (1500, 384, 1536), "f32"),
    ("f32", "linear", (4, 1280, 1280), "f32"),
    ("bf16", "linear", (1024, 1280, 1280), "f32"), ("q8_0", "linear", (1024, 1280, 1280), "f32"),
    ("q8_0", "linear", (4, 1280, 1280), "f32"),
    ("auto", "matmul", (320, 4096, 2880), "f32"),
    ("auto", "attention", (4, 8, 1024, 1024, 40), "f32"), ("auto", "attention", (4, 8, 256, 256, 80), "f32"),
    ("auto", "attention", (4, 8, 64, 64, 160), "f32"), ("auto", "attention", (4, 8, 1024, 50, 40), "f32"),
    ("auto", "attention", (1, 6, 1500, 1500, 64), "f32"), ("auto", "attention", (1, 16, 257, 257, 80), "f32"),
    ("auto", "attention", (1, 4, 2048, 2048, 128), "f32"), ("auto", "attention", (1, 1, 1024, 1024, 512), "f32"),
    ("auto", "groupnorm", (1, 128, 256, 256), "f32"), ("auto", "groupnorm", (1, 512, 64, 64), "f32"),
    ("auto", "groupnorm", (4, 320, 32, 32), "f32"), ("auto", "groupnorm", (4, 1280, 8, 8), "f32"),
    ("auto", "layernorm", (4096, 320), "f32"), ("auto", "layernorm", (1500, 384), "f32"),
]


class Side:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.process.args[0]} ended at: {line}")
        return answer.strip()

    def best(self, runs):
        return min(float(t) for t in self.ask(f"go {runs}").split())


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
    parser.add_argument("--only", default="", help="rows that begin so: conv, attention, 'attention 4x8x64'")
    options = parser.parse_args()
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    command = [f"{target}/release/examples/bench", str(options.threads), options.profile]
    ours = Side(command + ([options.isa] if options.isa else []))
    peers = {k: Side(["target/peer-torch/bin/python", "benches/kernels/peer.py", str(options.threads)])
             for k in ("f32", "cl", "bf16")}

    def wanted(op, numbers):
        return f"{op} {'x'.join(map(str, numbers))}".startswith(options.only)

    for title, shapes in CONVS:
        shapes = [numbers for numbers in shapes if wanted("conv", numbers)]
        if shapes:
            print(f"\n**{title}**\n")
            print("| convolution | variant | ours, ms (GF/s) | PyTorch f32, ms | ratio | channels last, ms | ratio | PyTorch bf16, ms | ratio |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
            for numbers in shapes:
                job = ("auto", "conv", numbers, ("f32", "cl", "bf16"))
                name, own, (f32, cl, bf16) = compare(ours, peers, job, options)
                n, c, h, w, o, k = numbers
                speed = 2e-6 * n * h * w * c * o * k * k / own
                print(f"| {n}x{c}x{h}x{w} -> {o} | {name} | {own:.2f} ({speed:.0f}) | {f32:.2f} | {f32 / own:.2f} "
                      f"| {cl:.2f} | {cl / own:.2f} | {bf16:.2f} | {bf16 / own:.2f} |", flush=True)
    others = [other for other in OTHERS if wanted(*other[1:3])]
    if others:
        print("\n**Other operations**\n")
        print("| operation | ours | ours, ms | PyTorch f32, ms | ratio | PyTorch bf16, ms | ratio |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for variant, op, numbers, kind in others:
            name, own, (f32, bf16) = compare(ours, peers, (variant, op, numbers, (kind, "bf16")), options)
            shape = "x".join(map(str, numbers))
            print(f"| {op} {shape} | {name} | {own:.3f} | {f32:.3f} | {f32 / own:.2f} "
                  f"| {bf16:.3f} | {bf16 / own:.2f} |", flush=True)


if __name__ == "__main__":
    main()
