//! Routes about the host.

use std::fmt::Write as _;

use axum::{Json, extract::State, http::header, response::IntoResponse};
use fuse_orchestrator::provider::agent_api::{AgentCapacity, extension};
use serde_json::{Value, json};

use super::{
    Api,
    answer::{Answer, Failure},
};
use crate::{provider::facts_of, system::blocking};

pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "ok": true, "app_name": "fc-agent" }))
}

pub(super) async fn capacity(State(api): State<Api>) -> Answer<Value> {
    let facts = facts_of(&api.agent);
    let capacity = AgentCapacity {
        cpus: facts.capacity.cpus,
        ram_mb: facts.capacity.ram_mb,
        storage_gb: facts.capacity.storage_gb,
        arch: facts.arch.map(|arch| arch.as_str().to_owned()),
        vm_count: Some(facts.capacity.vm_count).filter(|count| *count > 0),
        extensions: extension::ALL.iter().map(|name| (*name).to_owned()).collect(),
        backend: Some(api.agent.backend().to_owned()),
        version: Some(crate::VERSION.to_owned()),
    };
    let mut value = serde_json::to_value(capacity).map_err(|error| Failure::from(broken(&error)))?;
    if let Some(members) = value.as_object_mut() {
        members.insert("gpus".to_owned(), 0.into());
        members.insert("gpu_devices".to_owned(), json!([]));
        members.insert("vmm_version".to_owned(), api.agent.vmm_version().into());
        members.insert("accelerator".to_owned(), api.agent.accelerator().into());
    }
    Ok(Json(value))
}

fn broken(error: &serde_json::Error) -> crate::Error {
    crate::Error::system("answer", "a request", error)
}

pub(super) async fn images(State(api): State<Api>) -> Answer<Value> {
    let listed = blocking("list the images", move || api.agent.images().list()).await?;
    let image = |image: &crate::store::ImageRecord| {
        let rootfs = image.rootfs.as_ref().map(|file| file.sha256.to_string());
        json!({ "name": image.name.as_str(), "arch": image.arch, "rootfs_sha256": rootfs })
    };
    Ok(Json(json!({ "images": listed.iter().map(image).collect::<Vec<_>>() })))
}

/// Figures in the text format of Prometheus.
pub(super) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    let agent = &api.agent;
    let figures = agent.figures();
    let mut text = String::new();
    let mut counter = |name: &str, help: &str, values: Vec<(String, String)>, kind: &str| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: u64| vec![(String::new(), value.to_string())];
    let verbs = |of: fn(&crate::agent::Counted) -> String, outcome: &str| -> Vec<(String, String)> {
        let entries = figures.verbs.iter();
        entries.map(|(verb, counted)| (format!("{{verb=\"{verb}\"{outcome}}}"), of(counted))).collect()
    };
    let mut total = verbs(|counted| counted.good.to_string(), ",outcome=\"ok\"");
    total.extend(verbs(|counted| counted.failed.to_string(), ",outcome=\"error\""));
    counter("fuse_host_agent_verbs_total", "Verbs, by outcome.", total, "counter");
    let seconds = verbs(|counted| format!("{:.6}", counted.time.as_secs_f64()), "");
    counter("fuse_host_agent_verb_seconds_total", "Time of the verbs that succeeded.", seconds, "counter");
    let vms = agent.list(None, None).len() as u64;
    counter("fuse_host_agent_vms", "VMs of this host.", one(vms), "gauge");
    counter(
        "fuse_host_agent_vm_deaths_total",
        "VMs whose VMM ended by itself.",
        one(figures.deaths),
        "counter",
    );
    counter("fuse_host_agent_adopted_total", "VMs taken over at start.", one(figures.adopted), "counter");
    counter(
        "fuse_host_agent_swept_total",
        "Remains of a crash that were removed.",
        one(figures.swept),
        "counter",
    );
    let (snapshots, bytes) = agent.snapshots().totals();
    counter("fuse_host_agent_snapshots", "Snapshots of this host.", one(snapshots as u64), "gauge");
    counter("fuse_host_agent_snapshot_bytes", "Their bytes.", one(bytes), "gauge");
    let watched = agent.clone();
    let memory = blocking("read memory", move || Ok(watched.memory())).await.unwrap_or_default();
    let of = |value: fn(&(fuse_orchestrator::model::VmName, u64, u64)) -> u64| {
        memory.iter().map(|entry| (format!("{{vm=\"{}\"}}", entry.0), value(entry).to_string())).collect()
    };
    counter("fuse_host_agent_vm_resident_bytes", "Memory of a VMM.", of(|entry| entry.1), "gauge");
    counter(
        "fuse_host_agent_vm_own_bytes",
        "Memory of a VMM that it shares with none.",
        of(|entry| entry.2),
        "gauge",
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
