//! The wire, route by route, against a live server: on memory, on sled and on Postgres.
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

/// Runs each test on each backend. Where Postgres is not installed its tests say so and pass.
macro_rules! on_every_backend {
    ($($name:ident),* $(,)?) => {
        mod memory { $(#[test] fn $name() { super::on(crate::support::Backend::Memory, super::$name) })* }
        mod sled { $(#[test] fn $name() { super::on(crate::support::Backend::Sled, super::$name) })* }
        mod postgres { $(#[test] fn $name() { super::on(crate::support::Backend::Postgres, super::$name) })* }

        fn on<F: Future<Output = ()>>(backend: crate::support::Backend, test: impl FnOnce(crate::support::Site) -> F) {
            crate::support::run(async {
                let Some(site) = crate::support::Site::start(backend).await else { return };
                test(site).await;
            });
        }
    };
}
pub(crate) use on_every_backend;
