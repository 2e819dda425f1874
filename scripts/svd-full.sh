#!/usr/bin/env bash
# Stable Video Diffusion at its true size, without its weights: seeded ones in the official layout (4.5 GB), then the server's
# dialect with the calls of its web client, 8 frames of 512x320 in 4 steps, and the command line. Prints what each took. PICTURE names another than the sample.
set -euo pipefail
cd "$(dirname "$0")/.."
talkie=$PWD/target/release/talkie
weights=$(scripts/seeded.sh svd-xt)
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; wait; rm -rf "$work"' EXIT

ffmpeg -v error -i "${PICTURE:-assets/portrait.png}" -vf "scale=800:-2,crop=800:500:0:0" "$work/picture.png"

echo "dialect:"
"$talkie" serve --data "$work/data" --conf "models.dir=\"$weights\"" --conf svd.settings.num_frames=8 --conf svd.settings.num_inference_steps=4 \
	--only svd --port svd=0 > "$work/server.log" 2>&1 &
server=$!
for _ in $(seq 200); do
	port=$(sed -n 's/.*http:\/\/127.0.0.1:\([0-9]*\).*/\1/p' "$work/server.log" | head -n 1)
	[ -n "$port" ] && curl -sf "http://127.0.0.1:$port/health" > /dev/null && break
	sleep 0.2
done
base=http://127.0.0.1:$port
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
begun=$(date +%s)
uploaded=$(curl -sf -F "character=@$work/picture.png;type=image/png" "$base/upload-character" | field imageUrl)
# one second at seven frames: one clip of eight, of which seven are shown
told=$(curl -sf -H 'Content-Type: application/json' "$base/generate-video" \
	-d "{\"characterImageUrl\":\"$uploaded\",\"script\":\"The character waves\",\"duration\":1,\"quality\":\"512\"}")
id=$(field id <<< "$told")
while told=$(curl -sf "$base/generation/$id") && [[ $(field status <<< "$told") =~ pending|processing ]]; do sleep 1; done
echo "$told"
[ "$(field status <<< "$told")" = completed ]
curl -sf "$base$(field videoUrl <<< "$told")" -o "$work/dialect.mp4"
echo "made in $(($(date +%s) - begun)) s"
ffprobe -v error -count_frames -select_streams v -show_entries stream=nb_read_frames,width,height -of csv=p=0 "$work/dialect.mp4"
kill "$server"
wait "$server" || true
server=

echo "command line:"
TALKIE_MODELS=$weights /usr/bin/env time -f '%e s, %U s of CPU, %M KiB at most' \
	"$talkie" generate --engine svd --image "$work/picture.png" --seconds 1.1 --size 512 --set num_frames=8 --set num_inference_steps=4 --out "$work/take.mp4" --quiet --json
