// camera_filter_compress: a camera on a worker thread posts an event for each frame; frame_filter wakes and passes on those
// with enough in them; frame_compress wakes on those, encodes them and sends them down.
// usage: node camera_filter_compress.mjs [OUT]
import { once } from "node:events";
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

import { AppConfig, EventPoster, Runtime } from "fuse-runtime";

import { HEIGHT, Sky, Summary, SWEEP, WIDTH } from "../../frames/node/frames.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));

/** Runs on the camera's thread: the next frame when the host has finished with the last. */
async function expose({ poster, memory, event }) {
  const sky = new Sky();
  const camera = new EventPoster(poster);
  for (let number = 0; number < SWEEP; number++) {
    new Uint8Array(memory).set(sky.frame(number));
    camera.post(event);
    await once(parentPort, "message");
  }
  parentPort.close();
}

/** What frame_filter said of the frame. */
function verdict(runtime, since) {
  const line = runtime.logRecords(since).find((record) => record.text.startsWith("frame_filter: "));
  return line?.text.slice("frame_filter: ".length).replace(/^[^,]*, /, "") ?? "no verdict";
}

async function main() {
  const config = AppConfig.fromJson(readFileSync(path.join(here, "../app_config.json"), "utf8"));
  const [summary, memory] = [new Summary(), new SharedArrayBuffer(WIDTH * HEIGHT)];
  let packet;
  const runtime = new Runtime({
    application: config,
    hal: {
      camera: () => new Uint8Array(memory),
      groups: [{
        name: "downlink",
        bit: 8,
        functions: [{ name: "downlink_write", params: ["in"], result: "i32", callback: (bytes) => (packet = bytes).length }],
      }],
    },
  });
  for (const module of runtime.loadApp(config, (decl) => readFileSync(path.join(here, "..", decl.binary)))) module.start();
  const event = runtime.application.events.get("CAMERA_FRAME_READY");
  const camera = new Worker(fileURLToPath(import.meta.url), { workerData: { poster: runtime.poster().number, memory, event } });

  let [number, seen] = [0, runtime.logNextSequence];
  for await (const _ of runtime.ticks({ ticks: SWEEP })) {
    summary.add(number++, packet, verdict(runtime, seen));
    [packet, seen] = [undefined, runtime.logNextSequence];
    camera.postMessage("next");
  }
  console.log(...runtime.modules);
  if (runtime.logRecords().some((record) => record.source === "security")) throw new Error("a module failed");
  runtime.close();
  summary.write(process.argv[2] ?? path.join(here, "out"));
}

await (isMainThread ? main() : expose(workerData));
