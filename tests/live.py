"""Live sessions by GET: a voice is posted for a ticket, and the ticket's addresses go into an <img> or a <video>."""

import httpx


def ticket(talkie, avatar, voice):
    kind = "audio/mpeg" if voice.suffix == ".mp3" else "audio/wav"
    with open(voice, "rb") as source:
        answer = httpx.post(
            talkie.url("musetalk", f"/inference/stream/{avatar}?ticket=1"), files={"audio_file": (voice.name, source, kind)}, timeout=60
        )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert list(told) == ["ticket", "stream_url", "video_url", "expires_in"], told
    return told


def picture_url(talkie, avatar, voice):
    """For an <img>: the MJPEG."""
    return talkie.url("musetalk", ticket(talkie, avatar, voice)["stream_url"])


def film_url(talkie, avatar, voice):
    """For a <video>: fragmented MP4 with sound."""
    return talkie.url("musetalk", ticket(talkie, avatar, voice)["video_url"])
