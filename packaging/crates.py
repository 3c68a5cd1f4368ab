"""Which crates of others end up in our programs: what the copyright file and the bill of materials
are made of."""

import json
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {"mqttd", "mqtt-cli", "mqtt-bench"}
# As the packages are built (Makefile, `psk`).
FEATURES = "mqttd/psk,mqtt-cli/psk"


def metadata(arguments):
    """`cargo metadata` for the machine that builds, or the one that Cargo's own variable says the
    programs were built for; `arguments` are cargo's."""
    host = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    target = os.environ.get("CARGO_BUILD_TARGET") or re.search(r"host: (\S+)", host)[1]
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", target]
    # Static programs have no OpenSSL in them.
    if "musl" not in target:
        command += ["--features", FEATURES]
    command += arguments
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout
    return json.loads(output)


def linked(metadata):
    """Packages that are linked into our programs, ours too, sorted: no build or development
    dependencies. Each with the ids of those it needs itself."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    todo = [id for id in metadata["workspace_members"] if packages[id]["name"] in PROGRAMS]
    needs = {}
    while todo:
        id = todo.pop()
        if id in needs:
            continue
        needs[id] = [
            dependency["pkg"]
            for dependency in nodes[id]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
        todo += needs[id]
    order = sorted(needs, key=lambda id: (packages[id]["name"], packages[id]["version"]))
    return [(packages[id], needs[id]) for id in order]
