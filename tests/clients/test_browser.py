"""Headless Chromium: the MJPEG in an <img>, the fragmented MP4 in a <video> with sound, /docs without a network. Screenshots lie in target/screenshots."""

import os
import pathlib

import cv2
import httpx
import numpy
import pytest
from playwright.sync_api import sync_playwright

import live
import stage

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SHOTS = stage.ROOT / "target/screenshots"
MOUTH = (slice(256, 338), slice(184, 328))  # of the sample portrait at 512x512, found by looking
CORNER = (slice(0, 60), slice(0, 60))  # background


@pytest.fixture(scope="module")
def browser():
    assert pathlib.Path(CHROMIUM).exists(), f"{CHROMIUM} is not there: scripts/setup.sh clients installs it"
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=CHROMIUM,
            headless=True,
            args=["--headless=new", "--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--disable-gpu"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page that can reach this machine only; what it wanted of others is kept."""
    context = browser.new_context(viewport={"width": 512, "height": 512})
    page = context.new_page()
    page.set_default_timeout(30000)
    page.foreign, page.troubles = [], []

    def gate(route):
        host = route.request.url.split("/")[2].split(":")[0] if "://" in route.request.url else ""
        if route.request.url.startswith(("data:", "blob:")) or host in ("127.0.0.1", "localhost"):
            route.continue_()
        else:
            page.foreign.append(route.request.url)
            route.abort()

    context.route("**/*", gate)
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.on("console", lambda line: page.troubles.append(line.text) if line.type == "error" else None)
    yield page
    context.close()


def shot(page, name):
    path = SHOTS / name
    page.screenshot(path=str(path))
    return cv2.imread(str(path)).astype(numpy.float32)


def put(page, talkie, body):
    """The page is of the dialect's own origin, as a page that Talkie serves would be."""
    page.goto(talkie.url("musetalk", "/health"))
    page.set_content(f"<body style='margin:0;background:#000'>{body}</body>", wait_until="commit")


def test_img_shows_a_mouth_that_moves(page, talkie, avatar, media):
    url = live.picture_url(talkie, avatar, media.long)
    put(page, talkie, f"<img id=face src='{url}'>")
    page.wait_for_function("() => document.getElementById('face').naturalWidth === 512")
    shots = [shot(page, f"img_{n}.png") for n in range(8)]
    assert shots[0].shape[:2] == (512, 512) and shots[0].std() > 20, "the page shows nothing"
    moves = [
        (float(numpy.abs(b[MOUTH] - a[MOUTH]).mean()), float(numpy.abs(b[CORNER] - a[CORNER]).mean())) for a, b in zip(shots, shots[1:])
    ]
    assert max(mouth for mouth, _ in moves) > 2.0, moves
    assert max(corner for _, corner in moves) < 1.0, moves
    # leaving the page hangs up, and hanging up cancels
    page.goto("about:blank")
    stage.until(
        lambda: not [job for job in talkie.jobs(dialect="musetalk") if job["state"] in ("queued", "running")],
        10,
        what="the end of the session",
    )


def test_video_plays_with_sound(page, talkie, avatar, media):
    url = live.film_url(talkie, avatar, media.mp3)
    put(page, talkie, f"<video id=film autoplay width=512 height=512 src='{url}'></video>")
    page.wait_for_function("() => document.getElementById('film').currentTime > 0.4")
    first = page.evaluate("() => document.getElementById('film').currentTime")
    early = shot(page, "video_0.png")
    page.wait_for_function("first => document.getElementById('film').currentTime > first + 0.4", arg=first)
    late = shot(page, "video_1.png")
    told = page.evaluate("""() => { const film = document.getElementById('film');
        return {width: film.videoWidth, height: film.videoHeight, sound: film.webkitAudioDecodedByteCount, picture: film.webkitVideoDecodedByteCount, error: film.error && film.error.message}; }""")
    assert told["error"] is None and (told["width"], told["height"]) == (512, 512), told
    assert told["sound"] > 1000 and told["picture"] > 1000, told
    assert numpy.abs(late - early)[MOUTH].mean() > 0.5
    page.wait_for_function("() => document.getElementById('film').ended")
    length = page.evaluate("() => document.getElementById('film').currentTime")
    assert abs(length - media.seconds(media.mp3)) < 0.4, length


def test_fetch_reads_the_post_route(page, talkie, avatar, media):
    """A page that has the voice in hand posts it and parses the parts itself."""
    page.goto(talkie.url("musetalk", "/health"))
    voice = list(media.short.read_bytes())
    told = page.evaluate(
        """async ([path, voice]) => {
        const form = new FormData();
        form.append('audio_file', new Blob([new Uint8Array(voice)], {type: 'audio/wav'}), 'a.wav');
        const answer = await fetch(path, {method: 'POST', body: form});
        const bytes = new Uint8Array(await answer.arrayBuffer());
        let starts = 0;
        for (let at = 0; at + 2 < bytes.length; at++) if (bytes[at] === 0xff && bytes[at + 1] === 0xd8 && bytes[at + 2] === 0xff) starts++;
        return {status: answer.status, type: answer.headers.get('content-type'), starts};
    }""",
        [f"/inference/stream/{avatar}", voice],
    )
    assert told["status"] == 200 and told["type"] == "multipart/x-mixed-replace; boundary=frame"
    assert abs(told["starts"] - media.seconds(media.short) * 25) <= 3, told


@pytest.mark.parametrize("dialect", stage.DIALECTS)
def test_docs_without_a_network(page, talkie, dialect):
    page.set_viewport_size({"width": 1000, "height": 900})
    page.goto(talkie.documents(dialect, "docs"))
    page.wait_for_selector(".swagger-ui .opblock", timeout=15000)
    shot(page, f"docs_{dialect}.png")
    assert not page.foreign, page.foreign
    assert not page.troubles, page.troubles
    assert httpx.get(talkie.documents(dialect, "openapi.json")).json()["openapi"].startswith("3.")


def test_the_front_end_of_the_video_generator(page, talkie, media):
    """Upload, generate and poll from a page of another origin, as its React client does; then play what came out."""
    page.goto(talkie.url("all", "/livez"))
    picture = list(media.jpeg.read_bytes())
    told = page.evaluate(
        """async ([base, picture]) => {
        const form = new FormData();
        form.append('character', new Blob([new Uint8Array(picture)], {type: 'image/jpeg'}), 'me.jpg');
        const {imageUrl} = await (await fetch(base + '/upload-character', {method: 'POST', body: form})).json();
        let made = await (await fetch(base + '/generate-video', {method: 'POST', headers: {'Content-Type': 'application/json'},
            body: JSON.stringify({characterImageUrl: imageUrl, script: 'wave', duration: 3, quality: '512'})})).json();
        while (['pending', 'processing'].includes(made.status)) {
            await new Promise(done => setTimeout(done, 100));
            made = await (await fetch(base + '/generation/' + made.id)).json();
        }
        return made;
    }""",
        [talkie.url("svd"), picture],
    )
    assert told["status"] == "completed" and told["videoUrl"].endswith(".mp4")
    page.set_content(f"<video id=film autoplay muted src='{talkie.url('svd', told['videoUrl'])}'></video>", wait_until="commit")
    page.wait_for_function("() => document.getElementById('film').currentTime > 0.3")
    # a seek makes the player ask for a range
    page.evaluate("() => { document.getElementById('film').currentTime = 2.5; }")
    page.wait_for_function("() => { const film = document.getElementById('film'); return !film.seeking && film.currentTime >= 2.5; }")
