//! Whether a name exists in a language or interface: looked up in the file that declares its surface.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::Error;

/// The files that declare a column's names; for the program, its manual.
const FILES: &[(&str, &str)] = &[
    ("c", "include/fuse.h"),
    ("c", "include/fuse_flight.h"),
    ("cpp", "include/fuse.hpp"),
    ("cpp", "include/fuse_orchestrator.hpp"),
    ("python", "bindings/python/python/fuse_runtime/_fuse.pyi"),
    ("python", "bindings/python/python/fuse_runtime/orchestrator.py"),
    ("node", "bindings/node/lib/artifact.ts"),
    ("node", "bindings/node/lib/policy.ts"),
    ("node", "bindings/node/lib/runtime.ts"),
    ("node", "bindings/node/lib/orchestrator.ts"),
    ("rest", "docs/openapi.json"),
    ("cli", "docs/cli.md"),
    ("cli", "docs/cli-module.md"),
    ("cli", "docs/server.md"),
];

/// What each column declares. A column whose file is not there declares nothing.
pub(crate) struct Declared {
    texts: BTreeMap<&'static str, String>,
    rest: serde_json::Value,
}

impl Declared {
    pub(crate) fn read(root: &Path) -> Result<Self, Error> {
        let mut texts = BTreeMap::new();
        for (column, file) in FILES {
            let path = root.join(file);
            let text = if path.exists() { crate::read_text(&path)? } else { String::new() };
            texts.entry(*column).or_insert_with(String::new).push_str(&text);
        }
        let rest = texts.remove("rest").unwrap_or_default();
        let rest = if rest.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::from_str(&rest)
                .map_err(|why| Error::Json { file: "docs/openapi.json".into(), why })?
        };
        Ok(Self { texts, rest })
    }

    /// `None` where names are checked elsewhere.
    pub(crate) fn has(&self, column: &str, name: &str) -> Option<bool> {
        match column {
            "rust" => None,
            "rest" => Some(self.has_route(name)),
            "cli" => Some(self.texts.get("cli")?.lines().any(|line| has_command(line, name))),
            // What C++ uses of the C headers as it is.
            "cpp" if name.starts_with("fuse_") => self.has("c", name),
            // `Runtime::load` or `Runtime.load`: the last part must be declared as a word of its own.
            _ => {
                let last = name.rsplit(['.', ':']).next().unwrap_or(name);
                Some(self.texts.get(column).is_some_and(|text| has_word(text, last)))
            }
        }
    }

    /// The functions that the C headers declare; a call and its `_async` form are one.
    pub(crate) fn c_functions(&self) -> BTreeSet<String> {
        self.texts.get("c").into_iter().flat_map(|text| text.lines()).filter_map(function).collect()
    }

    /// `POST /v1/environments/{id}?action=drain`: the method and the path; the action must be named in the operation.
    fn has_route(&self, name: &str) -> bool {
        let (method, path) = name.split_once(' ').unwrap_or(("GET", name));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let operation = &self.rest["paths"][path][method.to_lowercase()];
        let action = query.strip_prefix("action=").unwrap_or("");
        !operation.is_null() && (action.is_empty() || operation.to_string().contains(action))
    }
}

/// The function that a line of a header declares. Declarations begin in the first column, and everything else there is a
/// directive, a comment, a brace or a type.
fn function(line: &str) -> Option<String> {
    if line.starts_with([' ', '#', '/', '}', '{', '*']) || line.starts_with("typedef") {
        return None;
    }
    let (head, _) = line.split_once('(')?;
    let name = head.rsplit([' ', '*']).next()?;
    name.starts_with("fuse_").then(|| name.strip_suffix("_async").unwrap_or(name).to_owned())
}

/// `host list`: said as `fuse host list`, or in a row of the commands' table, which begins with the group.
fn has_command(line: &str, name: &str) -> bool {
    let (group, verb) = name.split_once(' ').unwrap_or((name, name));
    line.contains(&format!("fuse {name}"))
        || (line.starts_with(&format!("| `{group}")) && has_word(line, verb))
}

fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(inside)
            && !text[at + word.len()..].chars().next().is_some_and(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        assert!(has_word("int fuse_load(void);", "fuse_load"));
        assert!(!has_word("int fuse_load_file(void);", "fuse_load"));
        assert!(!has_word("int my_fuse_load(void);", "fuse_load"));
    }

    #[test]
    fn functions_are_told_from_types_and_comments() {
        let text = "fuse_status_t fuse_load(int a,\nconst char *fuse_name(void);\nfuse_status_t fuse_get_async(void);\n\
            typedef int (*fuse_load_fn)(void);\n * fuse_note(x)\n    fuse_inner(1);\n";
        let declared = Declared { texts: BTreeMap::from([("c", text.to_owned())]), rest: Default::default() };
        assert_eq!(
            declared.c_functions().into_iter().collect::<Vec<_>>(),
            ["fuse_get", "fuse_load", "fuse_name"]
        );
    }

    #[test]
    fn a_command_is_in_a_line_of_its_group() {
        assert!(has_command("| `host list \\| drain` | hosts |", "host drain"));
        assert!(has_command("run `fuse state export FILE`", "state export"));
        assert!(!has_command("| `host list` | hosts |", "host drain"));
        assert!(!has_command("| `snapshot list` | the host drain |", "host drain"));
    }

    #[test]
    fn a_route_is_method_path_and_action() {
        let rest = serde_json::json!({"paths": {"/v1/x/{id}": {"post": {"description": "drain, fork"}}}});
        let declared = Declared { texts: BTreeMap::new(), rest };
        assert!(declared.has_route("POST /v1/x/{id}?action=drain"));
        assert!(!declared.has_route("POST /v1/x/{id}?action=fly"));
        assert!(!declared.has_route("GET /v1/x/{id}"));
    }
}
