//! Builds the kernels natively, from the same C as the modules.

use std::path::Path;

const KERNELS: [&str; 7] = ["blur_sobel", "crc32", "heapsort", "matmul", "rle", "sha256", "sieve"];

fn main() {
    let mut build = cc::Build::new();
    for kernel in KERNELS {
        build.file(Path::new("kernels").join(kernel).with_extension("c"));
    }
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-changed=../../examples/modules");
    // As `make -C kernels native` does, whatever the profile: the figures are against -O2.
    build
        .include("../../examples/modules")
        .std("c11")
        .opt_level(2)
        .debug(false)
        .flag("-ffp-contract=off")
        .warnings(true)
        .compile("kernels");
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-changed=../../include");
    cc::Build::new()
        .file("c/calls.c")
        .include("../../include")
        .std("c11")
        .opt_level(2)
        .debug(false)
        .warnings(true)
        .compile("calls");
    let version = build.get_compiler().to_command().arg("--version").output();
    let version =
        version.map(|out| String::from_utf8_lossy(&out.stdout).lines().next().unwrap_or_default().to_owned());
    println!("cargo:rustc-env=FUSE_BENCH_CC={}", version.unwrap_or_else(|_| "unknown".into()));
}
