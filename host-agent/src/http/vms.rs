//! Routes about VMs.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::StatusCode,
};
use fuse_orchestrator::{
    model::{OwnerId, Resources, VmName},
    provider::agent_api::{CreateVm, Vm, VmList},
};
use serde_json::{Value, json};

use super::{
    Api,
    answer::{Answer, Body, Failure, bad, not_found},
    query,
};
use crate::{
    agent::{NewVm, VmView},
    store::{ImageName, SnapshotName},
};

/// The name in a path: lower-case, with `-` for each run of anything but letters, digits and `-`.
pub(super) fn name_in_path(id: &str) -> Result<VmName, Failure> {
    let mut name = String::with_capacity(id.len());
    for c in id.chars().take(256) {
        let c = c.to_ascii_lowercase();
        match c {
            'a'..='z' | '0'..='9' | '-' => name.push(c),
            _ if !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    VmName::new(name).map_err(|_| not_found())
}

fn new_name(name: &str) -> Result<VmName, Failure> {
    VmName::new(name).map_err(|error| bad(error.to_string()))
}

pub(super) fn shown(view: VmView) -> Vm {
    let size = |number: u32| (number > 0).then_some(number);
    Vm {
        vm_id: view.name.to_string(),
        url: view.url,
        owner: view.owner.map(|owner| owner.to_string()),
        environment_id: Some(view.environment_id).filter(|id| !id.is_empty()),
        cpus: size(view.resources.cpus),
        memory_mb: size(view.resources.ram_mb),
        storage_gb: size(view.resources.storage_gb),
    }
}

/// A VM to make, in the agent's terms.
pub(super) fn asked(create: &CreateVm, seed: Option<SnapshotName>) -> Result<NewVm, Failure> {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let owner = text(&create.owner).map(OwnerId::new).transpose().map_err(|error| bad(error.to_string()))?;
    let image = text(&create.image).map(|image| ImageName::new(&image)).transpose()?;
    Ok(NewVm {
        name: new_name(&create.name)?,
        owner,
        environment_id: text(&create.environment_id).unwrap_or_default(),
        resources: Resources {
            cpus: create.cpus.unwrap_or(0),
            ram_mb: create.memory_mb.unwrap_or(0),
            storage_gb: create.storage_gb.unwrap_or(0),
        },
        image,
        seed,
    })
}

pub(super) async fn create(State(api): State<Api>, Body(body): Body<CreateVm>) -> Answer<Vm> {
    let seed = body.seed_snapshot.as_deref().filter(|seed| !seed.is_empty());
    let seed = seed.map(SnapshotName::new).transpose()?;
    let wants_image = seed.is_none();
    let made = api.agent.create(asked(&body, seed)?).await;
    match made {
        Ok(view) => Ok(Json(shown(view))),
        // An image that is not there is the request's fault, a snapshot that is not there is not found.
        Err(error) if wants_image && error.kind == crate::ErrorKind::NotFound => Err(bad(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Answer<VmList> {
    let parts = query::parts(query.as_deref());
    let given = |name: &str| query::value(&parts, name).filter(|value| !value.is_empty());
    let owner = given("owner").map(OwnerId::new).transpose().map_err(|error| bad(error.to_string()))?;
    let vms = api.agent.list(owner.as_ref(), given("prefix"));
    Ok(Json(VmList { vms: vms.into_iter().map(shown).collect(), keeps_owner: true }))
}

pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Answer<Vm> {
    Ok(Json(shown(api.agent.get(&name_in_path(&id)?)?)))
}

pub(super) async fn destroy(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Failure> {
    let name = name_in_path(&id)?;
    api.agent.get(&name)?;
    api.agent.destroy(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn pause(State(api): State<Api>, Path(id): Path<String>) -> Answer<Value> {
    api.agent.pause(&name_in_path(&id)?).await?;
    Ok(Json(json!({ "ok": true })))
}

pub(super) async fn resume(State(api): State<Api>, Path(id): Path<String>) -> Answer<Value> {
    api.agent.resume(&name_in_path(&id)?).await?;
    Ok(Json(json!({ "ok": true })))
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct ShutDown {
    #[serde(default = "ten_seconds")]
    grace_ms: u64,
}

fn ten_seconds() -> u64 {
    10_000
}

pub(super) async fn shut_down(
    State(api): State<Api>,
    Path(id): Path<String>,
    Body(body): Body<ShutDown>,
) -> Result<StatusCode, Failure> {
    let name = name_in_path(&id)?;
    api.agent.get(&name)?;
    api.agent.shut_down(&name, Duration::from_millis(body.grace_ms.min(600_000))).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_are_made_safe() {
        assert_eq!(name_in_path("VM_1").unwrap().as_str(), "vm-1");
        assert_eq!(name_in_path("../../etc").unwrap().as_str(), "-etc");
        assert!(name_in_path("").is_err());
        assert!(name_in_path(&"x".repeat(65)).is_err());
    }
}
