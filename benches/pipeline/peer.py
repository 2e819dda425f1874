"""The peer's side: the pipeline of MuseTalk's official realtime script, rebuilt on diffusers and transformers, with the nets of nets.py where the
official ones come with packages that no longer install. It does what that script does, in its order: prepares every frame of the clip, hears
the whole voice, then makes batches, and writes each frame as a PNG for ffmpeg. f32, on the CPU. Prints what it measured as one JSON object a line."""

import time

BEGUN = time.time()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import pathlib  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel  # noqa: E402

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "pictures"))
from nets import S3FD, BiSeNet, RTMPose  # noqa: E402
from steps import mask, paste, square  # noqa: E402

FPS = 25
SCALING = 0.18215
CROSS = "CrossAttn{}Block2D"
UNET = dict(in_channels=8, out_channels=4, cross_attention_dim=384, attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280), layers_per_block=2,
            down_block_types=(CROSS.format("Down"),) * 3 + ("DownBlock2D",), up_block_types=("UpBlock2D",) + (CROSS.format("Up"),) * 3)
VAE = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 4,
           up_block_types=("UpDecoderBlock2D",) * 4)
# the released file has diffusers' former names
VAE_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
POSE_SIZE = (288, 384)
POSE_MEAN, POSE_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PARSE_MEAN, PARSE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def say(**what):
    print(json.dumps(what), flush=True)
    print("peer:", what, file=sys.stderr)


