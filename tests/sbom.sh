#!/usr/bin/env bash
# Writes the bill of materials (CycloneDX 1.5) of each program and library that is shipped, and compares it with what
# the build resolves: nothing that is built may be missing, nothing may be listed that is not locked. (The bill may
# list a little more than one package's build needs: features are those of the whole workspace.) usage: sbom.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
tools=${FUSE_TOOLS:-target/tools}
version=0.5.9
mkdir -p "$out"

if ! "$tools/bin/cargo-cyclonedx" cyclonedx --version 2>/dev/null | grep -qF "$version"; then
    echo "sbom: building cargo-cyclonedx $version into $tools"
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --version "$version" --root "$tools" cargo-cyclonedx
fi

# The tool leaves one file in every member's folder.
name=sbom-in-the-making
trap 'find . -name "$name.json" -not -path "./target/*" -delete' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) "$tools/bin/cargo-cyclonedx" cyclonedx -qq --format json --spec-version 1.5 \
    --override-filename "$name"

# shipped FOLDER PACKAGE
shipped() {
    mv "$1/$name.json" "$out/$2.cdx.json"
    cargo tree --locked -p "$2" -e normal,build --prefix none --format '{p}' | sed 's/ (.*//' | LC_ALL=C sort -u >"$out/$2.tree"
    python3 - "$out/$2.cdx.json" "$out/$2.tree" <<'CHECK'
import json, sys, tomllib
bom = json.load(open(sys.argv[1]))
listed = {f"{c['name']} v{c['version']}" for c in bom["components"] + [bom["metadata"]["component"]]}
resolved = set(open(sys.argv[2]).read().splitlines())
locked = {f"{p['name']} v{p['version']}" for p in tomllib.load(open("Cargo.lock", "rb"))["package"]}
bad = [f"in the bill but not locked: {c}" for c in sorted(listed - locked)]
bad += [f"built but not in the bill: {c}" for c in sorted(resolved - listed)]
for c in bom["components"]:
    bad += [f"{c['name']}: no licence"] if not c.get("licenses") else []
    bad += [f"{c['name']}: no hash"] if c["purl"].find("download_url") < 0 and not c.get("hashes") else []
if bad:
    sys.exit(f"sbom: {sys.argv[1]} differs from the build:\n  " + "\n  ".join(bad[:20]))
print(f"sbom: {sys.argv[1]}: {len(bom['components'])} components, each with licence and hash")
CHECK
    rm "$out/$2.tree"
}

shipped fuse-cli fuse-cli
shipped fuse-ffi fuse-ffi
shipped host-agent fuse-host-agent
shipped host-agent/fused fused
