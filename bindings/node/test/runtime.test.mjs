// The runtime as a program of JavaScript sees it.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { Worker } from "node:worker_threads";

import * as fuse from "fuse-runtime";

const STEP = '(module (func (export "module_step")))';
const LOOP = '(module (func (export "module_step") (loop $again (br $again))))';
const TRAP = '(module (func (export "module_step") unreachable))';
const TEMP = `(module (import "env" "temp_get_reading" (func $read (result f32))) (memory (export "memory") 1)
  (func (export "module_step") (f32.store (i32.const 0) (call $read))))`;
const CAMERA = `(module (import "env" "camera_last_frame" (func $frame (param i32 i32) (result i64)))
  (memory (export "memory") 1)
  (func (export "module_step") (i64.store (i32.const 0) (call $frame (i32.const 8) (i32.const 1024)))))`;

let count = 0;
function started(runtime, source, policy = {}) {
  const module = runtime.load(`m${count++}`, source, policy);
  module.start();
  return module;
}

function withRuntime(options, body) {
  const runtime = new fuse.Runtime(options);
  try {
    return body(runtime);
  } finally {
    runtime.close();
  }
}

test("a module runs and says what it did", () => withRuntime({}, (runtime) => {
  const module = started(runtime, STEP);
  const report = runtime.tick();
  assert.equal(report.outcomes.length, 1);
  assert.ok(report.outcomes[0].module.equals(module));
  assert.deepEqual([module.state, module.stats.steps, module.failure], ["Running", 1, undefined]);
  assert.equal(runtime.tick().outcomes.length, 1);
}));

test("both forms of modules give one set of classes", () => {
  const required = createRequire(import.meta.url)("fuse-runtime");
  assert.equal(required.Runtime, fuse.Runtime);
  assert.equal(required.TrapError, fuse.TrapError);
});

test("errors are classes with a code and what they know", () => withRuntime({}, (runtime) => {
  assert.throws(() => fuse.AppConfig.fromJson('{"application": {"name": "a", "max_modules": 0}}'), {
    name: "InvalidArgError", code: "InvalidArg", path: "$.application.max_modules",
  });
  const module = started(runtime, STEP, { step_interval_us: 10_000_000 });
  module.runStep();
  assert.throws(() => module.runStep(), (e) => e instanceof fuse.IntervalNotElapsedError && e.remainingUs > 0);
  const trapped = started(runtime, TRAP);
  assert.throws(() => trapped.runStep(), (e) =>
    e instanceof fuse.TrapError && e instanceof fuse.FuseError && e.entry === "module_step" && /unreachable/.test(e.failure));
  assert.throws(() => runtime.find("nobody"), fuse.NotFoundError);
}));

test("policies are values", () => {
  const policy = new fuse.Policy({ capabilities: ["TIMER"], cpu_quota_us: 1000, fuel_quota: 2n ** 60n });
  assert.equal(policy.capabilities, fuse.Capability.TIMER);
  assert.equal(policy.fuelQuota, 2n ** 60n);
  assert.deepEqual(policy.replace({ cpu_quota_us: 5 }).cpuQuotaUs, 5);
  assert.deepEqual(policy.replace({ activation: "MANUAL" }).activation, fuse.Activation.MANUAL);
  assert.throws(() => new fuse.Policy({ stack_sise: 1 }), /stack_sise/);
});

test("an unlimited loop ends at its quota", () => withRuntime({}, (runtime) => {
  const module = started(runtime, LOOP, { cpu_quota_us: 2000 });
  assert.throws(() => module.runStep(), fuse.QuotaExceededError);
  module.restart();
  assert.equal(runtime.tick().failed[0].error, "QuotaExceeded");
}));

