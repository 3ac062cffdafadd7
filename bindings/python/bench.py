"""What the Python binding costs, beside the `wasmtime` package of PyPI where it is installed: a table on standard output."""

from __future__ import annotations

import time
from collections.abc import Callable

import fuse_runtime as fuse

EMPTY = '(module (func (export "module_step")))'
CALLS = 1000
HOST = f"""(module (import "env" "temp_get_reading" (func $t (result f32)))
  (func (export "module_step") (local $i i32)
    (loop $again (drop (call $t)) (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {CALLS}))))))"""
ROUNDS = 3_000_000
WORK = f"""(module (memory (export "memory") 1) (func (export "module_step") (local $i i32) (local $s i32)
  (loop $again
    (local.set $s (i32.add (i32.mul (local.get $s) (i32.const 31)) (local.get $i)))
    (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {ROUNDS}))))
  (i32.store (i32.const 0) (local.get $s))))"""


def per_call(call: Callable[[], object], calls: int, rounds: int = 7) -> float:
    """Nanoseconds of one call: the best of some rounds, since what disturbs only ever adds."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter_ns()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter_ns() - began) / calls)
    return best


def ours() -> dict[str, float]:
    """The binding's figures."""
    nothing = per_call(lambda: None, 20_000)
    with fuse.Runtime(hal=fuse.Hal(temp=lambda: 1.0), step_timing="every", logger=None) as timed:
        inside = timed.load("m", EMPTY)
        inside.start()
        per_call(inside.run_step, 20_000)
        core = inside.stats.step_time.mean_ns
    with fuse.Runtime(hal=fuse.Hal(temp=lambda: 1.0), logger=None) as runtime:
        empty = runtime.load("empty", EMPTY)
        host = runtime.load("host", HOST, fuse.Policy(capabilities=["TEMP_SENSOR"]))
        work = runtime.load("work", WORK)
        for module in (empty, host, work):
            module.start()
        step = per_call(empty.run_step, 20_000)
        return {
            "step": step,
            "step above the core": step - core,
            "host call": per_call(host.run_step, 20) / CALLS - nothing / CALLS,
            "throughput": per_call(work.run_step, 3),
        }


def theirs() -> dict[str, float] | None:
    """Those of the wasmtime package."""
    try:
        import wasmtime
    except ImportError:
        return None
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    temp = wasmtime.Func(store, wasmtime.FuncType([], [wasmtime.ValType.f32()]), lambda: 1.0)

    def step(source: str, imports: list[object]) -> Callable[[], object]:
        instance = wasmtime.Instance(store, wasmtime.Module(engine, source), imports)  # type: ignore[arg-type]
        exported = instance.exports(store)["module_step"]
        return lambda: exported(store)  # type: ignore[operator]

    return {
        "step": per_call(step(EMPTY, []), 5_000),
        "host call": per_call(step(HOST, [temp]), 5) / CALLS,
        "throughput": per_call(step(WORK, []), 3),
    }


def main() -> None:
    """Measures and prints."""
    mine, rival = ours(), theirs()
    goals = {"step above the core": 300, "host call": 1000}
    print(f"{'Python':<22}{'fuse_runtime':>14}{'wasmtime':>14}{'goal':>10}   (ns)")
    for name, value in mine.items():
        other = f"{rival[name]:.0f}" if rival and name in rival else "-"
        print(f"{name:<22}{value:>14.0f}{other:>14}{goals.get(name, '-'):>10}")


if __name__ == "__main__":
    main()
