//! The load generator: oha, a program of the registry, each run of which is one figure.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;
use tokio::process::Command;

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    /// A URL, or a pattern of URLs: each request is for another one.
    pub(crate) url: &'a str,
    pub(crate) pattern: bool,
}

impl<'a> Ask<'a> {
    pub(crate) const fn new(method: &'a str, url: &'a str) -> Self {
        Self { method, url, pattern: false }
    }
}

/// How much is asked.
#[derive(Clone, Copy)]
pub(crate) enum Amount {
    For(Duration),
    Times(u64),
}

/// What came of it. Times are in microseconds.
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

pub(crate) struct Load {
    program: PathBuf,
    pub(crate) token: &'static str,
}

impl Load {
    /// The program that `FUSE_OHA` names, or the one where `tests/load-generator.sh` puts it.
    pub(crate) fn find(token: &'static str) -> Self {
        let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/bin/oha");
        let program = std::env::var_os("FUSE_OHA").map_or_else(|| installed.into(), PathBuf::from);
        assert!(program.exists(), "{} is not there; run tests/load-generator.sh", program.display());
        Self { program, token }
    }

    /// As fast as answers come: each connection asks again when it was answered.
    pub(crate) async fn push(&self, ask: Ask<'_>, connections: usize, amount: Amount) -> Outcome {
        self.run(ask, connections, amount, &[]).await
    }

    /// Open loop: `rate` a second, whatever the answers do. Times count from when a request was due.
    pub(crate) async fn pace(&self, ask: Ask<'_>, connections: usize, amount: Amount, rate: f64) -> Outcome {
        let rate = format!("{:.0}", rate.max(1.0));
        self.run(ask, connections, amount, &["--latency-correction", "-q", &rate]).await
    }

    async fn run(&self, ask: Ask<'_>, connections: usize, amount: Amount, pace: &[&str]) -> Outcome {
        let mut command = Command::new(&self.program);
        command.args(["--no-tui", "--output-format", "json", "--disable-compression", "-m", ask.method]);
        command.args([
            "-c",
            &connections.to_string(),
            "-H",
            &format!("authorization: Bearer {}", self.token),
        ]);
        match amount {
            Amount::For(time) => command.args(["-w", "-z", &format!("{}ms", time.as_millis())]),
            Amount::Times(count) => command.args(["-n", &count.to_string()]),
        };
        if ask.pattern {
            command.arg("--rand-regex-url");
        }
        let output = command.args(pace).arg(ask.url).output().await.expect("oha runs");
        assert!(output.status.success(), "oha failed: {}", String::from_utf8_lossy(&output.stderr));
        Outcome::read(&serde_json::from_slice(&output.stdout).expect("JSON of oha"), ask)
    }
}

impl Outcome {
    /// Panics unless every request was answered well: figures of refusals mean nothing.
    fn read(said: &Value, ask: Ask<'_>) -> Self {
        let statuses = said["statusCodeDistribution"].as_object().expect("statuses");
        let good = statuses.iter().filter(|(status, _)| status.starts_with('2'));
        let requests = good.filter_map(|(_, count)| count.as_u64()).sum();
        let bad = statuses.keys().any(|status| !status.starts_with('2'));
        let errors = said["errorDistribution"].as_object().is_some_and(|errors| !errors.is_empty());
        assert!(
            !bad && !errors && requests > 0,
            "{} {}: {} {}",
            ask.method,
            ask.url,
            said["statusCodeDistribution"],
            said["errorDistribution"]
        );
        let micros = |name: &str| said["latencyPercentiles"][name].as_f64().unwrap_or(f64::NAN) * 1e6;
        Self {
            requests,
            per_second: said["summary"]["requestsPerSec"].as_f64().expect("a rate"),
            p50: micros("p50"),
            p99: micros("p99"),
            p999: micros("p99.9"),
        }
    }
}
