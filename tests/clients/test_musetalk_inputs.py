"""What people send that is not a calm face in a calm clip: each is a clear error or does what docs/musetalk.md says ("What comes in"). Tiny seeded
models, so that what the nets draw is noise: where, when and how long they draw is looked at."""

import shutil

import cv2
import numpy
import pytest

import musetalk_stage
import stage
from musetalk_stage import changed, film, frames, generate, marked, numbers, there_and_back

FACE = ("--detector", "face", "--crf", "5")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return musetalk_stage.seed(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """Speech of so many seconds."""
    folder = tmp_path_factory.mktemp("voices")

    def cut(seconds):
        path = folder / f"{seconds}.wav"
        if not path.exists():
            stage.ffmpeg("-ss", "0.5", "-t", seconds, "-i", stage.ROOT / "assets/speech.wav", path)
        return path

    return cut


@pytest.fixture(scope="module")
def five(media, tmp_path_factory):
    """A clip of five frames."""
    return film(marked(media.small, 5), tmp_path_factory.mktemp("clips") / "five.mp4")


def made(outcome):
    status, told, errors = outcome
    assert status == 0, (told, errors)
    return told


def refused(outcome, code, *words):
    status, told, errors = outcome
    assert status == 1 and told["error"]["code"] == code, (told, errors)
    said = told["error"]["message"] + told["error"]["hint"]
    assert all(word in said for word in words), said


def mouths(take, source):
    """Share of the lower half of the middle that differs, frame by frame."""
    return [changed(take[i : i + 1], source[i : i + 1])[0] for i in range(len(take))]


def test_frames_without_a_face_pass_untouched(weights, media, voice, tmp_path):
    """None in frame 1, none in the middle: there the clip is as it was; the face comes and goes over four frames."""
    wall = numpy.full((320, 320, 3), 128, numpy.uint8)
    face = marked(media.small, 1)[0]
    clip = film([wall] * 4 + [face] * 9 + [wall] * 7 + [face] * 6, tmp_path / "gaps.mp4")
    out = tmp_path / "t.mp4"
    told = made(generate(weights, out, "--video", clip, "--audio", voice(1.04), *FACE))
    (warning,) = told["warnings"]
    assert warning["code"] == "face_missing" and "11 of 26 frames" in warning["message"], warning
    drawn = mouths(frames(out), frames(clip))
    assert max(drawn[:4]) < 0.01 and max(drawn[13:20]) < 0.01, drawn
    assert min(drawn[8:9] + drawn[24:]) > 0.2, drawn
    assert drawn[12] < drawn[11] < drawn[10] < drawn[9] and drawn[20] < drawn[21] < drawn[22] < drawn[23], f"no fade: {drawn}"


def test_a_face_that_jumps_is_found_again(weights, media, voice, tmp_path):
    """After a cut the same person sits elsewhere."""
    small = cv2.resize(cv2.imread(str(media.small)), (240, 240))
    left, right = (numpy.full((240, 480, 3), 128, numpy.uint8) for _ in range(2))
    left[:, :240], right[:, 240:] = small, small
    clip = film([left] * 3 + [right] * 5, tmp_path / "cut.mp4")
    out = tmp_path / "t.mp4"
    made(generate(weights, out, "--video", clip, "--audio", voice(0.32), *FACE))
    take, source = frames(out), frames(clip)
    assert changed(take[:2, :, :240], source[:2, :, :240])[0] > 0.2
    assert changed(take[-2:, :, 240:], source[-2:, :, 240:])[0] > 0.2
    assert changed(take[-2:, :, :240], source[-2:, :, :240])[0] < 0.01, "a mouth is left where nobody is"


def test_less_than_a_face_is_none(weights, media, voice, tmp_path):
    """Half a face, which is all that a profile shows to a detector of faces seen from the front."""
    half = tmp_path / "half.png"
    stage.ffmpeg("-i", media.small, "-vf", "crop=190:512:0:0", half)
    told = generate(weights, tmp_path / "t.mp4", "--image", half, "--audio", voice(0.2), *FACE)
    refused(told, "no_face", "no face was found in the picture", "seen from the front")
    assert not (tmp_path / "t.mp4").exists()


def test_a_clip_smaller_than_any_face(weights, voice, tmp_path):
    clip = film([numpy.full((24, 40, 3), 128, numpy.uint8)] * 3, tmp_path / "stamp.mp4", "-preset", "ultrafast")
    told = generate(weights, tmp_path / "t.mp4", "--video", clip, "--audio", voice(0.2), *FACE)
    refused(told, "picture_too_small", "40x24, the least for musetalk is 32x32", "larger")
    assert not (tmp_path / "t.mp4").exists()


def test_nobody_for_long(weights, media, voice, tmp_path):
    """Whoever comes into the picture later is not waited for."""
    wall = numpy.full((64, 64, 3), 128, numpy.uint8)
    late = film([wall] * 250 + marked(media.small, 2, (64, 64)), tmp_path / "late.mp4", "-preset", "ultrafast")
    told = generate(weights, tmp_path / "t.mp4", "--video", late, "--audio", voice(9), "--fps", "30", *FACE)
    refused(told, "no_face", "no face was found in the first 250 frames of the clip")


def test_thirty_faces(weights, media, voice, tmp_path):
    """One of them speaks, that is told, and another can be chosen."""
    one = cv2.resize(cv2.imread(str(media.small)), (160, 160))
    crowd = tmp_path / "crowd.png"
    cv2.imwrite(str(crowd), numpy.tile(one, (5, 6, 1)))

    def speak(*more):
        return generate(weights, tmp_path / "t.mp4", "--overwrite", "--image", crowd, "--audio", voice(0.12), *FACE, *more)

    def speaking():
        apart = numpy.abs(frames(tmp_path / "t.mp4")[0] - cv2.imread(str(crowd)).astype(int)).max(axis=2) > 40
        rows, columns = numpy.nonzero(apart.reshape(5, 160, 6, 160).mean(axis=(1, 3)) > 0.02)
        return set(zip(rows.tolist(), columns.tolist()))

    told = made(speak())
    (warning,) = told["warnings"]
    assert warning["code"] == "several_faces" and "30 faces" in warning["message"] and "face=1, 2" in warning["message"], warning
    assert len(speaking()) == 1, speaking()
    # from the left: five in each column
    made(speak("--set", "face=28"))
    ((_, column),) = speaking()
    assert column == 5
    refused(speak("--set", "face=31"), "bad_setting", "face is 31, and 30 were found")


@pytest.mark.parametrize(("size", "count"), [((3840, 2160), 3), ((64, 64), 4)])
def test_the_largest_and_the_smallest(weights, media, voice, tmp_path, size, count):
    """A take has its clip's size; a face that fills 64 pixels is large enough."""
    width, height = size
    person = cv2.imread(str(media.small))[60:420, 80:440]
    still = numpy.full((height, width, 3), 128, numpy.uint8)
    left = (width - height) // 2
    still[:, left : left + height] = cv2.resize(person, (height, height))
    clip, out = film([still] * count, tmp_path / "clip.mp4", "-preset", "ultrafast"), tmp_path / "t.mp4"
    told = made(generate(weights, out, "--video", clip, "--audio", voice(count / 25), *FACE))
    assert told["size"] == {"width": width, "height": height} and told["frames"] == count, told
    mouth, edge = changed(frames(out), frames(clip))
    assert mouth > 0.1 and edge < 0.01, (mouth, edge)


def test_a_variable_frame_rate(weights, media, voice, tmp_path):
    """Frames are shown at their own times, whatever the rate of the take; without --fps that is the clip's mean rate."""
    clip, out = tmp_path / "phone.mp4", tmp_path / "t.mp4"
    # six frames in 25ths of a second, then three that stand for three each
    film(marked(media.small, 9), clip, "-vf", "setpts='if(lt(N,6),N,6+(N-6)*3)/25/TB'", "-fps_mode", "vfr", "-bf", "0")
    told = made(generate(weights, out, "--video", clip, "--audio", voice(0.48), "--fps", "25", *FACE))
    assert told["fps"] == 25 and numbers(frames(out)) == [0, 1, 2, 3, 4, 5, 6, 6, 6, 7, 7, 7]
    told = made(generate(weights, out, "--overwrite", "--video", clip, "--audio", voice(0.2), *FACE))
    assert 12 <= told["fps"] < 25, told


def test_a_phone_held_upright(weights, media, voice, tmp_path):
    """The clip says that it is to be turned: faces are looked for upright, and the take is upright."""
    lying, phone, out = tmp_path / "lying.mp4", tmp_path / "phone.mp4", tmp_path / "t.mp4"
    upright = [one[:, 40:280] for one in marked(media.small, 3)]
    film([numpy.ascontiguousarray(numpy.rot90(one, -1)) for one in upright], lying)
    stage.ffmpeg("-i", lying, "-c", "copy", "-metadata:s:v", "rotate=90", phone)
    assert stage.streams(phone)["video"]["side_data_list"][0]["rotation"] in (90, -90)
    told = made(generate(weights, out, "--video", phone, "--audio", voice(0.12), *FACE))
    assert told["size"] == {"width": 240, "height": 320}, told
    mouth, hair = changed(frames(out), numpy.stack(upright).astype(int))
    assert mouth > 0.2 and hair < 0.02, (mouth, hair)


@pytest.mark.parametrize(("rate", "frame_rate"), [("60000/1001", 59.94), ("24000/1001", 23.976)])
def test_rates_of_film_and_television(weights, media, voice, tmp_path, rate, frame_rate):
    """A clip's own rate is the take's, exactly; every frame of it is shown once, and the voice is as long as the pictures."""
    clip, out = film(marked(media.small, 6), tmp_path / "clip.mp4", rate=rate), tmp_path / "t.mp4"
    told = made(generate(weights, out, "--video", clip, "--audio", voice(round(6.1 / frame_rate, 4)), *FACE))
    seen = stage.streams(out)["video"]
    assert seen["r_frame_rate"] == rate and abs(told["fps"] - frame_rate) < 0.001, (seen, told)
    assert numbers(frames(out)) == list(range(6))


@pytest.mark.parametrize(
    ("seconds", "settings", "order"),
    [
        (0.12, (), [0, 1, 2]),
        (0.44, (), there_and_back(5, 11)),
        # the official code doubles both ends
        (0.44, ("--set", "profile=strict"), [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0]),
    ],
)
def test_voices_shorter_and_longer_than_the_clip(weights, five, voice, tmp_path, seconds, settings, order):
    """The take is as long as its voice: what is left of the clip is not shown, what is missing is the clip backwards."""
    out = tmp_path / "t.mp4"
    made(generate(weights, out, "--video", five, "--audio", voice(seconds), *FACE, *settings))
    assert numbers(frames(out)) == order
    assert min(mouths(frames(out), frames(five)[order])) > 0.2


@pytest.mark.parametrize(
    ("file", "spoil"),
    [
        ("sd-vae/diffusion_pytorch_model.bin", lambda data, _: data[: len(data) // 2]),
        ("whisper/pytorch_model.bin", lambda data, _: data[:-100]),
        ("musetalkV15/unet.pth", lambda *_: b""),
        ("whisper/pytorch_model.bin", lambda _, folder: (folder / "sd-vae/diffusion_pytorch_model.bin").read_bytes()),
        ("musetalkV15/musetalk.json", lambda data, _: data.replace(b'"in_channels": 8', b'"in_channels": 4')),
    ],
    ids=["half a VAE", "a torn Whisper", "an empty UNet", "a VAE for Whisper", "another UNet's config"],
)
def test_files_that_are_not_the_weights(weights, five, voice, tmp_path, file, spoil):
    """Told before a frame is made, with the file's name."""
    shutil.copytree(weights, tmp_path / "w")
    spoiled = tmp_path / "w" / file
    before = spoiled.read_bytes()
    spoiled.write_bytes(spoil(before, weights))
    assert spoiled.read_bytes() != before
    told = generate(tmp_path / "w", tmp_path / "t.mp4", "--video", five, "--audio", voice(0.2), *FACE)
    refused(told, "wrong_weights", file.rpartition("/")[2].partition(".")[0])
    assert not (tmp_path / "t.mp4").exists()


def test_no_room_in_memory(weights, five, voice, tmp_path):
    """Weights that this process may not take are refused before they are read, with both figures."""
    shutil.copytree(weights, tmp_path / "w")
    # 1.5 GiB that take no room on the disk
    with open(tmp_path / "w/musetalkV15/unet.pth", "wb") as unet:
        unet.truncate(3 << 29)
    told = generate(
        tmp_path / "w", tmp_path / "t.mp4", "--video", five, "--audio", voice(0.2), *FACE, wrapped=("prlimit", f"--as={3 << 29}")
    )
    refused(told, "out_of_memory", "musetalk-v15-unet takes 1536 MiB", "MiB are free")


def test_a_disk_without_room_for_the_take(weights, five, voice, tmp_path):
    with stage.small_disk(tmp_path / "disk", 1) as disk:
        stage.fill(disk, leave=8 << 10)
        told = generate(weights, disk / "t.mp4", "--video", five, "--audio", voice(0.44), *FACE)
        refused(told, "disk_full", "the disk is full")
        assert sorted(path.name for path in disk.iterdir()) == ["filler"], "something half-written is left"
