//! Rules 8 to 10: the header is what the source says, and compiles everywhere.

use std::fs;
use std::path::Path;
use std::process::Command;

use fuse_abi::header::{self, functions};
use fuse_abi::repository;

/// Compares a generated file with the committed one; with FUSE_BLESS it is written.
fn is_current(path: &Path, made: &str) {
    if std::env::var_os("FUSE_BLESS").is_some() {
        // Other tests read it meanwhile.
        let new = path.with_extension("new");
        fs::write(&new, made).unwrap();
        fs::rename(&new, path).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    let line = made.lines().zip(committed.lines()).position(|(a, b)| a != b);
    assert!(
        committed == made,
        "{} differs from what the source says (first at line {line:?}); write it with \
         `FUSE_BLESS=1 cargo test --workspace --test abi`",
        path.display()
    );
}

#[test]
fn rule_09_the_header_is_what_the_source_says() {
    is_current(&header::path(), &header::generate().unwrap());
}

fn flight_functions() -> Vec<header::Function> {
    functions(&fs::read_to_string(header::flight_path()).unwrap())
}

#[test]
fn rule_09_the_table_of_functions_is_what_the_header_says() {
    let header = fs::read_to_string(header::path()).unwrap();
    let functions = functions(&header);
    assert!(functions.len() > 100, "only {} functions were found", functions.len());
    let flight = flight_functions();
    assert!(flight.len() >= 4, "only {} functions of the flight library were found", flight.len());
    for function in functions.iter().chain(&flight) {
        assert!(function.context().is_some(), "{} does not say where it may be called", function.name);
    }
    is_current(&repository().join("docs/c-functions.md"), &header::table(&functions, &flight));
}

/// Includes the header twice, and uses every `_INIT` macro.
fn user(header: &str) -> String {
    let inits = header.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once("_INIT "));
    let uses = inits.map(|(name, _)| {
        let ty = name.to_lowercase();
        format!(
            "{ty}_t make_{ty}(void);\n{ty}_t make_{ty}(void) {{ {ty}_t made = {name}_INIT; return made; }}\n"
        )
    });
    let uses: String = uses.collect();
    assert!(uses.matches("_INIT").count() >= 12, "{uses}");
    format!("#include <fuse.h>\n#include <fuse.h>\n{uses}")
}

#[test]
fn rule_10_the_header_compiles_as_every_c_and_cpp() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header");
    fs::create_dir_all(&folder).unwrap();
    let text = user(&fs::read_to_string(header::path()).unwrap());
    let (c, cpp) = (folder.join("user.c"), folder.join("user.cpp"));
    fs::write(&c, &text).unwrap();
    fs::write(&cpp, &text).unwrap();
    let plus = folder.join("plus.cpp");
    fs::write(&plus, "#include <fuse.hpp>\n#include <fuse.hpp>\n#include <fuse.h>\n").unwrap();
    let bare = &["-ffreestanding", "-nostdlib"][..];
    let edge = &["-DFUSE_EDGE_ONLY", "-fno-exceptions", "-fno-rtti"][..];
    let mut builds: Vec<(&str, &str, &Path, &[&str])> = Vec::new();
    for compiler in ["gcc", "clang"] {
        builds.extend(["c99", "c11", "c17"].map(|standard| (compiler, standard, c.as_path(), bare)));
    }
    for compiler in ["g++", "clang++"] {
        builds.extend(["c++11", "c++17", "c++20"].map(|standard| (compiler, standard, cpp.as_path(), bare)));
        for standard in ["c++17", "c++20"] {
            builds.push((compiler, standard, &plus, &[]));
            builds.push((compiler, standard, &plus, edge));
        }
    }
    for (compiler, standard, source, flags) in builds {
        let mut command = Command::new(compiler);
        command.arg(format!("-std={standard}")).args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c"]);
        command.args(flags).arg("-I").arg(repository().join("include")).arg(source);
        let output = command.arg("-o").arg(folder.join("user.o")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{compiler} -std={standard} {}: {said}", source.display());
    }
}

#[test]
fn rule_01_everything_has_our_prefix() {
    let header = fs::read_to_string(header::path()).unwrap();
    for line in header.lines() {
        let name = match line.strip_prefix("#define ") {
            Some(rest) => rest.split([' ', '(']).next(),
            None => line.strip_prefix("typedef ").filter(|l| l.ends_with(';')).and_then(|l| {
                let bare = l.trim_end_matches(';');
                bare.split_once("(*")
                    .map_or_else(|| bare.split(' ').next_back(), |(_, rest)| rest.split(')').next())
            }),
        };
        if let Some(name) = name {
            assert!(name.starts_with("fuse_") || name.starts_with("FUSE_"), "{line}");
        }
        assert!(!line.trim_start().starts_with("enum "), "an enum crosses: {line}");
    }
    for function in functions(&header) {
        assert!(function.name.starts_with("fuse_"), "{}", function.name);
    }
}