def cpu():
    """Seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mib():
    return int(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def read(path):
    held = torch.load(path, map_location="cpu", weights_only=False)
    return held.get("state_dict", held)


def planes(picture, mean, std):
    """(h, w, 3) -> (1, 3, h, w)"""
    x = (picture.astype(np.float32) - np.float32(mean)) / np.float32(std)
    return torch.from_numpy(x.transpose(2, 0, 1)[None].copy())


class Models:
    def __init__(self, folder):
        self.vae = AutoencoderKL(**VAE)
        held = {}
        for key, tensor in read(folder / "sd-vae/diffusion_pytorch_model.bin").items():
            for old, new in VAE_NAMES.items():
                key = key.replace(old, new)
            held[key] = tensor
        self.vae.load_state_dict(held)
        self.unet = UNet2DConditionModel(**UNET)
        self.unet.load_state_dict(read(folder / "musetalkV15/unet.pth"))
        whisper = WhisperModel(WhisperConfig())
        wanted = read(folder / "whisper/pytorch_model.bin")
        whisper.encoder.load_state_dict({key.removeprefix("model.encoder."): tensor for key, tensor in wanted.items() if key.startswith("model.encoder.")})
        self.whisper, self.features = whisper, WhisperFeatureExtractor()
        self.detector, self.pose, self.parser = S3FD(), RTMPose(), BiSeNet()
        self.detector.load_state_dict(read(folder / "s3fd/s3fd-619a316812.pth"))
        self.pose.load_state_dict(read(folder / "dwpose/dw-ll_ucoco_384.pth"))
        self.parser.load_state_dict(read(folder / "face-parse-bisent/79999_iter.pth"))
        for net in (self.vae, self.unet, whisper, self.detector, self.pose, self.parser):
            net.eval()
        # sines and cosines of a token's place, added to what is heard
        place = torch.arange(50)[:, None] * torch.exp(torch.arange(0, 384, 2) * (-np.log(10000.0) / 384))
        self.places = torch.stack([place.sin(), place.cos()], -1).flatten(1)


def points(models, frame):
    """The 68 points of the face, on the whole frame, with its mirror image."""
    height, width = frame.shape[:2]
    wide = max(1.25 * width, 0.75 * 1.25 * height)
    scale = POSE_SIZE[0] / wide
    matrix = np.array([[scale, 0, POSE_SIZE[0] / 2 - scale * width / 2], [0, scale, POSE_SIZE[1] / 2 - scale * height / 2]])
    x = planes(cv2.warpAffine(frame, matrix, POSE_SIZE, flags=cv2.INTER_LINEAR)[:, :, ::-1], POSE_MEAN, POSE_STD)
    across, down = models.pose(x)
    mirrored_across, mirrored_down = models.pose(x.flip(3))
    across, down = (across + mirrored_across.flip(2)) / 2, (down + mirrored_down) / 2
    place = np.stack([across[0].argmax(1).numpy(), down[0].argmax(1).numpy()], 1) / 2
    place[torch.minimum(across[0].amax(1), down[0].amax(1)).numpy() <= 0] = -1
    return ((place - np.array(POSE_SIZE) / 2) / scale + [width / 2, height / 2])[23:91].astype(np.int32)


def detected(models, frame):
    """The surest box of S3FD."""
    x = planes(frame[:, :, ::-1], (104, 117, 123), 1)
    boxes = []
    for level, (confidence, location) in enumerate(models.detector(x)):
        stride = 4 * 2**level
        face = confidence.softmax(1)[0, 1]
        for row, column in zip(*np.where(face > 0.05)):
            side = stride * 4
            dx, dy, dw, dh = location[0, :, row, column].tolist()
            middle = (stride / 2 + column * stride + dx * 0.1 * side, stride / 2 + row * stride + dy * 0.1 * side)
            half = (side * np.exp(dw * 0.2) / 2, side * np.exp(dh * 0.2) / 2)
            boxes.append((middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1], float(face[row, column])))
    boxes = np.array(boxes)
    order, kept = boxes[:, 4].argsort()[::-1], []
    while len(order):
        best, rest = boxes[order[0]], boxes[order[1:]]
        kept.append(best)
        sides = [np.maximum(0, np.minimum(best[i + 2], rest[:, i + 2]) - np.maximum(best[i], rest[:, i]) + 1) for i in range(2)]
        area = lambda b: (b[..., 2] - b[..., 0] + 1) * (b[..., 3] - b[..., 1] + 1)  # noqa: E731
        shared = sides[0] * sides[1]
        order = order[1:][shared / (area(best) + area(rest) - shared) <= 0.3]
    return [int(max(0, edge)) for edge in kept[0][:4]]


def face_box(models, frame):
    found = points(models, frame)
    box = detected(models, frame)
    middle, lowest = found[29][1], found[:, 1].max()
    left, right, top = found[:, 0].min(), found[:, 0].max(), max(0, middle - (lowest - middle))
    if lowest > top and right > left and left >= 0:
        box = [int(edge) for edge in (left, top, right, lowest)]
    height, width = frame.shape[:2]
    # a box that leaves the frame makes the official code stretch what is left; it costs the same cut off
    return [box[0], box[1], min(box[2], width), min(box[3] + 10, height)]


def latents(models, frame, box):
    """(1, 8, 32, 32): of the face without its lower half, of the face."""
    x1, y1, x2, y2 = box
    face = cv2.resize(frame[y1:y2, x1:x2], (256, 256), interpolation=cv2.INTER_LANCZOS4)[:, :, ::-1]
    both = []
    for keep in (128, 256):
        x = torch.from_numpy(face.astype(np.float32).transpose(2, 0, 1)[None] / 255)
        x[:, :, keep:] = 0
        both.append(SCALING * models.vae.encode((x - 0.5) / 0.5).latent_dist.sample())
    return torch.cat(both, 1)


def soft_mask(models, frame, box):
    seen = Image.fromarray(frame[:, :, ::-1]).crop(square(box)).resize((512, 512), Image.BILINEAR)
    x = planes(np.asarray(seen) / 255, PARSE_MEAN, PARSE_STD)
    return mask(models.parser(x)[0][0].argmax(0).numpy().astype(np.uint8), box, 0.10)


class Avatar:
    """All of a clip, prepared as the script does: frames to PNGs and back, then every list forwards and backwards, and a mask for each of it."""

    def __init__(self, models, clip, folder, most=None):
        folder.mkdir(parents=True)
        reader, count = cv2.VideoCapture(str(clip)), 0
        while (got := reader.read())[0] and count != most:
            cv2.imwrite(str(folder / f"{count:08}.png"), got[1])
            count += 1
        frames = [cv2.imread(str(path)) for path in sorted(folder.glob("*.png"))]
        boxes = [face_box(models, frame) for frame in frames]
        pairs = [latents(models, frame, box) for frame, box in zip(frames, boxes)]
        self.frames, self.boxes, self.latents = (one + one[::-1] for one in (frames, boxes, pairs))
        self.masks = []
        for i, (frame, box) in enumerate(zip(self.frames, self.boxes)):
            cv2.imwrite(str(folder / f"{i:08}.png"), frame)
            self.masks.append(soft_mask(models, frame, box))
            cv2.imwrite(str(folder / f"mask-{i:08}.png"), self.masks[-1])
        self.count = count


def heard(models, voice, most):
    """(frames, 50, 384): what the UNet hears of each frame."""
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", str(voice), "-ac", "1", "-ar", "16000", "-f", "f32le", "-"], check=True, capture_output=True).stdout
    samples = np.frombuffer(raw, np.float32)
    states = []
    for at in range(0, len(samples), 480_000):
        x = models.features(samples[at : at + 480_000], sampling_rate=16000, return_tensors="pt").input_features
        states.append(torch.stack(models.whisper.encoder(x, output_hidden_states=True).hidden_states, 2)[0])
    rows = torch.cat(states)[: len(samples) * 50 // 16000]
    rows = torch.cat([rows.new_zeros(4, *rows.shape[1:]), rows, rows.new_zeros(12, *rows.shape[1:])])
    count = min(most, len(samples) * FPS // 16000)
    return torch.stack([rows[2 * i : 2 * i + 10].flatten(0, 1) + models.places for i in range(count)])


def take(models, avatar, voice, folder, count, batch):
    """Makes a take; seconds from here to its first frame."""
    folder.mkdir(parents=True)
    begun, first = time.time(), None
    contexts, step = heard(models, voice, count), torch.tensor([0])
    assert len(contexts) == count, f"the voice is too short: {len(contexts)} frames"
    for at in range(0, count, batch):
        order = [i % len(avatar.frames) for i in range(at, min(at + batch, count))]
        predicted = models.unet(torch.cat([avatar.latents[i] for i in order]), step, encoder_hidden_states=contexts[at : at + batch]).sample
        drawn = (models.vae.decode(predicted / SCALING).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        for i, one in zip(order, (drawn * 255).round().astype(np.uint8)[..., ::-1]):
            whole = paste(avatar.frames[i].copy(), one, avatar.boxes[i], avatar.masks[i])
            cv2.imwrite(str(folder / f"{len(os.listdir(folder)):08}.png"), whole)
            first = first or time.time() - begun
    quiet = ["ffmpeg", "-v", "error", "-y"]
    pictures = ["-r", str(FPS), "-f", "image2", "-i", str(folder / "%08d.png")]
    subprocess.run([*quiet, *pictures, "-vcodec", "libx264", "-vf", "format=yuv420p", "-crf", "18", str(folder / "mute.mp4")], check=True)
    subprocess.run([*quiet, "-i", str(voice), "-i", str(folder / "mute.mp4"), str(folder / "take.mp4")], check=True)
    return first


def main():
    parser = argparse.ArgumentParser()
    for name in ("models", "clip", "voice", "work"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--takes", type=int, nargs=2, required=True, help="frames of a short take and of a long one")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    torch.set_grad_enabled(False)
    models = Models(options.models)
    say(loaded_s=time.time() - BEGUN)
    avatar = Avatar(models, options.clip, options.work / "avatar")
    say(prepared_s=time.time() - BEGUN, frames=avatar.count)
    used = []
    for name, count in zip(("short", "long"), options.takes):
        before = cpu()
        first = take(models, avatar, options.voice, options.work / name, count, options.batch)
        used.append(cpu() - before)
        if name == "short":
            say(first_after_preparing_s=first)
    # what each further frame costs, with all nets warm
    short, long = options.takes
    say(pipeline_cpu_s=(used[1] - used[0]) / (long - short))
    before, again = cpu(), 2
    Avatar(models, options.clip, options.work / "again", again)
    say(prepare_cpu_s=(cpu() - before) / again, peak_mib=peak_mib())


if __name__ == "__main__":
    main()
