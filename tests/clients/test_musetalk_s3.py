"""The MuseTalk S3 API against an S3 server that checks signatures: s3:// in, s3:// out, and what must not happen."""

import hashlib
import json
import pathlib
import shutil

import botocore.exceptions
import pytest
import requests

import s3_server
import stage

ALLOW = ["--conf", 'store.s3_allowed.musetalk-s3=["s3://films", "s3://voices"]']
KEYS = ["avatar_id", "audio_id", "output_path", "s3_output_path", "message"]


@pytest.fixture(scope="module")
def s3(tmp_path_factory, media):
    with s3_server.S3(tmp_path_factory.mktemp("s3"), "films", "voices", "secrets") as server:
        client = server.client()
        client.upload_file(str(media.clip), "films", "in/0606446c_avatar_video.mp4")
        client.upload_file(str(media.short), "voices", "remix_vc_00098415_audio.wav")
        client.upload_file(str(media.mp3), "voices", "second.mp3")
        client.upload_file(str(media.clip), "secrets", "private.mp4")
        yield server


@pytest.fixture(scope="module")
def cloud(tmp_path_factory, s3):
    with stage.Talkie(tmp_path_factory.mktemp("cloud"), *ALLOW, only=("musetalk-s3",), env=s3.environment()) as server:
        yield server


def config(video="s3://films/in/0606446c_avatar_video.mp4", audio="s3://voices/remix_vc_00098415_audio.wav", **more):
    return {"avatars": {"avator_1": {"preparation": True, "video_path": video, "audio_clips": {"audio_0": audio}}}} | more


def infer(server, body, avatar="avator_1", audio="audio_0", **more):
    return requests.post(
        server.url("musetalk-s3", "/inference"), json=body, params={"avatar_id": avatar, "audio_id": audio}, timeout=300, **more
    )


def names(s3, bucket):
    return sorted(item["Key"] for item in s3.client().list_objects_v2(Bucket=bucket).get("Contents", []))


def test_the_server_of_these_tests_checks_signatures(s3):
    with pytest.raises(botocore.exceptions.ClientError):
        s3.client(secret="wrong").put_object(Bucket="films", Key="x", Body=b"x")
    assert requests.get(f"{s3.endpoint}/films/in/0606446c_avatar_video.mp4", timeout=20).status_code == 403


