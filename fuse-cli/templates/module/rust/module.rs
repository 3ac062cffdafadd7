//! {{name}}: counts its steps and says when each of them ran.
//!
//! Capabilities: TIMER, LOG (app_config.json grants them).
#![no_std]

use fuse_module::{log, timestamp_us, Level, Line, Module};

struct Counter {
    steps: u32,
}

impl Module for Counter {
    fn init(&mut self) {
        log(Level::Info, b"{{name}}: ready");
    }

    fn step(&mut self) {
        self.steps += 1;
        let mut line = Line::new();
        line.text("{{name}}: step ").number(u64::from(self.steps));
        line.text(" at ").number(timestamp_us() as u64).text(" us");
        line.log(Level::Info);
    }
}

fuse_module::module!(Counter = Counter { steps: 0 });
