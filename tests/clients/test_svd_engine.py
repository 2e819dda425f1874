"""The engine svd as its users meet it, on tiny seeded models in the layout of diffusers: the command line, the video generator's API with its web client's
calls, and fal's official client. What the nets draw is noise; how long, how large, of what, and that it is the same again, is not."""

import json
import os
import shutil
import signal
import subprocess

import cv2
import httpx
import numpy
import pytest
import requests

import fal_stage
import stage

# two steps and windows of six frames: a second is nine of them
QUICK = "--set num_frames=6 --set overlap=2 --set num_inference_steps=2".split()
SHORT = [*QUICK, "--size", "256", "--seed", "5"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    seeded = [stage.BINARY, "models", "seed", "svd-xt", "--scale", "tiny", "--out", str(folder)]
    subprocess.run(seeded, check=True, capture_output=True, timeout=60)
    assert (folder / "stable-video-diffusion-img2vid-xt/unet/diffusion_pytorch_model.fp16.safetensors").exists()
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory, media):
    """Of 16 to 9."""
    path = tmp_path_factory.mktemp("scene") / "wide.png"
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(media.portrait)), (640, 360)))
    return path


def environment(weights, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TALKIE", "SVD", "HF_", "HUGGING"))}
    return kept | {"TALKIE_MODELS": str(weights)} | more


def command(out, *words):
    return [stage.BINARY, "generate", "--engine", "svd", "--out", str(out), "--json", "--quiet", *map(str, words)]


def generate(weights, out, *words, **env):
    told = subprocess.run(command(out, *words), env=environment(weights, **env), capture_output=True, text=True, timeout=300)
    return told.returncode, json.loads(told.stdout), told.stderr


def made(*args, **env):
    status, told, said = generate(*args, **env)
    assert status == 0, (told, said)
    return told


def refused(*args, **env):
    status, told, said = generate(*args, **env)
    assert status == 1, (told, said)
    return told["error"]


def frames(path):
    sums = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v", "-f", "framemd5", "-"], capture_output=True, text=True, check=True
    ).stdout
    return [line.rsplit(",", 1)[1].strip() for line in sums.splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def film(weights, picture):
    """Two seconds: three windows."""
    out = picture.parent / "film.mp4"
    return out, made(weights, out, "--image", picture, "--seconds", 2, *SHORT)


def test_a_take_is_as_long_as_asked_for_and_says_how_it_was_made(film):
    out, told = film
    assert (told["engine"], told["frames"], told["fps"]) == ("svd", 14, 7.0)
    assert (told["size"]["width"], told["size"]["height"]) == (256, 128)
    assert [weights["name"] for weights in told["weights"]] == ["own-svd-unet", "own-svd-vae", "own-svd-image_encoder"]
    assert told["settings"]["num_inference_steps"] == 2 and told["settings"]["motion_bucket_id"] == 127
    assert (told["measured"]["windows"], told["measured"]["window_frames"], told["measured"]["overlap_frames"]) == (3, 6, 2)
    assert -1 <= told["measured"]["structure"] <= 1 and 0 <= told["measured"]["colour_difference"] <= 255
    assert len(frames(out)) == 14 and "audio" not in stage.streams(out)


def test_equal_seeds_give_equal_frames(weights, picture, film):
    again, other = picture.parent / "again.mp4", picture.parent / "other.mp4"
    made(weights, again, "--image", picture, "--seconds", 2, *SHORT)
    assert frames(again) == frames(film[0])
    made(weights, other, "--image", picture, "--seconds", 2, *QUICK, "--size", 256, "--seed", 6)
    assert frames(other) != frames(film[0])


def test_how_fast_and_how_large_is_the_users_word(weights, picture):
    out = picture.parent / "fast.mp4"
    told = made(weights, out, "--image", picture, "--seconds", 0.5, "--fps", 12, *QUICK, "--size", 320)
    assert (told["frames"], told["fps"], told["measured"]["windows"]) == (6, 12.0, 1)
    assert (told["size"]["width"], told["size"]["height"]) == (320, 192)
    tall = picture.parent / "tall.jpg"
    cv2.imwrite(str(tall), numpy.rot90(cv2.imread(str(picture))))
    told = made(weights, picture.parent / "tall.mp4", "--image", tall, "--seconds", 0.5, *SHORT)
    assert (told["size"]["width"], told["size"]["height"]) == (128, 256)


def test_pictures_that_fit_no_clip(weights, picture):
    out, folder = picture.parent / "odd.mp4", picture.parent
    cv2.imwrite(str(folder / "panorama.png"), numpy.full((200, 3000, 3), 120, numpy.uint8))
    told = made(weights, out, "--image", folder / "panorama.png", "--seconds", 0.3, *SHORT)
    assert (told["size"]["width"], told["size"]["height"]) == (256, 64)
    assert [warning["code"] for warning in told["warnings"] if warning["code"] != "drifted"] == ["picture_cut"]
    for side in (1, 40):
        cv2.imwrite(str(folder / "dot.png"), numpy.full((side, side, 3), 120, numpy.uint8))
        error = refused(weights, folder / "dot.mp4", "--image", folder / "dot.png", "--seconds", 1, *SHORT)
        assert error["code"] == "picture_too_small" and f"{side}x{side}" in error["message"], error
    assert "at least 64 pixels" in error["message"]
    assert not (folder / "dot.mp4").exists()


@pytest.mark.parametrize(
    "words, code, says",
    [
        (["--set", "num_inference_steps=0"], "bad_setting", "num_inference_steps is 0"),
        (["--set", "num_frames=1"], "bad_setting", "num_frames is 1"),
        (["--set", "overlap=6"], "bad_setting", "overlap is 6"),
        (["--size", "4096"], "bad_setting", "size is 4096"),
        (["--set", "decode_chunk_size=7"], "bad_setting", "decode_chunk_size is 7"),
        (["--set", "noise_aug_strength=nan"], "bad_setting", "noise_aug_strength is"),
        (["--set", "steps=4"], "unknown_setting", "steps"),
        (["--fps", "60"], "bad_fps", "60"),
    ],
)
def test_a_mistake_is_told_with_its_limit(weights, picture, words, code, says):
    out = picture.parent / "never.mp4"
    error = refused(weights, out, "--image", picture, "--seconds", 1, *QUICK, *words)
    assert error["code"] == code and says in error["message"], error
    assert not out.exists()


def test_a_voice_is_refused_and_a_prompt_is_not_heeded(weights, picture, media):
    out = picture.parent / "spoken.mp4"
    error = refused(weights, out, "--image", picture, "--audio", media.long, "--duration", "1", *SHORT)
    assert error["code"] == "too_many_voices" and "svd hears none" in error["message"]
    told = made(weights, out, "--image", picture, "--seconds", 0.3, "--prompt", "She waves", *SHORT)
    assert [warning["code"] for warning in told["warnings"] if warning["code"] != "drifted"] == ["prompt_unread"]


def test_an_interrupted_take_leaves_nothing(weights, picture):
    out = picture.parent / "interrupted.mp4"
    words = ["--image", picture, "--seconds", 60, "--size", 768, "--set", "num_inference_steps=1000"]
    process = subprocess.Popen(command(out, *words), env=environment(weights), stdout=subprocess.PIPE)
    stage.until(lambda: list(picture.parent.glob("*interrupted*")), 60, what="a draft")
    process.send_signal(signal.SIGINT)
    told = json.loads(process.communicate(timeout=30)[0])
    assert process.returncode == 128 + signal.SIGINT and told["error"]["code"] == "canceled"
    assert not list(picture.parent.glob("*interrupted*"))


def copied(weights, tmp_path):
    shutil.copytree(weights, tmp_path / "models")
    return tmp_path / "models/stable-video-diffusion-img2vid-xt"


@pytest.mark.parametrize(
    "damage, says",
    [
        ("truncated", "diffusion_pytorch_model.fp16.safetensors"),
        ("swapped", "is missing"),
        ("no config", "config.json"),
        ("another schedule", "prediction_type is epsilon"),
        ("another class", "UNet2DConditionModel"),
    ],
)
def test_weights_that_are_not_svds(weights, picture, tmp_path, damage, says):
    model = copied(weights, tmp_path)
    unet = model / "unet/diffusion_pytorch_model.fp16.safetensors"
    if damage == "truncated":
        unet.write_bytes(unet.read_bytes()[:100_000])
    elif damage == "swapped":
        shutil.copy(model / "vae/diffusion_pytorch_model.fp16.safetensors", unet)
    elif damage == "no config":
        (model / "unet/config.json").unlink()
    else:
        path, key, value = {
            "another schedule": ("scheduler/scheduler_config.json", "prediction_type", "epsilon"),
            "another class": ("unet/config.json", "_class_name", "UNet2DConditionModel"),
        }[damage]
        (model / path).write_text(json.dumps(json.loads((model / path).read_text()) | {key: value}))
    error = refused(tmp_path / "models", tmp_path / "take.mp4", "--image", picture, "--seconds", 0.3, *SHORT)
    assert error["code"] in ("wrong_weights", "no_weights") and says in error["message"], error
    assert not (tmp_path / "take.mp4").exists()


def test_weights_that_are_not_there(tmp_path, picture):
    error = refused(tmp_path, tmp_path / "take.mp4", "--image", picture, "--seconds", 1)
    assert error["code"] == "no_weights" and "talkie models pull svd" in error["hint"]
    error = refused(tmp_path, tmp_path / "take.mp4", "--image", picture, "--seconds", 1, SVD_DIR="/no/such")
    assert "SVD_DIR names /no/such" in error["message"]


# The video generator's API


@pytest.fixture(scope="module")
def server(tmp_path_factory, weights):
    settings = ["svd.settings.size=320", "svd.settings.num_frames=6", "svd.settings.num_inference_steps=1", "svd.settings.decode_chunk_size=6"]
    flags = [flag for one in (f"models.dir={weights}", *settings) for flag in ("--conf", one)]
    talkie = stage.Talkie(tmp_path_factory.mktemp("server"), *flags)
    talkie.start()
    yield talkie
    talkie.stop()


def ended(server, generation, limit=240):
    def look():
        told = httpx.get(server.url("svd", f"/generation/{generation}"), timeout=30).json()
        return told if told["status"] in ("completed", "failed") else None

    return stage.until(look, limit, every=0.2, what="the generation's end")


def test_the_web_clients_calls(server, picture, tmp_path):
    with open(picture, "rb") as file:
        uploaded = requests.post(server.url("svd", "/upload-character"), files={"character": ("me.png", file, "image/png")}, timeout=60)
    body = {"characterImageUrl": uploaded.json()["imageUrl"], "script": "She waves", "duration": 3, "quality": "512"}
    begun = requests.post(server.url("svd", "/generate-video"), json=body, timeout=60)
    assert begun.headers["x-talkie-engine"].startswith("svd; weights=own-svd-unet")
    told = begun.json()
    assert told["engine"] == "svd" and told["status"] == "pending" and "cannot steer" in told["warning"]
    done = ended(server, told["id"])
    assert done["status"] == "completed", done
    # 21 frames in windows of 6 over 3
    assert "the video is 6 clips of 6 frames" in done["warning"], done
    film = tmp_path / "film.mp4"
    film.write_bytes(requests.get(server.url("svd", done["videoUrl"]), timeout=60).content)
    video = stage.streams(film)["video"]
    assert (video["width"], video["height"], len(frames(film))) == (512, 320, 21)
    record = requests.get(server.url("all", f"/v1/jobs/{told['id']}"), timeout=30).json()
    assert record["take"]["measured"]["windows"] == 6, record


def test_a_picture_that_is_gone_fails_the_generation(server):
    body = {"characterImageUrl": "/uploads/character_01890a5d-ac96-774b-bcce-b302099a8057.png", "script": "x", "duration": 3}
    told = requests.post(server.url("svd", "/generate-video"), json=body, timeout=60).json()
    done = ended(server, told["id"])
    assert done["status"] == "failed" and done["videoUrl"] is None and done["error"], done


@pytest.mark.slow
def test_fals_own_client_gets_a_clip(server, picture, tmp_path):
    client = fal_stage.python_client("sync")(fal_stage.plain(server), tmp_path)
    wish = {"image_url": fal_stage.data_uri(picture), "seconds": 1}
    try:
        told = client.call("subscribe", app="talkie/svd", arguments=wish, with_logs=True, priority="normal", hint="h1", start_timeout=60)
    finally:
        client.stop()
    result = told["result"]
    assert result["engine"] == "svd", result
    film = tmp_path / "film.mp4"
    film.write_bytes(requests.get(result["video"]["url"], timeout=60).content)
    assert len(frames(film)) == 7