def test_the_documented_request(cloud, s3, media, tmp_path):
    """Every field of the documented body, models and ffmpeg_path included, which are accepted and never run."""
    trap = tmp_path / "ffmpeg"
    trap.write_text('#!/bin/sh\ntouch "$(dirname "$0")/ran"\n')
    trap.chmod(0o755)
    body = config(
        version="v15",
        ffmpeg_path=f"{tmp_path}/",
        gpu_id=0,
        vae_type="sd-vae",
        unet_config="./models/musetalk/musetalk.json",
        unet_model_path="./models/musetalk/pytorch_model.bin",
        whisper_dir="./models/whisper",
        bbox_shift=0,
        result_dir="./results",
        extra_margin=10,
        fps=25,
        audio_padding_length_left=2,
        audio_padding_length_right=2,
        batch_size=30,
        output_vid_name=None,
        use_saved_coord=False,
        saved_coord=False,
        parsing_mode="jaw",
        left_cheek_width=90,
        right_cheek_width=90,
        skip_save_images=False,
        s3_bucket="films",
        s3_prefix="lip_sync/outputs/",
    )
    answer = infer(cloud, body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert list(told)[:5] == KEYS
    name = "0606446c_avatar_video_remix_vc_00098415_audio.mp4"
    assert (told["avatar_id"], told["audio_id"], told["message"]) == ("avator_1", "audio_0", "Inference completed successfully")
    assert told["s3_output_path"] == f"s3://films/lip_sync/outputs/{name}"
    assert pathlib.Path(told["output_path"]).name == name and pathlib.Path(told["output_path"]).is_relative_to(cloud.data.resolve())
    assert answer.headers["x-talkie-engine"].startswith("puppet")
    fetched = tmp_path / "out.mp4"
    s3.client().download_file("films", f"lip_sync/outputs/{name}", str(fetched))
    assert fetched.read_bytes() == pathlib.Path(told["output_path"]).read_bytes()
    seen = stage.streams(fetched)
    assert seen["video"]["pix_fmt"] == "yuv420p" and seen["video"]["codec_name"] == "h264" and "audio" in seen
    assert seen["video"]["r_frame_rate"] == "25/1"
    assert not (tmp_path / "ran").exists(), "ffmpeg_path was run"


def test_no_bucket_no_upload(cloud, s3):
    """The documented default is a stranger's bucket: nothing goes there."""
    before = names(s3, "films"), names(s3, "voices")
    told = infer(cloud, config(output_vid_name="at_home")).json()
    assert told["s3_output_path"] is None and pathlib.Path(told["output_path"]).name == "at_home.mp4"
    assert (names(s3, "films"), names(s3, "voices")) == before


def test_a_bucket_of_our_own_configuration(new_talkie, s3):
    server = new_talkie(
        *ALLOW,
        "--conf",
        "musetalk-s3.bucket=films",
        "--conf",
        "musetalk-s3.prefix=house/films",
        only=("musetalk-s3",),
        env=s3.environment(),
    )
    told = infer(server, config(output_vid_name="mine")).json()
    assert told["s3_output_path"] == "s3://films/house/films/mine.mp4", told
    assert "house/films/mine.mp4" in names(s3, "films")


def test_several_avatars_and_clips(cloud):
    body = {
        "avatars": {
            "anna": {
                "video_path": "s3://films/in/0606446c_avatar_video.mp4",
                "audio_clips": {"one": "s3://voices/remix_vc_00098415_audio.wav", "two": "S3://voices/second.mp3"},
            },
            "bert": {"video_path": "s3://films/none.mp4", "audio_clips": {"one": "s3://voices/none.wav"}},
        }
    }
    told = [infer(cloud, body, "anna", clip).json() for clip in ("one", "two")]
    assert [pathlib.Path(one["output_path"]).name for one in told] == [
        "0606446c_avatar_video_remix_vc_00098415_audio.mp4",
        "0606446c_avatar_video_second.mp4",
    ]
    answer = infer(cloud, body, "bert", "one")
    assert answer.status_code == 500 and answer.json()["detail"].startswith("Failed to download file from S3: "), answer.text


def test_documented_refusals(cloud):
    rows = [
        (("nobody", "audio_0"), "Avatar nobody not found in configuration"),
        (("avator_1", "none"), "Audio none not found in avatar avator_1 configuration"),
    ]
    for ids, words in rows:
        answer = infer(cloud, config(), *ids)
        assert (answer.status_code, answer.json()) == (400, {"detail": words})
    body = config()
    body["avatars"]["avator_1"]["preparation"] = False
    body["avatars"]["fresh"] = body["avatars"].pop("avator_1")
    answer = infer(cloud, body, "fresh")
    assert answer.status_code == 400 and answer.json()["detail"] == "fresh does not exist, you should set preparation to True", answer.text


def test_prepared_once_used_again(cloud):
    first = config()
    first["avatars"] = {"kept": first["avatars"]["avator_1"]}
    assert infer(cloud, first, "kept").status_code == 200
    first["avatars"]["kept"]["preparation"] = False
    assert infer(cloud, first, "kept").status_code == 200
    # another person under the same id must never answer with the first one's face
    other = json.loads(json.dumps(first))
    other["avatars"]["kept"]["video_path"] = "s3://films/other.mp4"
    answer = infer(cloud, other, "kept")
    assert answer.status_code in (400, 500), answer.text


def test_output_names_stay_below_the_data_folder(cloud, tmp_path):
    for body in (
        config(result_dir=str(tmp_path)),
        config(result_dir="../../.."),
        config(output_vid_name="../../escaped"),
        config(output_vid_name=f"{tmp_path}/escaped"),
    ):
        answer = infer(cloud, body)
        if answer.status_code == 200:
            assert pathlib.Path(answer.json()["output_path"]).resolve().is_relative_to(cloud.data.resolve()), answer.text
        else:
            assert answer.status_code in (400, 422), answer.text
    assert not list(tmp_path.rglob("*.mp4")) and not list(cloud.folder.glob("*.mp4"))


def test_buckets_that_are_not_allowed(cloud, s3):
    before = names(s3, "secrets")
    for body in (config(video="s3://secrets/private.mp4"), config(s3_bucket="secrets"), config(audio="s3://secrets/../voices/second.mp3")):
        answer = infer(cloud, body)
        assert answer.status_code in (400, 403, 500) and isinstance(answer.json()["detail"], str), answer.text
        assert "allow" in answer.json()["detail"] or "no name of an object" in answer.json()["detail"], answer.text
    assert names(s3, "secrets") == before


def test_local_paths(cloud, media):
    shutil.copy(media.clip, cloud.media / "clip.mp4")
    shutil.copy(media.short, cloud.media / "voice.wav")
    told = infer(cloud, config(str(cloud.media / "clip.mp4"), str(cloud.media / "voice.wav"))).json()
    assert pathlib.Path(told["output_path"]).name == "clip_voice.mp4"
    assert infer(cloud, config("/etc/passwd", str(cloud.media / "voice.wav"))).status_code in (400, 403, 404, 500)


def test_wrong_secret_is_a_plain_500(new_talkie, s3):
    server = new_talkie(*ALLOW, only=("musetalk-s3",), env=s3.environment(secret="not-the-secret"))
    answer = infer(server, config())
    assert answer.status_code == 500, answer.text
    assert answer.json()["detail"].startswith("Failed to download file from S3: ") and "not-the-secret" not in answer.text + server.log()


def test_upload_failure_is_told(cloud, s3, media):
    """The take is made, S3 is gone: `Failed to upload file to S3`, and no half object."""
    shutil.copy(media.clip, cloud.media / "clip.mp4")
    shutil.copy(media.short, cloud.media / "voice.wav")
    before = names(s3, "films")
    s3.stop()
    try:
        answer = infer(
            cloud, config(str(cloud.media / "clip.mp4"), str(cloud.media / "voice.wav"), s3_bucket="films", output_vid_name="lost")
        )
    finally:
        s3.start()
    assert answer.status_code == 500 and answer.json()["detail"].startswith("Failed to upload file to S3: "), answer.text
    assert names(s3, "films") == before


def test_credentials_of_a_profile_file(new_talkie, s3, tmp_path):
    home = tmp_path / "profile"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/credentials").write_text(
        f"[default]\naws_access_key_id = {s3_server.ACCESS}\naws_secret_access_key = wrong\n\n"
        f"[studio]\naws_access_key_id = {s3_server.ACCESS}\naws_secret_access_key = {s3_server.SECRET}\n"
    )
    (home / ".aws/config").write_text("[profile studio]\nregion = us-east-1\n")
    environment = {"HOME": str(home), "AWS_PROFILE": "studio", "AWS_ENDPOINT_URL": s3.endpoint}
    server = new_talkie(*ALLOW, only=("musetalk-s3",), env=environment)
    answer = infer(server, config(output_vid_name="by_profile", s3_bucket="films", s3_prefix="p"))
    assert answer.status_code == 200, answer.text
    assert "p/by_profile.mp4" in names(s3, "films")


