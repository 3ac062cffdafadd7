//! Follows the events of the fleet for the figures.

use std::time::Duration;

use fuse_orchestrator::{
    ControlPlane, Delivery,
    model::{Clock as _, Event, EventKind, PhaseTimings, ReasonCode, Subject, SystemClock},
};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, PhaseLabels};

/// How long it waits when the log of events cannot be read.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Counts what happens, until `stop`.
pub(crate) async fn follow(orchestrator: ControlPlane, metrics: Metrics, stop: CancellationToken) {
    let clock = SystemClock::new();
    let mut events = orchestrator.events(orchestrator.newest_event());
    while let Some(next) = stop.run_until_cancelled(events.next()).await {
        match next {
            Ok(Some(Delivery::Event(event))) => {
                metrics.event_lag.set(clock.now().since(event.time).as_secs_f64());
                metrics.events.inc();
                count(&orchestrator, &metrics, &event);
            }
            Ok(Some(Delivery::Lost { count })) => {
                metrics.events.inc_by(count);
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!("the log of events cannot be read: {error}");
                stop.run_until_cancelled(tokio::time::sleep(AFTER_FAILURE)).await;
            }
        }
    }
}

fn count(orchestrator: &ControlPlane, metrics: &Metrics, event: &Event) {
    let reconcile = &metrics.reconcile;
    match event.event {
        EventKind::VmRunning => note_boot(orchestrator, metrics, event),
        EventKind::VmProvisionFailed => {
            metrics.boots_failed.inc();
        }
        EventKind::VmOrphanRemoved => {
            reconcile.orphans_destroyed.inc();
        }
        EventKind::VmOrphanDeadLettered => {
            reconcile.orphans_dead_lettered.inc();
        }
        EventKind::VmRemoveFailed if matches!(event.subject, Subject::Vm(_)) => {
            reconcile.orphans_failed.inc();
        }
        EventKind::VmDestroying => match event.reason.as_ref().map(|reason| reason.code) {
            Some(ReasonCode::Expired) => {
                reconcile.stuck_failed.inc();
            }
            Some(ReasonCode::Idle) => {
                reconcile.idle_failed.inc();
            }
            Some(ReasonCode::VmMissing) => {
                reconcile.missing.inc();
            }
            _ => {}
        },
        _ => {}
    }
}

fn note_boot(orchestrator: &ControlPlane, metrics: &Metrics, event: &Event) {
    let Subject::Environment(id) = &event.subject else { return };
    let Ok(environment) = orchestrator.get(id) else { return };
    metrics.boot.observe(event.time.since(environment.created_at).as_secs_f64());
    let PhaseTimings { schedule_us, create_us, upload_us, start_script_us, agent_us } = environment.timings;
    let phases = [
        ("schedule", schedule_us),
        ("create", create_us),
        ("upload", upload_us),
        ("start_script", start_script_us),
        ("agent", agent_us),
    ];
    for (phase, took) in phases {
        if let Some(micros) = took {
            let seconds = Duration::from_micros(micros).as_secs_f64();
            metrics.boot_phase.get_or_create(&PhaseLabels { phase }).observe(seconds);
        }
    }
}