test("frames are any view of a buffer, cut to what the module takes", () => withRuntime({}, (runtime) => {
  const data = Uint8Array.from({ length: 64 }, (_, i) => i);
  const frames = [data, Buffer.from(data), new Uint16Array(data.buffer), new DataView(data.buffer), data.buffer, null, undefined, new Uint8Array(5000)];
  runtime.setCamera(() => frames.shift());
  const module = started(runtime, CAMERA, { capabilities: ["CAMERA"] });
  for (const length of [64, 64, 64, 64, 64, 0, 0, 1024]) {
    module.runStep();
    assert.equal(module.readMemory(0, 8).readBigInt64LE(), BigInt(length));
    if (length === 64) assert.deepEqual(Uint8Array.from(module.readMemory(8, 64)), data);
  }
  runtime.setCamera(() => "frame");
  assert.throws(() => module.runStep(), (e) => e.cause instanceof fuse.HalTypeError && e.faultCode === fuse.HAL_RESULT_MISMATCH);
}));

test("groups see typed arguments and write buffers", () => withRuntime({}, (runtime) => {
  const seen = [];
  runtime.registerGroup({ name: "radio", bit: 9, functions: [{
    name: "exchange", params: ["i32", "i64", "f64", "in", "inout"], result: "i64",
    callback: (a, b, c, data, both) => {
      seen.push([a, b, c, data.toString(), both.toString(), runtime.callingModuleId]);
      both.write("abc");
      return 2n ** 40n;
    },
  }] });
  const module = started(runtime, `(module
    (import "env" "exchange" (func $x (param i32 i64 f64 i32 i32 i32 i32) (result i64)))
    (memory (export "memory") 1) (data (i32.const 0) "in!!") (data (i32.const 16) "12345")
    (func (export "module_step") (i64.store (i32.const 32)
      (call $x (i32.const -1) (i64.const 5000000000) (f64.const 0.25) (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 5)))))`,
    { capabilities: 1 << 9 });
  module.runStep();
  assert.deepEqual(seen, [[-1, 5000000000n, 0.25, "in!!", "12345", module.id]]);
  assert.equal(module.readMemory(16, 5).toString(), "abc45");
  assert.equal(module.readMemory(32, 8).readBigInt64LE(), 2n ** 40n);
}));

test("a buffer that was taken away harms nobody", () => withRuntime({}, (runtime) => {
  runtime.registerGroup({ name: "g", bit: 8, functions: [{ name: "take", params: ["out"], callback: (buffer) => {
    structuredClone(buffer.buffer, { transfer: [buffer.buffer] });
  } }] });
  const module = started(runtime, `(module (import "env" "take" (func $t (param i32 i32))) (memory (export "memory") 1)
    (func (export "module_step") (call $t (i32.const 0) (i32.const 9000))))`, { capabilities: 256 });
  try {
    // Where the engine lets the memory go, its length is another one, and the module traps.
    module.runStep();
  } catch (error) {
    assert.ok(error instanceof fuse.TrapError);
  }
  assert.equal(started(runtime, STEP).runStep(), undefined);
}));

test("what a callback throws is the cause", () => withRuntime({}, (runtime) => {
  const broken = new RangeError("no sensor");
  runtime.setTemp(() => { throw broken; });
  const module = started(runtime, TEMP, { capabilities: ["TEMP_SENSOR"] });
  assert.throws(() => module.runStep(), (e) => e instanceof fuse.TrapError && e.cause === broken && e.faultCode === fuse.HAL_THROWN);
  module.restart();
  const report = runtime.tick();
  assert.deepEqual([report.failed[0].error, report.failed[0].cause], ["Trap", broken]);
  runtime.setTemp(() => { throw new fuse.HalFault(-7); });
  module.restart();
  assert.throws(() => module.runStep(), { faultCode: -7 });
}));

