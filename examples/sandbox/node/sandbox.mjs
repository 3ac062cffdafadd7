// The whole life of a sandbox: provision, exec, snapshot, restore, fork, drain, destroy, with its events at the end.
// usage: node sandbox.mjs [DIRECTORY OF THE STATE]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { Orchestrator } from "fuse-runtime";

async function show(environment, line) {
  const { exitCode, stdout } = await environment.exec(line);
  console.log(`${environment.id} $ ${line}`);
  for (const text of stdout.trimEnd().split("\n")) console.log(`    ${text}`);
  if (exitCode !== 0) throw new Error(`${line} ended with exit code ${exitCode}`);
}

const temporary = mkdtempSync(path.join(tmpdir(), "fuse-sandbox-"));
const plane = await Orchestrator.open(process.argv[2] ?? temporary);
const began = await plane.newestEvent();

const environment = await (await plane.provision({
  task_id: "demo",
  spec: { cpus: 1, ram_mb: 256 },
  startup_script: "echo 'made at boot' > /notes",
})).waitRunning();
console.log(`${environment.id} runs on ${environment.data.host_id}`);
await show(environment, "cat /notes");
const snapshot = await environment.createSnapshot();
await show(environment, "echo 'changed later' > /notes; cat /notes");
await snapshot.restore();
await show(environment, "cat /notes");
const fork = await (await environment.fork({ reuse_snapshot_id: snapshot.id })).waitRunning();
await show(fork, "echo 'of the fork' >> /notes; cat /notes");
await show(environment, "cat /notes");
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
