//! Rule 6: every function with every pointer NULL, and with every handle closed or of another kind. The programs are made of the header, so that none is forgotten.
//! Requirement FLIGHT-09.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use fuse_abi::header::{self, Function, functions};
use fuse_abi::program::{Build, run};

/// Functions that may get NULL and then do nothing.
fn takes_nothing(name: &str) -> bool {
    name.ends_with("_close") || name.ends_with("_free")
}

/// What is given for a parameter that is not under test.
fn good(param: &(String, String)) -> String {
    let (ty, name) = param;
    match ty.as_str() {
        "struct fuse_runtime_t *" => "runtime".into(),
        "struct fuse_app_t *" | "const struct fuse_app_t *" => "app".into(),
        "struct fuse_poster_t *" | "const struct fuse_poster_t *" => "poster".into(),
        "struct fuse_orchestrator_t *" => "orchestrator".into(),
        "const struct fuse_quota_expiry_t *" => "expiry".into(),
        // There is none outside a callback, and a terminal and a stream need an environment.
        "struct fuse_hal_call_t *" | "struct fuse_attach_t *" | "struct fuse_stream_t *" => "NULL".into(),
        "const void *" if name == "handle" => "runtime".into(),
        "void *" => "NULL".into(),
        "const char *" => "\"x\"".into(),
        ty if ty.ends_with("_fn") || ty == "fuse_finalizer_t" => "NULL".into(),
        ty if ty.ends_with('*') && ty.contains("struct fuse_") && !ty.ends_with("**") => {
            let bare =
                ty.trim_start_matches("const ").trim_start_matches("struct ").trim_end_matches([' ', '*']);
            format!("init_{bare}()")
        }
        ty if ty.ends_with('*') => format!("({ty})memory"),
        // A length goes with the pointer before it.
        "size_t" => "8".into(),
        _ => "1".into(),
    }
}

fn call(function: &Function, arguments: &[String]) -> String {
    format!("{}({})", function.name, arguments.join(", "))
}

/// The program: each function with all pointers NULL, then with each pointer NULL in turn.
fn program(functions: &[Function]) -> String {
    let mut body = String::new();
    let status = functions.iter().filter(|f| f.returns == "fuse_status_t" && f.name != "fuse_status_name");
    for function in status {
        let is_pointer = |ty: &str| ty.ends_with('*') || ty.ends_with("_fn") || ty == "fuse_finalizer_t";
        let nulls: Vec<String> =
            function.params.iter().map(|p| if is_pointer(&p.0) { "NULL".into() } else { good(p) }).collect();
        let wanted = if takes_nothing(&function.name) { "FUSE_OK" } else { "REFUSED" };
        let wanted =
            if nulls.iter().all(|n| n == "NULL") || wanted == "REFUSED" { wanted } else { "FUSE_OK" };
        let _ = writeln!(body, "    all(\"{}\", {wanted}, {});", function.name, call(function, &nulls));
        if takes_nothing(&function.name) || function.name == "fuse_bytes_free" {
            continue;
        }
        for (index, param) in function.params.iter().enumerate().filter(|(_, p)| is_pointer(&p.0)) {
            let mut arguments: Vec<String> = function.params.iter().map(good).collect();
            if let Some(argument) = arguments.get_mut(index) {
                *argument = "NULL".into();
            }
            let line = call(function, &arguments);
            let _ = writeln!(body, "    one(\"{}\", \"{}\", {line});", function.name, param.1);
        }
    }
    format!(
        "/* Made of fuse.h. */\n{}\nint main(void) {{\n    prepare();\n{body}    finish();\n    return 0;\n}}\n",
        include_str!("../../c/nulls.h")
    )
}

/// Handles that are given in place of a good one: of another kind, and closed.
fn bad(ty: &str) -> Option<[String; 2]> {
    let bare = ty.trim_start_matches("const ").trim_start_matches("struct ").trim_end_matches([' ', '*']);
    let kinds = ["runtime", "app", "poster", "orchestrator", "stream", "attach"];
    let kind = kinds.into_iter().find(|kind| bare == format!("fuse_{kind}_t") && !ty.ends_with("**"))?;
    let foreign = if kind == "runtime" { "poster" } else { "runtime" };
    Some([format!("(void *){foreign}"), format!("(void *)closed.{kind}")])
}

/// The program: each function with each handle in turn replaced by one of another kind, and by one that was closed.
fn handles_program(functions: &[Function]) -> (String, usize) {
    let (mut body, mut calls) = (String::new(), 0);
    let status = functions.iter().filter(|f| f.returns == "fuse_status_t");
    for function in status {
        for (index, (ty, name)) in function.params.iter().enumerate() {
            for handle in bad(ty).into_iter().flatten() {
                let mut arguments: Vec<String> = function.params.iter().map(good).collect();
                if let Some(argument) = arguments.get_mut(index) {
                    argument.clone_from(&handle);
                }
                calls += 1;
                let line = call(function, &arguments);
                let _ = writeln!(body, "    bad(\"{}\", \"{name} {handle}\", {line});", function.name);
            }
        }
    }
    let text = format!(
        "/* Made of fuse.h. */\n{}\nint main(void) {{\n    prepare();\n    prepare_closed();\n{body}    finish();\n    \
         return 0;\n}}\n",
        include_str!("../../c/nulls.h")
    );
    (text, calls)
}

#[test]
fn rule_06_every_function_with_handles_that_are_closed_or_of_another_kind() {
    let functions = functions(&fs::read_to_string(header::path()).unwrap());
    let (text, calls) = handles_program(&functions);
    assert!(calls > functions.len(), "only {calls} calls are made");
    run_made("handles", &text);
}

#[test]
fn rule_06_every_function_with_every_pointer_null() {
    let functions = functions(&fs::read_to_string(header::path()).unwrap());
    let said = run_made("nulls", &program(&functions));
    assert!(said > functions.len() * 2, "only {said} calls were made");
}

/// Builds and runs a made program, as it is and with every access checked; how many calls it made.
fn run_made(name: &str, text: &str) -> usize {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let source = folder.join("made.c");
    fs::write(&source, text).unwrap();
    let mut calls = 0;
    for (name, flags) in
        [("plain", &[][..]), ("asan", &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])]
    {
        let build = Build::c().flags(&["-Wno-unused", "-Wno-nonnull"]).flags(flags);
        let include = format!("-I{}", fuse_abi::folder().join("c").display());
        let program = build.flags(&[&include]).source(&source).to(&folder.join(name)).unwrap();
        let said = run(Command::new(&program)
            .current_dir(&folder)
            .env("ASAN_OPTIONS", "detect_leaks=0")
            // No VM of this machine has to do with it.
            .env("FUSE_HOST_DATA", folder.join("no-vms")))
        .unwrap();
        // Its own line comes before the warnings of the library.
        calls = said.lines().next().unwrap_or_default().parse().unwrap();
    }
    calls
}
