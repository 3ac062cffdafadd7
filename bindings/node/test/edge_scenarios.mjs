// Plays the edge scenarios (docs/scenarios.md) through the package, as a program would use it.
import assert from "node:assert/strict";

import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { isMainThread, Worker, workerData } from "node:worker_threads";

import * as fuse from "fuse-runtime";

export const FOLDER = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../../tests/scenarios/edge");

class Mismatch extends Error {}

function expect(condition, message) {
  if (!condition) throw new Mismatch(message);
}

/** A field that nobody looks at is a mistake of the file. */
function only(step, ...fields) {
  const known = new Set([...fields, "do", "error", "message", "times", "why"]);
  const unknown = Object.keys(step).filter((field) => !known.has(field));
  expect(unknown.length === 0, `unknown fields ${unknown}`);
}

/** The text of a value inside a JSON text: JavaScript's own numbers would lose digits. */
const texts = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]);
const hex = (text) => Buffer.from(text.replaceAll(" ", ""), "hex");
const same = (a, b) => JSON.stringify(a, plain) === JSON.stringify(b, plain);
const plain = (_, value) => (typeof value === "bigint" ? Number(value) : value);

/** JSON in which whole numbers beyond 2^53 stay what they are. */
export function parse(text) {
  const marked = text.replaceAll(/("(?:[^"\\]|\\.)*")|(-?\d{16,})(?![\d.eE])/g, (_, string, number) => string ?? `"bigint:${number}"`);
  return JSON.parse(marked, (_, value) => (typeof value === "string" && value.startsWith("bigint:") ? BigInt(value.slice(7)) : value));
}

function print(value) {
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return `[${value.map(print)}]`;
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}:${print(member)}`)}}`;
  }
  return JSON.stringify(value);
}

/** A callback that follows a script and records how it was called. */
class Script {
  next = 0;
  constructor(runner, name, answers) {
    Object.assign(this, { runner, name, answers });
  }

  begin(args) {
    const { runner, answers } = this;
    (runner.calls[this.name] ??= []).push(args);
    const answer = answers[Math.min(this.next++, answers.length - 1)] ?? {};
    const end = process.hrtime.bigint() + BigInt(answer.spin_us ?? 0) * 1000n;
    while (process.hrtime.bigint() < end);
    runner.clock.advanceUs(answer.advance_us ?? 0);
    for (const event of answer.post ?? []) runner.runtime.postEvent(event);
    if (answer.reenter) runner.reenter(answer.reenter);
    if (answer.fail !== undefined) throw new fuse.HalFault(answer.fail);
    return answer;
  }

  number(answer) {
    return answer.clock ? this.runner.clock.nowUs : (answer.return ?? 0);
  }

  camera = (maxLen) => {
    const answer = this.begin([maxLen]);
    const frame = hex(answer.bytes ?? "");
    // A callback of JavaScript has no other way to claim more than to return more.
    return Buffer.concat([frame, Buffer.alloc(Math.max(0, (answer.claim ?? 0) - frame.length))]);
  };

  group(params, result) {
    return (...values) => {
      const shown = values.map((value, i) =>
        params[i] === "out" ? value.length : Buffer.isBuffer(value) ? value.toString("hex") : value);
      const answer = this.begin(shown);
      const writable = params.findIndex((param) => param === "out" || param === "inout");
      if (writable >= 0) hex(answer.bytes ?? "").copy(values[writable]);
      if (answer.return_wrong_type) return "not a number";
      if (result === undefined) return undefined;
      const number = this.number(answer);
      return result === "i64" ? BigInt(number) : Number(number);
    };
  }
}

export class Runner {
  constructor(file, target) {
    this.scenario = parse(readFileSync(file, "utf8"));
    this.target = target;
    const known = ["about", "covers", "needs", "application", "compile_on_load", "stack_bytes_max", "modules", "steps"];
    for (const field of Object.keys(this.scenario)) expect(known.includes(field), `unknown field ${field}`);
    this.newRuntime(this.scenario.application);
  }

