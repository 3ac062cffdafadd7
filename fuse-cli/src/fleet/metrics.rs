//! `fuse metrics`: the figures of a control plane.

use super::Session;
use super::format;
use crate::outcome::{Outcome, Verdict};
use crate::output;

/// Prints the metrics as they are; for programs, one entry for each sample.
pub(crate) async fn run(session: Session) -> Outcome {
    let text = session.connection.metrics().await?;
    if session.format.is_table() {
        let lines: String =
            text.lines().flat_map(|line| [output::printable(line), "\n".to_owned()]).collect();
        format::write(&lines);
    } else {
        let samples: Vec<_> = text.lines().filter_map(sample).collect();
        session.format.print(&serde_json::json!({ "samples": samples }), String::new);
    }
    Ok(Verdict::Fine)
}

/// `name{labels} value` as an object. Comments are none.
fn sample(line: &str) -> Option<serde_json::Value> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.trim_end_matches('}')),
        None => (series, ""),
    };
    Some(serde_json::json!({ "name": name, "labels": labels, "value": value.parse::<f64>().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::sample;

    #[test]
    fn samples_are_read() {
        assert_eq!(sample("# HELP x y"), None);
        let read = sample(r#"a_total{route="/v1/x y",code="200"} 7"#).unwrap();
        assert_eq!(read["name"], "a_total");
        assert_eq!(read["labels"], r#"route="/v1/x y",code="200""#);
        assert_eq!(read["value"], 7.0);
        assert_eq!(sample("up 1").unwrap()["labels"], "");
    }
}
