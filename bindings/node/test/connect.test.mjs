// The orchestrator behind the REST API: the program of the server is named by FUSE_PROGRAM.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";

import * as fuse from "fuse-runtime";

const program = process.env.FUSE_PROGRAM;

async function withServer(body) {
  const [token, folder] = [randomBytes(16).toString("hex"), mkdtempSync(path.join(tmpdir(), "fuse-node-"))];
  const env = { ...process.env, ORCH_AUTH_TOKEN: token, FUSE_DATA_DIR: folder };
  const server = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--provider", "stub"], { env, stdio: ["ignore", "ignore", "pipe"] });
  const lines = createInterface({ input: server.stderr });
  try {
    const url = await new Promise((resolve, reject) => {
      lines.on("line", (line) => {
        const found = /listening on (http:[^ ,]+)/.exec(line);
        if (found) resolve(found[1]);
      });
      server.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
    });
    await body(url, token);
  } finally {
    server.kill();
    await once(server, "exit");
    rmSync(folder, { recursive: true });
  }
}

test("the same life over REST", { skip: program ? false : "FUSE_PROGRAM names no server" }, () => withServer(async (url, token) => {
  await assert.rejects(fuse.Orchestrator.connect(url, "wrong").then((plane) => plane.get("fuse-nobody")), fuse.UnauthorizedError);
  const plane = await fuse.Orchestrator.connect(url, token);
  const environment = await (await plane.provision({ task_id: "t1", files: { "/work/a": "hello" } })).waitRunning();
  assert.equal((await environment.exec("cat /work/a")).stdout, "hello");
  for await (const event of environment.events({ after: 0 })) {
    if (event.event === "vm.running") break;
  }
  const fork = await (await environment.fork()).waitRunning();
  assert.equal((await fork.exec(["cat", "/work/a"])).stdout, "hello");
  await assert.rejects(plane.provision({ task_id: "t1" }), fuse.ConflictError);
  await assert.rejects(plane.get("fuse-nobody"), fuse.RecordNotFoundError);
  await environment.destroy();
  await plane.close();
}));
