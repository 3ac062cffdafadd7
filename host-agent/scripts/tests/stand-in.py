#!/usr/bin/env python3
"""Stands for the programs `fuse-host-agent` and `fuse` where the scripts are tested without them.

It is installed under the name of either, answers what the scripts ask, and wants the same settings: the agent its token,
the orchestrator a token, a key and a place for its state.
"""
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

hosts = []


class Handler(BaseHTTPRequestHandler):
    token = None

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def allowed(self):
        if self.headers.get("Authorization") == f"Bearer {self.token}":
            return True
        self.answer(401, {"error": {"code": "unauthorized", "message": "invalid token"}})
        return False

    def do_GET(self):
        if self.path == "/ready":
            self.answer(200, {"status": "ready"})
        elif self.path in ("/healthz", "/v1/hosts"):
            if self.allowed():
                self.answer(200, {"ok": True, "hosts": hosts})
        else:
            self.answer(404, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.allowed():
            hosts.append({key: value for key, value in body.items() if key != "token"})
            self.answer(201, hosts[-1])

    def log_message(self, *_):
        pass


def need(name):
    value = os.environ.get(name, "")
    if not value:
        sys.exit(f"{name} is not set")
    return value


def main():
    if os.path.basename(sys.argv[0]) == "fuse-host-agent":
        if sys.argv[1] != "--config" or not os.path.getsize(sys.argv[2]):
            sys.exit("no configuration")
        Handler.token = need("FC_AGENT_TOKEN")
        port = int(need("FC_AGENT_PORT"))
    elif sys.argv[1:2] == ["image"]:
        sys.exit(0)
    else:
        Handler.token = need("ORCH_AUTH_TOKEN")
        need("TOKEN_ENCRYPTION_KEY"), need("FUSE_DATA_DIR"), need("FIRECRACKER_TOKEN")
        port = int(need("ORCH_LISTEN").rpartition(":")[2])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


main()
