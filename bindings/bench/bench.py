"""What the Python binding costs, beside the Rust API and the `wasmtime` package of PyPI. Writes figures as JSON.

usage: bench.py FUSE-BENCH [--quick]
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import wasmtime

import fuse_runtime as fuse

FOLDER = pathlib.Path(__file__).parent
CALLS_PER_STEP = 1000
Call = Callable[[], object]


def modules() -> dict[str, str]:
    return {path.stem: path.read_text() for path in FOLDER.glob("*.wat")}


def reference(program: str, options: list[str]) -> dict[str, float]:
    """Medians of the Rust API on the same modules, in a process of its own."""
    ran = subprocess.run([program, *options, "child", "reference", str(FOLDER)], stdout=subprocess.PIPE, check=True)
    return {name: summary["median"] for name, summary in json.loads(ran.stdout).items()}


def batch(call: Call, calls: int, parts: int = 1) -> Callable[[], float]:
    """One sample: the mean of some calls, in nanoseconds. The loop is in it."""

    def sample() -> float:
        began = time.perf_counter_ns()
        for _ in range(calls):
            call()
        return (time.perf_counter_ns() - began) / (calls * parts)

    return sample


def interleave(rounds: int, sides: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measures all sides turn by turn, so that what disturbs the machine disturbs all. A tenth is warm-up."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    warm_up = rounds // 10 + 1
    for turn in range(rounds + warm_up):
        for at in range(len(names)):
            name = names[(turn + at) % len(names)]
            sample = sides[name]()
            if turn >= warm_up:
                samples[name].append(sample)
    return samples


def ours(sources: dict[str, str], temp: Callable[[], float], gpio: Callable[[int], int]) -> dict[str, Call]:
    group = fuse.HalGroup("gpio", 8).add("gpio_read", ["i32"], "i32", gpio)
    runtime = fuse.Runtime(hal=fuse.Hal(temp=temp, groups=[group]), logger=None)
    steps: dict[str, Call] = {}
    for name, source in sources.items():
        module = runtime.load(name, source, fuse.Policy(capabilities=1 | 1 << 8))
        module.start()
        steps[name] = module.run_step
    return steps


def theirs(sources: dict[str, str], temp: Callable[[], float], gpio: Callable[[int], int]) -> dict[str, Call]:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    i32, f32 = wasmtime.ValType.i32, wasmtime.ValType.f32
    imports: dict[str, list[Any]] = {
        "host": [wasmtime.Func(store, wasmtime.FuncType([], [f32()]), temp)],
        "group": [wasmtime.Func(store, wasmtime.FuncType([i32()], [i32()]), gpio)],
    }

    def step(name: str, source: str) -> Call:
        instance = wasmtime.Instance(store, wasmtime.Module(engine, source), imports.get(name, []))
        exported: Any = instance.exports(store)["module_step"]
        return lambda: exported(store)

    return {name: step(name, source) for name, source in sources.items()}


def main() -> None:
    program, *options = sys.argv[1:]
    quick = "--quick" in options
    sources = modules()

    def temp() -> float:
        return 1.0

    def gpio(pin: int) -> int:
        return pin

    here, there = ours(sources, temp, gpio), theirs(sources, temp, gpio)
    gc.collect()
    gc.disable()
    before = reference(program, options)
    short, long = (2, 2) if quick else (1000, 100)
    sides = {
        "step": batch(here["empty"], 256),
        "their step": batch(there["empty"], 256),
        "python call": batch(temp, 256),
    }
    samples = interleave(short, sides)
    sides = {
        **{name: batch(here[name], 1, CALLS_PER_STEP) for name in ("host", "group")},
        **{f"their {name}": batch(there[name], 1, CALLS_PER_STEP) for name in ("host", "group")},
        **{name: batch(here[name], 1) for name in ("arithmetic", "memory")},
        **{f"their {name}": batch(there[name], 1) for name in ("arithmetic", "memory")},
    }
    samples |= interleave(long, sides)
    after = reference(program, options)
    figures = {
        name: {
            "median": statistics.median(values),
            "p99": sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)],
        }
        for name, values in samples.items()
    }
    rust = {name: statistics.mean((before[name], after[name])) for name in before}
    names = {
        "language": "Python",
        "version": f"CPython {platform.python_version()}",
        "rival": "the `wasmtime` package " + importlib.metadata.version("wasmtime"),
        "quick": quick,
    }
    json.dump({**names, "figures": figures, "rust": rust}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
