//! The latch that posts land in, under loom: every interleaving of posters and the runtime, with every value that the
//! memory model lets a load see. The code is the runtime's own; only the atomics are loom's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use fuse_edge::{EVENT_COUNT, EventId, EventMask};
use loom::sync::atomic::{AtomicU64 as Data, Ordering::Relaxed};
use loom::thread;

mod sync {
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "../../../fuse-core/edge/src/event/pending.rs"]
#[allow(dead_code, reason = "the model does not look at posts without taking them")]
mod pending;

use pending::Pending;
use sync::Arc;

fn event(id: u32) -> EventId {
    EventId::new(id).unwrap()
}

fn both() -> EventMask {
    EventMask::from_bits(0b11)
}

/// What one take gave, as a mask.
fn take(pending: &Pending) -> u32 {
    pending.take().bits()
}

/// Two events from two threads while the runtime takes twice: each arrives once, with what was stored before it.
#[test]
fn each_post_arrives_once_and_brings_its_data() {
    loom::model(|| {
        let pending = Pending::new();
        let data = Arc::new([Data::new(0), Data::new(0)]);
        let posters = [0, 1].map(|id| {
            let (pending, data) = (pending.clone(), data.clone());
            thread::spawn(move || {
                data[id as usize].store(7, Relaxed);
                pending.post(event(id));
            })
        });
        let mut all = 0;
        for _ in 0..2 {
            let taken = take(&pending);
            assert_eq!(taken & all, 0, "an event was invented");
            for id in EventMask::from_bits(taken).iter() {
                assert_eq!(data[id.get() as usize].load(Relaxed), 7, "the post came before its data");
            }
            all |= taken;
        }
        posters.into_iter().for_each(|p| p.join().unwrap());
        let rest = take(&pending);
        assert_eq!(rest & all, 0, "an event was invented");
        assert_eq!(rest | all, both().bits(), "an event was lost");
        assert_eq!(take(&pending), 0);
    });
}

/// The same event twice from one thread: one or two activations, and the last one sees the newest data.
#[test]
fn the_last_of_merged_posts_is_seen() {
    loom::model(|| {
        let pending = Pending::new();
        let data = Arc::new(Data::new(0));
        let poster = {
            let (pending, data) = (pending.clone(), data.clone());
            thread::spawn(move || {
                for round in 1..=2 {
                    data.store(round, Relaxed);
                    pending.post(event(3));
                }
            })
        };
        let mut activations = 0;
        let mut newest = 0;
        let mut look = |pending: &Pending| {
            if take(pending) != 0 {
                activations += 1;
                newest = data.load(Relaxed);
            }
        };
        look(&pending);
        poster.join().unwrap();
        look(&pending);
        assert!((1..=2).contains(&activations), "{activations} activations");
        assert_eq!(newest, 2, "the last post was lost");
    });
}

/// A post with a time brings the time.
#[test]
fn a_time_arrives_with_its_post() {
    loom::model(|| {
        let pending = Pending::new();
        let poster = {
            let pending = pending.clone();
            thread::spawn(move || pending.post_at(event(31), 77))
        };
        let seen = take(&pending) != 0;
        if seen {
            assert_eq!(pending.take_time(event(31)), Some(77));
        }
        poster.join().unwrap();
        if !seen {
            assert_eq!(take(&pending), 1 << 31);
            assert_eq!(pending.take_time(event(31)), Some(77));
        }
        assert_eq!((take(&pending), pending.take_time(event(31))), (0, None));
    });
}