test("re-entry is refused, posts are not", () => withRuntime({}, (runtime) => {
  const calls = [() => runtime.tick(), () => runtime.stop(), () => runtime.close(), () => runtime.load("x", STEP),
    () => module.state, () => module.unload(), () => runtime.setTemp(() => 0), () => runtime.logRecords()];
  runtime.setTemp(() => {
    for (const call of calls) assert.throws(call, fuse.WrongStateError);
    runtime.postEvent(1);
    return 1;
  });
  const module = started(runtime, TEMP, { capabilities: ["TEMP_SENSOR"] });
  module.runStep();
  assert.equal(module.stats.steps, 1);
}));

test("records are handed out after the call that wrote them", () => {
  const seen = [];
  withRuntime({ onLog: (record) => seen.push([record.source, record.module]), hal: { temp: () => { assert.throws(() => runtimeOf().tick()); return 1; } } }, (runtime) => {
    runtimeOf = () => runtime;
    const trapped = started(runtime, TRAP);
    started(runtime, TEMP, { capabilities: ["TEMP_SENSOR"] });
    assert.deepEqual(seen, []);
    runtime.tick();
    assert.deepEqual(seen, [["security", trapped.name]]);
    assert.throws(() => runtime.load("refused", "(module)"), fuse.LoadFailedError);
    assert.equal(seen.length, 2);
  });
});
let runtimeOf;

test("after close every use is an error", () => {
  const runtime = new fuse.Runtime();
  const module = started(runtime, STEP);
  runtime.close();
  runtime.close();
  for (const use of [() => runtime.tick(), () => module.runStep(), () => module.state, () => runtime.poster()]) {
    assert.throws(use, { name: "WrongStateError", message: /closed/ });
  }
});

test("dispose closes", () => {
  const runtime = new fuse.Runtime();
  runtime[Symbol.dispose]();
  assert.ok(runtime.closed);
});

test("ticks can be iterated, and end with a signal", async () => {
  const runtime = new fuse.Runtime();
  started(runtime, STEP, { step_interval_us: 1000 });
  const stop = new AbortController();
  let seen = 0;
  for await (const report of runtime.ticks({ signal: stop.signal })) {
    seen += report.outcomes.length;
    if (seen === 5) stop.abort();
  }
  assert.equal(seen, 5);
  assert.equal(await runtime.run({ ticks: 3 }), 3);
  setTimeout(() => runtime.stop(), 20);
  assert.ok((await runtime.run()) > 0);
  runtime.close();
});

test("a worker thread posts events, and has runtimes of its own", async () => {
  const runtime = new fuse.Runtime({ application: { events: { GO: 3 } } });
  const module = started(runtime, STEP, { activation: "EVENT", event_subscribe: 8 });
  const worker = new Worker(`
    const fuse = require("fuse-runtime");
    const { workerData, parentPort } = require("node:worker_threads");
    const own = new fuse.Runtime({ hal: { temp: () => 2.5 } });
    const module = own.load("m", ${JSON.stringify(TEMP)}, { capabilities: ["TEMP_SENSOR"] });
    module.start();
    for (let i = 0; i < 100; i++) module.runStep();
    new fuse.EventPoster(workerData).post(3);
    parentPort.postMessage(module.readMemory(0, 4).readFloatLE());
  `, { eval: true, workerData: runtime.poster().number });
  const [reading] = await Promise.all([
    new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject)),
    runtime.run({ ticks: 1 }),
  ]);
  assert.equal(reading, 2.5);
  assert.equal(module.stats.steps, 1);
  runtime.close();
  assert.throws(() => new fuse.EventPoster(1 << 30), fuse.WrongStateError);
});

test("eight worker threads step at once", async () => {
  const code = `const fuse = require("fuse-runtime");
    const runtime = new fuse.Runtime({ hal: { temp: () => 1 } });
    const module = runtime.load("m", ${JSON.stringify(TEMP)}, { capabilities: ["TEMP_SENSOR"], cpu_quota_us: 1000000 });
    module.start();
    for (let i = 0; i < 500; i++) module.runStep();
    require("node:worker_threads").parentPort.postMessage(module.stats.steps);`;
  const steps = await Promise.all(Array.from({ length: 8 }, () => new Promise((resolve, reject) => {
    new Worker(code, { eval: true }).once("message", resolve).once("error", reject);
  })));
  assert.deepEqual(steps, Array(8).fill(500));
});

