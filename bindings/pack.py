#!/usr/bin/env python3
"""Packs what `cargo build` made: a wheel and an npm tarball, with the version of the workspace.

usage: bindings/pack.py FOLDER-WITH-LIBRARIES OUT
The Node package must have been built (bindings/node/build.mjs).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import pathlib
import platform
import re
import sys
import tarfile
import tomllib
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHON, NODE = ROOT / "bindings" / "python", ROOT / "bindings" / "node"
# Files of an archive have one time, so that equal inputs give equal archives.
WHEN = (2020, 1, 1, 0, 0, 0)


def version() -> str:
    """The version of the workspace: the one place that has it."""
    found = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    if not re.fullmatch(r"\d+\.\d+\.\d+", found):
        sys.exit(f"pack: the version {found} of the workspace is not of the form 1.2.3")
    return found


def wheel(library: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """Writes the wheel: any CPython from 3.10 on, this machine's architecture."""
    project = tomllib.loads((PYTHON / "pyproject.toml").read_text())["project"]
    number, tag = version(), f"cp310-abi3-linux_{platform.machine()}"
    info = f"fuse_runtime-{number}.dist-info"
    metadata = [
        "Metadata-Version: 2.4",
        "Name: fuse_runtime",
        f"Version: {number}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        f"Requires-Python: {project['requires-python']}",
        *(f"Classifier: {c}" for c in project["classifiers"]),
        "Description-Content-Type: text/markdown",
        "",
        (PYTHON / "README.md").read_text(),
    ]
    files = {
        f"fuse_runtime/{path.name}": path.read_bytes()
        for path in sorted((PYTHON / "python" / "fuse_runtime").iterdir())
        if path.suffix in (".py", ".pyi", ".typed") or path.name == "py.typed"
    }
    files["fuse_runtime/_fuse.abi3.so"] = library.read_bytes()
    files[f"{info}/METADATA"] = "\n".join(metadata).encode()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: fuse-pack ({number})\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    )
    files[f"{info}/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for name, data in files.items()
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = out / f"fuse_runtime-{number}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, WHEN)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
            archive.writestr(entry, data)
    return path


def tarball(addon: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """Writes the npm tarball, as `npm pack` lays it out."""
    package = json.loads((NODE / "package.json").read_text())
    package["version"] = version()
    package["cpu"] = [{"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())]
    for key in ("devDependencies", "scripts", "tsd"):
        package.pop(key, None)
    files = {"package.json": json.dumps(package, indent=2).encode() + b"\n"}
    for name in ("README.md",):
        files[name] = (NODE / name).read_bytes()
    files["LICENSE"] = (ROOT / "LICENSE").read_bytes()
    built = sorted((NODE / "dist").iterdir())
    if not any(path.name == "index.mjs" for path in built):
        sys.exit("pack: bindings/node/dist is not complete; run bindings/node/build.mjs first")
    files |= {f"dist/{path.name}": path.read_bytes() for path in built if path.suffix != ".node"}
    files["dist/fuse.node"] = addon.read_bytes()
    path = out / f"fuse-runtime-{package['version']}.tgz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return path


def main() -> None:
    """Packs both."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    libraries, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    print(wheel(libraries / "libfuse_python.so", out))
    print(tarball(libraries / "libfuse_node.so", out))


if __name__ == "__main__":
    main()