def test_credentials_of_an_instance_role(new_talkie, s3):
    metadata = s3_server.Metadata()
    try:
        environment = {
            "AWS_EC2_METADATA_DISABLED": None,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
            "AWS_ENDPOINT_URL_S3": s3.endpoint,
            "AWS_REGION": "us-east-1",
        }
        server = new_talkie(*ALLOW, only=("musetalk-s3",), env=environment)
        answer = infer(server, config(output_vid_name="by_role", s3_bucket="films", s3_prefix="p"))
        assert answer.status_code == 200, answer.text
        assert "p/by_role.mp4" in names(s3, "films")
        assert metadata.asked[0] == ("PUT", "/latest/api/token")
    finally:
        metadata.close()


def test_without_any_credentials(new_talkie, s3):
    server = new_talkie(*ALLOW, only=("musetalk-s3",), env={"AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_REGION": "us-east-1"})
    answer = infer(server, config())
    assert answer.status_code == 500 and answer.json()["detail"].startswith("Failed to download file from S3: "), answer.text


def test_one_key_one_inference(cloud):
    """A retrying client's `Idempotency-Key`: the same request is one take for ever, another one under it is refused."""
    named = {"headers": {"Idempotency-Key": "a-retrying-client"}}
    body = config(result_dir="./keyed")

    def takes():
        return len([job for job in cloud.jobs(dialect="musetalk-s3") if job["kind"] == "take"])

    first, made = infer(cloud, body, **named), takes()
    again = infer(cloud, body, **named)
    assert first.status_code == again.status_code == 200 and first.json() == again.json(), again.text
    assert takes() == made
    other = infer(cloud, body | {"fps": 24}, **named)
    assert other.status_code == 409 and "a-retrying-client" in other.json()["detail"], other.text


def test_results_of_two_keys_do_not_meet(new_talkie, s3, tmp_path):
    """Equal names in equal folders: each key has a folder of its own."""
    keys = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("ann", "bob")}
    conf = [word for name, digest in keys.items() for word in ("--conf", f'keys.{name}="sha256:{digest}"')]
    server = new_talkie(*ALLOW, *conf, only=("musetalk-s3",), env=s3.environment())
    assert infer(server, config()).status_code == 401
    paths = {}
    for name in keys:
        answer = infer(server, config(output_vid_name="mine"), headers={"Authorization": f"Bearer {name}"})
        assert answer.status_code == 200, answer.text
        paths[name] = pathlib.Path(answer.json()["output_path"])
    assert paths["ann"] != paths["bob"] and all(path.is_file() for path in paths.values())
