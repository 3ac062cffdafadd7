//! The wire, route by route, against a live server: on memory, on sled and on Postgres.
//!
//! What runs on memory alone never reaches the store: who may call and how often (`access`), bytes and deadlines below a
//! request (`limits`, the framing and the patience of `attach`), JSON that is none, routes that are not there, request ids,
//! the time between two signs of life of a stream, and the switch that makes the stub dumb. What a slow reader lost needs a
//! log that outlives its process, so it runs on the two that have one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod attach;
mod environments;
mod events;
mod exec;
mod hosts;
mod keys;
mod limits;
mod repeats;
mod service;
mod snapshots;
mod tour;

/// Runs each test on each backend, a site of its own for each, perhaps with more settings. Where Postgres is not installed
/// its tests say so and pass.
macro_rules! on_every_backend {
    ($($name:ident),* $(,)?) => { crate::on_every_backend!(with &[]; $($name),*); };
    (with $settings:expr; $($name:ident),* $(,)?) => {
        $(mod $name {
            #[test] fn memory() { crate::on(crate::support::Backend::Memory, $settings, super::$name) }
            #[test] fn sled() { crate::on(crate::support::Backend::Sled, $settings, super::$name) }
            #[test] fn postgres() { crate::on(crate::support::Backend::Postgres, $settings, super::$name) }
        })*
    };
}
pub(crate) use on_every_backend;

fn on<F: Future<Output = ()>>(
    backend: support::Backend,
    settings: &[(&str, &str)],
    test: impl FnOnce(support::Site) -> F,
) {
    support::run(async {
        let Some(site) = support::Site::start_with(backend, settings).await else { return };
        test(site).await;
    });
}