#[test]
fn rule_02_every_struct_begins_with_its_size() {
    let header = fs::read_to_string(header::path()).unwrap();
    let mut structs = 0;
    for part in header
        .split("typedef struct ")
        .skip(1)
        .filter(|part| part.lines().next().is_some_and(|l| l.ends_with('{')))
    {
        structs += 1;
        let field = part.lines().find(|line| line.ends_with(';')).unwrap_or_default();
        assert_eq!(field.trim(), "uint32_t struct_size;", "{}", part.lines().next().unwrap_or_default());
        assert!(!part.split("} fuse_").next().unwrap_or_default().contains("#if"), "a member is conditional");
    }
    assert!(structs >= 12, "{structs} structs were found");
}

#[test]
fn rule_03_the_handle_comes_first_and_rule_04_every_call_returns_a_status() {
    let header = fs::read_to_string(header::path()).unwrap();
    // These say what the library is, and cannot fail.
    let facts = [
        "fuse_abi_version",
        "fuse_features",
        "fuse_library_version",
        "fuse_engine_version",
        "fuse_status_name",
        "fuse_state_name",
    ];
    for function in functions(&header) {
        if facts.contains(&function.name.as_str()) {
            continue;
        }
        assert_eq!(function.returns, "fuse_status_t", "{}", function.name);
        for (prefix, ty) in [
            ("fuse_runtime_", "struct fuse_runtime_t *"),
            ("fuse_orchestrator_", "struct fuse_orchestrator_t *"),
            ("fuse_hal_call_", "struct fuse_hal_call_t *"),
            ("fuse_attach_", "struct fuse_attach_t *"),
        ] {
            let makes = [
                "fuse_runtime_new",
                "fuse_orchestrator_open",
                "fuse_orchestrator_open_with",
                "fuse_orchestrator_in_memory",
                "fuse_orchestrator_connect",
            ];
            if function.name.starts_with(prefix) && !makes.contains(&function.name.as_str()) {
                assert_eq!(function.params.first().map(|p| p.0.as_str()), Some(ty), "{}", function.name);
            }
        }
    }
}

#[test]
fn rule_07_every_call_that_blocks_has_an_async_form() {
    let functions = functions(&fs::read_to_string(header::path()).unwrap());
    // These give a handle, or close the orchestrator.
    let handles = ["open", "open_with", "in_memory", "connect", "close", "attach", "events", "follow_logs"];
    let of = |name: &str| functions.iter().find(|f| f.name == format!("fuse_orchestrator_{name}"));
    let blocks = |f: &header::Function| f.context().is_some_and(|[_, _, blocks, _]| blocks != "no");
    let mut number = 0;
    for function in functions.iter().filter(|f| f.name.starts_with("fuse_orchestrator_")) {
        let name = function.name.trim_start_matches("fuse_orchestrator_");
        if name.ends_with("_async") || handles.contains(&name) {
            assert_eq!(blocks(function), !name.ends_with("_async"), "{name}");
            continue;
        }
        // What is known since it was opened.
        if name == "provider" {
            assert!(!blocks(function));
            continue;
        }
        number += 1;
        let later = of(&format!("{name}_async")).unwrap_or_else(|| panic!("{name} has no _async form"));
        assert!(blocks(function) && !blocks(later), "{name}");
        let tells = later.params.iter().any(|(ty, _)| ty == "fuse_completion_fn");
        assert!(tells, "{name}_async tells nobody");
    }
    assert!(number >= 30, "only {number} calls were found");
}

#[test]
fn rule_06_every_export_is_behind_the_firewall() {
    // What neither calls the library's inside nor can panic.
    let plain = [
        "fuse_status_name",
        "fuse_abi_version",
        "fuse_features",
        "fuse_library_version",
        "fuse_engine_version",
        "fuse_state_name",
        "fuse_last_error",
        "fuse_quota_expire",
        "fuse_poster_post",
        "fuse_poster_post_at",
        "fuse_runtime_post_event",
    ];
    let walls = ["call(", "now(", "with(", "later(", "stream(", "send(", "firewall::catch("];
    for path in header::sources() {
        let text = fs::read_to_string(&path).unwrap();
        for export in text.split("extern \"C\" fn fuse_").skip(1) {
            let name = format!("fuse_{}", export.split('(').next().unwrap_or_default());
            let body = export.split("\n}\n").next().unwrap_or_default();
            let walled = walls.iter().any(|wall| body.contains(wall));
            assert!(walled || plain.contains(&name.as_str()), "{name} in {}", path.display());
        }
    }
}
