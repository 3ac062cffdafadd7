#!/usr/bin/env bash
# A walk through the API with curl: an environment comes, works, is forked, and goes.
# usage: walk.sh URL [TOKEN], such as `walk.sh http://127.0.0.1:8080` beside a `fuse serve`
set -euo pipefail
url=$1
token=${2:-}

# call METHOD PATH [JSON]: prints the answer.
call() {
    local arguments=(-fsS -X "$1" "$url$2")
    [ -n "$token" ] && arguments+=(-H "Authorization: Bearer $token")
    [ -n "${3:-}" ] && arguments+=(-H "Content-Type: application/json" -d "$3")
    printf '\n$ %s %s %s\n' "$1" "$2" "${3:-}"
    curl "${arguments[@]}"
}

task=walk-$$
id=fuse-$task
call GET /v1/version
call POST /v1/environments "{\"task_id\":\"$task\",\"spec\":{\"cpus\":1,\"ram_mb\":256},\"secrets\":{\"KEY\":\"shown-to-nobody\"}}"
call POST "/v1/environments/$id?action=exec" '{"cmd":["echo","hello"]}'
call POST "/v1/environments/$id/snapshots" '{"comment":"before the experiment"}'
fork=$(call POST "/v1/environments/$id?action=fork" | sed -n 's/.*"id":"\([^"]*\)".*/\1/p' | head -n 1)
call DELETE "/v1/environments/$fork"
call GET "/v1/events?subject_kind=environment&subject_id=$id&limit=3"
call POST "/v1/environments/$id?action=drain"
call DELETE "/v1/environments/$id"
call GET "/v1/environments/$id"
