// The whole life of a sandbox: provision, exec, snapshot, restore, fork, drain, destroy, with its events at the end.
//
// The control plane is embedded: no server, no daemon. Its VMs are those of this machine, in this process; where QEMU or
// Firecracker and an image are not installed, the stub stands in, which keeps VMs in memory and isolates nothing. The first
// line says which it is, and why.
//
// usage: node sandbox.mjs [DIRECTORY OF THE STATE]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Orchestrator } from "fuse-runtime";

// A guest that is interpreted, on a machine that is busy, comes up late.
const SOON = 300;

// Counts in memory alone, in a process that a snapshot takes along.
const COUNTER = `echo 'made at boot' > /notes
(i=0; while :; do i=$((i + 1)); echo $i > /run/next; mv /run/next /run/count; sleep 0.1; done) < /dev/null > /dev/null 2>&1 &`;

const COUNTS = 'echo "$(hostname) counts at $(cat /run/count); mark: $(cat /run/mark 2> /dev/null || echo none)"';

async function show(environment, line) {
  const { exitCode, stdout } = await environment.exec(line);
  console.log(`${environment.id} $ ${line}`);
  for (const text of stdout.trimEnd().split("\n")) console.log(`    ${text}`);
  if (exitCode !== 0) throw new Error(`${line} ended with exit code ${exitCode}`);
}

/** How far the counter of a guest is, when it has gone beyond `least`. */
async function countBeyond(environment, least) {
  for (let tries = 0; tries < 600; tries++) {
    const now = Number((await environment.exec("cat /run/count 2> /dev/null || echo 0")).stdout);
    if (now > least) return now;
    await sleep(100);
  }
  throw new Error(`${environment.id} does not count beyond ${least}`);
}

const temporary = mkdtempSync(path.join(tmpdir(), "fuse-sandbox-"));
const plane = await Orchestrator.open(process.argv[2] ?? temporary);
// The stub's guest has files and no processes.
const hasMemory = plane.provider?.name === "local";
console.log(`host default: ${hasMemory ? "real VMs of this machine" : `the STUB, which isolates nothing: ${plane.provider?.why}`}`);
const began = await plane.newestEvent();

const environment = await (await plane.provision({
  task_id: "demo",
  spec: { cpus: 1, ram_mb: 256 },
  startup_script: hasMemory ? COUNTER : "echo 'made at boot' > /notes",
})).waitRunning(SOON);
console.log(`${environment.id} runs on ${environment.data.host_id}`);
await show(environment, "cat /notes");
// With memory and processors: what runs goes on from here.
const before = hasMemory ? await countBeyond(environment, 0) : 0;
const snapshot = await environment.createSnapshot({ live: hasMemory });
await show(environment, "echo 'changed later' > /notes; cat /notes");
const later = hasMemory ? await countBeyond(environment, before + 20) : 0;
await snapshot.restore();
await show(environment, "cat /notes");
if (hasMemory) {
  const back = await countBeyond(environment, before);
  console.log(`    the counter was at ${before} at the snapshot, at ${later} before the restore, and goes on at ${back}`);
}
const fork = await (await environment.fork({ reuse_snapshot_id: snapshot.id })).waitRunning(SOON);
await show(fork, "echo 'of the fork' >> /notes; cat /notes");
await show(environment, "cat /notes");
if (hasMemory) {
  // The same process in two memories.
  await fork.exec("echo 'of the fork' > /run/mark");
  await show(fork, COUNTS);
  await show(environment, COUNTS);
}
await environment.drain();
for (const each of [environment, fork]) {
  await each.destroy();
  console.log(`${each.id} is ${(await each.refresh()).state}`);
}
await snapshot.delete();
const newest = await plane.newestEvent();
for await (const event of plane.events({ after: began })) {
  console.log(`  event ${String(event.sequence).padStart(3)}  ${event.event.padEnd(20)} ${event.subject.id}`);
  if (event.sequence >= newest) break;
}
await plane.close();
rmSync(temporary, { recursive: true });
