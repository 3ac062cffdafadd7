//! Compares what each language and interface offers with the public surface of the core.
//!
//! `fuse-parity` fails when a public method of the core, or a function of the C headers, has no row, when a cell is empty
//! without a reason, when a name in a cell does not exist, or when `docs/PARITY.md` or `surface.json` is not what the table
//! and the source give.
//! `fuse-parity --update` writes both.
#![forbid(unsafe_code)]

mod declared;
mod surface;
mod table;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const TABLE: &str = "tests/parity/parity.toml";
const SURFACE: &str = "tests/parity/surface.json";
const PAGE: &str = "docs/PARITY.md";

/// Why the comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("reading {}: {why}", file.display())]
    Unreadable { file: PathBuf, why: io::Error },
    #[error("writing {}: {why}", file.display())]
    Unwritable { file: PathBuf, why: io::Error },
    #[error("parsing {}: {why}", file.display())]
    Source { file: PathBuf, why: syn::Error },
    #[error("parsing {TABLE}: {0}")]
    Table(#[from] toml::de::Error),
    #[error("parsing {}: {why}", file.display())]
    Json { file: PathBuf, why: serde_json::Error },
    #[error("{file} has no public function for `{name}`: correct FUNCTIONS in tests/parity/src/surface.rs")]
    Gone { name: String, file: String },
    #[error("the table does not hold:\n  {}", .0.join("\n  "))]
    Problems(Vec<String>),
    #[error(
        "{0} is not what the source and the table give: run `cargo run -p fuse-parity -- --update` and commit it"
    )]
    Stale(&'static str),
}

pub(crate) fn read_text(file: &Path) -> Result<String, Error> {
    fs::read_to_string(file).map_err(|why| Error::Unreadable { file: file.to_owned(), why })
}

fn main() -> ExitCode {
    let update = std::env::args().any(|a| a == "--update");
    match compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), update) {
        Ok(count) => {
            println!(
                "parity: {count} public names of the core, each with a row; every cell is filled or has its reason"
            );
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("parity: {why}");
            ExitCode::FAILURE
        }
    }
}

fn compare(root: &Path, update: bool) -> Result<usize, Error> {
    let surface = surface::read(root)?;
    let table: table::Table = toml::from_str(&read_text(&root.join(TABLE))?)?;
    let declared = declared::Declared::read(root)?;
    let problems = table::problems(&table, &surface, &declared.c_functions(), &|column, name| {
        declared.has(column, name)
    });
    if !problems.is_empty() {
        return Err(Error::Problems(problems));
    }
    let list = serde_json::to_string_pretty(&surface)
        .map_err(|why| Error::Json { file: SURFACE.into(), why })?
        + "\n";
    for (file, text) in [(SURFACE, list), (PAGE, table::page(&table))] {
        let path = root.join(file);
        if update {
            fs::write(&path, text).map_err(|why| Error::Unwritable { file: path, why })?;
        } else if read_text(&path)? != text {
            return Err(Error::Stale(file));
        }
    }
    Ok(surface.len())
}