const program = (code) => spawnSync(process.execPath, ["-e", `const fuse = require("fuse-runtime");\n${code}`], {
  cwd: new URL("..", import.meta.url), encoding: "utf8", timeout: 60_000,
});

test("a thousand runtimes leave nothing behind", () => {
  const artifact = fuse.compile(TEMP);
  const one = () => withRuntime({ hal: { temp: () => 1 } }, (runtime) => started(runtime, artifact, { capabilities: ["TEMP_SENSOR"] }).runStep());
  const resident = () => Number(readFileSync("/proc/self/statm", "utf8").split(" ")[1]) * 4096;
  for (let i = 0; i < 300; i++) one();
  globalThis.gc?.();
  const before = resident();
  for (let i = 0; i < 1000; i++) one();
  globalThis.gc?.();
  assert.ok(resident() - before < 48 << 20, `${(resident() - before) >> 20} MiB more`);
  const names = readdirSync("/proc/self/task").map((task) => readFileSync(`/proc/self/task/${task}/comm`, "utf8"));
  assert.ok(names.filter((name) => name.startsWith("fuse-quota")).length < 5, "the watchdogs ended");
});

test("a thousand runtimes that nobody closes are collected", { skip: globalThis.gc ? false : "needs --expose-gc" }, async () => {
  const artifact = fuse.compile(TEMP);
  const some = async (count) => {
    for (let i = 0; i < count; i++) {
      const runtime = new fuse.Runtime({ hal: { temp: () => 1 } });
      started(runtime, artifact, { capabilities: ["TEMP_SENSOR"], cpu_quota_us: 100_000 }).runStep();
      if (i % 50 !== 49) continue;
      globalThis.gc();
      // What was collected is finalized in a turn of its own.
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const resident = () => Number(readFileSync("/proc/self/statm", "utf8").split(" ")[1]) * 4096;
  await some(200);
  const before = resident();
  await some(1000);
  assert.ok(resident() - before < 48 << 20, `${(resident() - before) >> 20} MiB more`);
});

test("the process ends when nothing is left to do, with live runtimes too", () => {
  const ended = program(`
    const keep = Array.from({ length: 4 }, () => new fuse.Runtime({ hal: { temp: () => 1 } }));
    for (const r of keep) { const m = r.load("m", ${JSON.stringify(TEMP)}, { capabilities: ["TEMP_SENSOR"], cpu_quota_us: 1000 }); m.start(); m.runStep(); }
    globalThis.keep = keep; console.log("done");`);
  assert.deepEqual([ended.status, ended.stdout, ended.stderr], [0, "done\n", ""]);
  const exited = program(`new fuse.Runtime(); process.exit(3);`);
  assert.equal(exited.status, 3);
});

test("artifacts are compiled and inspected", () => {
  const artifact = fuse.compile(STEP, { metering: "fuel", target: "pulley64" });
  const found = fuse.inspect(artifact);
  assert.deepEqual([found.target, found.metering, found.traps], ["pulley64", "fuel", "explicit"]);
  assert.ok(found.identity.startsWith(fuse.ENGINE_VERSION));
  assert.equal(found.portable.toString("latin1", 0, 4), "\0asm");
  artifact[artifact.length - 1] ^= 1;
  assert.throws(() => fuse.inspect(artifact), fuse.LoadFailedError);
  assert.throws(() => fuse.compile(STEP, { target: "z80" }), /known are/);
});

test("what programs see of the declarations is strict", () => {
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", "test/types"], { cwd: new URL("..", import.meta.url), stdio: "pipe" });
});
