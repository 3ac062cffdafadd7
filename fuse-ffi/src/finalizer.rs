//! What the host lends to the library for longer than a call.

use core::ffi::c_void;

/// Frees what a `user` pointer points to. Called once, on the thread that makes the last use impossible: when the
/// callback is replaced, when its runtime is closed, or when the call that should have taken it fails. It must not
/// call the library on the same handle, throw or unwind. Null: nothing is to be freed.
pub type fuse_finalizer_t = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// A `user` pointer with its finalizer.
pub(crate) struct Lent {
    user: *mut c_void,
    finalizer: fuse_finalizer_t,
}

// SAFETY: the library only hands the pointer back to the host's own functions. That they may be called on whatever
// thread uses the handle is what the header says of every callback.
unsafe impl Send for Lent {}

impl Lent {
    pub(crate) const fn new(user: *mut c_void, finalizer: fuse_finalizer_t) -> Self {
        Self { user, finalizer }
    }

    pub(crate) const fn user(&self) -> *mut c_void {
        self.user
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(finalizer) = self.finalizer {
            // SAFETY: the host's function with the host's pointer, once.
            unsafe { finalizer(self.user) };
        }
    }
}
