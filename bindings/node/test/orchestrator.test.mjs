// The orchestrator as a program of JavaScript sees it.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import * as fuse from "fuse-runtime";

const all = async (items) => {
  const list = [];
  for await (const item of items) list.push(item);
  return list;
};

async function withPlane(body) {
  const plane = await fuse.Orchestrator.inMemory();
  try {
    await body(plane);
  } finally {
    await plane.close();
  }
}

test("a whole life", () => withPlane(async (plane) => {
  const environment = await plane.provision({ task_id: "t1", spec: { cpus: 1 }, files: { "/work/a": Buffer.from("hello") } });
  assert.equal(environment.state, "provisioning");
  assert.equal(await environment.waitRunning(), environment);
  assert.deepEqual([environment.state, environment.data.task_id, environment.data.host_id], ["running", "t1", "default"]);
  assert.equal((await environment.exec(["cat", "/work/a"])).stdoutBytes.toString(), "hello");
  assert.equal((await environment.exec("exit 3")).exitCode, 3);
  await environment.upload("/work/b", "text");
  assert.equal((await environment.exec("cat /work/b")).stdout, "text");
  assert.deepEqual((await all(plane.environments({ state: "running" }))).map((e) => e.id), [environment.id]);
  assert.equal((await environment.drain()).state, "draining");
  await environment.destroy();
  assert.deepEqual(await all(plane.environments()), []);
}));

test("snapshots and forks", () => withPlane(async (plane) => {
  const environment = await (await plane.provision({ task_id: "t1" })).waitRunning();
  await environment.upload("/work/a", "1");
  const snapshot = await environment.createSnapshot({ comment: "first" });
  await environment.upload("/work/a", "2");
  const fork = await (await environment.fork()).waitRunning();
  assert.equal((await fork.exec("cat /work/a")).stdout, "2");
  await snapshot.restore();
  assert.equal((await environment.exec("cat /work/a")).stdout, "1");
  assert.equal((await plane.snapshot(snapshot.id)).data.comment, "first");
  await assert.rejects(snapshot.delete(), fuse.ConflictError);
  const child = (await all(plane.snapshots())).find((s) => s.id !== snapshot.id);
  assert.deepEqual((await child.lineage()).map((s) => s.id), [snapshot.id]);
}));

test("errors are classes with a code", () => withPlane(async (plane) => {
  await assert.rejects(plane.get("fuse-nobody"), (e) => e instanceof fuse.RecordNotFoundError && e.code === "not_found");
  await assert.rejects(plane.provision({ task_id: "", spec: { cpus: -1 } }), (e) =>
    e instanceof fuse.InvalidRequestError && "task_id" in e.details && "spec.cpus" in e.details);
  await plane.provision({ task_id: "t1" });
  await assert.rejects(plane.provision({ task_id: "t1" }), fuse.ConflictError);
  await assert.rejects(fuse.Orchestrator.connect("http://127.0.0.1:9", "token"), fuse.UnavailableError);
}));

test("events are iterated, and end with a signal", () => withPlane(async (plane) => {
  const environment = await plane.provision({ task_id: "t1" });
  const names = [];
  for await (const event of environment.events({ after: 0 })) {
    names.push(event.event);
    if (event.event === "vm.running") break;
  }
  assert.deepEqual(names, ["vm.provisioning", "vm.scheduled", "vm.running"]);
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 50);
  assert.deepEqual(await all(plane.events({}, { signal: stop.signal })), []);
  await assert.rejects(environment.exec("sleep 60", { signal: AbortSignal.timeout(50) }), { name: "TimeoutError" });
}));

test("hosts, keys and dead letters", () => withPlane(async (plane) => {
  const host = await plane.registerHost({ id: "h2", url: "stub://h2", region: "eu" });
  assert.deepEqual((await all(plane.hosts())).map((h) => h.id), ["default", "h2"]);
  await host.cordon();
  assert.equal((await host.refresh()).state, "cordoned");
  assert.equal((await plane.drainHost("h2", { limitSeconds: 5 })).environments, 0);
  assert.notEqual(await plane.hostDrain("h2"), undefined);
  assert.equal(await plane.resolveSnapshot("no-such-layer", "amd64"), undefined);
  await host.remove();
  const key = await plane.createApiKey({ label: "mine", scopes: ["read"] });
  assert.match(key.key, /^fuse_sk_/);
  await plane.revokeApiKey(key.id);
  assert.equal((await plane.apiKeys())[0].key, undefined);
  assert.deepEqual(await plane.deadLetters(), []);
  await plane.check();
}));

test("an asynchronous dispose closes", async () => {
  const plane = await fuse.Orchestrator.inMemory();
  await plane[Symbol.asyncDispose]();
  await assert.rejects(plane.newestEvent(), fuse.UnavailableError);
});

test("the state is kept", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "fuse-node-"));
  const first = await fuse.Orchestrator.open(folder, { provider: "stub" });
  await (await first.provision({ task_id: "kept" })).waitRunning();
  await first.close();
  const second = await fuse.Orchestrator.open(folder, { provider: "stub" });
  assert.deepEqual((await all(second.environments())).map((e) => e.data.task_id), ["kept"]);
  await second.close();
  await assert.rejects(second.newestEvent(), fuse.UnavailableError);
  rmSync(folder, { recursive: true });
});

test("the process ends when nothing is awaited, with an open orchestrator too", () => {
  const code = `const fuse = require("fuse-runtime");
    fuse.Orchestrator.inMemory().then(async (plane) => {
      globalThis.plane = plane;
      console.log((await (await plane.provision({ task_id: "t1" })).waitRunning()).state);
    });`;
  const ended = spawnSync(process.execPath, ["-e", code], { cwd: new URL("..", import.meta.url), encoding: "utf8", timeout: 60_000 });
  assert.deepEqual([ended.status, ended.stdout, ended.stderr], [0, "running\n", ""]);
});
