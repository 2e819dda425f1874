#!/usr/bin/env bash
# Video generator dialect with curl: upload, generate, look at the status until it is done, download.
# Usage: svd.sh PICTURE OUT.mp4 [SCRIPT]      server: SVD_URL (default http://localhost:7860)
set -euo pipefail
server=${SVD_URL:-http://localhost:7860}
picture=${1:?a picture} out=${2:?where the film goes}
script=${3:-The character waves hello and smiles at the camera}

field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
quoted() { printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g'; }
# a refusal says why in its body: it goes to standard error, past whoever reads fields
call() {
  local answer
  answer=$(curl --silent --show-error --fail-with-body --max-time 60 "$@") || { local code=$?; printf '%s\n' "$answer" >&2; return $code; }
  printf '%s' "$answer"
}

url=$(call --request POST "$server/upload-character" --form "character=@$picture" | field imageUrl)
echo "uploaded as $url"
generation=$(call --request POST "$server/generate-video" --header 'Content-Type: application/json' \
  --data "{\"characterImageUrl\": \"$url\", \"script\": \"$(quoted "$script")\", \"duration\": 5, \"quality\": \"768\"}")
id=$(field id <<<"$generation")
while status=$(field status <<<"$generation"); [ "$status" = pending ] || [ "$status" = processing ]; do
  echo "$id: $status"
  sleep 1
  generation=$(call "$server/generation/$id")
done
[ "$status" = completed ] || { echo "$id: $status" >&2; exit 1; }
curl --silent --show-error --fail --max-time 60 --output "$out" "$server$(field videoUrl <<<"$generation")"
echo "$out is ready"
