#!/usr/bin/env bash
# Packs the binary, the licences of everything in it, and the docs.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(target/release/talkie --version | awk '{print $2}')
target=$(rustc -vV | awk '/^host:/ {print $2}')
name=talkie-$version-$target
rm -rf "dist/$name" && mkdir -p "dist/$name/licenses"
cp target/release/talkie README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md PARITY.md LICENSE "dist/$name/"
cp -r docs examples goldens "dist/$name/"
mkdir -p "dist/$name/tools/visnet" && cp tools/visnet/REPORT.md "dist/$name/tools/visnet/"
mkdir -p "dist/$name/assets" && cp assets/portrait.png assets/speech.wav assets/README.md "dist/$name/assets/"
cp crates/face/assets/*LICENSE* "dist/$name/licenses/"
scripts/third_party.py > "dist/$name/licenses/THIRD_PARTY.md"
tar -C dist -czf "dist/$name.tar.gz" "$name"
(cd dist && sha256sum "$name.tar.gz" > "$name.tar.gz.sha256")
rm -rf "dist/$name"
printf 'dist/%s.tar.gz\n' "$name"
