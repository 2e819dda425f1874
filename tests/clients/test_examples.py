"""The examples, run as a user would run them, and the n8n workflows: their structure, and the requests that their nodes describe."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import cv2
import httpx
import jsonschema
import pytest

import s3_server
import stage

EXAMPLES = stage.ROOT / "examples"


def run(*words, env=None, code=0):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300, env=os.environ | (env or {}))
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_client_example(talkie, media, tmp_path):
    told = run(
        sys.executable,
        EXAMPLES / "client_example.py",
        media.clip,
        media.mp3,
        "--server",
        talkie.url("musetalk"),
        "--avatar",
        "example",
        "--frames",
        tmp_path / "frames",
        "--batch",
        tmp_path / "out.mp4",
    )
    count = int(re.search(r"(\d+) frames in", told)[1])
    frames = sorted((tmp_path / "frames").glob("*.jpg"))
    assert len(frames) == count and abs(count - media.seconds(media.mp3) * 25) <= 3, told
    assert all(cv2.imread(str(frame)) is not None for frame in frames)
    assert "Avatar processed successfully" in told and "made by puppet" in told
    assert "audio" in stage.streams(tmp_path / "out.mp4")


def test_client_example_told_no(talkie, media):
    assert "400" in run(
        sys.executable,
        EXAMPLES / "client_example.py",
        media.clip,
        media.mp3,
        "--server",
        talkie.url("musetalk"),
        "--avatar",
        "not a name",
        code=1,
    )


def test_client_example_s3(new_talkie, media, tmp_path):
    with s3_server.S3(tmp_path / "s3", "films") as s3:
        s3.client().upload_file(str(media.clip), "films", "video.mp4")
        s3.client().upload_file(str(media.short), "films", "voice.wav")
        server = new_talkie("--conf", 'store.s3_allowed.musetalk-s3=["s3://films"]', only=("musetalk-s3",), env=s3.environment())
        told = run(
            sys.executable,
            EXAMPLES / "client_example_s3.py",
            "s3://films/video.mp4",
            "s3://films/voice.wav",
            "--server",
            server.url("musetalk-s3"),
            "--bucket",
            "films",
            "--name",
            "talking",
        )
        assert "s3://films/lip_sync/outputs/talking.mp4" in told
        assert (s3.folder / "films/lip_sync/outputs/talking.mp4").stat().st_size > 1000
        told = run(
            sys.executable,
            EXAMPLES / "client_example_s3.py",
            "s3://films/video.mp4",
            "s3://films/none.wav",
            "--server",
            server.url("musetalk-s3"),
            code=1,
        )
        assert "500" in told and "Failed to download file from S3" in told


def test_infinitetalk_sh(talkie, media):
    shutil.copy(media.short, talkie.media / "example.wav")
    shutil.copy(media.small, talkie.media / "example.png")
    environment = {"INFINITETALK_URL": talkie.url("infinitetalk")}
    told = run(
        EXAMPLES / "infinitetalk.sh", talkie.media / "example.wav", talkie.media / "example.png", 'She says "hello"', env=environment
    )
    health, answer = told.splitlines()
    assert json.loads(health)["status"] == "healthy" and pathlib.Path(json.loads(answer)["video_path"]).is_file()
    told = run(EXAMPLES / "infinitetalk.sh", talkie.media / "none.wav", talkie.media / "example.png", env=environment, code=22)
    assert "none.wav" in told


def test_svd_sh(talkie, media, tmp_path):
    told = run(EXAMPLES / "svd.sh", media.jpeg, tmp_path / "film.mp4", env={"SVD_URL": talkie.url("svd")})
    assert "is ready" in told and abs(float(stage.streams(tmp_path / "film.mp4")["video"]["duration"]) - 5) < 0.1
    told = run(EXAMPLES / "svd.sh", media.text, tmp_path / "none.mp4", env={"SVD_URL": talkie.url("svd")}, code=22)
    assert "File must be an image" in told and not (tmp_path / "none.mp4").exists()


def test_svd_client(talkie, media, tmp_path):
    told = run(
        sys.executable,
        EXAMPLES / "svd_client.py",
        media.small,
        tmp_path / "film.mp4",
        "--server",
        talkie.url("svd"),
        "--duration",
        "3",
        "--quality",
        "512",
        "--every",
        "0.2",
    )
    assert "made by puppet" in told and abs(float(stage.streams(tmp_path / "film.mp4")["video"]["duration"]) - 3) < 0.1


WORKFLOWS = sorted((EXAMPLES / "n8n").glob("*.json"))
SCHEMA = json.loads((pathlib.Path(__file__).parent / "n8n_workflow.schema.json").read_text())


def plain(workflow):
    """Node types without n8n's own prefix."""
    for node in workflow["nodes"]:
        assert node["type"].startswith("n8n-nodes-base."), node["type"]
        node["type"] = node["type"].removeprefix("n8n-nodes-base.")
    return workflow


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_structure(path):
    workflow = plain(json.loads(path.read_text()))
    jsonschema.validate(workflow, SCHEMA)
    assert workflow["id"] == path.stem
    names = [node["name"] for node in workflow["nodes"]]
    assert len(set(names)) == len(names) and len({node["id"] for node in workflow["nodes"]}) == len(names)
    assert [node["type"] for node in workflow["nodes"]].count("manualTrigger") == 1
    assert set(workflow["connections"]) <= set(names)
    targets = {link["node"] for source in workflow["connections"].values() for output in source["main"] for link in output}
    assert targets == {node["name"] for node in workflow["nodes"] if node["type"] != "manualTrigger"}, "a node that nothing leads to"


