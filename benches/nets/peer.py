"""The peer's side: the same nets from diffusers and transformers on PyTorch, with the same seeded weights where each of their keys has one
key of the released file (`NAMES`). `net numbers...`
makes a job and runs it once, `go N` runs it N times and prints the CPU time of each run in ms, `out FILE` writes the last result as
f32 values, channels last."""

import math
import re
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
    if key.endswith(("gamma", "weight_g")):
        return 1.0, 0.1
    if key.endswith("modulation"):
        return 0.0, 0.3
    if key.endswith(("token_embedding.weight", "pos_embedding.embedding.weight", "mix_factor")):
        return 0.0, 1.0
    if key.endswith(("cls_embedding", "pos_embedding")):
        return 0.0, 0.5
    if len(shape) == 1:
        return (1.0, 0.1) if key.endswith("weight") else (0.0, 0.05)
    return 0.0, math.sqrt(3 / math.prod(shape[1:]))


def weight(salt, key, shape):
    middle, reach = rule(key, shape)
    v = values(salt, key, math.prod(shape)) * np.float32(reach) + np.float32(middle)
    return torch.from_numpy(v).reshape(tuple(shape))


def fill(net, salt, names=()):
    """`names`: what to replace in a key, in this order, to have that of the released file."""
    for key, tensor in net.state_dict().items():
        for ours, theirs in names:
            key = re.sub(ours, theirs, key)
        tensor.copy_(weight(salt, key, tensor.shape))
    return net.eval()


