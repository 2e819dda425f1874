#!/usr/bin/env python3
"""Lists every crate in the binary with its licence and the text of its licence files, as Markdown."""
import json
import pathlib
import subprocess

metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"]))
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
members = set(metadata["workspace_members"])


def linked(root):
    """Ids of all normal dependencies below `root`: what ends up in the binary."""
    seen, todo = set(), [root]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for dependency in nodes[current]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    return seen


app = next(key for key in members if packages[key]["name"] == "app")
print("# Third-party software in this binary\n")
for key in sorted(linked(app) - members, key=lambda key: packages[key]["name"]):
    package = packages[key]
    print(f"## {package['name']} {package['version']}\n\n{package['license'] or 'see the text'}\n")
    folder = pathlib.Path(package["manifest_path"]).parent
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE")):
            print(f"### {file.name}\n\n```text\n{file.read_text(errors='replace').strip()}\n```\n")
