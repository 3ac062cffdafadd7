//! The hardware of this example: a camera that shows the sky, a clock, and a downlink.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use fuse_edge::hal::{Param, Value, ValueType};
use fuse_edge::{HalGroup, Runtime};
use fuse_example_frames::Frame;

/// Cheap to clone: all clones are the same hardware.
#[derive(Clone, Default)]
pub(crate) struct Hardware {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    newest: Vec<u8>,
    packet: Option<Vec<u8>>,
}

impl Hardware {
    /// Puts a frame before the camera.
    pub(crate) fn expose(&self, frame: &Frame) {
        self.lock().newest.clone_from(&frame.pixels);
    }

    /// What arrived at the downlink since the last call.
    pub(crate) fn take_packet(&self) -> Option<Vec<u8>> {
        self.lock().packet.take()
    }

    /// Connects camera, clock and downlink to a runtime. There is no temperature sensor.
    pub(crate) fn connect(&self, runtime: &mut Runtime) -> fuse_edge::Result<()> {
        let camera = self.clone();
        runtime.set_camera(move |buffer| {
            let state = camera.lock();
            let len = state.newest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&state.newest[..len]);
            Ok(len)
        });

        let zero = Instant::now();
        runtime.set_timer(move || Ok(i64::try_from(zero.elapsed().as_micros()).unwrap_or(i64::MAX)));

        let downlink = self.clone();
        runtime.register_group(HalGroup::new("downlink", 8).function(
            "downlink_write",
            &[Param::In],
            Some(ValueType::I32),
            move |call| {
                let packet = call.buffer(0).to_vec();
                let accepted = i32::try_from(packet.len()).unwrap_or(i32::MAX);
                downlink.lock().packet = Some(packet);
                Ok(Some(Value::I32(accepted)))
            },
        ))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement that changes it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
