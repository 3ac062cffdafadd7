//! Hosts: registration, cordon, removal.

use std::{collections::BTreeMap, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

use super::{ControlPlane, Inner, change::Change, fleet::Entry};
use crate::{
    Error, Problem, RecordKind, Result,
    model::{
        Arch, Capacity, CertificatePin, Event, EventKind, Host, HostId, HostLiveness, HostState, Liveness,
        Reason, ReasonCode, Subject,
    },
    provider::{HostAddress, HostFacts, Provider, ProviderErrorKind, ProviderResult, Verb},
    store::{Expect, Kind},
};

/// A host to register.
#[derive(Debug, Clone, Default)]
pub struct HostRegistration {
    /// Where its agent is reached; the scheme says which provider drives it.
    pub url: String,
    /// The bearer token of its agent.
    pub token: Option<SecretString>,
    /// The certificate that its agent must show over https. None: one that the system's authorities vouch for.
    pub certificate: Option<CertificatePin>,
    /// Its region. Empty: none.
    pub region: String,
    /// What runs its VMs. Empty: what the provider says.
    pub backend: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its architecture. None: what the host says, else amd64.
    pub arch: Option<Arch>,
    /// What it has. Zero members are asked of the host; `vm_count` must be given unless the host has its own limit.
    pub capacity: Capacity,
}

/// What happens to the environments of a host that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Removal {
    /// The host must have none.
    Empty,
    /// They count as gone, and so does what they left behind: the operator vouches for that.
    Forced,
}

impl ControlPlane {
    /// Registers a host, or registers it again: then its record keeps its age, its cordon and everything on it.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every problem; [`Error::Provider`] when the host does not take the token, or does not
    /// answer and its capacity is not fully declared.
    pub async fn register_host(&self, id: &HostId, registration: HostRegistration) -> Result<Host> {
        let (inner, key) = (Arc::clone(&self.inner), id.clone());
        self.inner.finish(async move { inner.register(&key, registration).await }).await?;
        self.host(id)
    }

    /// Lets no new environments go to a host. Those that it has go on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn cordon(&self, id: &HostId) -> Result<()> {
        self.set_host_state(id, HostState::Cordoned, EventKind::HostCordoned).await
    }

    /// Lets new environments go to a host again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn uncordon(&self, id: &HostId) -> Result<()> {
        self.set_host_state(id, HostState::Active, EventKind::HostUncordoned).await
    }

    async fn set_host_state(&self, id: &HostId, state: HostState, kind: EventKind) -> Result<()> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        let work = async move {
            let event = Event::new(inner.now(), kind, Subject::Host(id.clone()));
            let set = |host: &mut Host| {
                host.state = state;
                if state == HostState::Active {
                    // Whoever takes new environments is not being emptied.
                    host.drain = None;
                }
            };
            inner.change_host(&id, set, Some(event)).await
        };
        self.inner.finish(work).await
    }

    /// Removes a host.
    ///
    /// # Errors
    /// [`Error::HostInUse`] when environments or teardowns point to it and the removal is not forced;
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn remove_host(&self, id: &HostId, removal: Removal) -> Result<()> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        self.inner.finish(async move { inner.remove_host(&id, removal).await }).await
    }
}

