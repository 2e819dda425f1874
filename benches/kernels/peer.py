"""The peer's side: `kind op numbers...` makes a job, `go N` runs it N times and prints the CPU time of each run in ms.

kind: f32 (PyTorch's default layout), cl (f32, channels last), bf16 (weights and activations bf16, channels last)."""

import sys
import time

import torch
from torch.nn import functional as F


def job(kind, op, n):
    if op == "conv":
        batch, c, h, w, o, k = n
        layer, x = torch.nn.Conv2d(c, o, k, padding=k // 2), torch.randn(batch, c, h, w)
        if kind != "f32":
            layer, x = layer.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        if kind == "bf16":
            layer, x = layer.bfloat16(), x.bfloat16()
        return lambda: layer(x)
    if op == "linear":
        rows, inputs, outputs = n
        layer, x = torch.nn.Linear(inputs, outputs), torch.randn(rows, inputs)
        if kind == "bf16":
            layer, x = layer.bfloat16(), x.bfloat16()
        return lambda: layer(x)
    if op == "attention":
        batch, heads, queries, keys, dim = n
        # (b, l, n, d) seen as (b, n, l, d): what a projection's output is
        q = torch.randn(batch, queries, heads, dim).transpose(1, 2)
        k = torch.randn(batch, keys, heads, dim).transpose(1, 2)
        v = torch.randn(batch, keys, heads, dim).transpose(1, 2)
        if kind == "bf16":
            q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
        return lambda: F.scaled_dot_product_attention(q, k, v)
    if op == "matmul":
        m, columns, k = n
        a, b = torch.randn(m, k), torch.randn(k, columns)
        if kind == "bf16":
            a, b = a.bfloat16(), b.bfloat16()
        return lambda: a @ b
    if op == "groupnorm":
        batch, c, h, w = n
        norm, x = torch.nn.GroupNorm(32, c), torch.randn(batch, c, h, w)
        if kind != "f32":
            x = x.to(memory_format=torch.channels_last)
        if kind == "bf16":
            norm, x = norm.bfloat16(), x.bfloat16()
        return lambda: F.silu(norm(x))
    if op == "layernorm":
        rows, c = n
        norm, x = torch.nn.LayerNorm(c), torch.randn(rows, c)
        if kind == "bf16":
            norm, x = norm.bfloat16(), x.bfloat16()
        return lambda: norm(x)
    raise ValueError(op)


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.set_grad_enabled(False)
    run = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "go":
            times = []
            for _ in range(int(words[1])):
                start = time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
                run()
                times.append((time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) - start) * 1e3)
            print(" ".join(f"{t:.4f}" for t in times), flush=True)
        else:
            run = job(words[0], words[1], [int(w) for w in words[2:]])
            run()
            print(words[0], flush=True)


if __name__ == "__main__":
    main()
