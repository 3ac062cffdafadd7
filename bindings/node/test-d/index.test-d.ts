// The types that programs get, one by one; tsd reads it, nothing runs it.
import { Duplex } from "node:stream";
import { expectAssignable, expectError, expectNotAssignable, expectType } from "tsd";

import * as fuse from "..";

// Runtimes and modules.
const runtime = new fuse.Runtime({ application: { events: { GO: 1 }, metering: "both" }, hal: { temp: () => 21.5 } });
const module = runtime.load("m", new Uint8Array(), { capabilities: ["TIMER"], fuel_quota: 5n });
expectType<fuse.Module>(module);
expectType<fuse.ModuleState>(module.state);
expectType<bigint>(module.id);
expectType<string | undefined>(module.failure);
expectType<Buffer>(module.readMemory(0, 4));
expectType<void>(module.runStep());
expectType<fuse.TickReport>(runtime.tick());
expectType<fuse.ErrorKind | undefined>(runtime.tick().outcomes[0]!.error);
expectType<number | undefined>(runtime.nextDeadlineUs);
expectType<AsyncGenerator<fuse.TickReport, void, void>>(runtime.ticks({ signal: new AbortController().signal }));
expectType<Promise<number>>(runtime.run({ ticks: 3, onTick: (report) => expectType<fuse.TickReport>(report) }));
expectAssignable<Disposable>(runtime);
expectError((module.state = "Running"));
expectError(new fuse.Runtime({ application: { metering: "none" } }));
expectError(runtime.load("m", 5));
expectError(runtime.load("m", "(module)", { stack_sise: 1 }));
expectError(new fuse.Module(runtime));

// Callbacks.
expectAssignable<fuse.Hal>({ camera: (maxLen: number) => new Uint16Array(maxLen) });
expectAssignable<fuse.Hal>({ camera: () => null, timer: () => 5n });
expectNotAssignable<fuse.Hal>({ camera: () => "frame" });
expectNotAssignable<fuse.Hal>({ temp: async () => 21.5 });
expectNotAssignable<fuse.HalFunction>({ name: "f", params: ["i8"], callback: () => undefined });

// Policies and artifacts.
expectType<fuse.Policy>(new fuse.Policy({ activation: "EVENT" }).replace({ cpu_quota_us: 5 }));
expectType<bigint>(new fuse.Policy().fuelQuota);
expectType<Buffer>(fuse.compile("(module)", { metering: "fuel", target: "pulley64" }));
expectType<Buffer | undefined>(fuse.inspect(Buffer.alloc(0)).portable);
expectError(fuse.compile("(module)", { metering: "none" }));

// Errors.
const trap = new fuse.TrapError("Trap", "why");
expectAssignable<fuse.EdgeError>(trap);
expectAssignable<Error>(trap);
expectType<number | undefined>(trap.faultCode);
expectType<fuse.ErrorKind>(trap.code);
expectNotAssignable<fuse.OrchestratorError>(trap);

// The orchestrator.
async function orchestrate(): Promise<void> {
  const plane = await fuse.Orchestrator.connect("https://example.org", "token");
  expectType<fuse.Orchestrator>(plane);
  expectAssignable<AsyncDisposable>(plane);
  const environment = await plane.provision({ task_id: "t", files: { "/a": new Uint8Array() } }, { idempotencyKey: "k" });
  expectType<fuse.Environment>(environment);
  expectType<fuse.Environment>(await environment.waitRunning(60, { signal: AbortSignal.timeout(5) }));
  expectType<fuse.ExecResult>(await environment.exec(["true"]));
  expectType<fuse.Snapshot>(await environment.createSnapshot());
  expectType<AsyncGenerator<fuse.Environment, void, void>>(plane.environments({ state: "running" }));
  for await (const event of environment.events({ after: 0 })) expectType<fuse.EventData>(event);
  for await (const text of environment.followLogs("agent")) expectType<string>(text);
  const terminal = await environment.attach({ cmd: ["sh"], rows: 24, cols: 80 });
  expectType<fuse.Terminal>(terminal);
  expectAssignable<Duplex>(terminal);
  expectType<number | undefined>(terminal.exitCode);
  expectType<Promise<void>>(terminal.resize(1, 2));
  expectError(await plane.provision({}));
  expectError(await environment.attach("sh"));
  expectError(environment.followLogs("kernel"));
}
void orchestrate;

// What runs environments.
expectType<Promise<fuse.Orchestrator>>(fuse.Orchestrator.open("state", { provider: "local", hostData: "vms" }));
expectError(fuse.Orchestrator.open("state", { provider: "qemu" }));
declare const plane: fuse.Orchestrator;
expectType<fuse.Provider | undefined>(plane.provider);
expectType<"local" | "stub" | "remote" | undefined>(plane.provider?.name);
expectError((plane.provider = undefined));