DIT = [
    (r"^condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
    (r"^condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
    (r"^condition_embedder\.time_proj", "time_projection.1"),
    (r"^condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
    (r"^condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
    (r"^condition_embedder\.image_embedder\.norm1", "img_emb.proj.0"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj", "img_emb.proj.1"),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2", "img_emb.proj.3"),
    (r"^condition_embedder\.image_embedder\.norm2", "img_emb.proj.4"),
    (r"^scale_shift_table", "head.modulation"),
    (r"^proj_out", "head.head"),
    (r"scale_shift_table", "modulation"),
    (r"\.norm2\.", ".norm3."),
    (r"ffn\.net\.0\.proj", "ffn.0"),
    (r"ffn\.net\.2", "ffn.2"),
    (r"attn1\.", "self_attn."),
    (r"attn2\.", "cross_attn."),
    (r"norm_added_k", "norm_k_img"),
    (r"add_([kv])_proj", r"\1_img"),
    (r"to_out\.0", "o"),
    (r"to_([qkv])\.", r"\1."),
]
UMT5 = [
    (r"^(shared|encoder\.embed_tokens)", "token_embedding"),
    (r"^encoder\.final_layer_norm", "norm"),
    (r"^encoder\.block", "blocks"),
    (r"layer\.0\.SelfAttention\.relative_attention_bias", "pos_embedding.embedding"),
    (r"layer\.0\.SelfAttention", "attn"),
    (r"layer\.0\.layer_norm", "norm1"),
    (r"layer\.1\.layer_norm", "norm2"),
    (r"layer\.1\.DenseReluDense\.wi_0", "ffn.gate.0"),
    (r"layer\.1\.DenseReluDense\.wi_1", "ffn.fc1"),
    (r"layer\.1\.DenseReluDense\.wo", "ffn.fc2"),
]
WAV2VEC2 = [
    (r"^", "wav2vec2."),
    (r"parametrizations\.weight\.original0", "weight_g"),
    (r"parametrizations\.weight\.original1", "weight_v"),
]


def clip(layers, salt):
    """Wan's CLIP holds query, key and value in one matrix."""
    from transformers import CLIPVisionConfig, CLIPVisionModel
    config = CLIPVisionConfig(hidden_size=1280, intermediate_size=5120, num_hidden_layers=layers, num_attention_heads=16,
                              patch_size=14, image_size=224, hidden_act="gelu", layer_norm_eps=1e-5)
    net = CLIPVisionModel(config)
    c, tower = 1280, getattr(net, "vision_model", net)

    def set_to(module, key):
        for name, tensor in module.named_parameters():
            tensor.copy_(weight(salt, f"{key}.{name}", tensor.shape))

    tower.embeddings.class_embedding.copy_(weight(salt, "visual.cls_embedding", (1, 1, c)).reshape(c))
    tower.embeddings.position_embedding.weight.copy_(weight(salt, "visual.pos_embedding", (1, 257, c))[0])
    set_to(tower.embeddings.patch_embedding, "visual.patch_embedding")
    set_to(tower.pre_layrnorm, "visual.pre_norm")
    for i, layer in enumerate(tower.encoder.layers):
        block, attention = f"visual.transformer.{i}", layer.self_attn
        set_to(layer.layer_norm1, f"{block}.norm1")
        set_to(layer.layer_norm2, f"{block}.norm2")
        set_to(layer.mlp.fc1, f"{block}.mlp.0")
        set_to(layer.mlp.fc2, f"{block}.mlp.2")
        set_to(attention.out_proj, f"{block}.attn.proj")
        for kind, shape in (("weight", (3 * c, c)), ("bias", (3 * c,))):
            parts = weight(salt, f"{block}.attn.to_qkv.{kind}", shape).chunk(3)
            for linear, part in zip((attention.q_proj, attention.k_proj, attention.v_proj), parts):
                getattr(linear, kind).copy_(part)
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
    if net == "wan_encode":
        from diffusers import AutoencoderKLWan
        vae = fill(AutoencoderKLWan(), "bench_wan").to(dtype)
        x = given("video", 1, n[0], n[1], n[1], 3).permute(0, 4, 1, 2, 3).contiguous().to(dtype)
        return lambda: vae.encode(x).latent_dist.mean.permute(0, 2, 3, 4, 1)
    if net == "dit":
        from diffusers import WanTransformer3DModel
        blocks, c, frames, side = n
        dit = WanTransformer3DModel(num_attention_heads=c // 128, attention_head_dim=128, in_channels=36, out_channels=16, text_dim=4096,
                                    freq_dim=256, ffn_dim=4 * c, num_layers=blocks, image_dim=1280, added_kv_proj_dim=c)
        dit = fill(dit, "bench_dit", DIT).to(dtype)
        x = torch.cat([given("latents", 16, frames, side, side), given("condition", 20, frames, side, side)])[None].to(dtype)
        text, picture = given("text", 512, 4096)[None].to(dtype), given("picture", 1, 257, 1280).to(dtype)
        step = torch.tensor([937.5])
        return lambda: dit(x, step, text, encoder_hidden_states_image=picture).sample[0]
    if net == "umt5":
        from transformers import UMT5Config, UMT5EncoderModel
        config = UMT5Config(vocab_size=1024, d_model=4096, d_kv=64, d_ff=10240, num_layers=n[0], num_heads=64, feed_forward_proj="gated-gelu")
        umt5 = fill(UMT5EncoderModel(config), "bench_umt5", UMT5).to(dtype)
        ids = (torch.arange(n[1]) * 37 % 1000 + 2)[None]
        return lambda: umt5(ids).last_hidden_state
    if net == "clip":
        model = clip(n[0], "bench_clip").to(dtype)
        frame = given("frame", 1, n[1], n[1], 3).permute(0, 3, 1, 2).to(dtype)
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], dtype=dtype).reshape(1, 3, 1, 1)
        deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711], dtype=dtype).reshape(1, 3, 1, 1)

        def see():
            x = torch.nn.functional.interpolate(frame, size=(224, 224), mode="bicubic", align_corners=False)
            x = (x * 0.5 + 0.5 - mean) / deviation
            return model(x, output_hidden_states=True).hidden_states[-1]
        return see
    if net == "wav2vec2":
        from transformers import Wav2Vec2Config, Wav2Vec2Model
        model = fill(Wav2Vec2Model(Wav2Vec2Config(attn_implementation="sdpa")), "bench_wav2vec2", WAV2VEC2).to(dtype)
        speech = given("speech", 1, n[0] * 16000).to(dtype)

        def hear():
            features = model.feature_extractor(speech)
            features = torch.nn.functional.interpolate(features, size=n[0] * 25, mode="linear", align_corners=True)
            hidden, _ = model.feature_projection(features.transpose(1, 2))
            hidden = model.encoder.layer_norm(hidden + model.encoder.pos_conv_embed(hidden))
            states = []
            for layer in model.encoder.layers:
                hidden = layer(hidden)
                hidden = hidden[0] if isinstance(hidden, tuple) else hidden
                states.append(hidden)
            return torch.stack(states, 2)
        return hear
    if net == "svd_unet":
        from diffusers import UNetSpatioTemporalConditionModel
        batch, frames, height, width = n
        # its defaults are those of the released model
        unet = fill(UNetSpatioTemporalConditionModel(num_attention_heads=(5, 10, 20, 20), num_frames=25), "bench_svd_unet").to(dtype)
        latents = given("latents", batch, frames, 8, height, width).to(dtype)
        context = given("context", batch, 1, 1024).to(dtype)
        ids = torch.tensor([[6.0, 127.0, 0.02]]).repeat(batch, 1).to(dtype)
        return lambda: unet(latents, torch.tensor(0.5), context, ids).sample.permute(0, 1, 3, 4, 2)
    if net == "svd_decode":
        from diffusers import AutoencoderKLTemporalDecoder
        frames, height, width = n
        vae = AutoencoderKLTemporalDecoder(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
                                           down_block_types=("DownEncoderBlock2D",) * 4)
        vae = fill(vae, "bench_svd_vae").to(dtype)
        z = given("z", frames, 4, height, width).to(dtype)
        return lambda: vae.decode(z, num_frames=frames).sample.permute(0, 2, 3, 1)
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
