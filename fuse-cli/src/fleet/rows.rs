//! Records as people read them.

use std::time::{Duration, SystemTime};

use fuse_orchestrator::model::{Environment, Host, PhaseTimings, Reason, Snapshot, Timestamp};

use crate::output::{Page, Table};

/// How long ago, in its largest unit: `5s`, `12m`, `3h`, `9d`.
pub(crate) fn age(time: Timestamp) -> String {
    short(Timestamp::from(SystemTime::now()).since(time))
}

/// A time in its largest unit.
pub(crate) fn short(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{}s", time.as_secs()),
        60..3_600 => format!("{}m", time.as_secs() / 60),
        3_600..86_400 => format!("{}h", time.as_secs() / 3_600),
        _ => format!("{}d", time.as_secs() / 86_400),
    }
}

/// What a list shows of a text: its beginning.
fn brief(text: &str) -> String {
    let mut brief: String = text.chars().take(60).collect();
    if text.chars().nth(60).is_some() {
        brief.push('…');
    }
    brief
}

pub(crate) fn reason(reason: &Reason) -> String {
    if reason.text.is_empty() { reason.code.as_str().to_owned() } else { brief(&reason.to_string()) }
}

/// The phases of coming up that happened, with their times.
pub(crate) fn phases(timings: &PhaseTimings) -> String {
    let phases = [
        ("schedule", timings.schedule_us),
        ("create", timings.create_us),
        ("upload", timings.upload_us),
        ("start script", timings.start_script_us),
        ("agent", timings.agent_us),
    ];
    let told = phases.iter().filter_map(|(name, us)| us.map(|us| format!("{name} {}", micros(us))));
    told.collect::<Vec<_>>().join(", ")
}

/// Microseconds to three digits.
fn micros(us: u64) -> String {
    crate::output::nanos(us.saturating_mul(1_000))
}

pub(crate) fn environments<'a>(items: impl IntoIterator<Item = &'a Environment>) -> String {
    let mut table = Table::new(&["ID", "STATE", "HOST", "URL", "AGE>", "REASON"]);
    for item in items {
        let state = match item.observed {
            fuse_orchestrator::model::Observed::Missing => format!("{} (missing)", item.state),
            _ => item.state.to_string(),
        };
        table.row([
            item.id.to_string(),
            state,
            item.host_id.to_string(),
            item.url.clone(),
            age(item.created_at),
            reason(&item.reason),
        ]);
    }
    if table.is_empty() {
        "no environments; make one with `fuse environment create`\n".to_owned()
    } else {
        table.text()
    }
}

pub(crate) fn environment(item: &Environment) -> String {
    let mut page = Page::new();
    let mut facts = vec![
        ("environment", item.id.to_string()),
        ("task", item.task_id.to_string()),
        ("state", item.state.to_string()),
        ("reason", item.reason.to_string()),
        ("host", item.host_id.to_string()),
        ("vm", item.vm.to_string()),
        ("observed", format!("{:?}", item.observed).to_lowercase()),
        ("size", item.spec.resources.to_string()),
        ("created", format!("{} ({} ago)", item.created_at, age(item.created_at))),
        ("updated", format!("{} ({} ago)", item.updated_at, age(item.updated_at))),
    ];
    let mut more = |name: &'static str, text: String| {
        if !text.is_empty() {
            facts.push((name, text));
        }
    };
    more("url", item.url.clone());
    more("image", item.spec.image.clone());
    more("region", item.spec.region.clone());
    more("command", item.agent.command.clone().unwrap_or_default());
    more("phases", phases(&item.timings));
    if let Some(health) = &item.health {
        let state = format!("{:?}", health.state).to_lowercase();
        more("health", format!("{state} since {} {}", health.since, health.message));
    }
    if let Some(seed) = &item.seed {
        more("from snapshot", seed.snapshot_id.to_string());
        more("forked from", seed.forked_from.as_ref().map(ToString::to_string).unwrap_or_default());
    }
    if item.removal.failed > 0 {
        more("removal", format!("failed {} times: {}", item.removal.failed, item.removal.last_error));
    }
    page.facts(&facts);
    for endpoint in &item.endpoints {
        let name = endpoint.name.as_deref().unwrap_or("-");
        page.line(&format!("port {} as {name} at {}", endpoint.port, endpoint.url));
    }
    for warning in &item.warnings {
        page.line(&format!("warning: {warning}"));
    }
    page.into_text()
}

