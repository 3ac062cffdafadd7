//! The library that `cargo test` builds is one that Node can load: `tests/bindings.sh` packs and tests it.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

fn contains(library: &[u8], text: &str) -> bool {
    library.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn it_has_its_entry_and_links_no_interpreter() {
    let beside = std::env::current_exe().unwrap();
    let library = std::fs::read(beside.with_file_name("libfuse_node.so")).unwrap();
    assert!(contains(&library, "napi_register_module_v1\0"));
    assert!(!contains(&library, "libnode"));
}
