//! One suite, every store: what `Store` promises holds in memory, on sled and on Postgres alike.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]
mod backends;
mod suite;

/// Runs every case of the suite over one backend.
macro_rules! conformance {
    ($name:ident, $make:expr) => {
        mod $name {
            conformance!(@cases $make,
                records: reads_what_was_written, expectations_are_checked, a_batch_is_all_or_nothing,
                    revisions_never_come_back, lists_in_byte_order, pages_do_not_overlap, kinds_are_apart,
                    bodies_are_opaque, large_bodies_grow_and_shrink, limits_are_enforced, odd_ids_are_not_there;
                events: numbers_have_no_gaps, events_of_one_record, truncation_is_visible,
                    a_long_log_is_truncated, the_hint_moves, old_events_are_trimmed;
                leases: one_holder_at_a_time, an_expired_lease_passes_on, a_stale_token_is_refused,
                    a_released_lease_is_stale, lease_limits_are_enforced;
                many: no_update_is_lost, a_follower_misses_nothing, agrees_with_a_naive_model;
                whole: a_dump_loads_into_a_new_store, a_load_needs_an_empty_store,
                    an_unfinished_load_blocks_the_store, a_wrong_load_is_noticed, a_closed_store_refuses,
                    a_reopened_store_has_everything
            );
        }
    };
    (@cases $make:expr, $($module:ident: $($case:ident),+);+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let backend: Option<_> = $make;
                if let Some(backend) = backend {
                    crate::suite::$module::$case(&backend).await;
                }
            }
        )+)+
    };
}

conformance!(memory, Some(crate::backends::Memory));
conformance!(sled, Some(crate::backends::Sled::new()));
conformance!(postgres, crate::backends::Postgres::new());
