#!/usr/bin/env bash
# MuseTalk at its true size, without its checkpoints: seeded weights in the official layout (4 GB), then the
# command line and the server's dialect. Prints what each took. CLIP and VOICE name other media than the sample's.
set -euo pipefail
cd "$(dirname "$0")/.."
talkie=$PWD/target/release/talkie
weights=$(scripts/seeded.sh musetalk-v15)
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; wait; rm -rf "$work"' EXIT

clip=${CLIP:-$work/clip.mp4}
voice=${VOICE:-$work/voice.wav}
[ -n "${CLIP:-}" ] || ffmpeg -v error -loop 1 -t 1 -r 25 -i assets/portrait.png -vf "scale=720:-2,crop=640:640:x='40+8*sin(t*3)':y=60" -pix_fmt yuv420p "$clip"
[ -n "${VOICE:-}" ] || ffmpeg -v error -i assets/speech.wav -t 1 "$voice"

echo "command line:"
TALKIE_MODELS=$weights /usr/bin/env time -f '%e s, %U s of CPU, %M KiB at most' \
	"$talkie" generate --engine musetalk --detector face --video "$clip" --audio "$voice" --out "$work/take.mp4" --quiet --json

echo "dialect, 25 frames of an avatar:"
"$talkie" serve --data "$work/data" --conf "models.dir=\"$weights\"" --conf 'musetalk.settings.detector="face"' \
	--only musetalk --port musetalk=0 > "$work/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do
	port=$(sed -n 's/.*http:\/\/127.0.0.1:\([0-9]*\).*/\1/p' "$work/server.log" | head -n 1)
	[ -n "$port" ] && curl -sf "http://127.0.0.1:$port/health" > /dev/null && break
	sleep 0.2
done
base=http://127.0.0.1:$port
[ -n "${VOICE:-}" ] && ffmpeg -v error -i "$voice" -t 1 "$work/voice.wav"
curl -sf --max-time 1800 -F avatar_id=full -F "video_file=@$clip" "$base/avatars/preprocess" -w ' prepared in %{time_total} s\n'
curl -sf --max-time 1800 -F "audio_file=@$work/voice.wav" "$base/inference/batch/full" -o "$work/dialect.mp4" -w 'made in %{time_total} s, %{header_json}\n' | grep -o 'made.*s,\|musetalk; weights=[^"]*'
ffprobe -v error -count_frames -select_streams v -show_entries stream=nb_read_frames,width,height -of csv=p=0 "$work/dialect.mp4"
"$talkie" score "$work/take.mp4" --json
