"""The peer's side: the same nets from diffusers on PyTorch, with the same seeded weights where the keys are the same. `net numbers...`
makes a job and runs it once, `go N` runs it N times and prints the CPU time of each run in ms, `out FILE` writes the last result as
f32 values, channels last."""

import math
import sys
import time

import numpy as np
import torch

MASK = 0xFFFFFFFFFFFFFFFF


def values(salt, key, count):
    """golden's stream (crates/golden/src/seeded.rs): FNV-1a of the name, splitmix64 of the index, uniform on [-1, 1)."""
    h = 0xCBF29CE484222325
    for byte in f"{salt}/{key}".encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    z = np.uint64(h) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def rule(key, shape):
    """(middle, reach) of a parameter of these nets."""
    if key.endswith("gamma"):
        return 1.0, 0.1
    if len(shape) == 1:
        return (1.0, 0.1) if key.endswith("weight") else (0.0, 0.05)
    return 0.0, math.sqrt(3 / math.prod(shape[1:]))


def fill(net, salt):
    for key, tensor in net.state_dict().items():
        middle, reach = rule(key, tensor.shape)
        v = values(salt, key, tensor.numel()) * np.float32(reach) + np.float32(middle)
        tensor.copy_(torch.from_numpy(v).reshape(tensor.shape))
    return net.eval()


def given(key, *shape):
    return torch.from_numpy(values("bench", key, math.prod(shape))).reshape(shape)


def job(kind, net, n):
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32

    def ready(net):
        net = net.to(dtype)
        return net.to(memory_format=torch.channels_last) if kind != "f32" else net

    def picture(x):
        x = x.to(dtype)
        return x.to(memory_format=torch.channels_last) if kind != "f32" else x

    if net in ("vae_decode", "vae_encode"):
        from diffusers import AutoencoderKL
        vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
                            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
        vae = ready(fill(vae, "bench_vae"))
        if net == "vae_encode":
            x = picture(given("x", 1, 3, n[0], n[0]))
            return lambda: vae.encode(x).latent_dist.mean.permute(0, 2, 3, 1)
        z = picture(given("z", 1, 4, n[0], n[0]))
        return lambda: vae.decode(z).sample.permute(0, 2, 3, 1)
    if net == "unet":
        from diffusers import UNet2DConditionModel
        cross, up = ("CrossAttnDownBlock2D",) * 3, ("CrossAttnUpBlock2D",) * 3
        unet = UNet2DConditionModel(in_channels=8, out_channels=4, cross_attention_dim=384, attention_head_dim=8,
                                    block_out_channels=(320, 640, 1280, 1280), layers_per_block=2,
                                    down_block_types=cross + ("DownBlock2D",), up_block_types=("UpBlock2D",) + up)
        unet = ready(fill(unet, "bench_unet"))
        latents, audio = picture(given("latents", n[0], 8, n[1], n[1])), given("audio", n[0], 50, 384).to(dtype)
        step = torch.zeros(1)
        return lambda: unet(latents, step, encoder_hidden_states=audio).sample.permute(0, 2, 3, 1)
    if net == "wan_decode":
        # diffusers renamed this net's keys, so its weights are other values of the same shapes: comparable in time only
        from diffusers import AutoencoderKLWan
        vae = fill(AutoencoderKLWan(), "bench_wan").to(dtype)
        z = given("z", 1, n[0], n[1], n[1], 16).permute(0, 4, 1, 2, 3).contiguous().to(dtype)
        return lambda: vae.decode(z).sample.permute(0, 2, 3, 4, 1)
    raise ValueError(net)


def main():
    kind = sys.argv[2]
    torch.set_num_threads(int(sys.argv[1]))
    torch.set_grad_enabled(False)
    run = last = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "go":
            times = []
            for _ in range(int(words[1])):
                start = time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
                last = run()
                times.append((time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) - start) * 1e3)
            print(" ".join(f"{t:.3f}" for t in times), flush=True)
        elif words[0] == "out":
            last.float().contiguous().numpy().tofile(words[1])
            print("written", flush=True)
        else:
            run = last = None  # its weights go before the next ones come
            run = job(kind, words[0], [int(w) for w in words[1:]])
            start = time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
            last = run()
            print(f"first {(time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) - start) * 1e3:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
