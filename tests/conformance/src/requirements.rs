//! The list of requirements that scenarios and tests name.

use std::collections::BTreeMap;
use std::path::Path;

/// One row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What is required, in short.
    pub text: String,
    /// Where it is checked beside the scenarios: paths in the repository, each with `::` and a test's name where the
    /// path is a source file.
    pub elsewhere: Vec<String>,
}

/// Reads the rows `| ID | text | elsewhere |` of the tables in `docs/scenarios.md` whose ids begin with `EDGE-`.
///
/// # Errors
/// When the file cannot be read or an id is there twice.
pub fn read(path: &Path) -> Result<BTreeMap<String, Requirement>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut requirements = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| EDGE-")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [id, text, elsewhere] = cells.as_slice() else {
            return Err(format!(
                "{}: a row with {} cells, 3 were expected: {line}",
                path.display(),
                cells.len()
            ));
        };
        let elsewhere = elsewhere.split(',').map(|e| e.trim().trim_matches('`').to_string());
        let elsewhere = elsewhere.filter(|e| !e.is_empty() && e != "-").collect();
        let row = Requirement { text: (*text).into(), elsewhere };
        if requirements.insert((*id).to_string(), row).is_some() {
            return Err(format!("{}: `{id}` is there twice", path.display()));
        }
    }
    Ok(requirements)
}
