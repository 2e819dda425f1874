#!/usr/bin/env python3
"""MuseTalk S3 dialect: a clip and a voice in S3, the talking video back into S3.

    client_example_s3.py s3://bucket/video.mp4 s3://bucket/voice.wav [--server http://localhost:8080]
                         [--bucket OUT --prefix lip_sync/outputs] [--name talking]

Needs requests (pip install requests). The server has the AWS credentials, this client needs none. The server's
configuration says which buckets requests may name ([store.s3_allowed]).
"""

import argparse
import json
import sys

import requests


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("video", help="s3://… of a clip of the person")
    options.add_argument("audio", help="s3://… of what the person shall say")
    options.add_argument("--server", default="http://localhost:8080")
    options.add_argument("--avatar", default="avator_1")
    options.add_argument("--clip", default="audio_0")
    options.add_argument("--bucket", help="bucket the result goes to; without one it stays on the server")
    options.add_argument("--prefix", default="lip_sync/outputs")
    options.add_argument("--name", help="name of the result; default: names of video and audio")
    chosen = options.parse_args()
    config = {
        "version": "v15",
        "fps": 25,
        "bbox_shift": 0,
        "output_vid_name": chosen.name,
        "avatars": {chosen.avatar: {"preparation": True, "video_path": chosen.video, "audio_clips": {chosen.clip: chosen.audio}}},
    }
    if chosen.bucket:
        config |= {"s3_bucket": chosen.bucket, "s3_prefix": chosen.prefix}
    # no timeout: the answer comes when the video is done
    answer = requests.post(f"{chosen.server}/inference", json=config, params={"avatar_id": chosen.avatar, "audio_id": chosen.clip})
    if answer.status_code != 200:
        print(f"the server says {answer.status_code}: {json.dumps(answer.json(), indent=2)}", file=sys.stderr)
        return 1
    told = answer.json()
    print(told["message"])
    print(f"  avatar: {told['avatar_id']}, clip: {told['audio_id']}")
    print(f"  on the server: {told['output_path']}")
    print(f"  in S3: {told['s3_output_path'] or 'not uploaded (no bucket was named)'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
