#!/bin/sh
# The compiler with the coverage counters and comparison traces that libFuzzer looks at.
exec "$@" \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Copt-level=1 -Ccodegen-units=1 --cfg=fuzzing --check-cfg='cfg(fuzzing)'
