#!/usr/bin/env bash
# The program `fuse serve` from outside: the published Python clients of the original control plane, a generator of
# requests that compares every answer with the description of the API, settings, backup and restore.
# usage: tests/server.sh PROGRAM, after tests/setup.sh test
set -euo pipefail
cd "$(dirname "$0")/.."
fuse=$1
work=$(mktemp -d)
server=
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" || { echo "server: it did not end well" >&2; cat "$work/log" >&2; exit 1; }
        server=
    fi
}
trap 'stop; rm -rf "$work"' EXIT

token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
export ORCH_AUTH_TOKEN=$token FUSE_DATA_DIR=$work/data
"$fuse" serve --check-config >"$work/settings"
if grep -q "$token" "$work/settings"; then
    echo "server: --check-config shows the token" >&2
    exit 1
fi
if "$fuse" serve --check-config --tls-cert /nowhere 2>"$work/refusal"; then
    echo "server: half of TLS was taken" >&2
    exit 1
fi
grep -q "tls-key is not" "$work/refusal"

"$fuse" serve --listen 127.0.0.1:0 --provider stub --auth-failures-per-minute 0 2>"$work/log" &
server=$!
url=
for _ in $(seq 600); do
    url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$work/log")
    [ -n "$url" ] && break
    kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
curl -fsS "$url/ready" >/dev/null

for version in 0.1.0 0.28.0 0.37.1; do
    echo "server: folsom-fuse $version: $("target/tools/folsom-fuse-$version/bin/python" tests/server/life.py "$url" "$token")"
done

fuse-server/examples/walk.sh "$url" "$token" >"$work/walk"
grep -q '"state":"destroyed"' "$work/walk"

# Streams and terminals have no end; the cookie and the screen have tests of their own.
curl -fsS -H "Authorization: Bearer $token" "$url/v1/openapi.json" >"$work/openapi.json"
(cd "$work" && "$OLDPWD/target/tools/schemathesis/bin/schemathesis" run openapi.json --url "$url" \
    -H "Authorization: Bearer $token" --seed 1 --max-examples "${FUSE_SCHEMA_EXAMPLES:-10}" --request-timeout 60 \
    --phases coverage,fuzzing --exclude-path-regex 'events|attach|computer|/metrics|/login' \
    --suppress-health-check=all \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    >"$work/schema" 2>&1) || { cat "$work/schema" >&2; exit 1; }
echo "server: $(grep -o '[0-9]* generated.*' "$work/schema")"

stop
"$fuse" doctor --listen 127.0.0.1:0 --provider stub >"$work/doctor"
"$fuse" state verify
"$fuse" state export "$work/backup.jsonl"
FUSE_DATA_DIR=$work/restored "$fuse" state import "$work/backup.jsonl"
FUSE_DATA_DIR=$work/restored "$fuse" state verify --json >"$work/one"
"$fuse" state verify --json >"$work/two"
cmp "$work/one" "$work/two"
echo "server: a backup came back the same"
