//! `fuse module new`: a folder with a module that builds.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use crate::outcome::{EXIT_CODES, Failure, Outcome, Verdict};
use crate::output::{Page, Report, Table, print};

const EXAMPLES: &str = "\
Examples:
  fuse module new thermometer --lang c
  fuse module new thermometer --lang rust --dir modules/thermometer
  cd thermometer && make && make check && make run";

/// Make a folder with a module that builds, its policy and a Makefile
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Name of the module: lower-case letters, digits and underscores, a letter first
    #[arg(value_parser = parse_name)]
    name: String,
    /// The language
    #[arg(long, value_enum)]
    lang: Language,
    /// The folder to make; it may exist if it is empty [default: NAME]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// `--lang`.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Language {
    /// Freestanding C (clang, lld)
    C,
    /// Freestanding C++ (clang, lld)
    Cpp,
    /// no_std Rust (rustc with wasm32-unknown-unknown)
    Rust,
    /// Zig
    Zig,
}

/// Longest name of a module, in bytes.
const NAME_BYTES_MAX: usize = 64;

fn parse_name(text: &str) -> Result<String, String> {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(rest)
    {
        return Ok(text.into());
    }
    Err(format!("a name is 1 to {NAME_BYTES_MAX} lower-case letters, digits and underscores, a letter first"))
}

/// The text of a template, compiled in.
macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../templates/module/", $path))
    };
}

/// The files that declare what a module may import, the same that the repository's own modules use.
const C_HEADER: (&str, &str) = ("fuse_module.h", include_str!("../../../include/fuse_module.h"));
const RUST_SDK: (&str, &str) = ("fuse_module.rs", include_str!("../../../bindings/module/rust/src/lib.rs"));
const ZIG_SDK: (&str, &str) = ("fuse.zig", include_str!("../../../bindings/module/zig/fuse.zig"));

impl Language {
    /// Names and contents of the files, in the order in which a newcomer reads them.
    const fn files(self) -> [(&'static str, &'static str); 4] {
        const CONFIG: (&str, &str) = ("app_config.json", template!("app_config.json"));
        match self {
            Self::C => [
                ("module.c", template!("c/module.c")),
                CONFIG,
                ("Makefile", template!("c/Makefile")),
                C_HEADER,
            ],
            Self::Cpp => [
                ("module.cpp", template!("cpp/module.cpp")),
                CONFIG,
                ("Makefile", template!("cpp/Makefile")),
                C_HEADER,
            ],
            Self::Rust => [
                ("module.rs", template!("rust/module.rs")),
                CONFIG,
                ("Makefile", template!("rust/Makefile")),
                RUST_SDK,
            ],
            Self::Zig => [
                ("module.zig", template!("zig/module.zig")),
                CONFIG,
                ("Makefile", template!("zig/Makefile")),
                ZIG_SDK,
            ],
        }
    }
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    name: String,
    language: Language,
    folder: String,
    files: Vec<String>,
}

impl Report for Made {
    fn text(&self) -> String {
        let mut page = Page::new();
        page.line(&format!("made {}", self.folder));
        let mut table = Table::new(&["FILE", "WHAT IT IS"]);
        for file in &self.files {
            let what = match file.as_str() {
                "app_config.json" => "the application: the module and its policy",
                "Makefile" => "make, make check, make run",
                name if name.starts_with("module.") => "the module",
                _ => "what a module may import and export",
            };
            table.row([file.as_str(), what]);
        }
        page.table("Files", &table);
        page.heading("Next");
        page.line(&format!("  cd {} && make && make check && make run", self.folder));
        page.into_text()
    }
}

pub(super) fn run(args: &Args, json: bool) -> Outcome {
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    make_folder(&folder)?;
    let mut files = Vec::new();
    for (file, template) in args.lang.files() {
        let path = folder.join(file);
        fs::write(&path, template.replace("{{name}}", &args.name)).map_err(Failure::io("write", &path))?;
        files.push(file.to_owned());
    }
    let made =
        Made { name: args.name.clone(), language: args.lang, folder: folder.display().to_string(), files };
    print(&made, json);
    Ok(Verdict::Fine)
}

/// Makes the folder. One that holds anything is left alone.
fn make_folder(folder: &Path) -> Outcome<()> {
    fs::create_dir_all(folder).map_err(Failure::io("make the folder", folder))?;
    let mut entries = fs::read_dir(folder).map_err(Failure::io("read", folder))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Failure::Usage(format!(
            "{} is not empty; nothing was written. Choose another name, or a folder with --dir",
            folder.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_such_that_files_and_configurations_can_hold_them() {
        for good in ["a", "frame_filter", "x1"] {
            assert_eq!(parse_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "1a", "../a", "a b", "A", "a-b", "a\"", &"a".repeat(65)] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_template_keeps_a_placeholder_and_each_configuration_is_sound() {
        for language in Language::value_variants() {
            for (file, template) in language.files() {
                let text = template.replace("{{name}}", "probe");
                assert!(!text.contains("{{name"), "{file}");
                if file == "app_config.json" {
                    let app = fuse_edge::AppConfig::from_json(&text).unwrap();
                    assert_eq!(app.modules[0].name, "probe");
                }
            }
        }
    }
}
