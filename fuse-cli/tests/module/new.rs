//! `fuse module new`.

use std::process::Command;

use crate::workbench::{Workbench, keys};

const LANGUAGES: [(&str, &str); 4] =
    [("c", "module.c"), ("cpp", "module.cpp"), ("rust", "module.rs"), ("zig", "module.zig")];

#[test]
fn each_language_has_a_source_a_configuration_and_a_makefile() {
    let bench = Workbench::new();
    for (language, source) in LANGUAGES {
        let name = format!("probe_{language}");
        let made = bench.fuse(&["new", &name, "--lang", language, "--json"]).exits(0).json();
        assert_eq!(keys(&made), ["name", "language", "folder", "files"]);
        let files = bench.files(&name);
        assert_eq!(files.len(), 4, "{files:?}");
        for file in [source, "app_config.json", "Makefile"] {
            assert!(files.iter().any(|f| f == file), "{file} in {files:?}");
        }
        // Without the binary, that is the only thing that is wrong.
        let review = bench.fuse(&["check", &format!("{name}/app_config.json"), "--json"]).exits(1).json();
        assert_eq!(review["errors"], 1, "{review}");
        assert!(review["problems"][0]["what"].as_str().unwrap().contains("cannot read"));
    }
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let bench = Workbench::new();
    std::fs::create_dir(bench.path("taken")).unwrap();
    bench.write("taken/precious", "x");
    let done = bench.fuse(&["new", "taken", "--lang", "c"]).exits(2);
    assert!(done.err.contains("not empty"), "{}", done.err);
    assert_eq!(bench.files("taken"), ["precious"]);
    bench.fuse(&["new", "other", "--lang", "c", "--dir", "deep/down"]).exits(0);
    assert!(bench.path("deep/down/module.c").exists());
}

#[test]
fn names_and_languages_are_checked() {
    let bench = Workbench::new();
    for arguments in [&["new", "../up", "--lang", "c"][..], &["new", "a", "--lang", "cobol"], &["new", "a"]] {
        bench.fuse(arguments).exits(2);
    }
}

/// The first of these programs that is there.
fn first(programs: &[&str]) -> Option<String> {
    let there = |p: &&&str| Command::new(p).arg("--version").output().is_ok_and(|o| o.status.success());
    programs.iter().find(there).map(ToString::to_string)
}

/// Builds and runs the template where this machine has the compiler; says so where it has not.
fn builds_and_runs(language: &str, setting: Option<String>) {
    let Some(setting) = setting else {
        eprintln!("skipped: no compiler for {language} to wasm32 on this machine");
        return;
    };
    let bench = Workbench::new();
    bench.fuse(&["new", "probe", "--lang", language]).exits(0);
    let made = Command::new("make").arg(setting).current_dir(bench.path("probe")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // A busy machine may take longer than a module should.
    let config = std::fs::read_to_string(bench.path("probe/app_config.json")).unwrap();
    let patient = config.replace(r#""cpu_quota_us": 10000"#, r#""cpu_quota_us": 1000000"#);
    assert_ne!(config, patient);
    bench.write("probe/app_config.json", patient);
    bench.fuse(&["check", "probe/app_config.json", "--strict", "--run", "3"]).exits(0);
    let report =
        bench.fuse(&["run", "probe/app_config.json", "--duration", "100ms", "--json"]).exits(0).json();
    assert_eq!(report["modules"][0]["steps"], 1);
    assert!(report["log"][1]["text"].as_str().unwrap().starts_with("probe: step 1 at "), "{report}");
}

#[test]
fn the_c_template_builds_and_runs() {
    let linker = first(&["wasm-ld", "wasm-ld-14"]);
    builds_and_runs("c", linker.and(first(&["clang", "clang-14"])).map(|clang| format!("CLANG={clang}")));
}

#[test]
fn the_cpp_template_builds_and_runs() {
    let linker = first(&["wasm-ld", "wasm-ld-14"]);
    builds_and_runs(
        "cpp",
        linker.and(first(&["clang++", "clang++-14"])).map(|clang| format!("CLANGXX={clang}")),
    );
}

#[test]
fn the_rust_template_builds_and_runs() {
    let has_library = |rustc: &&&str| {
        let query = ["--print", "target-libdir", "--target", "wasm32-unknown-unknown"];
        let Ok(output) = Command::new(rustc).args(query).output() else { return false };
        std::path::Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    };
    let rustc = ["rustc", "/usr/bin/rustc"].iter().find(has_library).map(|rustc| format!("RUSTC={rustc}"));
    builds_and_runs("rust", rustc);
}

#[test]
fn the_zig_template_builds_and_runs() {
    let module = Command::new("python3").args(["-m", "ziglang", "version"]).output();
    let module = module.is_ok_and(|o| o.status.success()).then(|| "ZIG=python3 -m ziglang".to_owned());
    builds_and_runs("zig", first(&["zig"]).map(|zig| format!("ZIG={zig}")).or(module));
}