impl Inner {
    async fn register(self: &Arc<Self>, id: &HostId, registration: HostRegistration) -> Result<()> {
        let mut problems = Vec::new();
        crate::model::check_labels("labels", &registration.labels, &mut problems);
        if !problems.is_empty() {
            return Err(Error::Invalid(problems));
        }
        let provider = self.connect(HostAddress {
            id: id.clone(),
            url: registration.url.clone(),
            backend: registration.backend.clone(),
            token: registration.token.clone(),
            certificate: registration.certificate,
        })?;
        let limit = self.config.timeouts.query;
        let probed = self.call(id, Verb::Probe, "", limit, provider.probe()).await;
        if probed.as_ref().is_ok_and(|facts| !facts.keeps_owner) {
            self.check_sole_owner(id, &*provider).await?;
        }
        // As registered, else as the host says, else as its provider takes it to be.
        let told = probed.as_ref().map(|facts| facts.backend.clone()).unwrap_or_default();
        let named = [registration.backend.clone(), told].into_iter().find(|backend| !backend.is_empty());
        let backend = named.unwrap_or_else(|| provider.backend().to_owned());
        let (capacity, arch, mut warnings) = settle(&registration, probed)?;
        #[cfg(feature = "remote")]
        warnings.extend(crate::provider::remote::warnings(
            &registration.url,
            registration.token.is_some(),
            registration.certificate.is_some(),
        ));
        if provider.backend() == "stub" {
            let text =
                "the stub runs commands in memory and isolates nothing; register real hosts to run real VMs";
            tracing::warn!(host = %id, "{text}");
            warnings.push(text.to_owned());
        }

        let _held = self.locks.hold(RecordKind::Host, id.as_str()).await;
        let known = self.fleet().hosts.get(id).map(|entry| entry.host.clone());
        let now = self.now();
        let host = Host {
            id: id.clone(),
            url: registration.url.clone(),
            region: registration.region.clone(),
            backend,
            labels: registration.labels.clone(),
            arch,
            certificate: registration.certificate,
            state: known.as_ref().map_or(HostState::Active, |known| known.value.state),
            drain: known.as_ref().and_then(|known| known.value.drain),
            liveness: HostLiveness {
                state: Liveness::Ready,
                since: now,
                reason: Reason::from(ReasonCode::Requested),
            },
            capacity,
            allocated: Capacity::default(),
            last_seen: now,
            created_at: known.as_ref().map_or(now, |known| known.value.created_at),
            updated_at: now,
            warnings,
        };
        let event = Event::new(now, EventKind::HostRegistered, Subject::Host(id.clone()));
        let mut change = Change::new().host(host, known.map(|known| known.revision), Some(provider));
        if let Some(token) = &registration.token {
            let record = token_record(id);
            let sealed = self.secrets.seal(Kind::Secret, &record, token.expose_secret().as_bytes())?;
            change = change.put_bytes(Kind::Secret, &record, Expect::Any, sealed);
        } else {
            change = change.delete(Kind::Secret, &token_record(id));
        }
        self.commit(change.event(event)).await?;
        self.watch_host(id);
        Ok(())
    }

    /// A provider for a host, from the connector of its URL's scheme.
    pub(super) fn connect(&self, address: HostAddress) -> Result<Arc<dyn Provider>> {
        let url = &address.url;
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let Some(connector) = self.connectors.get(scheme) else {
            let known: Vec<_> = self.connectors.keys().map(String::as_str).collect();
            let text = format!("has no known scheme; these are known: {}", known.join(", "));
            return Err(Error::Invalid(vec![Problem::new("url", text)]));
        };
        Ok(connector.connect(&address)?)
    }

    /// Refuses a host that tells VMs apart by their names alone when it has one under our prefix that is not ours:
    /// another control plane uses the same prefix there, and each would take the other's VMs for its own.
    async fn check_sole_owner(&self, id: &HostId, provider: &dyn Provider) -> Result<()> {
        if self.config.readopt {
            // A memory that forgets cannot know them; whoever named its owner vouches that they are theirs.
            return Ok(());
        }
        let limit = self.config.timeouts.query;
        let call = provider.list(&self.owner, &self.config.prefix);
        let listed = self.call(id, Verb::List, "", limit, call).await?;
        let prefix = &self.config.prefix;
        let strangers: Vec<_> = {
            let fleet = self.fleet();
            let unknown = listed
                .into_iter()
                .filter(|vm| vm.name.as_str().starts_with(prefix.as_str()) && !fleet.knows_vm(id, &vm.name));
            unknown.map(|vm| vm.name.to_string()).collect()
        };
        let Some(first) = strangers.first() else { return Ok(()) };
        let count = strangers.len();
        let text = format!(
            "the agent of this host keeps no owner tags, and it has {count} VMs under the prefix {prefix} that this \
             control plane does not know, such as {first}: another control plane may own them. Use another prefix, \
             remove those VMs, or, where the state is in memory, name the owner that they belong to (FUSE_OWNER_ID)"
        );
        Err(Error::invalid("url", text))
    }

    /// The token of a host, from the store.
    pub(super) async fn host_token(&self, id: &HostId) -> Result<Option<SecretString>> {
        let record = token_record(id);
        let Some(found) = self.store.get(Kind::Secret, &record).await? else { return Ok(None) };
        let plain = self.secrets.open(Kind::Secret, &record, &found.body)?;
        let text = std::str::from_utf8(&plain).map_err(|_| Error::Secret {
            doing: "read the token of a host",
            why: format!("the token of {id} is not text"),
        })?;
        Ok(Some(SecretString::from(text)))
    }

    /// Changes the record of a host.
    pub(super) async fn change_host(
        &self,
        id: &HostId,
        change: impl FnOnce(&mut Host),
        event: Option<Event>,
    ) -> Result<()> {
        let _held = self.locks.hold(RecordKind::Host, id.as_str()).await;
        let known = self.fleet().hosts.get(id).map(|entry| entry.host.clone());
        let Entry { value, revision } = known.ok_or_else(|| Error::not_found(RecordKind::Host, id))?;
        let mut host = (*value).clone();
        change(&mut host);
        host.updated_at = self.now();
        let mut commit = Change::new().host(host, Some(revision), None);
        if let Some(event) = event {
            commit = commit.event(event);
        }
        self.commit(commit).await
    }