def test_there_is_one_for_each_dialect():
    assert {path.stem for path in WORKFLOWS} == {"talkie-infinitetalk", "talkie-musetalk", "talkie-musetalk-s3", "talkie-svd"}


def evaluated(text, item, items):
    """The few expressions that the workflows use; anything else is an error."""
    if not text.startswith("="):
        return text
    whole = re.fullmatch(r"=\{\{ JSON\.stringify\(\{(.*)\}\) \}\}", text)
    if whole:
        pairs = re.findall(r"(\w+): (?:\$json\.(\w+)|'([^']*)'|(\d+))", whole[1])
        return json.dumps({name: item[field] if field else int(number) if number else words for name, field, words, number in pairs})

    def value(match):
        field = re.fullmatch(r" \$json\.(\w+) ", match[1])
        of_node = re.fullmatch(r" \$\('([^']+)'\)\.item\.json\.(\w+) ", match[1])
        assert field or of_node, match[0]
        return str(item[field[1]] if field else items[of_node[1]][of_node[2]])

    return re.sub(r"\{\{(.*?)\}\}", value, text[1:])


def perform(workflow, place):
    """Runs a workflow as its nodes describe it. `place` turns the addresses and paths of the file into those of the test."""
    nodes = {node["name"]: node for node in workflow["nodes"]}
    name, item, items, files = next(n["name"] for n in workflow["nodes"] if n["type"] == "manualTrigger"), {}, {}, {}
    for _ in range(500):
        node, output = nodes[name], 0
        given = node["parameters"]
        if node["type"] == "readWriteFile" and given["operation"] == "read":
            path = pathlib.Path(place(evaluated(given["fileSelector"], item, items)))
            files[given["options"].get("dataPropertyName", "data")] = (path.name, path.read_bytes())
        elif node["type"] == "readWriteFile":
            pathlib.Path(place(given["fileName"])).write_bytes(files[given["dataPropertyName"]][1])
        elif node["type"] == "httpRequest":
            request = {}
            if given.get("contentType") == "multipart-form-data":
                parts = given["bodyParameters"]["parameters"]
                request["data"] = {part["name"]: part["value"] for part in parts if part["parameterType"] == "formData"}
                request["files"] = {
                    part["name"]: files[part["inputDataFieldName"]] for part in parts if part["parameterType"] == "formBinaryData"
                }
            elif given.get("sendBody"):
                request["json"] = json.loads(place(evaluated(given["jsonBody"], item, items)))
            if given.get("sendQuery"):
                request["params"] = {part["name"]: part["value"] for part in given["queryParameters"]["parameters"]}
            headers = {
                "Accept": "application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7",
                "User-Agent": "axios/1.12.0",
            }
            answer = httpx.request(
                given["method"],
                place(evaluated(given["url"], item, items)),
                headers=headers,
                timeout=given["options"].get("timeout", 300000) / 1000,
                **request,
            )
            assert answer.status_code == 200, (name, answer.text)
            kept = given["options"].get("response", {}).get("response", {})
            if kept.get("responseFormat") == "file":
                assert answer.headers["content-type"] == "video/mp4"
                files[kept["outputPropertyName"]] = ("film.mp4", answer.content)
            else:
                item = answer.json()
        elif node["type"] == "if":
            pairs = [(evaluated(one["leftValue"], item, items), one["rightValue"]) for one in given["conditions"]["conditions"]]
            output = 0 if any(left == right for left, right in pairs) else 1
        items[name] = item
        following = workflow["connections"].get(name, {"main": []})["main"]
        if len(following) <= output or not following[output]:
            return item, files
        name = following[output][0]["node"]
    raise AssertionError("the workflow does not end")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_requests(new_talkie, media, tmp_path, path):
    with s3_server.S3(tmp_path / "s3", "my-bucket") as s3:
        s3.client().upload_file(str(media.clip), "my-bucket", "in/video.mp4")
        s3.client().upload_file(str(media.short), "my-bucket", "in/voice.wav")
        server = new_talkie("--conf", 'store.s3_allowed.musetalk-s3=["s3://my-bucket"]', env=s3.environment())
        for part, source in (("audio/sample.wav", media.short), ("images/portrait.png", media.small), ("video.mp4", media.clip)):
            (server.media / part).parent.mkdir(exist_ok=True)
            shutil.copy(source, server.media / part)
        historic = {"8200": "infinitetalk", "8000": "musetalk", "8080": "musetalk-s3", "7860": "svd"}

        def place(text):
            text = re.sub(r"http://localhost:(\d+)", lambda found: server.url(historic[found[1]]), text)
            return text.replace("/data/shared", str(server.media))

        item, files = perform(plain(json.loads(path.read_text())), place)
        films = {
            "talkie-infinitetalk": lambda: pathlib.Path(item["video_path"]),
            "talkie-musetalk": lambda: server.media / "talking.mp4",
            "talkie-musetalk-s3": lambda: s3.folder / "my-bucket/lip_sync/outputs/video_voice.mp4",
            "talkie-svd": lambda: None,
        }
        film = films[path.stem]()
        if film is None:
            film = tmp_path / "film.mp4"
            film.write_bytes(files["film"][1])
        assert stage.streams(film)["video"]["codec_name"] == "h264"
