// The orchestrator behind the REST API: the program of the server is named by FUSE_PROGRAM.
import assert from "node:assert/strict";
import { test } from "node:test";

import * as fuse from "fuse-runtime";

import { skip, withServer } from "./server.mjs";

test("the same life over REST", { skip }, () => withServer(async (url, token) => {
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
