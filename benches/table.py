#!/usr/bin/env python3
"""Writes the figures of benches/puppet.sh as Markdown, each beside its limit."""
import json
import pathlib
import sys

work, short, long = pathlib.Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
version_wall = float(sys.argv[4].split()[1])
figures = {name: json.load(open(work / f"{name}.json")) for name in ("short", "long")}
limits = {"512x512": 0.2, "1280x720": 0.5}
print("| size | engine alone, ms CPU a frame | first frame, ms | whole pipeline, CPU s a second of video | limit "
      "| test picture through x264 and AAC alone | ratio | times real time |")
print("| --- | --- | --- | --- | --- | --- | --- | --- |")
for row in figures["short"]["sizes"]:
    size = row["size"]
    floor = float((work / f"floor-{size}").read_text().split()[0]) / short
    pipeline = row["pipeline_cpu_per_second"]
    print(f"| {size} | {row['engine_ms_cpu_per_frame']:.2f} | {row['first_frame_ms']:.0f} | {pipeline:.3f} | {limits[size]} "
          f"| {floor:.3f} | {pipeline / floor:.2f} | {row['times_real_time']:.1f} |")
print()
print("| size | length | peak memory of talkie, MiB (limit 150) | with its children, MiB (limit 400) |")
print("| --- | --- | --- | --- |")
for name, seconds in (("short", short), ("long", long)):
    for row in figures[name]["sizes"]:
        print(f"| {row['size']} | {seconds:.0f} s | {row['peak_mib']} | {row['peak_with_children_mib']} |")
print(f"\n`talkie --version`: {version_wall * 1e3:.1f} ms (best of 20; limit 20 ms)")
