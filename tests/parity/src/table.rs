//! The table: rows of capabilities, a cell for each language and interface, written by people in `parity.toml`.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

/// The columns, in the order in which they are shown.
pub(crate) const COLUMNS: [(&str, &str); 7] = [
    ("rust", "Rust"),
    ("c", "C"),
    ("cpp", "C++"),
    ("python", "Python"),
    ("node", "Node"),
    ("rest", "REST"),
    ("cli", "`fuse`"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// Why a cell may be empty, by a short name.
    pub(crate) reasons: BTreeMap<String, String>,
    pub(crate) row: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// The capability, in the words of a user.
    pub(crate) what: String,
    /// The heading that the row stands under.
    pub(crate) part: String,
    /// What gives it, by column.
    #[serde(default)]
    pub(crate) has: BTreeMap<String, Vec<String>>,
    /// The reason why nothing does, by column.
    #[serde(default)]
    pub(crate) lacks: BTreeMap<String, String>,
}

/// What is wrong with the table, given the surface of the core and a test of whether a name exists in a column.
pub(crate) fn problems(
    table: &Table,
    surface: &BTreeSet<String>,
    c_functions: &BTreeSet<String>,
    exists: &dyn Fn(&str, &str) -> Option<bool>,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for row in &table.row {
        cells(table, row, exists, &mut found);
        for name in row.has.get("rust").into_iter().flatten() {
            if let Some(before) = seen.insert(name, &row.what) {
                found.push(format!("`{name}` is in two rows: \"{before}\" and \"{}\"", row.what));
            }
            if !surface.contains(name) {
                found.push(format!("row \"{}\": the core has no `{name}`", row.what));
            }
        }
    }
    found.extend(surface.iter().filter(|name| !seen.contains_key(name.as_str())).map(|name| {
        format!("`{name}` is public in the core and in no row: say how each language has it, or why not")
    }));
    let in_c: BTreeSet<&str> =
        table.row.iter().filter_map(|row| row.has.get("c")).flatten().map(String::as_str).collect();
    found.extend(c_functions.iter().filter(|name| !in_c.contains(name.as_str())).map(|name| {
        format!("`{name}` is declared for C and in no row: say what it is for, and how each language has it")
    }));
    found
}

fn cells(table: &Table, row: &Row, exists: &dyn Fn(&str, &str) -> Option<bool>, found: &mut Vec<String>) {
    for key in row.has.keys().chain(row.lacks.keys()) {
        if !COLUMNS.iter().any(|(name, _)| name == key) {
            found.push(format!("row \"{}\": no column is called `{key}`", row.what));
        }
    }
    for (column, _) in COLUMNS {
        match (row.has.get(column), row.lacks.get(column)) {
            (Some(names), None) if !names.is_empty() => {
                found.extend(
                    names.iter().filter(|name| exists(column, name) == Some(false)).map(|name| {
                        format!("row \"{}\", column {column}: `{name}` does not exist", row.what)
                    }),
                );
            }
            (None, Some(reason)) if table.reasons.contains_key(reason) => {}
            (None, Some(reason)) => {
                found.push(format!("row \"{}\", column {column}: no reason is called `{reason}`", row.what));
            }
            (Some(_), Some(_)) => {
                found.push(format!("row \"{}\", column {column}: both has and lacks", row.what))
            }
            _ => found.push(format!("row \"{}\", column {column}: empty, without a reason", row.what)),
        }
    }
}

/// The page for readers.
pub(crate) fn page(table: &Table) -> String {
    let numbers: BTreeMap<&str, usize> = table.reasons.keys().map(String::as_str).zip(1..).collect();
    let mut text = String::from(
        "# Parity\n\nWhat each language and interface has. Made from `tests/parity/parity.toml`, which is compared with the source\n\
         of the core, the headers, the bindings' declarations, the REST description and the program (`tests/parity`).\n",
    );
    let mut part = "";
    for row in &table.row {
        if row.part != part {
            part = &row.part;
            let heads: Vec<&str> = COLUMNS.iter().map(|(_, head)| *head).collect();
            let _ = writeln!(
                text,
                "\n## {part}\n\n| Capability | {} |\n|{}",
                heads.join(" | "),
                "---|".repeat(8)
            );
        }
        let cells: Vec<String> = COLUMNS.iter().map(|(column, _)| cell(row, column, &numbers)).collect();
        let _ = writeln!(text, "| {} | {} |", row.what, cells.join(" | "));
    }
    text.push_str("\n## Why a cell is empty\n\n");
    for (name, reason) in &table.reasons {
        let _ = writeln!(text, "{}. {reason}", numbers.get(name.as_str()).copied().unwrap_or_default());
    }
    text
}

fn cell(row: &Row, column: &str, numbers: &BTreeMap<&str, usize>) -> String {
    if let Some(names) = row.has.get(column) {
        return names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    }
    let number = row.lacks.get(column).and_then(|reason| numbers.get(reason.as_str()));
    format!("– ({})", number.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(row: &str) -> Table {
        let text = format!("[reasons]\nembedded = \"e\"\n[[row]]\nwhat = \"w\"\npart = \"p\"\n{row}");
        toml::from_str(&text).unwrap_or_else(|e| unreachable!("{e}"))
    }

    const REST: &str = "lacks = { c = \"embedded\", cpp = \"embedded\", python = \"embedded\", node = \"embedded\", rest = \"embedded\"";

    fn of(row: &str, surface: &[&str]) -> Vec<String> {
        let surface = surface.iter().map(|s| (*s).to_owned()).collect();
        let c_functions = BTreeSet::from(["fuse_b".to_owned()]);
        let found = problems(&table(row), &surface, &c_functions, &|column, name| {
            (column == "cli").then_some(name == "there")
        });
        // No row of these tests has anything for C.
        assert!(found.last().is_some_and(|last| last.starts_with("`fuse_b` is declared for C")), "{found:?}");
        found[..found.len() - 1].to_vec()
    }

    #[test]
    fn a_full_row_is_fine() {
        assert!(
            of(&format!("has = {{ rust = [\"A::b\"], cli = [\"there\"] }}\n{REST} }}"), &["A::b"]).is_empty()
        );
    }

    #[test]
    fn an_empty_cell_a_name_that_is_not_there_and_a_method_without_a_row_are_said() {
        let empty = of(&format!("has = {{ rust = [\"A::b\"] }}\n{REST} }}"), &["A::b"]);
        assert_eq!(empty, ["row \"w\", column cli: empty, without a reason"]);
        let gone = of(&format!("has = {{ rust = [\"A::b\"], cli = [\"gone\"] }}\n{REST} }}"), &["A::b"]);
        assert_eq!(gone, ["row \"w\", column cli: `gone` does not exist"]);
        let new =
            of(&format!("has = {{ rust = [\"A::b\"], cli = [\"there\"] }}\n{REST} }}"), &["A::b", "A::c"]);
        assert_eq!(new.len(), 1);
        assert!(new[0].starts_with("`A::c` is public"));
    }

    #[test]
    fn a_reason_must_be_written() {
        let row = format!("has = {{ rust = [\"A::b\"] }}\n{REST}, cli = \"because\" }}");
        assert_eq!(of(&row, &["A::b"]), ["row \"w\", column cli: no reason is called `because`"]);
    }
}
