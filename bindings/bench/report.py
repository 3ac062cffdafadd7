"""The table of the bindings' benchmarks, as Markdown, from the figures of each language.

usage: report.py FIGURES.json...
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any


def shown(ns: float) -> str:
    for limit, unit in ((1e6, "ms"), (1e3, "µs")):
        if abs(ns) >= limit:
            return f"{ns / limit:.2f} {unit}"
    return f"{ns:.1f} ns"


def rows(measured: dict[str, Any]) -> list[tuple[str, str, str, str, str, str, str]]:
    """One row for each figure: what, ours, rival, the rival's, compared, bar, verdict."""
    language, rival, rust = measured["language"], measured["rival"], measured["rust"]
    table = []

    def add(what: str, name: str, against: str, other: float, more: float | None = None, most: float | None = None) -> None:
        ours = measured["figures"][name]
        median = ours["median"]
        if more is not None:
            compared, bar, met = f"{median - other:+.1f} ns", f"≤ {more:.0f} ns more", median - other <= more
        elif most is not None:
            compared, bar, met = f"{median / other:.2f} ×", f"≤ {shown(most)}", median <= most
        else:
            compared, bar, met = f"{median / other:.2f} ×", "report", None
        verdict = "" if met is None else "met" if met else "**missed**"
        cell = f"{shown(median)} (p99 {shown(ours['p99'])})"
        table.append((f"{language}: {what}", cell, against, shown(other), compared, bar, verdict))

    def their(name: str) -> float:
        return float(measured["figures"][f"their {name}"]["median"])

    callback = 1000.0 if language == "Python" else None
    add("empty step", "step", "the Rust API", rust["empty"], more=300.0)
    add("the same", "step", rival, their("step"))
    add("HAL callback (temp, () → f32)", "host", rival, their("host"), most=callback)
    add("callback of a group (i32 → i32)", "group", rival, their("group"), most=callback)
    for name, what in (("arithmetic", "a million rounds of arithmetic"), ("memory", "a page read and written 100 times")):
        add(what, name, "the Rust API", rust[name])
        add("the same", name, rival, their(name))
    return table


def main() -> None:
    measured = [json.loads(pathlib.Path(path).read_text()) for path in sys.argv[1:]]
    print("## Python and Node\n")
    print("; ".join(f"{one['version']}, beside {one['rival']}" for one in measured) + ".\n")
    if any(one["quick"] for one in measured):
        print("**A quick run: the figures mean nothing.**\n")
    table = [row for one in measured for row in rows(one)]
    verdicts = [row[-1] for row in table]
    print(f"{verdicts.count('met')} bars met, {verdicts.count('**missed**')} missed.\n")
    print("| figure | median (p99) | rival | rival's median | compared | bar | |\n|---|--:|---|--:|--:|---|---|")
    for row in table:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
