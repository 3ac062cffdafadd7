// What the Node binding costs, beside the Rust API and Node's own WebAssembly. Writes figures as JSON.
// usage: node bench.mjs PACKAGE FUSE-BENCH [--quick]
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const [where, program, ...options] = process.argv.slice(2);
const { Runtime, compile, inspect } = createRequire(import.meta.url)(path.resolve(where));
const quick = options.includes("--quick");
const folder = path.dirname(fileURLToPath(import.meta.url));
const CALLS_PER_STEP = 1000;

const sources = Object.fromEntries(readdirSync(folder).filter((name) => name.endsWith(".wat"))
  .map((name) => [path.parse(name).name, readFileSync(path.join(folder, name), "utf8")]));

/** Medians of the Rust API on the same modules, in a process of its own. */
function reference() {
  const text = execFileSync(program, [...options, "child", "reference", folder], { encoding: "utf8" });
  return Object.fromEntries(Object.entries(JSON.parse(text)).map(([name, summary]) => [name, summary.median]));
}

/** One sample: the mean of some calls, in nanoseconds. The loop is in it. */
const batch = (call, calls, parts = 1) => () => {
  const began = process.hrtime.bigint();
  for (let n = 0; n < calls; n++) call();
  return Number(process.hrtime.bigint() - began) / (calls * parts);
};

/** Measures all sides turn by turn, so that what disturbs the machine disturbs all. A tenth is warm-up. */
function interleave(rounds, sides) {
  const names = Object.keys(sides);
  const samples = Object.fromEntries(names.map((name) => [name, []]));
  const warmUp = Math.floor(rounds / 10) + 1;
  for (let turn = 0; turn < rounds + warmUp; turn++) {
    for (let at = 0; at < names.length; at++) {
      const name = names[(turn + at) % names.length];
      const sample = sides[name]();
      if (turn >= warmUp) samples[name].push(sample);
    }
  }
  return samples;
}

const temp = () => 1;
const gpio = (pin) => pin;

function ours() {
  const groups = [{ name: "gpio", bit: 8, functions: [{ name: "gpio_read", params: ["i32"], result: "i32", callback: gpio }] }];
  const runtime = new Runtime({ hal: { temp, groups } });
  return Object.fromEntries(Object.entries(sources).map(([name, source]) => {
    const module = runtime.load(name, source, { capabilities: 1 | (1 << 8) });
    module.start();
    return [name, () => module.runStep()];
  }));
}

/** Node takes the binary form only, which an artifact carries. */
async function theirs() {
  const env = { temp_get_reading: temp, gpio_read: gpio };
  const step = async ([name, source]) => {
    const { instance } = await WebAssembly.instantiate(inspect(compile(source)).portable, { env });
    return [name, instance.exports.module_step];
  };
  return Object.fromEntries(await Promise.all(Object.entries(sources).map(step)));
}

const [here, there] = [ours(), await theirs()];
const median = (values) => [...values].sort((a, b) => a - b)[Math.ceil(values.length / 2) - 1];
const p99 = (values) => [...values].sort((a, b) => a - b)[Math.ceil(values.length * 0.99) - 1];

const before = reference();
const [short, long] = quick ? [2, 2] : [1000, 100];
const samples = {
  ...interleave(short, { step: batch(here.empty, 256), "their step": batch(there.empty, 256), "plain call": batch(temp, 256) }),
  ...interleave(long, {
    ...Object.fromEntries(["host", "group"].flatMap((name) => [
      [name, batch(here[name], 1, CALLS_PER_STEP)], [`their ${name}`, batch(there[name], 1, CALLS_PER_STEP)],
    ])),
    ...Object.fromEntries(["arithmetic", "memory"].flatMap((name) => [
      [name, batch(here[name], 1)], [`their ${name}`, batch(there[name], 1)],
    ])),
  }),
};
const after = reference();
console.log(JSON.stringify({
  language: "Node",
  version: `Node ${process.versions.node}`,
  rival: `its own WebAssembly (V8 ${process.versions.v8})`,
  quick,
  figures: Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, { median: median(values), p99: p99(values) }])),
  rust: Object.fromEntries(Object.keys(before).map((name) => [name, (before[name] + after[name]) / 2])),
}, null, 2));
