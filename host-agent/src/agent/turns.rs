//! Turns: of many interpreted guests that are to go on at once, a few begin at a time.
//!
//! Dozens of interpreted guests on a processor keep one another from their work: fifty at once took 1.42 × by hand, two at a
//! time for each processor 1.24 ×. Where the processor runs them, turns made ten slower. A turn is over when the VM goes on, or after a while: one whose guest never answers keeps nobody waiting.

use std::time::Duration;

use tokio::{sync::Semaphore, time::timeout};

use crate::driver::qemu::Accelerator;

/// Interpreted guests that begin at a time, for each processor of this host: while one waits for its disk, the other runs.
const FOR_EACH: usize = 2;
/// How long a turn is at most.
const LONGEST: Duration = Duration::from_secs(1);

/// Who may begin.
#[derive(Debug)]
pub(super) struct Turns {
    free: Semaphore,
    longest: Duration,
}

impl Turns {
    /// Turns for guests that `accelerator` runs, on the processors that this process may use.
    pub(super) fn with(accelerator: &str) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let free = if accelerator == Accelerator::Tcg.as_str() {
            processors.saturating_mul(FOR_EACH)
        } else {
            Semaphore::MAX_PERMITS
        };
        Self { free: Semaphore::new(free), longest: LONGEST }
    }

    /// Does `work` when its turn has come. Dropping the future gives the turn, or the place in the queue, to the next.
    pub(super) async fn take<T>(&self, work: impl Future<Output = T>) -> T {
        // Fails only when it was closed, which nobody does.
        let turn = self.free.acquire().await.ok();
        let mut work = std::pin::pin!(work);
        match timeout(self.longest, work.as_mut()).await {
            Ok(done) => done,
            Err(_) => {
                drop(turn);
                work.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use tokio::{
        task::JoinSet,
        time::{Instant, sleep},
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(20);

    fn two(longest: Duration) -> Arc<Turns> {
        Arc::new(Turns { free: Semaphore::new(2), longest })
    }

    #[test]
    fn interpreted_guests_alone_wait() {
        assert!(Turns::with("tcg").free.available_permits() < 100_000);
        assert_eq!(Turns::with("kvm").free.available_permits(), Semaphore::MAX_PERMITS);
    }

    #[tokio::test]
    async fn a_few_at_a_time_and_all_of_them() {
        let (turns, now, most) = (two(LONG), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut all = JoinSet::new();
        for _ in 0..10 {
            let (turns, now, most) = (Arc::clone(&turns), Arc::clone(&now), Arc::clone(&most));
            all.spawn(async move {
                let work = async {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    sleep(SHORT).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                };
                turns.take(work).await;
            });
        }
        assert_eq!(all.join_all().await.len(), 10);
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn who_never_ends_keeps_nobody_waiting() {
        let turns = two(SHORT);
        let mut stuck = JoinSet::new();
        for _ in 0..10 {
            let turns = Arc::clone(&turns);
            stuck.spawn(async move { turns.take(pending::<()>()).await });
        }
        tokio::task::yield_now().await;
        let began = Instant::now();
        timeout(LONG, turns.take(async {})).await.unwrap();
        // Five pairs before it.
        assert!(began.elapsed() >= SHORT * 4);
        assert_eq!(stuck.len(), 10);
    }

    #[tokio::test]
    async fn who_gives_up_gives_the_turn_on() {
        let turns = two(LONG);
        for _ in 0..10 {
            timeout(SHORT, turns.take(pending::<()>())).await.unwrap_err();
        }
        timeout(LONG, turns.take(async {})).await.unwrap();
    }
}
