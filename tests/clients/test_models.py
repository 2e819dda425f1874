"""`talkie models` against a server that speaks the hub's protocol, with its faults, and beside the hub's own client."""

import fcntl
import hashlib
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import zipfile

import hub_server
import numpy as np
import pytest
import stage

FUSION = ("vrgamedevgirl84/Wan14BT2VFusioniX", "FusionX_LoRa/Wan2.1_I2V_14B_FusionX_LoRA.safetensors")
FUSION_PLACE = f"lora/{FUSION[1]}"
WAV2VEC = "TencentGameMate/chinese-wav2vec2-base"
PREPROCESSOR = json.dumps(
    {
        "do_normalize": False,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": 16000,
    },
    indent=2,
).encode() + b"\n"


def safetensors(size, seed=0):
    """A whole file of about `size` bytes."""
    count = size // 4
    header = json.dumps({"a": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(4 * count)


class Models:
    """The program with a home and a models folder of its own."""

    def __init__(self, folder, hub=None, **env):
        self.folder = folder
        self.root = folder / "models"
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        more = {"HF_ENDPOINT": hub.url} if hub else {}
        self.env = stage.clean_environment(self.home, **(more | env))

    def start(self, *words):
        command = [str(stage.BINARY), "models", f"--models={self.root}", *map(str, words)]
        return subprocess.Popen(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=stage.die_with_parent
        )

    def run(self, *words, code=0):
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, (process.returncode, out, err)
        return out, err

    def pull(self, *words, code=0):
        """The events."""
        out, err = self.run("pull", "--json", *words, code=code)
        return [json.loads(line) for line in out.splitlines()]

    def refused(self, *words):
        events = self.pull(*words, code=1)
        return events[-1]["error"]

    def files(self):
        """What lies in the models folder, Talkie's own folder aside."""
        found = {}
        for path in self.root.rglob("*"):
            name = str(path.relative_to(self.root))
            if path.is_file() and not name.startswith(".talkie"):
                found[name] = path.read_bytes()
        return found


@pytest.fixture
def hub():
    server = hub_server.Hub()
    yield server
    server.close()


@pytest.fixture
def models(tmp_path, hub):
    return Models(tmp_path, hub)


def of(events, name):
    return [event for event in events if event["event"] == name]


def test_a_large_file_comes_in_parallel_parts_and_is_found(hub, models):
    data = safetensors(90_000_000)
    hub.add(*FUSION, data)
    hub.faults.slow_s = 0.002
    events = models.pull("lora-fusionx")
    assert models.files() == {FUSION_PLACE: data}
    assert of(events, "plan") == [{"event": "plan", "files": 1, "bytes": len(data)}]
    done = of(events, "done")[0]
    assert done["checksum"] == hashlib.sha256(data).hexdigest() and done["bytes"] == len(data)
    assert of(events, "progress")
    assert hub.most_at_once >= 2
    out, _ = models.run("path", "lora-fusionx")
    assert out == f"models      {models.root / FUSION_PLACE}\n"
    checked = json.loads(models.run("check", "lora-fusionx", "--json")[0])
    assert checked["files"][0]["verdict"] == "ok" and checked["files"][0]["checksum_of"] == "hub"
    before = len(hub.requests)
    assert of(models.pull("lora-fusionx"), "present")
    assert len(hub.requests) == before, "what is there is not asked for again"


def test_a_file_that_the_catalogue_knows(hub, models):
    hub.add(WAV2VEC, "preprocessor_config.json", PREPROCESSOR, lfs=False)
    events = models.pull("chinese-wav2vec2-base/preprocessor_config.json")
    assert of(events, "done")[0]["checksum"] == hashlib.sha256(PREPROCESSOR).hexdigest()
    checked = json.loads(models.run("check", "--json")[0])
    assert [row["checksum_of"] for row in checked["files"]] == ["catalogue"]
    path = models.root / "chinese-wav2vec2-base/preprocessor_config.json"
    path.write_bytes(PREPROCESSOR.replace(b"16000", b"16001"))
    checked = json.loads(models.run("check", "--json", code=1)[0])
    assert checked["files"][0]["verdict"] == "wrong_checksum"
    path.write_bytes(PREPROCESSOR + b" ")
    assert json.loads(models.run("check", "--json", code=1)[0])["files"][0]["verdict"] == "wrong_size"
    assert models.run("path", "chinese-wav2vec2-base/preprocessor_config.json", code=1)[0].startswith("wrong ")


def test_another_file_than_the_catalogue_knows_is_refused_before_a_byte(hub, models):
    hub.add(WAV2VEC, "pytorch_model.bin", b"PK\x03\x04 another")
    error = models.refused("chinese-wav2vec2-base/pytorch_model.bin")
    assert error["code"] == "other_file" and "380261837" in error["message"] and "--hub-checksums" in error["hint"]
    assert not hub.asked("bytes") and not models.files()
    hub.add(WAV2VEC, "preprocessor_config.json", PREPROCESSOR.replace(b"16000", b"16001"), lfs=False)
    error = models.refused("chinese-wav2vec2-base/preprocessor_config.json")
    assert error["code"] == "wrong_checksum" and not models.files()


def test_the_hubs_word_counts_where_the_user_says_so(hub, models):
    data = b'{"another": true}'
    hub.add(WAV2VEC, "config.json", data, lfs=False)
    models.pull("--hub-checksums", "chinese-wav2vec2-base/config.json")
    assert models.files() == {"chinese-wav2vec2-base/config.json": data}
    models.run("path", "chinese-wav2vec2-base/config.json")
    assert json.loads(models.run("check", "--json")[0])["files"][0]["checksum_of"] == "hub"


@pytest.mark.parametrize("how", ["HF_TOKEN", "HF_TOKEN_PATH", "token file"])
def test_the_token_goes_to_the_endpoint_only(hub, tmp_path, how):
    data = safetensors(100_000)
    hub.add(*FUSION, data)
    hub.faults.gated = True
    env = {"HF_TOKEN": "hf_good"} if how == "HF_TOKEN" else {}
    models = Models(tmp_path, hub, **env, **({"HF_TOKEN_PATH": str(tmp_path / "t")} if how == "HF_TOKEN_PATH" else {}))
    place = {"HF_TOKEN_PATH": tmp_path / "t", "token file": models.home / ".cache/huggingface/token"}.get(how)
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("hf_good\n")
    models.pull("lora-fusionx")
    assert models.files()[FUSION_PLACE] == data
    assert all(request[3].get("authorization") == "Bearer hf_good" for request in hub.asked("hub"))
    assert hub.asked("bytes") and all("authorization" not in request[3] for request in hub.asked("bytes"))


@pytest.mark.parametrize("token", [None, "hf_bad"])
def test_a_gated_model_names_the_page_and_the_token(hub, tmp_path, token):
    hub.add(*FUSION, safetensors(1000))
    hub.faults.gated = True
    error = Models(tmp_path, hub, HF_TOKEN=token).refused("lora-fusionx")
    assert error["code"] == "gated" and "restricted" in error["message"]
    assert f"https://huggingface.co/{FUSION[0]}" in error["hint"]
    assert ("HF_TOKEN" in error["hint"]) == (token is None)
    assert "hf_bad" not in json.dumps(error)
    assert len(hub.requests) == 1, "a refusal is not asked for again"


def test_cut_connections_go_on_where_they_broke(hub, models):
    data = safetensors(3_000_000)
    hub.add(*FUSION, data)
    hub.faults.cut_after, hub.faults.cuts = 700_000, 3
    events = models.pull("lora-fusionx")
    assert models.files() == {FUSION_PLACE: data}
    assert len(of(events, "waiting")) == 3
    begins = [int(re.match(r"bytes=(\d+)-", r[3]["range"])[1]) for r in hub.asked("bytes", "GET")]
    assert begins == sorted(begins) and begins[-1] > 1_500_000, begins
    assert all("if-range" in request[3] for request in hub.asked("bytes", "GET")[1:])


def test_a_busy_server_is_asked_again_when_it_says(hub, models):
    hub.add(*FUSION, safetensors(1000))
    hub.faults.statuses = [(429, {"Retry-After": "1"}), (503, {})]
    hub.faults.byte_statuses = [(500, {}), (429, {"Retry-After": "0"})]
    events = models.pull("lora-fusionx")
    assert [event["seconds"] for event in of(events, "waiting")] == [1.0, 1.0, 0.5, 0.0]
    assert FUSION_PLACE in models.files()


def test_a_server_that_wants_to_be_left_alone_for_long_is_told_of(hub, models):
    hub.add(*FUSION, safetensors(1000))
    hub.faults.statuses = [(429, {"Retry-After": "4000"})]
    error = models.refused("lora-fusionx")
    assert error["code"] == "unreachable" and "4000 s" in error["message"]


def test_a_silent_connection_is_given_up(hub, models):
    data = safetensors(1_000_000)
    hub.add(*FUSION, data)
    hub.faults.hang = True
    process = models.start("pull", "--json", "--silence", "0.5", "lora-fusionx")
    line = next(line for line in process.stdout if '"waiting"' in line)
    hub.faults.hang = False
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "waiting" in line, (out, err)
    assert models.files() == {FUSION_PLACE: data}


def interrupted(models, hub, data, flags=()):
    """A pull that is stopped by Ctrl-C when some of the file is there."""
    hub.add(*FUSION, data)
    hub.faults.slow_s = 0.02
    process = models.start("pull", "--json", *flags, "lora-fusionx")
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and 0 < event["done"] < event["of"]:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT, (process.returncode, out, err)
    assert FUSION_PLACE not in models.files()
    assert set(models.files()) == {f"{FUSION_PLACE}.part", f"{FUSION_PLACE}.part.json"}
    hub.faults.slow_s = 0.0
    return json.loads(models.files()[f"{FUSION_PLACE}.part.json"])


def test_ctrl_c_leaves_a_part_that_is_resumed(hub, models):
    data = safetensors(60_000_000)
    state = interrupted(models, hub, data)
    there = sum(end - begin for begin, end in state["done"])
    assert there > 0
    hub.requests.clear()
    events = models.pull("lora-fusionx")
    assert of(events, "begun")[0]["resumed"] == there
    assert of(events, "plan")[0]["bytes"] == len(data) - there
    assert models.files() == {FUSION_PLACE: data}
    asked = 0
    for request in hub.asked("bytes", "GET"):
        begin, end = map(int, re.match(r"bytes=(\d+)-(\d+)", request[3]["range"]).groups())
        asked += end + 1 - begin
        assert request[3]["if-range"] == state["entity"]
    assert asked == len(data) - there, "nothing is fetched twice"


def test_kill_9_leaves_a_part_that_is_right(hub, models):
    data = safetensors(60_000_000)
    hub.add(*FUSION, data)
    hub.faults.slow_s = 0.05
    process = models.start("pull", "--json", "lora-fusionx")
    stage.until((models.root / f"{FUSION_PLACE}.part.json").exists, what="the state of the part")
    process.kill()
    process.communicate()
    assert FUSION_PLACE not in models.files()
    hub.faults.slow_s = 0.0
    assert of(models.pull("lora-fusionx"), "begun")[0]["resumed"] > 0
    assert models.files() == {FUSION_PLACE: data}


def test_a_file_that_changed_since_begins_anew(hub, models):
    interrupted(models, hub, safetensors(40_000_000))
    other = safetensors(40_000_000, seed=1)
    hub.add(*FUSION, other)
    events = models.pull("lora-fusionx")
    assert of(events, "changed") and of(events, "begun")[0]["resumed"] == 0
    assert models.files() == {FUSION_PLACE: other}


def test_a_server_without_ranges_sends_one_stream(hub, models):
    data = safetensors(20_000_000)
    hub.faults.ranges = False
    hub.faults.cut_after, hub.faults.cuts = 5_000_000, 1
    hub.add(*FUSION, data)
    models.pull("lora-fusionx")
    assert models.files() == {FUSION_PLACE: data}
    assert len(hub.asked("bytes", "GET")) == 2


def test_a_part_is_dropped_where_ranges_are_gone(hub, models):
    data = safetensors(40_000_000)
    interrupted(models, hub, data)
    hub.faults.ranges = False
    models.pull("lora-fusionx")
    assert models.files() == {FUSION_PLACE: data}


@pytest.mark.parametrize("times", [1, 99])
def test_wrong_bytes_never_get_the_name(hub, models, times):
    data = safetensors(200_000)
    hub.add(*FUSION, data, sent=data[:-1] + bytes([data[-1] ^ 1]), wrong_times=times)
    if times == 1:
        assert "checksum" in of(models.pull("lora-fusionx"), "changed")[0]["why"]
        assert models.files() == {FUSION_PLACE: data}
    else:
        error = models.refused("lora-fusionx")
        assert error["code"] == "wrong_checksum" and hashlib.sha256(data).hexdigest() in error["message"]
        assert models.files() == {}


@pytest.mark.parametrize("lie", ["more", "less", "longer body", "shorter body"])
def test_sizes_that_disagree_are_refused(hub, models, lie):
    data = safetensors(200_000)
    file = hub.add(*FUSION, data)
    if lie in ("more", "less"):
        hub.faults.linked_size = len(data) + {"more": 5000, "less": -5000}[lie]
    else:
        file.sent, file.wrong_times = (data + b"more" if lie == "longer body" else data[:-4]), 99
    error = models.refused("lora-fusionx")
    assert error["code"] == "other_file" and "bytes" in error["message"], error
    assert FUSION_PLACE not in models.files()


def test_a_content_length_that_lies_costs_no_byte(hub, models):
    data = safetensors(200_000)
    hub.add(*FUSION, data)
    hub.faults.claim_more = 100
    process = models.start("pull", "--json", "lora-fusionx")
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if of(events, "waiting"):
            hub.faults.claim_more = 0
    assert process.wait(60) == 0
    assert models.files() == {FUSION_PLACE: data}


def test_an_expired_address_is_asked_for_anew(hub, models):
    data = safetensors(40_000_000)
    hub.add(*FUSION, data)
    hub.faults.expire = 1
    models.pull("lora-fusionx")
    assert models.files() == {FUSION_PLACE: data}
    assert len(hub.asked("hub", "HEAD")) == 2


def test_a_mirror_without_the_hubs_headers_still_has_its_listing(hub, models):
    data = safetensors(100_000)
    hub.add(*FUSION, data)
    hub.faults.plain_headers = True
    events = models.pull("lora-fusionx")
    assert of(events, "done")[0]["checksum"] == hashlib.sha256(data).hexdigest()
    assert hub.asked("hub", "GET", "/tree/main/FusionX_LoRa")


def test_another_source_has_it_where_the_first_has_not(hub, models):
    data = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"x" * 1000
    hub.add("vivym/face-parsing-bisenet", "79999_iter.pth", data)
    events = models.pull("--hub-checksums", "face-parse")
    assert of(events, "mirror")[0]["source"] == "vivym/face-parsing-bisenet"
    assert models.files() == {"face-parse-bisent/79999_iter.pth": data}


def test_what_is_nowhere_is_told(hub, models):
    error = models.refused("lora-fusionx")
    assert error["code"] == "not_published" and "404" in error["message"]


QUANT = "MeiGen-AI/InfiniteTalk"


def test_a_whole_folder_by_the_hubs_own_listing(hub, models):
    files = {f"quant_models/x_{n}.safetensors": safetensors(1000 + n, seed=n) for n in range(7)}
    for path, data in files.items():
        hub.add(QUANT, path, data)
    hub.add(QUANT, "single/infinitetalk.safetensors", safetensors(100))
    hub.faults.tree_page = 3
    assert "never pulled" in models.run("path", "infinitetalk-quantised", code=1)[1]
    models.pull("infinitetalk-quantised")
    assert models.files() == {f"InfiniteTalk/{path}": data for path, data in files.items()}
    assert len(hub.asked("hub", "GET", "/tree/")) == 3
    assert len(models.run("path", "infinitetalk-quantised")[0].splitlines()) == 7
    (models.root / "InfiniteTalk/quant_models/x_3.safetensors").unlink()
    verdicts = [row["verdict"] for row in json.loads(models.run("check", "infinitetalk-quantised", "--json", code=1)[0])["files"]]
    assert sorted(verdicts) == ["missing"] + 6 * ["ok"]


@pytest.mark.parametrize(
    "name",
    [
        "quant_models/../../../escaped",
        "/etc/escaped",
        "quant_models//x",
        "quant_models\\..\\x",
        "quant_models/x\n.bin",
        "quant_models/x.part",
        "elsewhere/x.bin",
        ".talkie/lock",
        "quant_models/" + "x" * 300,
    ],
)
def test_names_that_lead_astray_are_refused(hub, models, name):
    hub.add(QUANT, "quant_models/good.safetensors", safetensors(1000))
    hub.faults.tree_extra = [{"type": "file", "path": name, "size": 3, "lfs": {"oid": "0" * 64}}]
    error = models.refused("infinitetalk-quantised")
    assert error["code"] == "bad_answer" and not models.files()
    assert not hub.asked("bytes")


def test_too_little_room_is_told_before_a_byte(hub, models):
    hub.add(*FUSION, safetensors(1000))
    hub.faults.linked_size = 10**16
    error = models.refused("lora-fusionx")
    assert error["code"] == "disk_full" and "10000 TB" in error["message"] and str(models.root) in error["message"]
    assert not hub.asked("bytes")


def test_two_pulls_do_not_fight(hub, models):
    hub.add(*FUSION, safetensors(1000))
    own = models.root / ".talkie"
    own.mkdir(parents=True)
    with open(own / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert models.refused("lora-fusionx")["code"] == "busy"
    models.pull("lora-fusionx")


def test_a_wrong_file_is_replaced_only_on_request(hub, models):
    hub.add(WAV2VEC, "preprocessor_config.json", PREPROCESSOR, lfs=False)
    path = models.root / "chinese-wav2vec2-base/preprocessor_config.json"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    name = "chinese-wav2vec2-base/preprocessor_config.json"
    error = models.refused(name)
    assert error["code"] == "wrong_file" and "--replace" in error["hint"] and path.read_text() == "mine"
    models.pull("--replace", name)
    assert path.read_bytes() == PREPROCESSOR


def test_a_pointer_in_place_of_a_model_is_told(hub, models):
    path = models.root / FUSION_PLACE
    path.parent.mkdir(parents=True)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    row = json.loads(models.run("check", "lora-fusionx", "--json", code=1)[0])["files"][0]
    assert row["verdict"] == "damaged" and "LFS pointer" in row["detail"]
    data = safetensors(1000)
    hub.add(*FUSION, data)
    error = models.refused("lora-fusionx")
    assert error["code"] == "wrong_file" and "LFS pointer" in error["message"] and "--replace" in error["hint"]
    models.pull("--replace", "lora-fusionx")
    assert path.read_bytes() == data
    path.write_bytes(safetensors(1000, seed=1))
    assert of(models.pull("lora-fusionx"), "present"), "it is not read whole where nothing would be replaced"
    models.pull("--replace", "lora-fusionx")
    assert path.read_bytes() == data


def test_nothing_is_fetched_offline(hub, tmp_path):
    for word in ("1", "on", "Yes", "TRUE"):
        assert Models(tmp_path, hub, HF_HUB_OFFLINE=word).refused("lora-fusionx")["code"] == "offline"
    assert not hub.requests
    hub.add(*FUSION, safetensors(1000))
    for word in ("False", "OFF", "No", "0"):
        Models(tmp_path, hub, HF_HUB_OFFLINE=word).pull("lora-fusionx")


def test_what_the_hubs_own_client_fetched_is_used_in_place(hub, models, tmp_path):
    """huggingface_hub fetches from the same server into its cache; nothing of it is fetched again."""
    data = safetensors(300_000)
    hub.add(*FUSION, data)
    hub.add(WAV2VEC, "preprocessor_config.json", PREPROCESSOR, lfs=False)
    cache = tmp_path / "cache"
    script = (
        "import sys; from huggingface_hub import hf_hub_download as get\n"
        f"print(get({FUSION[0]!r}, {FUSION[1]!r})); print(get({WAV2VEC!r}, 'preprocessor_config.json'))"
    )
    env = models.env | {"HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    fetched = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)
    assert fetched.returncode == 0, fetched.stderr
    own = [os.path.realpath(path) for path in fetched.stdout.split()]
    models.env["HF_HOME"] = str(cache)
    names = ["lora-fusionx", "chinese-wav2vec2-base/preprocessor_config.json"]
    rows = [line.split(maxsplit=1) for line in models.run("path", *names)[0].splitlines()]
    assert [kind for kind, _ in rows] == ["hub-cache", "hub-cache"]
    assert [os.path.realpath(path) for _, path in rows] == own
    checked = json.loads(models.run("check", *names, "--json")[0])["files"]
    assert [row["checksum_of"] for row in checked] == ["hub", "catalogue"]
    before = len(hub.requests)
    assert len(of(models.pull(*names), "present")) == 2
    assert len(hub.requests) == before and models.files() == {}


def test_both_clients_fetch_the_same_bytes(hub, models, tmp_path):
    data = safetensors(300_000)
    hub.add(*FUSION, data)
    script = f"from huggingface_hub import hf_hub_download as get; get({FUSION[0]!r}, {FUSION[1]!r}, local_dir={str(tmp_path / 'theirs')!r})"
    env = models.env | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True, timeout=120)
    models.pull("lora-fusionx")
    assert (tmp_path / "theirs" / FUSION[1]).read_bytes() == (models.root / FUSION_PLACE).read_bytes() == data


def test_official_layouts_are_used_in_place(tmp_path):
    models = Models(tmp_path)
    checkout = tmp_path / "MuseTalk"
    place = checkout / "models/musetalk/pytorch_model.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"PK\x03\x04")
    detector = checkout / "musetalk/utils/face_detection/detection/sfd/s3fd.pth"
    detector.parent.mkdir(parents=True)
    detector.write_bytes(b"x")
    out, _ = models.run(f"--folder={checkout}", "path", "musetalk-v1-unet", "s3fd", code=1)
    assert out.splitlines() == [
        "missing     musetalk-v1-unet/musetalk/musetalk.json",
        f"folder      {place}",
        f"folder      {detector}",
    ]


def test_the_list_says_what_is_not_known(tmp_path):
    models = Models(tmp_path)
    out, _ = models.run("list")
    assert "musetalk-v15" in out and "infinitetalk" in out and "svd-xt" in out
    detail, _ = models.run("list", "infinitetalk-single")
    assert "licence unknown" in detail and "gated: unknown" in detail and "of the hub" in detail
    told = json.loads(models.run("list", "--json")[0])
    unet = next(c for c in told["components"] if c["name"] == "musetalk-v15-unet")
    assert unet["files"][1]["bytes"] == 3400074924 and unet["files"][1]["state"] == "missing"
    assert models.run("list", "nothing", code=1)[1].startswith("talkie: `nothing` is no set")


# Seeded weights


def seeded(key, shape, salt="public"):
    """The golden kit's formula, as golden/README.md states it."""
    value = 0xCBF29CE484222325
    for byte in f"{salt}/{key}".encode():
        value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_mean":
        offset, amp = 0, 0.1
    elif leaf == "running_var":
        offset, amp = 1, 0.5
    elif re.fullmatch(r"conv[345]_3_norm\.weight", key):
        offset, amp = 10, 1
    elif key.endswith(".bn.weight"):
        offset, amp = 2, 0.2
    elif len(shape) == 1:
        offset, amp = {"weight": (1, 0.1), "bias": (0, 0.05)}[leaf]
    else:
        offset, amp = 0, (3 / np.prod(shape[1:], dtype=np.float64)) ** 0.5
    with np.errstate(over="ignore"):
        z = np.uint64(value) + np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    u = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return (np.float32(offset) + np.float32(amp) * u).reshape(shape)


def inventory(name):
    return json.loads((stage.ROOT / f"goldens/keys/{name}.json").read_text())["entries"]


def test_seeded_torch_files_hold_the_golden_values(tmp_path):
    models = Models(tmp_path)
    out = tmp_path / "seeded"
    models.run("seed", "face-parse", "sd-vae", "--out", out)

    # before 1.6: the storages follow each other in the order of the keys, each behind its count
    data = (out / "face-parse-bisent/79999_iter.pth").read_bytes()
    assert data.startswith(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")
    entries = inventory("bisenet")
    sizes = {"F32": 4, "I64": 8}
    at = len(data) - sum(8 + sizes[dtype] * int(np.prod(shape)) for _, shape, dtype in entries)
    for key, shape, dtype in entries:
        assert struct.unpack_from("<q", data, at)[0] == np.prod(shape), key
        count = sizes[dtype] * int(np.prod(shape))
        assert data[at + 8 : at + 8 + count] == seeded(key, tuple(shape)).tobytes(), key
        at += 8 + count

    # since 1.6: a zip of stored entries at multiples of 64 bytes
    with zipfile.ZipFile(out / "sd-vae/diffusion_pytorch_model.bin") as archive:
        assert archive.testzip() is None
        entries = inventory("sd_vae")
        names = [info.filename for info in archive.infolist()]
        assert names == ["archive/data.pkl", "archive/byteorder", *(f"archive/data/{n}" for n in range(len(entries))), "archive/version"]
        keys = archive.read("archive/data.pkl")
        for number, (key, shape, _) in enumerate(entries):
            info = archive.getinfo(f"archive/data/{number}")
            assert info.compress_type == zipfile.ZIP_STORED and key.encode() in keys
            if number % 20 == 0:
                assert archive.read(info) == seeded(key, tuple(shape)).tobytes(), key
    with open(out / "sd-vae/diffusion_pytorch_model.bin", "rb") as file:
        for number in range(len(entries)):
            info = archive.getinfo(f"archive/data/{number}")
            file.seek(info.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            assert (info.header_offset + 30 + name + extra) % 64 == 0

    # they stand in for the official files and are no match for them
    row = json.loads(models.run(f"--folder={out}", "check", "face-parse", "--json", code=1)[0])["files"][0]
    assert row["verdict"] == "wrong_size"
    assert models.run("seed", "face-parse", "--out", out, code=1)[1].endswith("name another folder\n")


def test_seeded_safetensors_have_the_inventorys_dtype(tmp_path):
    models = Models(tmp_path)
    out = tmp_path / "seeded"
    folder = "stable-video-diffusion-img2vid"
    models.run("seed", "svd-img2vid/vae/diffusion_pytorch_model.fp16.safetensors", "--out", out, "--json")
    data = (out / folder / "vae/diffusion_pytorch_model.fp16.safetensors").read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__")["seeded"] == "public"
    assert set(header) == {key for key, _, _ in inventory("svd_vae")}
    for key, entry in list(header.items())[::30]:
        if key.endswith("mix_factor"):
            continue
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F16"
        value = seeded(key, tuple(entry["shape"])).astype(np.float16)
        assert data[8 + length + begin : 8 + length + end] == value.tobytes(), key


def test_the_large_models_index_names_every_shard(tmp_path):
    models = Models(tmp_path)
    out = tmp_path / "seeded"
    name = "diffusion_pytorch_model.safetensors.index.json"
    models.run("seed", f"wan-i2v-480p/{name}", "--out", out)
    index = json.loads((out / "Wan2.1-I2V-14B-480P" / name).read_text())
    assert set(index["weight_map"]) == {key for key, _, _ in inventory("wan_i2v_14b_dit")}
    assert len(set(index["weight_map"].values())) == 7 and index["metadata"]["total_size"] == 16_394_878_784 * 4


def test_seeding_that_is_stopped_leaves_no_file(tmp_path):
    models = Models(tmp_path)
    out = tmp_path / "seeded"
    # 1.3 GB: seconds of writing, and room for it on any machine that builds this
    process = models.start("seed", "svd-img2vid/image_encoder/model.fp16.safetensors", "--out", out)

    def writing():
        assert process.poll() is None, process.communicate()
        return list(out.rglob("*.draft"))

    stage.until(writing, what="a file that is being written")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert not [path for path in out.rglob("*") if path.is_file()]
