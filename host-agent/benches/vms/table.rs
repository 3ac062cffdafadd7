//! The table of figures, and what they are held against.

use std::time::Duration;

/// What a figure is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// At most so many times what it takes by hand.
    Ratio(f64),
    /// At most so much more than by hand.
    Added(Duration),
    /// Nothing: it is shown alone.
    None,
}

/// What most figures are held against.
pub(crate) const USUAL: Bar = Bar::Ratio(1.15);

/// What was measured so far.
#[derive(Debug, Default)]
pub(crate) struct Table {
    held: usize,
    over: Vec<String>,
    section: String,
}

impl Table {
    /// Begins a section: driver, accelerator, guest.
    pub(crate) fn head(&mut self, section: &str) {
        section.clone_into(&mut self.section);
        println!("\n{section}");
        println!("{:<44} {:>11} {:>11} {:>7} {:>10}  bar", "", "ours", "by hand", "ratio", "added");
    }

    /// Times: the medians count.
    pub(crate) fn times(&mut self, what: &str, ours: Vec<Duration>, hand: Vec<Duration>, bar: Bar) {
        let count = ours.len();
        let (ours, hand) = (median(ours).as_secs_f64(), median(hand).as_secs_f64());
        let unit = |seconds: f64| format!("{:.2} ms", seconds * 1e3);
        self.row(&format!("{what} ({count})"), (ours, hand), unit, bar);
    }

    /// Throughput; shown in MiB in a second, held against by the time that it takes.
    pub(crate) fn speed(&mut self, what: &str, bytes: usize, ours: Vec<Duration>, hand: Vec<Duration>) {
        let count = ours.len();
        let (ours, hand) = (median(ours).as_secs_f64(), median(hand).as_secs_f64());
        let unit = |seconds: f64| format!("{:.1} MiB/s", bytes as f64 / 1_048_576.0 / seconds.max(1e-9));
        self.row(&format!("{what} ({count})"), (ours, hand), unit, USUAL);
    }

    /// Bytes.
    pub(crate) fn bytes(&mut self, what: &str, ours: u64, hand: u64) {
        let unit = |bytes: f64| format!("{:.1} MiB", bytes / 1_048_576.0);
        self.row(what, (ours as f64, hand as f64), unit, USUAL);
    }

    /// A figure that has nothing beside it.
    pub(crate) fn alone(&mut self, what: &str, text: &str) {
        println!("{what:<44} {text:>11}");
    }

    fn row(&mut self, what: &str, (ours, hand): (f64, f64), unit: impl Fn(f64) -> String, bar: Bar) {
        let ratio = ours / hand.max(1e-9);
        let added = format!("{:+.2}", (ours - hand) * 1e3);
        let (text, kept) = match bar {
            Bar::Ratio(most) => (format!("<= {most:.2} x"), ratio <= most),
            Bar::Added(most) => {
                (format!("<= {} ms added", most.as_millis()), ours - hand <= most.as_secs_f64())
            }
            Bar::None => (String::new(), true),
        };
        let added =
            if matches!(bar, Bar::Added(_)) || unit(ours).ends_with("ms") { added } else { String::new() };
        let verdict = if kept { "" } else { "  OVER" };
        println!(
            "{what:<44} {:>11} {:>11} {ratio:>7.2} {added:>10}  {text}{verdict}",
            unit(ours),
            unit(hand)
        );
        if !matches!(bar, Bar::None) {
            self.held += 1;
        }
        if !kept {
            self.over.push(format!("{}: {what}", self.section));
        }
    }

    /// How many figures are over their bar.
    pub(crate) fn end(&self) {
        println!("\n{} figures have a bar; {} are over it", self.held, self.over.len());
        for what in &self.over {
            println!("  {what}");
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
