#!/usr/bin/env python3
"""Writes a module that takes far more memory for what is known about it than for its code: many types, exports, globals,
functions, table elements and data segments. The bound of its memory must hold all the same."""
TYPES = ["i32", "i64", "f32", "f64"]


def params(n: int) -> str:
    return " ".join(TYPES[(n >> (2 * k)) & 3] for k in range(4))


print("(module (memory (export \"memory\") 2) (table 500 funcref)")
for n in range(256):
    print(f"(type (func (param {params(n)}) (result {params(255 - n)})))")
for n in range(300):
    print(f"(func $f{n} (export \"e{n}\") (result i32) (i32.const {n}))")
    print(f"(global (export \"g{n}\") (mut i64) (i64.const {n}))")
    print(f"(data (i32.const {n * 100}) \"segment {n}\")")
print("(elem (i32.const 0) " + " ".join(f"$f{n}" for n in range(300)) + ")")
print("(func (export \"module_step\")))")
