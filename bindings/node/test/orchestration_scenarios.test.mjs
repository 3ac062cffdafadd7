// The orchestration scenarios (tests/scenarios/orchestration). All of them are played over the REST API, on a stage that can
// inject faults, move time and end the process under the control plane; those that need no more than the public interface
// also in this process.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import * as fuse from "fuse-runtime";

import { Stage } from "./stage.mjs";

const FOLDER = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../../tests/scenarios/orchestration");

/** A step that knows what was looked at. */
function watched(step) {
  const used = new Set(["do", "fails", "message", "why"]);
  return { used, step: new Proxy(step, { get: (target, name) => (used.add(name), target[name]) }) };
}

function equal(what, got, want) {
  if (want !== undefined) assert.deepEqual(got, want, `${what} is ${JSON.stringify(got)} and should be ${JSON.stringify(want)}`);
}

/** What only the process that acts can do or see. */
const INSIDE = new Set(["reconcile", "advance", "restart", "authenticate", "fault", "clear_faults", "cut_off", "connect", "reboot", "lose", "plant"]);

class World {
  names = new Map();
  keys = new Map();
  constructor(plane, stage) {
    this.plane = plane;
    this.stage = stage;
  }

  /** A step for the stage, which knows no names of the scenario. */
  async inside({ key, ...step }) {
    const text = this.keys.get(key)?.key ?? step.text;
    await this.stage.act({ ...step, ...(text && { text }), ...(step.id && { id: this.named(step.id) }) });
  }

  /** On the stage boots end in virtual time. */
  async booted(environment) {
    await this.stage?.act({ do: "settle", id: environment.id });
    await environment.waitRunning();
  }

  named(name) {
    return this.names.get(name) ?? name;
  }

  environment(step) {
    return this.plane.get(this.named(step.id));
  }

  async step(raw) {
    if (INSIDE.has(raw.do)) return this.inside(raw);
    const { used, step } = watched(raw);
    try {
      await this[`do_${raw.do}`](step);
    } catch (error) {
      if (!(error instanceof fuse.OrchestratorError)) throw error;
      assert.equal(error.code, raw.fails, `failed with ${error.code}: ${error.message}`);
      assert.ok(error.message.includes(raw.message ?? ""), error.message);
      return;
    }
    assert.equal(raw.fails, undefined, `did not fail with ${raw.fails}`);
    assert.deepEqual(Object.keys(raw).filter((name) => !used.has(name)), [], "these mean nothing here");
  }

  async do_provision(step) {
    const request = { task_id: step.task, ...step.with };
    if (request.seed_snapshot_id) request.seed_snapshot_id = this.named(request.seed_snapshot_id);
    const { as, until = "running", key } = step;
    const made = await this.plane.provision(request, key === undefined ? {} : { idempotencyKey: key });
    if (as) this.names.set(as, made.data.vm);
    if (until === "running") await this.booted(made);
  }

  async do_wait(step) {
    await this.booted(await this.environment(step));
  }
  async do_drain(step) {
    await (await this.environment(step)).drain();
  }
  async do_destroy(step) {
    await (await this.environment(step)).destroy();
  }
  async do_rotate(step) {
    await (await this.environment(step)).rotateToken();
  }

  async do_fork(step) {
    const { reuse, as } = step;
    const fork = await (await this.environment(step)).fork(reuse ? { reuse_snapshot_id: this.named(reuse) } : {});
    if (as) this.names.set(as, fork.id);
    await this.booted(fork);
  }

  async do_exec(step) {
    const { line, argv = [], timeout = 60, exit_code = 0, stdout, stderr } = step;
    const result = await (await this.environment(step)).exec(line ?? argv, { timeoutMs: timeout * 1000 });
    equal("the exit code", result.exitCode, exit_code);
    equal("stdout", result.stdout, stdout);
    equal("stderr", result.stderr, stderr);
  }

  async do_upload(step) {
    const { path: where, text = "" } = step;
    await (await this.environment(step)).upload(where, text);
  }

  async do_logs(step) {
    const { source, are } = step;
    equal("the log", await (await this.environment(step)).logs(source), are);
  }

  async do_check(step) {
    const { data } = await this.environment(step);
    equal("the state", data.state, step.state);
    equal("the reason", data.reason.code, step.reason);
    equal("observed", data.observed, step.observed);
    equal("the host", data.host_id, step.on);
    equal("the warnings", data.warnings ?? [], step.warnings);
    equal("the boots", data.boots, step.boots);
    assert.ok((data.reason.text ?? "").includes(step.text ?? ""), data.reason.text);
    if (step.vm_is) equal("the VM", data.vm, this.named(step.vm_is));
    for (const phase of step.timed ?? []) assert.ok(data.timings[phase] != null, `the phase ${phase} was not timed`);
  }

  async do_list(step) {
    const { filter = {}, page = 50, ids, cursor } = step;
    const query = { ...filter, limit: String(page), ...(cursor !== undefined && { cursor }) };
    const found = [];
    for await (const environment of this.plane.environments(query)) found.push(environment.id);
    equal("the list", found, ids);
  }

  async do_snapshot(step) {
    const { as } = step;
    const made = await (await this.environment(step)).createSnapshot(step.with ?? {});
    if (as) this.names.set(as, made.id);
  }

  snapshot(step) {
    return this.plane.snapshot(this.named(step.snapshot));
  }
  async do_restore(step) {
    await (await this.snapshot(step)).restore();
  }
  async do_delete_snapshot(step) {
    await (await this.snapshot(step)).delete();
  }