  newRuntime(application) {
    this.runtime?.close();
    const { needs = [], compile_on_load = true, stack_bytes_max } = this.scenario;
    this.clock = new fuse.ManualClock({ quotaTimer: needs.includes("quota_timer") });
    this.runtime = new fuse.Runtime({
      ...(application && { application }),
      clock: this.clock,
      stepTiming: "every",
      compileOnLoad: compile_on_load,
      ...(stack_bytes_max !== undefined && { stackBytesMax: stack_bytes_max }),
    });
    this.calls = {};
    this.handles = {};
    this.names = new Map();
    this.logRead = 0;
  }

  async play() {
    try {
      for (const [index, step] of this.scenario.steps.entries()) {
        for (let n = 0; n < (step.times ?? 1); n++) {
          await this.step(step).catch((error) => {
            throw new Error(`step ${index}: ${print(step)}\n    ${error.message}`, { cause: error });
          });
        }
      }
    } finally {
      this.runtime.close();
    }
  }

  async step(step) {
    try {
      await this[`do_${step.do}`](step);
    } catch (error) {
      if (!(error instanceof fuse.EdgeError)) throw error;
      expect(step.error !== undefined, `failed with ${error.code}: ${error.message}`);
      expect(error.code === step.error, `failed with ${error.code}: ${error.message}; ${step.error} was expected`);
      for (const part of texts(step.message)) {
        expect(error.message.includes(part), `its message lacks \`${part}\`: ${error.message}`);
      }
      return;
    }
    expect(step.error === undefined, `succeeded, ${step.error} was expected`);
  }

  artifact(key, damage) {
    const source = this.scenario.modules[key];
    only(source, "wat", "file", "hex", "policy", "policy_hex", "compile");
    if (source.hex !== undefined) return damaged(hex(source.hex), damage);
    const text = source.file ? readFileSync(path.join(FOLDER, source.file)) : (source.wat ?? []).join("\n");
    const { metering = this.runtime.application.metering, target = this.target, portable = false } = source.compile ?? {};
    return damaged(fuse.compile(text, { metering, portable, ...(target && { target }) }), damage);
  }

  do_load(step) {
    only(step, "module", "as", "name", "damage");
    const source = this.scenario.modules[step.module];
    const handle = step.as ?? step.module;
    const policy = source.policy
      ? fuse.Policy.fromJson(print(source.policy))
      : source.policy_hex
        ? fuse.Policy.fromBytes(hex(source.policy_hex))
        : new fuse.Policy();
    const artifact = this.artifact(step.module, step.damage);
    this.remember(handle, this.runtime.load(step.name ?? handle, artifact, policy));
  }

  remember(handle, module) {
    this.handles[handle] = module;
    this.names.set(module.id, handle);
  }

  do_start(step) {
    this.handles[step.module].start();
  }
  do_pause(step) {
    this.handles[step.module].pause();
  }
  do_run_step(step) {
    this.handles[step.module].runStep();
  }
  do_unload(step) {
    this.handles[step.module].unload();
  }
  do_restart_module(step) {
    this.handles[step.module].restart();
  }
  do_update(step) {
    only(step, "module", "with", "damage");
    this.handles[step.module].update(this.artifact(step.with, step.damage));
  }
  do_stop() {
    this.runtime.stop();
  }
  do_restart() {
    this.runtime.restart();
  }
  do_clear(step) {
    this.runtime.clearEvent(step.event);
  }

  do_tick(step) {
    only(step, "ran", "failed");
    const report = this.runtime.tick();
    const ran = [...report].map((outcome) => this.names.get(outcome.module.id));
    expect(step.ran === undefined || same(step.ran, ran), `${ran} ran`);
    const failed = Object.fromEntries(report.failed.map((o) => [this.names.get(o.module.id), o.error]));
    assert.deepEqual(failed, step.failed ?? {});
  }

