//! Rule 6: every function with every pointer NULL. The programs are made of the header, so that none is forgotten.

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

#[test]
fn rule_06_every_function_with_every_pointer_null() {
    let functions = functions(&fs::read_to_string(header::path()).unwrap());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nulls");
    fs::create_dir_all(&folder).unwrap();
    let source = folder.join("nulls.c");
    fs::write(&source, program(&functions)).unwrap();
    for (name, flags) in
        [("nulls", &[][..]), ("nulls_asan", &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])]
    {
        let build = Build::c().flags(&["-Wno-unused-function", "-Wno-nonnull"]).flags(flags);
        let include = format!("-I{}", fuse_abi::folder().join("c").display());
        let program = build.flags(&[&include]).source(&source).to(&folder.join(name)).unwrap();
        let said =
            run(Command::new(&program).current_dir(&folder).env("ASAN_OPTIONS", "detect_leaks=0")).unwrap();
        let calls: usize = said.trim().parse().unwrap();
        assert!(calls > functions.len() * 2, "only {calls} calls were made");
    }
}