  async do_check_snapshot(step) {
    const snapshot = await this.snapshot(step);
    const { state, mode, reason, parent, lineage } = step;
    equal("the state", snapshot.state, state);
    equal("the mode", snapshot.data.mode, mode);
    equal("the reason", snapshot.data.reason?.code, reason);
    if (parent) equal("the parent", snapshot.data.parent_snapshot_id, this.named(parent));
    if (lineage) equal("the lineage", (await snapshot.lineage()).map((s) => s.id), lineage.map((n) => this.named(n)));
  }

  async do_snapshots(step) {
    const { filter = {}, states, on_hosts } = step;
    await this.stage?.act({ do: "snapshots", filter, on_hosts });
    const found = [];
    const filters = Object.fromEntries(Object.entries(filter).map(([name, value]) => [name, String(value)]));
    for await (const snapshot of this.plane.snapshots(filters)) found.push(snapshot.state);
    equal("the snapshots", found, states);
  }

  async do_register(step) {
    const { host, with: fields = {} } = step;
    if (fields.has) await this.stage?.act({ do: "host", host, has: fields.has });
    await this.register(host, fields);
  }

  async register(id, { url = `stub://${id}`, region, labels, declared, arch }) {
    const capacity = { ...declared, ...(arch && { arch }) };
    await this.plane.registerHost({ id, url, region, labels, ...(Object.keys(capacity).length > 0 && { capacity }) });
  }

  async do_cordon(step) {
    await (await this.plane.host(step.host)).cordon();
  }
  async do_uncordon(step) {
    await (await this.plane.host(step.host)).uncordon();
  }
  async do_remove_host(step) {
    const { host, force = false } = step;
    await (await this.plane.host(host)).remove({ force });
  }

  async do_check_host(step) {
    const { host, vms } = step;
    const { data } = await this.plane.host(host);
    await this.stage?.act({ do: "check_host", host, vms });
    equal("the state", data.state, step.state);
    equal("the liveness", data.liveness?.state, step.liveness);
    equal("the warnings", (data.warnings ?? []).length, step.warnings);
    for (const [key, want] of Object.entries(step.taken ?? {})) equal(`taken ${key}`, data.allocated[key], want);
  }

  async do_events(step) {
    const about = this.named(step.about);
    const { after = 0, are } = step;
    const newest = await this.plane.newestEvent();
    const got = [];
    let last = after;
    while (last < newest) {
      for await (const event of this.plane.events({ after: last })) {
        assert.equal(event.sequence, last + 1, "the events have a gap");
        last = event.sequence;
        if (event.subject.id === about) got.push(event.event);
        if (last >= newest) break;
      }
    }
    equal("the events", got, are);
  }

  async do_dead_letters(step) {
    equal("the dead letters", (await this.plane.deadLetters()).map((letter) => letter.id), step.are);
  }

  async do_retry(step) {
    await this.plane.retryDeadLetter(step.letter);
  }
  async do_dismiss(step) {
    await this.plane.dismissDeadLetter(step.letter);
  }

  async do_create_key(step) {
    const { label = "", scopes = [], as } = step;
    this.keys.set(as, await this.plane.createApiKey({ label, scopes }));
  }

  async do_revoke_key(step) {
    const { key } = step;
    await this.plane.revokeApiKey(this.keys.get(key)?.id ?? key);
  }
}

/** What the scenario needs beyond the public interface. */
function needs({ steps, config, hosts = {} }) {
  const registered = steps.filter((step) => step.do === "register").map((step) => step.with ?? {});
  return steps.some((step) => INSIDE.has(step.do)) || config || [...Object.values(hosts), ...registered].some((host) => "has" in host)
    || JSON.stringify(steps).includes("sleep 31"); // half a minute of real time
}

async function play(world, { steps }) {
  for (const [index, step] of steps.entries()) {
    await world.step(step).catch((error) => {
      throw new Error(`step ${index + 1} ${JSON.stringify(step)}: ${error.message}`, { cause: error });
    });
  }
}

const scenarios = readdirSync(FOLDER).filter((name) => name.endsWith(".json")).sort().map((name) => ({
  name: path.parse(name).name,
  scenario: JSON.parse(readFileSync(path.join(FOLDER, name), "utf8")),
}));
const open = scenarios.filter(({ scenario }) => !needs(scenario));

test("enough of them run", () => assert.ok(scenarios.length >= 70 && open.length >= 23));

describe("in this process", () => {
  for (const { name, scenario } of open) {
    test(name, async () => {
      const plane = await fuse.Orchestrator.inMemory();
      try {
        const world = new World(plane);
        await (await plane.host("default")).remove();
        for (const [host, fields] of Object.entries(scenario.hosts ?? {})) await world.register(host, fields);
        await play(world, scenario);
      } finally {
        await plane.close();
      }
    });
  }
});

describe("over REST", { skip: Stage.program ? false : "FUSE_STAGE names no stage" }, () => {
  let stage;
  before(async () => (stage = await Stage.start()));
  after(() => stage.close());
  for (const { name, scenario } of scenarios) {
    test(name, async () => {
      await stage.act({ open: { config: scenario.config, hosts: scenario.hosts } });
      const plane = await fuse.Orchestrator.connect(stage.url, stage.token);
      try {
        await play(new World(plane, stage), scenario);
      } finally {
        await plane.close();
      }
    });
  }
});