  async do_post(step) {
    only(step, "event", "from_thread");
    if (!step.from_thread) return this.runtime.postEvent(step.event);
    const data = { number: this.runtime.poster().number, event: step.event };
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    await new Promise((resolve, reject) => worker.once("exit", resolve).once("error", reject));
  }

  do_clock(step) {
    only(step, "set_us", "advance_us");
    if (step.set_us !== undefined) this.clock.setUs(step.set_us);
    this.clock.advanceUs(step.advance_us ?? 0);
  }

  do_callback(step) {
    only(step, "function", "script");
    const script = new Script(this, step.function, step.script);
    const set = {
      temp_get_reading: () => this.runtime.setTemp(() => Number(script.number(script.begin([])))),
      timer_get_timestamp: () => this.runtime.setTimer(() => script.number(script.begin([]))),
      camera_last_frame: () => this.runtime.setCamera(script.camera),
    }[step.function];
    expect(set, `\`${step.function}\` is not a built-in import with a callback`);
    set();
  }

  do_group(step) {
    only(step, "name", "bit", "functions");
    const functions = step.functions.map(({ name, params = [], results = [], script = [] }) => ({
      name,
      params,
      ...(results[0] && { result: results[0] }),
      callback: new Script(this, name, script).group(params, results[0]),
    }));
    this.runtime.registerGroup({ name: step.name, bit: step.bit, functions });
  }

  do_app(step) {
    only(step, "config", "text", "packed", "parse_only", "groups", "damage");
    let config = fuse.AppConfig.fromJson(step.config ? print(step.config) : step.text.join("\n"));
    if (step.parse_only) return;
    this.newRuntime(config);
    for (const group of step.groups ?? []) this.do_group(group);
    const artifacts = Object.fromEntries(config.modules.map((m) => [m.name, this.artifact(m.binary)]));
    if (step.packed) {
      const carried = config.withArtifacts(artifacts);
      config = fuse.AppConfig.fromBinary(damaged(carried.toBinary(), step.damage));
      expect(config.equals(carried), "the binary form reads as something else");
    }
    for (const module of this.runtime.loadApp(config, (decl) => artifacts[decl.name])) this.remember(module.name, module);
  }

  do_policy(step) {
    only(step, "json", "text", "hex", "binary", "fuel_quota", "priority");
    const policy = step.hex !== undefined
      ? fuse.Policy.fromBytes(hex(step.hex))
      : fuse.Policy.fromJson(step.json ? print(step.json) : step.text.join("\n"));
    const binary = policy.toBytes().toString("hex");
    expect((step.binary ?? binary) === binary, `its binary form is ${binary}`);
    expect(BigInt(step.fuel_quota ?? policy.fuelQuota) === policy.fuelQuota, `fuel_quota is ${policy.fuelQuota}`);
    expect((step.priority ?? policy.priority) === policy.priority, `priority is ${policy.priority}`);
  }

  reenter(call) {
    const module = this.handles.a;
    const calls = { unload: () => module.unload(), run_step: () => module.runStep() };
    try {
      (calls[call] ?? (() => this.runtime[call]()))();
    } catch (error) {
      if (error instanceof fuse.WrongStateError) return;
      throw error;
    }
    throw new Mismatch(`re-entry with ${call} was not refused`);
  }

