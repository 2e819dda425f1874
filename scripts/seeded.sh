#!/usr/bin/env bash
# A model of the catalogue at its true size, without its checkpoints: seeded weights in the official layout, 4 to 5 GB, made once and kept in
# target/seeded. Prints the folder. Usage: seeded.sh MODEL
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$PWD/target/seeded/$1
if [ ! -e "$folder/ready" ]; then
  rm -rf "$folder"
  target/release/talkie models seed "$1" --out "$folder" >&2
  touch "$folder/ready"
fi
echo "$folder"
