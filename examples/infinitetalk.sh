#!/usr/bin/env bash
# InfiniteTalk dialect with curl: paths on the server in, the path of the video out.
# Usage: infinitetalk.sh AUDIO IMAGE [PROMPT]      server: INFINITETALK_URL (default http://localhost:8200)
# Both files lie below a folder that the server was started with: talkie serve --media-root /data/shared
set -euo pipefail
server=${INFINITETALK_URL:-http://localhost:8200}
audio=${1:?the path of a sound file on the server} image=${2:?the path of a picture on the server}
prompt=${3:-A professional speaker presenting}

quoted() { printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g'; }

curl --silent --show-error --fail-with-body "$server/api/health"
echo
# the answer comes when the video is done: no time limit here
curl --silent --show-error --fail-with-body --request POST "$server/api/generate-video" \
  --header 'Content-Type: application/json' \
  --data "{
    \"audio_path\": \"$(quoted "$audio")\",
    \"image_path\": \"$(quoted "$image")\",
    \"prompt\": \"$(quoted "$prompt")\",
    \"resolution\": \"infinitetalk-480\",
    \"seed\": 42
  }"
echo
