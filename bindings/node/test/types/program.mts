// A program that uses the declarations; the compiler reads it, nothing runs it.
import fuse, { type Hal, type ModuleState, Policy, Runtime, TrapError } from "fuse-runtime";

const hal: Hal = {
  temp: () => 21.5,
  camera: (maxLen) => new Uint16Array(maxLen),
  groups: [{ name: "downlink", bit: 8, functions: [{ name: "write", params: ["in"], result: "i32", callback: (data: Buffer) => data.length }] }],
};
using runtime = new Runtime({ application: { events: { GO: 1 }, metering: "both" }, hal });
const module = runtime.load("m", new Uint8Array(), new Policy({ capabilities: ["TIMER"], fuel_quota: 5n }));
try {
  module.runStep();
} catch (error) {
  if (error instanceof TrapError) {
    const code: number | undefined = error.faultCode;
    console.log(code, error.code);
  }
}
const state: ModuleState = module.state;
const due: number | undefined = runtime.nextDeadlineUs;
const signal = AbortSignal.timeout(10);
for await (const report of runtime.ticks({ signal })) {
  console.log(report.failed.map((outcome) => outcome.module.name), state, due, fuse.ENGINE_VERSION);
}
// @ts-expect-error: not a field of a policy
new Policy({ stack_sise: 1 });
// @ts-expect-error: not a metering
new Runtime({ application: { metering: "none" } });
// @ts-expect-error: read only
module.state = "Running";
