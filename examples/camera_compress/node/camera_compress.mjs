// camera_compress: a module under policy encodes each camera frame; another asks for what its policy does not grant.
// usage: node camera_compress.mjs [OUT]
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { AppConfig, Runtime } from "fuse-runtime";

import { Sky, Summary, SWEEP } from "../../frames/node/frames.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const config = AppConfig.fromJson(readFileSync(path.join(here, "../app_config.json"), "utf8"));
const [sky, summary, began] = [new Sky(), new Summary(), process.hrtime.bigint()];
let [frame, packet] = [sky.frame(0), undefined];

const runtime = new Runtime({
  application: config,
  hal: {
    camera: () => frame,
    timer: () => (process.hrtime.bigint() - began) / 1000n,
    groups: [{
      name: "downlink",
      bit: 8,
      functions: [{
        name: "downlink_write",
        params: ["in"],
        result: "i32",
        callback: (bytes) => (packet = bytes).length,
      }],
    }],
  },
});
const modules = runtime.loadApp(config, (decl) => readFileSync(path.join(here, "..", decl.binary)));
for (const module of modules) module.start();
const [compress, probe] = modules;

let number = 0;
for await (const report of runtime.ticks()) {
  if (![...report].some((outcome) => outcome.module.equals(compress))) continue;
  summary.add(number, packet, "taken");
  if (++number === SWEEP) break;
  [frame, packet] = [sky.frame(number), undefined];
}
console.log(compress, probe);
for (const record of runtime.logRecords()) {
  if (record.source === "security") console.log("security log:", record.text);
}
summary.write(process.argv[2] ?? path.join(here, "out"));
const refused = probe.state === "Trapped" && probe.failure?.includes("TEMP_SENSOR");
if (!refused || compress.state !== "Running" || summary.kept !== SWEEP) {
  console.error("camera_compress: not every frame was kept, or the probe was not refused");
  process.exitCode = 1;
}
runtime.close();
