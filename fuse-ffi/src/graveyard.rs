//! The shells of closed handles.
//!
//! With `std`, the last 64 are kept: so that the use of a handle after its close is seen for what it is instead of
//! reading memory that belongs to somebody else by now. A shell holds nothing but its mark and a text. Without
//! `std`, memory is too dear for that, and they are freed.

use alloc::boxed::Box;

/// How many are kept.
#[cfg(feature = "std")]
const KEPT: usize = 64;

/// A closed handle.
pub(crate) trait Shell: Send {}

#[cfg(feature = "std")]
pub(crate) fn bury(shell: Box<dyn Shell>) {
    use std::collections::VecDeque;
    use std::sync::{Mutex, PoisonError};

    static SHELLS: Mutex<VecDeque<Box<dyn Shell>>> = Mutex::new(VecDeque::new());
    let mut shells = SHELLS.lock().unwrap_or_else(PoisonError::into_inner);
    if shells.len() == KEPT {
        shells.pop_front();
    }
    shells.push_back(shell);
}

#[cfg(not(feature = "std"))]
pub(crate) fn bury(shell: Box<dyn Shell>) {
    drop(shell);
}