pub(crate) fn hosts<'a>(items: impl IntoIterator<Item = &'a Host>) -> String {
    let columns =
        ["ID", "STATE", "LIVENESS", "BACKEND", "ARCH", "REGION", "CPUS>", "RAM MB>", "DISK GB>", "VMS>"];
    let mut table = Table::new(&columns);
    for item in items {
        let (has, taken) = (item.capacity, item.allocated);
        table.row([
            item.id.to_string(),
            item.state.to_string(),
            item.liveness.state.to_string(),
            item.backend.clone(),
            item.arch.to_string(),
            item.region.clone(),
            format!("{}/{}", taken.cpus, has.cpus),
            format!("{}/{}", taken.ram_mb, has.ram_mb),
            format!("{}/{}", taken.storage_gb, has.storage_gb),
            format!("{}/{}", taken.vm_count, has.vm_count),
        ]);
    }
    if table.is_empty() { "no hosts; add one with `fuse host add`\n".to_owned() } else { table.text() }
}

pub(crate) fn host(item: &Host) -> String {
    let labels: Vec<_> = item.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut page = Page::new();
    page.facts(&[
        ("host", item.id.to_string()),
        ("url", item.url.clone()),
        ("state", item.state.to_string()),
        (
            "liveness",
            format!("{} for {} ({})", item.liveness.state, age(item.liveness.since), item.liveness.reason),
        ),
        ("last seen", format!("{} ago", age(item.last_seen))),
        ("backend", format!("{} on {}", item.backend, item.arch)),
        ("region", if item.region.is_empty() { "-".to_owned() } else { item.region.clone() }),
        ("labels", if labels.is_empty() { "-".to_owned() } else { labels.join(", ") }),
        ("capacity", item.capacity.to_string()),
        ("allocated", item.allocated.to_string()),
        ("registered", format!("{} ({} ago)", item.created_at, age(item.created_at))),
    ]);
    for warning in &item.warnings {
        page.line(&format!("warning: {warning}"));
    }
    page.into_text()
}

pub(crate) fn snapshots<'a>(items: impl IntoIterator<Item = &'a Snapshot>) -> String {
    let mut table = Table::new(&["ID", "ENVIRONMENT", "STATE", "MODE", "SIZE>", "AGE>", "NAME", "COMMENT"]);
    for item in items {
        let name = item.metadata.get("name").cloned().unwrap_or_default();
        table.row([
            item.id.to_string(),
            item.environment_id.to_string(),
            item.state.to_string(),
            item.mode.as_str().to_owned(),
            if item.size_bytes == 0 { "-".to_owned() } else { crate::output::bytes(item.size_bytes) },
            age(item.created_at),
            name,
            brief(&item.comment),
        ]);
    }
    if table.is_empty() { "no snapshots\n".to_owned() } else { table.text() }
}

pub(crate) fn snapshot(item: &Snapshot) -> String {
    let mut page = Page::new();
    let mut facts = vec![
        ("snapshot", item.id.to_string()),
        ("environment", item.environment_id.to_string()),
        ("task", item.task_id.to_string()),
        ("state", item.state.to_string()),
        ("reason", item.reason.to_string()),
        ("host", item.host_id.to_string()),
        ("kind", if item.live { "disk and memory" } else { "disk" }.to_owned()),
        ("created", format!("{} ({} ago)", item.created_at, age(item.created_at))),
    ];
    let mut more = |name: &'static str, text: String| {
        if !text.is_empty() {
            facts.push((name, text));
        }
    };
    more("parent", item.parent_snapshot_id.as_ref().map(ToString::to_string).unwrap_or_default());
    more("size", if item.size_bytes == 0 { String::new() } else { crate::output::bytes(item.size_bytes) });
    more("digest", item.digest.clone());
    let copies: Vec<_> = item.copies.keys().map(ToString::to_string).collect();
    more("also on", copies.join(", "));
    more("comment", item.comment.clone());
    more("kept until", item.retention_until.map(|until| until.to_string()).unwrap_or_default());
    for (key, value) in &item.metadata {
        more("metadata", format!("{key}={value}"));
    }
    page.facts(&facts);
    page.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_their_largest_unit() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (61, "1m"), (7_200, "2h"), (200_000, "2d")] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn phases_that_did_not_happen_are_not_told() {
        let timings =
            PhaseTimings { schedule_us: Some(12), create_us: Some(1_250_000), ..PhaseTimings::default() };
        assert_eq!(phases(&timings), "schedule 12.0 µs, create 1.25 s");
    }
}
