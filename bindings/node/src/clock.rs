//! The clock of a runtime whose time the host moves.

use std::cell::RefCell;

use fuse_runtime::edge;
use napi_derive::napi;

use crate::fault::{Result, invalid};

/// A clock that stands still until the host moves it.
#[napi(js_name = "NativeClock")]
pub struct Clock {
    /// For the first runtime; a platform has one.
    platform: RefCell<Option<edge::ManualPlatform>>,
    clock: edge::ManualClock,
}

/// The platform of this machine.
pub(crate) fn linux() -> Result<edge::LinuxPlatform> {
    edge::LinuxPlatform::new().map_err(|e| invalid(format!("cannot use this machine's clocks: {e}")))
}

impl Clock {
    pub(crate) fn take(&self) -> Result<edge::ManualPlatform> {
        self.platform
            .take()
            .ok_or_else(|| invalid("this ManualClock drives another runtime; make one for each"))
    }
}

#[napi]
impl Clock {
    /// A clock at 0, with the machine's quota timer or without.
    #[napi(constructor)]
    pub fn new(quota_timer: bool) -> napi::Result<Self> {
        let platform = if quota_timer {
            let linux = linux().map_err(|e| napi::Error::from_reason(e.reason.clone()))?;
            edge::ManualPlatform::with_quota_timer(linux)
        } else {
            edge::ManualPlatform::new()
        };
        Ok(Self { clock: platform.clock(), platform: RefCell::new(Some(platform)) })
    }

    /// The time in microseconds.
    #[napi(getter)]
    pub fn now_us(&self) -> i64 {
        self.clock.now_us().cast_signed()
    }

    /// Sets the time.
    #[napi]
    pub fn set_us(&self, now_us: napi::bindgen_prelude::BigInt) {
        self.clock.set_us(now_us.get_u64().1);
    }

    /// Moves the time forward.
    #[napi]
    pub fn advance_us(&self, by_us: napi::bindgen_prelude::BigInt) {
        self.clock.advance_us(by_us.get_u64().1);
    }
}
