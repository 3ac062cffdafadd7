//! The table: one row for each figure, with its rival and its bar, as Markdown and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::machine::Machine;
use crate::sample::Summary;

/// The unit of a row's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Nanoseconds, shown as ns, µs or ms.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Bytes, shown as KiB.
    #[serde(rename = "bytes")]
    Bytes,
    /// A number of things.
    #[serde(rename = "count")]
    Count,
    /// A ratio.
    #[serde(rename = "ratio")]
    Ratio,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds if value.abs() >= 1e6 => format!("{:.2} ms", value / 1e6),
            Self::Nanoseconds if value.abs() >= 1e4 => format!("{:.1} µs", value / 1e3),
            Self::Nanoseconds if value.abs() >= 1e3 => format!("{:.2} µs", value / 1e3),
            Self::Nanoseconds => format!("{value:.1} ns"),
            Self::Bytes => format!("{:.1} KiB", value / 1024.0),
            Self::Count => format!("{value:.0}"),
            Self::Ratio => format!("{value:.2} ×"),
        }
    }

    fn show_summary(self, summary: &Summary) -> String {
        if summary.samples == 1 {
            return self.show(summary.median);
        }
        format!("{} (p99 {})", self.show(summary.median), self.show(summary.p99))
    }
}

/// What a figure must not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Bar {
    /// Only reported.
    None,
    /// Its median, so many times the median of the rival.
    Times {
        /// How many times.
        limit: f64,
    },
    /// Its median, so much more than the median of the rival.
    More {
        /// How much, in the row's unit.
        limit: f64,
    },
    /// Its median, in the row's unit.
    AtMost {
        /// How much.
        limit: f64,
    },
    /// Its median, in the row's unit, and its p99, so many times the p99 of the rival.
    Tail {
        /// How much the median.
        median: f64,
        /// How many times the p99.
        p99_times: f64,
    },
}

/// Whether a figure is within its bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// There is no bar.
    Report,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name, for programs.
    pub id: String,
    /// What is measured.
    pub figure: String,
    /// The unit of the two distributions.
    pub unit: Unit,
    /// What was measured.
    pub measured: Summary,
    /// What it is compared with, in words.
    pub rival: String,
    /// What the rival took in the same run.
    pub rival_measured: Option<Summary>,
    /// What it must not exceed.
    pub bar: Bar,
    /// Whether it does.
    pub verdict: Verdict,
    /// How to read it.
    pub note: String,
}

impl Row {
    /// A row without rival and bar.
    #[must_use]
    pub fn new(id: &str, figure: &str, unit: Unit, measured: Summary) -> Self {
        Self {
            id: id.into(),
            figure: figure.into(),
            unit,
            measured,
            rival: String::new(),
            rival_measured: None,
            bar: Bar::None,
            verdict: Verdict::Report,
            note: String::new(),
        }
    }

    /// Nanoseconds from samples.
    #[must_use]
    pub fn ns(id: &str, figure: &str, samples: &[f64]) -> Self {
        Self::new(id, figure, Unit::Nanoseconds, Summary::of(samples.to_vec()))
    }

    /// Sets the rival.
    #[must_use]
    pub fn against(mut self, rival: &str, samples: &[f64]) -> Self {
        self.rival = rival.into();
        self.rival_measured = Some(Summary::of(samples.to_vec()));
        self
    }

    /// Sets the bar.
    #[must_use]
    pub fn bar(mut self, bar: Bar) -> Self {
        self.bar = bar;
        self.verdict = self.judge();
        self
    }

    /// Sets the note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The figure's median over the rival's.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        self.rival_measured.filter(|r| r.median > 0.0).map(|r| self.measured.median / r.median)
    }

    fn judge(&self) -> Verdict {
        let (own, rival) = (self.measured, self.rival_measured.unwrap_or(Summary::exact(0.0)));
        let met = match self.bar {
            Bar::None => return Verdict::Report,
            Bar::Times { limit } => own.median <= limit * rival.median,
            Bar::More { limit } => own.median - rival.median <= limit,
            Bar::AtMost { limit } => own.median <= limit,
            Bar::Tail { median, p99_times } => own.median <= median && own.p99 <= p99_times * rival.p99,
        };
        if met { Verdict::Met } else { Verdict::Missed }
    }

    fn show_bar(&self) -> String {
        match self.bar {
            Bar::None => "report".into(),
            Bar::Times { limit } => format!("≤ {limit} × rival"),
            Bar::More { limit } => format!("≤ {} more", self.unit.show(limit)),
            Bar::AtMost { limit } => format!("≤ {}", self.unit.show(limit)),
            Bar::Tail { median, p99_times } => {
                format!("p50 ≤ {}, p99 ≤ {p99_times} × rival's", self.unit.show(median))
            }
        }
    }

    fn show_comparison(&self) -> String {
        match (self.bar, self.rival_measured) {
            (Bar::More { .. }, Some(rival)) => {
                format!("+{}", self.unit.show(self.measured.median - rival.median))
            }
            (Bar::Tail { .. }, Some(rival)) if rival.p99 > 0.0 => {
                format!("p99 {:.2} ×", self.measured.p99 / rival.p99)
            }
            _ => self.ratio().map_or(String::new(), |ratio| format!("{ratio:.2} ×")),
        }
    }

    fn show_verdict(&self) -> &'static str {
        match self.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "**missed**",
            Verdict::Report => "",
        }
    }
}

