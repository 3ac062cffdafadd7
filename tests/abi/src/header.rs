//! `include/fuse.h`: how it is made, and what it says.

use std::path::PathBuf;

use crate::repository;

/// The files of `fuse-ffi` that the header is made of, in its order.
const FILES: [&str; 25] = [
    "status.rs",
    "version.rs",
    "handle.rs",
    "finalizer.rs",
    "policy.rs",
    "app.rs",
    "artifact.rs",
    "platform.rs",
    "runtime.rs",
    "runtime/life.rs",
    "runtime/load.rs",
    "runtime/modules.rs",
    "runtime/step.rs",
    "runtime/log.rs",
    "poster.rs",
    "hal.rs",
    "orchestrator/call.rs",
    "orchestrator/open.rs",
    "orchestrator/environments.rs",
    "orchestrator/guests.rs",
    "orchestrator/attach.rs",
    "orchestrator/snapshots.rs",
    "orchestrator/hosts.rs",
    "orchestrator/keys.rs",
    "orchestrator/events.rs",
];

/// Where the header is.
#[must_use]
pub fn path() -> PathBuf {
    repository().join("include/fuse.h")
}

/// Where the header of the flight library is, which is written by hand.
#[must_use]
pub fn flight_path() -> PathBuf {
    repository().join("include/fuse_flight.h")
}

/// The header, made anew.
///
/// # Errors
/// When the files cannot be read or understood.
pub fn generate() -> Result<String, String> {
    let root = repository().join("fuse-ffi");
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in FILES {
        builder = builder.with_src(root.join("src").join(file));
    }
    let mut text = Vec::new();
    builder.generate().map_err(|e| e.to_string())?.write(&mut text);
    String::from_utf8(text).map_err(|e| e.to_string())
}

/// The files that [`generate`] reads.
#[must_use]
pub fn sources() -> Vec<PathBuf> {
    FILES.iter().map(|file| repository().join("fuse-ffi/src").join(file)).collect()
}

/// One function of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it returns.
    pub returns: String,
    /// Its parameters: type and name.
    pub params: Vec<(String, String)>,
    /// Its comment.
    pub comment: String,
}

impl Function {
    /// The last line of the comment, as its four answers: ISR-safe, allocates, blocks, thread-safe.
    #[must_use]
    pub fn context(&self) -> Option<[String; 4]> {
        let line = self.comment.lines().last()?.trim_end_matches('.');
        let mut parts = line.split("; ");
        let mut part = |name: &str| parts.next()?.strip_prefix(name).map(ToOwned::to_owned);
        Some([part("ISR-safe: ")?, part("allocates: ")?, part("blocks: ")?, part("thread-safe: ")?])
    }
}

/// The functions of a header, in order.
#[must_use]
pub fn functions(header: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut comment = String::new();
    let mut lines = header.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("/*") {
            comment = comment_of(line, &mut lines);
            continue;
        }
        let is_function = !line.starts_with([' ', '#', '/', '}', '{']) && !line.starts_with("typedef");
        if !is_function || !line.contains(" fuse_") && !line.contains("*fuse_") || !line.contains('(') {
            continue;
        }
        let mut whole = line.to_owned();
        while !whole.ends_with(';') {
            let Some(next) = lines.next() else { break };
            whole = format!("{whole} {}", next.trim());
        }
        found.extend(function(&whole, &comment));
    }
    found
}

/// The text of a comment that begins in this line.
fn comment_of<'a>(first: &'a str, lines: &mut impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut line = Some(first);
    while let Some(part) = line {
        let (inside, is_last) = part.split_once("*/").map_or((part, false), |(inside, _)| (inside, true));
        let inside = inside.trim_start_matches("/*").trim_start_matches([' ', '*']);
        text.push_str(inside.trim_end());
        text.push('\n');
        line = if is_last { None } else { lines.next() };
    }
    text.trim().to_owned()
}

fn function(line: &str, comment: &str) -> Option<Function> {
    let (head, rest) = line.split_once('(')?;
    let (returns, name) = split_type(head);
    let params = rest.trim_end_matches(");");
    let params = match params {
        "void" => Vec::new(),
        params => params.split(", ").map(split_type).collect(),
    };
    Some(Function { name, returns, params, comment: comment.to_owned() })
}

/// `const char *name` as its type and its name.
fn split_type(text: &str) -> (String, String) {
    let at = text.rfind([' ', '*']).map_or(0, |at| at + 1);
    (text[..at].trim().to_owned(), text[at..].to_owned())
}

/// The page with the table of all functions: those of `fuse.h`, and those of `fuse_flight.h`.
#[must_use]
pub fn table(functions: &[Function], flight: &[Function]) -> String {
    const HEAD: &str = "| Function | ISR-safe | allocates | blocks | thread-safe |\n|---|---|---|---|---|\n";
    let mut page = String::from(
        "# Functions of libfuse: where they may be called\n\n\
         Generated from `include/fuse.h` and `include/fuse_flight.h` by `FUSE_BLESS=1 cargo test --workspace --test abi`; do\n\
         not edit. What a function does, takes and returns is in the headers.\n\n\
         - **ISR-safe**: from an interrupt handler or a signal handler.\n\
         - **allocates**: after modules were loaded and started; \"on failure\": only when the call does not succeed.\n\
         - **blocks**: waits for something other than the work itself: a file, the network, another thread.\n\
         - **thread-safe**: from several threads at once on the same handle.\n\n",
    );
    page.push_str(HEAD);
    page.extend(functions.iter().map(row));
    page.push_str("\n## The flight library, beside these\n\n");
    page.push_str(HEAD);
    page.extend(flight.iter().map(row));
    page
}

fn row(function: &Function) -> String {
    let [isr, allocates, blocks, threads] = function.context().unwrap_or_default();
    format!("| `{}` | {isr} | {allocates} | {blocks} | {threads} |\n", function.name)
}
