//! Gives the shared library its SONAME: the major version of the ABI, and a name that no other library has.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libfuse-runtime.so.1");
}
