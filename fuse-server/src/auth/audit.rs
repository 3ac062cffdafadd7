//! Refused callers in the log of events: seldom enough that whoever is refused cannot fill it.

use std::{net::IpAddr, time::Duration};

use fuse_orchestrator::{ControlPlane, Refusal};

use super::{Limiter, bucket_of};

const MINUTE: Duration = Duration::from_secs(60);
/// Notes a minute about one address, or one /64 network.
const OF_ONE: u32 = 1;
/// Notes a minute about all of them.
const OF_ALL: u32 = 60;

/// Notes refusals.
#[derive(Debug)]
pub(crate) struct Audit {
    orchestrator: ControlPlane,
    of_one: Option<Limiter<(bool, IpAddr)>>,
    of_all: Option<Limiter<()>>,
}

impl Audit {
    pub(crate) fn new(orchestrator: ControlPlane) -> Self {
        Self {
            orchestrator,
            of_one: Limiter::new(OF_ONE, MINUTE, OF_ONE),
            of_all: Limiter::new(OF_ALL, MINUTE, OF_ALL),
        }
    }

    /// Notes that somebody at `address` was refused, unless that was just noted. Nobody waits for it.
    pub(crate) fn note(&self, refusal: Refusal, address: IpAddr) {
        let address = bucket_of(address);
        let one = (refusal == Refusal::Network, address);
        let may = self.of_one.as_ref().is_none_or(|limiter| limiter.take(&one).is_ok())
            && self.of_all.as_ref().is_none_or(|limiter| limiter.take(&()).is_ok());
        if !may {
            return;
        }
        let orchestrator = self.orchestrator.clone();
        tokio::spawn(async move {
            if let Err(error) = orchestrator.note_refusal(refusal, address).await {
                tracing::debug!("a refusal could not be noted: {error}");
            }
        });
    }
}
