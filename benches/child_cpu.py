#!/usr/bin/env python3
"""Runs a command and prints the CPU seconds (user and system) and the wall seconds it took; with --best-of N, its best wall of N."""
import resource
import subprocess
import sys
import time

arguments = sys.argv[1:]
runs = 1
if arguments[0] == "--best-of":
    runs, arguments = int(arguments[1]), arguments[2:]
walls = []
before = resource.getrusage(resource.RUSAGE_CHILDREN)
for _ in range(runs):
    begun = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    walls.append(time.perf_counter() - begun)
after = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / runs
print(f"{cpu:.4f} {min(walls):.4f}")
