//! The clock.

use fuse_guest_protocol::{
    ErrorCode, GuestError,
    verb::{SetTime, TimeFacts},
};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

const SECOND: i64 = 1_000_000_000;
/// Beyond the years 2000 and 2200 somebody is mistaken.
const RANGE: std::ops::Range<i64> = 946_684_800 * SECOND..7_258_118_400 * SECOND;

/// Sets the clock.
pub(crate) fn set(time: SetTime) -> Result<TimeFacts, GuestError> {
    if !RANGE.contains(&time.unix_ns) {
        let text = format!("{} ns since 1970 is not between the years 2000 and 2200", time.unix_ns);
        return Err(GuestError::new(ErrorCode::Invalid, text));
    }
    let before = clock_gettime(ClockId::Realtime);
    let before = before.tv_sec.saturating_mul(SECOND).saturating_add(before.tv_nsec);
    let to = Timespec { tv_sec: time.unix_ns / SECOND, tv_nsec: time.unix_ns % SECOND };
    clock_settime(ClockId::Realtime, to)
        .map_err(|error| GuestError::io("setting the clock", &error.into()))?;
    Ok(TimeFacts { moved_ns: time.unix_ns - before })
}