/// A table of figures.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// Where it was measured.
    pub machine: Machine,
    /// Whether the counts were too small to mean anything.
    pub quick: bool,
    /// The figures.
    pub rows: Vec<Row>,
}

impl Table {
    /// How many bars are met and how many missed.
    #[must_use]
    pub fn score(&self) -> (usize, usize) {
        let count = |verdict| self.rows.iter().filter(|row| row.verdict == verdict).count();
        (count(Verdict::Met), count(Verdict::Missed))
    }

    /// The table as Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let (met, missed) = self.score();
        let mut text = format!("## {}\n\nMeasured on: {}.\n", self.title, self.machine);
        if self.quick {
            text.push_str("\n**A quick run: the counts are too small for the figures to mean anything.**\n");
        }
        let _ = write!(text, "\n{met} bars met, {missed} missed.\n\n");
        text.push_str("| figure | median (p99) | rival | rival's median (p99) | compared | bar | |\n");
        text.push_str("|---|--:|---|--:|--:|---|---|\n");
        for row in &self.rows {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} |",
                row.figure,
                row.unit.show_summary(&row.measured),
                row.rival,
                row.rival_measured.map_or(String::new(), |rival| row.unit.show_summary(&rival)),
                row.show_comparison(),
                row.show_bar(),
                row.show_verdict(),
            );
        }
        let notes: Vec<&Row> = self.rows.iter().filter(|row| !row.note.is_empty()).collect();
        if !notes.is_empty() {
            text.push('\n');
            for row in notes {
                let _ = writeln!(text, "- {}: {}", row.figure, row.note);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(median: f64, p99: f64, rival: f64, rival_p99: f64, bar: Bar) -> Verdict {
        let summary = |median, p99| Summary { median, p99, samples: 2 };
        let mut row = Row::new("x", "x", Unit::Nanoseconds, summary(median, p99));
        row.rival_measured = Some(summary(rival, rival_p99));
        row.bar(bar).verdict
    }

    #[test]
    fn bars_judge() {
        assert_eq!(row(15.0, 0.0, 10.0, 0.0, Bar::Times { limit: 1.5 }), Verdict::Met);
        assert_eq!(row(15.1, 0.0, 10.0, 0.0, Bar::Times { limit: 1.5 }), Verdict::Missed);
        assert_eq!(row(110.0, 0.0, 10.0, 0.0, Bar::More { limit: 100.0 }), Verdict::Met);
        assert_eq!(row(111.0, 0.0, 10.0, 0.0, Bar::More { limit: 100.0 }), Verdict::Missed);
        assert_eq!(row(60.0, 0.0, 0.0, 0.0, Bar::AtMost { limit: 60.0 }), Verdict::Met);
        assert_eq!(row(61.0, 0.0, 0.0, 0.0, Bar::AtMost { limit: 60.0 }), Verdict::Missed);
        let tail = Bar::Tail { median: 100.0, p99_times: 1.5 };
        assert_eq!(row(100.0, 150.0, 0.0, 100.0, tail), Verdict::Met);
        assert_eq!(row(101.0, 150.0, 0.0, 100.0, tail), Verdict::Missed);
        assert_eq!(row(100.0, 151.0, 0.0, 100.0, tail), Verdict::Missed);
        assert_eq!(row(9.0, 9.0, 1.0, 1.0, Bar::None), Verdict::Report);
    }

    #[test]
    fn figures_are_shown_in_a_unit_that_fits() {
        let show = |v| Unit::Nanoseconds.show(v);
        assert_eq!(
            [show(12.34), show(1234.0), show(56_780.0), show(2.5e6)],
            ["12.3 ns", "1.23 µs", "56.8 µs", "2.50 ms"]
        );
        assert_eq!(Unit::Bytes.show(65_536.0), "64.0 KiB");
    }
}
