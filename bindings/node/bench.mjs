// What the Node binding costs, beside Node's own WebAssembly: a table on standard output.
import { Runtime } from "fuse-runtime";

const CALLS = 1000;
const EMPTY = '(module (func (export "module_step")))';
const HOST = `(module (import "env" "temp_get_reading" (func $t (result f32)))
  (func (export "module_step") (local $i i32)
    (loop $again (drop (call $t)) (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const ${CALLS}))))))`;
const WORK = `(module (memory (export "memory") 1) (func (export "module_step") (local $i i32) (local $s i32)
  (loop $again
    (local.set $s (i32.add (i32.mul (local.get $s) (i32.const 31)) (local.get $i)))
    (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3000000))))
  (i32.store (i32.const 0) (local.get $s))))`;

/** Nanoseconds of one call: the best of some rounds, since what disturbs only ever adds. */
function perCall(call, calls) {
  let best = Infinity;
  for (let round = 0; round < 9; round++) {
    const began = process.hrtime.bigint();
    for (let n = 0; n < calls; n++) call();
    best = Math.min(best, Number(process.hrtime.bigint() - began) / calls);
  }
  return best;
}

function ours() {
  const hal = { temp: () => 1 };
  const timed = new Runtime({ hal, stepTiming: "every" });
  const inside = timed.load("m", EMPTY);
  inside.start();
  perCall(() => inside.runStep(), 20_000);
  const core = inside.stats.stepTime.meanNs;
  timed.close();
  const runtime = new Runtime({ hal });
  const [empty, host, work] = [["e", EMPTY], ["h", HOST], ["w", WORK]].map(([name, source]) => {
    const module = runtime.load(name, source, { capabilities: ["TEMP_SENSOR"] });
    module.start();
    return module;
  });
  const step = perCall(() => empty.runStep(), 20_000);
  const figures = {
    step,
    "step above the core": step - core,
    "host call": perCall(() => host.runStep(), 20) / CALLS,
    throughput: perCall(() => work.runStep(), 3),
  };
  runtime.close();
  return figures;
}

/** WebAssembly of the engine takes the binary form only, which an artifact carries. */
async function theirs() {
  const { compile, inspect } = await import("fuse-runtime");
  const step = async (source) => {
    const module = await WebAssembly.instantiate(inspect(compile(source)).portable, { env: { temp_get_reading: () => 1 } });
    return module.instance.exports.module_step;
  };
  const [empty, host, work] = await Promise.all([EMPTY, HOST, WORK].map(step));
  return { step: perCall(empty, 20_000), "host call": perCall(host, 20) / CALLS, throughput: perCall(work, 3) };
}

const [mine, rival] = [ours(), await theirs()];
const goals = { "step above the core": 300 };
console.log(`${"Node".padEnd(22)}${"fuse-runtime".padStart(14)}${"WebAssembly".padStart(14)}${"goal".padStart(10)}   (ns)`);
for (const [name, value] of Object.entries(mine)) {
  const cells = [value.toFixed(0).padStart(14), (rival[name]?.toFixed(0) ?? "-").padStart(14), String(goals[name] ?? "-").padStart(10)];
  console.log(name.padEnd(22) + cells.join(""));
}
