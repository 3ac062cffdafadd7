// What runs the environments of an embedded control plane: chosen, told, and (where this machine can) real.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

import * as fuse from "fuse-runtime";

const folder = mkdtempSync(path.join(tmpdir(), "fuse-node-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const state = path.join(folder, "state");
const none = path.join(folder, "none");

const warnings = [];
process.on("warning", (warning) => warnings.push(warning));
// Warnings are emitted in the next turn.
const turn = () => new Promise((resolve) => setImmediate(resolve));

test("auto without VMs is the stub, and says so", async () => {
  const plane = await fuse.Orchestrator.open(state, { hostData: none });
  await turn();
  assert.equal(warnings.length, 1);
  const [{ name, code, message }] = warnings.splice(0);
  assert.deepEqual([name, code], ["FuseProviderWarning", "FUSE_PROVIDER"]);
  assert.match(message, /isolate nothing.*fuse image build/);
  assert.deepEqual([plane.provider.name, plane.provider.url], ["stub", "stub://default"]);
  assert.match(plane.provider.why, /fuse image build/);
  assert.equal("warning" in plane.provider, false);
  const environment = await (await plane.provision({ task_id: "t1" })).waitRunning();
  assert.equal((await environment.exec(["echo", "hello"])).stdout, "hello\n");
  await plane.close();
});

test("local without VMs says what is missing", async () => {
  const opening = fuse.Orchestrator.open(path.join(folder, "other"), { provider: "local", hostData: none });
  await assert.rejects(opening, (error) => {
    assert.ok(error instanceof fuse.UnavailableError);
    return /provider local was asked for.*fuse image build/.test(error.message);
  });
  assert.equal(existsSync(none), false);
});

test("who asks for the stub is not warned", async () => {
  const plane = await fuse.Orchestrator.open(state, { provider: "stub" });
  const why = "the provider stub was asked for";
  assert.deepEqual(plane.provider, { name: "stub", url: "stub://default", why });
  await plane.close();
  const memory = await fuse.Orchestrator.inMemory();
  assert.equal(memory.provider.name, "stub");
  await memory.close();
  await turn();
  assert.deepEqual(warnings, []);
});

test("a name that is none", async () => {
  const opening = fuse.Orchestrator.open(state, { provider: "qemu" });
  await assert.rejects(opening, (error) => error instanceof fuse.InvalidRequestError && /auto, local or stub/.test(error.message));
});

// Makes a VM and goes away without closing anything.
const MAKER = `
  const fuse = require("fuse-runtime");
  const [state, hostData] = process.argv.slice(1);
  (async () => {
    const plane = await fuse.Orchestrator.open(state, { provider: "local", hostData });
    const environment = await (await plane.provision({ task_id: "kept", spec: { cpus: 1, ram_mb: 128 } })).waitRunning(300);
    await environment.exec("echo here > /run/kept");
    process.stdout.write(environment.id, () => process.exit(0));
  })();`;

const vms = process.env.FUSE_TEST_VMS;
if (!vms && process.env.FUSE_TEST_STRICT) throw new Error("FUSE_TEST_VMS names no folder with an image");

test("real VMs outlive the process that made them", { skip: !vms && "FUSE_TEST_VMS names no folder with an image" }, async () => {
  const place = path.join(folder, "real");
  const options = { cwd: new URL("..", import.meta.url), encoding: "utf8", timeout: 600_000 };
  const made = spawnSync(process.execPath, ["-e", MAKER, place, vms], options);
  assert.equal(made.status, 0, made.stderr);
  // What comes after takes it over, in one process at a time.
  const plane = await fuse.Orchestrator.open(place, { provider: "local", hostData: vms });
  assert.deepEqual([plane.provider.name, plane.provider.why], ["local", undefined]);
  const environment = await plane.get(made.stdout);
  assert.equal((await environment.exec("cat /run/kept")).stdout, "here\n");
  const other = path.join(folder, "other");
  await assert.rejects(fuse.Orchestrator.open(other, { provider: "local", hostData: vms }), /another agent works on this directory/);
  await environment.destroy();
  await plane.close();
  // Real VMs are never given to the stub.
  await assert.rejects(fuse.Orchestrator.open(place, { provider: "stub" }), fuse.ConflictError);
  assert.deepEqual(readdirSync(path.join(vms, "vms")), []);
  await turn();
  assert.deepEqual(warnings, []);
});
