//! Keeps the processors from going to sleep between two requests: what waking up costs is the machine's, and in a virtual
//! machine more than all the rest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// The lowest priority: whoever has something to do goes first.
const IDLE: i32 = 19;

/// A thread for each processor, which does nothing, until it is dropped.
pub(crate) struct Awake {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    pub(crate) fn keep() -> Self {
        let stop = Arc::<AtomicBool>::default();
        let spin = || {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                rustix::process::setpriority_process(None, IDLE).expect("a lower priority");
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..thread::available_parallelism().map_or(1, usize::from)).map(|_| spin()).collect();
        Self { stop, threads }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
