//! How results are shown: tables and aligned facts for people, JSON for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use comfy_table::{CellAlignment, ContentArrangement, presets};
use serde::Serialize;

/// A result that people and programs can read.
pub(crate) trait Report: Serialize {
    /// The form for people.
    fn text(&self) -> String;
}

/// Prints a report to standard output. A reader that went away (`fuse … | head`) is no error.
pub(crate) fn print(report: &impl Report, json: bool) {
    let text = if json { to_json(report) } else { report.text() };
    // Nothing is left to tell anybody when standard output is closed.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Indented JSON with a newline at the end.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    match serde_json::to_string_pretty(value) {
        Ok(mut text) => {
            text.push('\n');
            text
        }
        // Only a map with keys that are not strings could do this; our reports have none.
        Err(e) => format!("{{\"error\":{{\"kind\":\"internal\",\"message\":\"{e}\"}}}}\n"),
    }
}

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table without borders: a heading for each column, two spaces between them.
pub(crate) struct Table {
    table: comfy_table::Table,
    rows: usize,
}

impl Table {
    /// A table with these columns. A heading that ends in `>` is aligned to the right.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.iter().map(|c| c.trim_end_matches('>')));
        for (column, name) in table.column_iter_mut().zip(columns) {
            let align = if name.ends_with('>') { Align::Right } else { Align::Left };
            column.set_padding((0, 2));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        Self { table, rows: 0 }
    }

    /// Adds a row. Control characters are escaped: names come from files that nobody has reviewed yet.
    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.table.add_row(cells.into_iter().map(|cell| printable(cell.as_ref())));
        self.rows += 1;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The lines of the table, without trailing spaces.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for line in self.table.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Text for people: titled parts, one below the other.
#[derive(Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Lines of `label  value`, aligned.
    pub(crate) fn facts(&mut self, facts: &[(&str, String)]) {
        let width = facts.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, value) in facts {
            let _ = writeln!(self.text, "{label:width$}  {}", printable(value));
        }
    }

    /// A table under a title; nothing when it has no rows.
    pub(crate) fn table(&mut self, title: &str, table: &Table) {
        if !table.is_empty() {
            self.heading(title);
            for line in table.text().lines() {
                let _ = writeln!(self.text, "  {line}");
            }
        }
    }

    /// A title on a line of its own.
    pub(crate) fn heading(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let _ = writeln!(self.text, "{}", printable(title));
    }

    /// One line.
    pub(crate) fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{}", printable(line));
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// The text with control characters escaped, so that no file can steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Marks that reorder text are not control characters, and deceive as well.
        let reorders =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || reorders {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `1_234_567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 page`, `2 pages`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Bytes in the largest binary unit that divides them without rest, such as `64 KiB`.
pub(crate) fn bytes(number: u64) -> String {
    match number {
        0 => "0".into(),
        n if n.is_multiple_of(1 << 20) => format!("{} MiB", grouped(n >> 20)),
        n if n.is_multiple_of(1 << 10) => format!("{} KiB", grouped(n >> 10)),
        n => format!("{} B", grouped(n)),
    }
}

/// Microseconds in a unit that people read easily, without loss.
pub(crate) fn micros(number: u64) -> String {
    match number {
        0 => "0".into(),
        n if n.is_multiple_of(1_000_000) => format!("{} s", grouped(n / 1_000_000)),
        n if n.is_multiple_of(1000) => format!("{} ms", grouped(n / 1000)),
        n => format!("{} µs", grouped(n)),
    }
}

/// Nanoseconds, to three digits.
pub(crate) fn nanos(number: u64) -> String {
    let (value, unit) = match number {
        0..1000 => return format!("{number} ns"),
        1000..1_000_000 => (number as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (number as f64 / 1e6, "ms"),
        _ => (number as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_escape() {
        let mut table = Table::new(&["NAME", "BYTES>"]);
        table.row(["a\u{1b}[31m\u{202e}", "7"]);
        table.row(["bb", "1,000"]);
        assert_eq!(
            table.text(),
            "NAME                 BYTES\na\\u{1b}[31m\\u{202e}      7\nbb                   1,000\n"
        );
    }

    #[test]
    fn numbers_read_easily_and_lose_nothing() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!((counted(1, "page"), counted(0, "page")), ("1 page".into(), "0 pages".into()));
        assert_eq!(bytes(65_536), "64 KiB");
        assert_eq!(bytes(65_537), "65,537 B");
        assert_eq!(micros(10_000_000), "10 s");
        assert_eq!(micros(1_500), "1,500 µs");
        assert_eq!(nanos(999), "999 ns");
        assert_eq!(nanos(1_234), "1.23 µs");
        assert_eq!(nanos(123_456_789), "123 ms");
    }
}