  do_check(step) {
    only(step, "states", "log", "lost", "lost_security", "calls", "stats", "latch", "failure", "next_deadline_us", "loaded", "named");
    const { runtime, handles } = this;
    for (const [handle, state] of Object.entries(step.states ?? {})) {
      expect(handles[handle].state === state, `\`${handle}\` is ${handles[handle].state}`);
    }
    for (const [handle, latch] of Object.entries(step.latch ?? {})) {
      expect(handles[handle].latch === latch, `the latch of \`${handle}\` is ${handles[handle].latch}`);
    }
    for (const [handle, parts] of Object.entries(step.failure ?? {})) {
      const { failure } = handles[handle];
      const fits = parts === null ? failure === undefined : texts(parts).every((part) => failure?.includes(part));
      expect(fits, `the failure of \`${handle}\` is ${failure}`);
    }
    for (const [handle, stats] of Object.entries(step.stats ?? {})) this.checkStats(handle, stats);
    if (step.log) this.checkLog(step.log);
    const counts = { lost: runtime.logLost, lost_security: runtime.logLostSecurity, loaded: runtime.modules.length };
    for (const [name, value] of Object.entries(counts)) expect((step[name] ?? value) === value, `${name} is ${value}`);
    if (step.next_deadline_us !== undefined) {
      const due = runtime.nextDeadlineUs ?? null;
      expect(due === step.next_deadline_us, `next_deadline_us is ${due}`);
    }
    for (const [name, calls] of Object.entries(step.calls ?? {})) {
      const seen = this.calls[name] ?? [];
      delete this.calls[name];
      expect(same(seen, calls), `\`${name}\` was called ${seen.length} times: ${print(seen)}`);
    }
    for (const [handle, name] of Object.entries(step.named ?? {})) {
      expect(runtime.find(name).equals(handles[handle]), `\`${name}\` names another module`);
    }
  }

  checkStats(handle, expected) {
    const stats = this.handles[handle].stats;
    const derived = {
      step_times: stats.stepTime.count,
      event_latencies: stats.eventLatency.count,
      event_latency_max_us: Math.floor(stats.eventLatency.maxNs / 1000),
    };
    for (const [name, bound] of Object.entries(expected)) {
      const value = derived[name] ?? stats[name.replaceAll(/_(.)/g, (_, c) => c.toUpperCase())];
      expect(value !== undefined, `unknown statistic \`${name}\``);
      const { min = value, max = value } = typeof bound === "object" ? bound : { min: bound, max: bound };
      expect(min <= value && value <= max, `\`${name}\` of \`${handle}\` is ${value}`);
    }
  }

  checkLog(expected) {
    const records = this.runtime.logRecords(this.logRead);
    this.logRead = this.runtime.logNextSequence;
    const shown = records.map((record) => `\n      ${print(record)}`).join("");
    expect(records.length === expected.length, `the log has ${records.length} new records, not ${expected.length}:${shown}`);
    records.forEach((record, index) => {
      const entry = expected[index];
      only(entry, "module", "level", "source", "text", "contains", "at_us");
      expect(index === 0 || record.sequence > records[index - 1].sequence, "sequence numbers do not grow");
      const module = record.moduleId === undefined ? null : (this.names.get(record.moduleId) ?? `?${record.moduleId}`);
      const fits =
        module === (entry.module ?? null) &&
        record.level === entry.level &&
        record.source === entry.source &&
        (entry.at_us ?? record.timestampUs) === record.timestampUs &&
        (entry.text ?? record.text) === record.text &&
        texts(entry.contains).every((part) => record.text.includes(part));
      expect(fits, `record ${record.sequence} does not fit ${print(entry)}:${shown}`);
    });
  }
}

function damaged(data, damage) {
  if (!damage) return data;
  const [[kind, value]] = Object.entries(damage);
  const bent = Buffer.from(data);
  switch (kind) {
    case "truncate":
      return bent.subarray(0, value);
    case "drop":
      return bent.subarray(0, bent.length - value);
    case "append":
      return Buffer.concat([bent, Buffer.alloc(value)]);
    case "flip_bit":
      bent[value >> 3] ^= 1 << (value & 7);
      return bent;
    case "flip_bit_from_end":
      bent[bent.length - 1 - (value >> 3)] ^= 0x80 >> (value & 7);
      return bent;
    default:
      throw new Mismatch(`unknown damage ${kind}`);
  }
}

if (!isMainThread && workerData?.number !== undefined) {
  new fuse.EventPoster(workerData.number).post(workerData.event);
}