    async fn remove_host(self: &Arc<Self>, id: &HostId, removal: Removal) -> Result<()> {
        let known = {
            let mut fleet = self.fleet();
            let entry = fleet.hosts.get(id).ok_or_else(|| Error::not_found(RecordKind::Host, id))?;
            let known = Arc::clone(&entry.host.value);
            // Nothing new goes there from here on.
            fleet.scheduler.set_host(&Host { state: HostState::Cordoned, ..(*known).clone() });
            known
        };
        let result = self.remove_gated(id, removal).await;
        let mut fleet = self.fleet();
        if result.is_err() && fleet.hosts.contains_key(id) {
            fleet.scheduler.set_host(&known);
        }
        result
    }

    async fn remove_gated(self: &Arc<Self>, id: &HostId, removal: Removal) -> Result<()> {
        let weight = self.fleet().weight_of_host(id);
        if weight > 0 && removal == Removal::Empty {
            return Err(Error::HostInUse { id: id.clone(), environments: weight });
        }
        self.write_off(id).await?;
        let _held = self.locks.hold(RecordKind::Host, id.as_str()).await;
        let event = Event::new(self.now(), EventKind::HostRemoved, Subject::Host(id.clone()));
        let change = Change::new().drop_host(id).delete(Kind::Secret, &token_record(id));
        self.commit(change.event(event)).await
    }

    /// Ends everything on a host that is removed by force, without asking the host.
    async fn write_off(self: &Arc<Self>, id: &HostId) -> Result<()> {
        let (environments, teardowns) = {
            let fleet = self.fleet();
            let environments: Vec<_> = fleet.of_host(id).map(|entry| Arc::clone(&entry.value)).collect();
            let teardowns = fleet.teardowns.values().filter(|entry| entry.value.host_id == *id);
            (environments, teardowns.map(|entry| entry.value.vm.clone()).collect::<Vec<_>>())
        };
        for environment in environments {
            let reason = Reason::new(ReasonCode::HostRemoved, format!("host {id} was removed by force"));
            self.end(&environment.id, &environment.vm, reason).await?;
            self.note_removed(&self.environment(&environment.id)?.value, None).await?;
        }
        for vm in teardowns {
            self.commit(Change::new().drop_teardown(&vm)).await?;
        }
        Ok(())
    }
}

fn token_record(id: &HostId) -> String {
    format!("host:{id}")
}

/// The capacity and architecture of a host from what was declared and what it says, with warnings.
fn settle(
    registration: &HostRegistration,
    probed: ProviderResult<HostFacts>,
) -> Result<(Capacity, Arch, Vec<String>)> {
    let declared = registration.capacity;
    let complete =
        declared.cpus > 0 && declared.ram_mb > 0 && declared.storage_gb > 0 && declared.vm_count > 0;
    let mut warnings = Vec::new();
    let facts = match probed {
        Ok(facts) => facts,
        Err(error) if complete && error.kind != ProviderErrorKind::Unauthorized => {
            warnings.push(format!("the host did not answer, so its capacity is as declared: {error}"));
            HostFacts::default()
        }
        Err(error) => return Err(error.into()),
    };
    let mut problems = Vec::new();
    let mut pick = |name: &str, declared: u32, probed: u32| {
        if declared > probed && probed > 0 {
            warnings.push(format!("{name} is declared as {declared}, and the host says {probed}"));
        }
        let picked = if declared > 0 { declared } else { probed };
        if picked == 0 {
            let text = "must be above 0; the host does not say it";
            problems.push(Problem::new(format!("capacity.{name}"), text));
        }
        picked
    };
    let capacity = Capacity {
        cpus: pick("cpus", declared.cpus, facts.capacity.cpus),
        ram_mb: pick("ram_mb", declared.ram_mb, facts.capacity.ram_mb),
        storage_gb: pick("storage_gb", declared.storage_gb, facts.capacity.storage_gb),
        vm_count: pick("vm_count", declared.vm_count, facts.capacity.vm_count),
    };
    if let (Some(declared), Some(probed)) = (registration.arch, facts.arch)
        && declared != probed
    {
        let text = format!("is declared as {declared}, and the host says {probed}");
        problems.push(Problem::new("capacity.arch", text));
    }
    if !problems.is_empty() {
        return Err(Error::Invalid(problems));
    }
    Ok((capacity, registration.arch.or(facts.arch).unwrap_or_default(), warnings))
}
