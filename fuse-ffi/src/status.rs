//! What a call came to.

use core::ffi::c_char;

/// What a call came to: FUSE_OK, FUSE_END, or one of the FUSE_ERR_ numbers. Numbers are never given another meaning;
/// treat one that you do not know as a failure.
pub type fuse_status_t = i32;

/// It worked.
pub const FUSE_OK: fuse_status_t = 0;
/// It worked, and there is no further one: the end of something that is read one by one.
pub const FUSE_END: fuse_status_t = 64;
/// An argument, a policy or a configuration is not valid; a null pointer; a handle that is closed or of another kind.
pub const FUSE_ERR_INVALID_ARG: fuse_status_t = 1;
/// There is nothing of this id or name. Ids are never used twice, so a stale id ends here.
pub const FUSE_ERR_NOT_FOUND: fuse_status_t = 2;
/// The runtime already holds max_modules modules.
pub const FUSE_ERR_MODULE_LIMIT: fuse_status_t = 3;
/// The artifact was refused; nothing was changed.
pub const FUSE_ERR_LOAD_FAILED: fuse_status_t = 4;
/// The module called what its policy does not allow. It is now FUSE_STATE_TRAPPED.
pub const FUSE_ERR_POLICY_VIOLATION: fuse_status_t = 5;
/// The module used up its wall-clock or fuel quota. It is now FUSE_STATE_QUOTA_EXCEEDED.
pub const FUSE_ERR_QUOTA_EXCEEDED: fuse_status_t = 6;
/// The module trapped, or a callback failed under it. It is now FUSE_STATE_TRAPPED.
pub const FUSE_ERR_TRAP: fuse_status_t = 7;
/// The module's step interval has not passed since its last successful step.
pub const FUSE_ERR_INTERVAL_NOT_ELAPSED: fuse_status_t = 8;
/// Not legal in the state that the module or the runtime is in; also a call from inside a callback of the same handle.
pub const FUSE_ERR_WRONG_STATE: fuse_status_t = 9;
/// The caller's buffer is too small. The length needed has been written.
pub const FUSE_ERR_BUFFER_TOO_SMALL: fuse_status_t = 10;
/// The library itself failed. The handle takes no further call but its close.
pub const FUSE_ERR_INTERNAL: fuse_status_t = 11;
/// An earlier call on this handle came to FUSE_ERR_INTERNAL. Close it.
pub const FUSE_ERR_POISONED: fuse_status_t = 12;
/// There is not enough memory for this. Nothing was changed.
pub const FUSE_ERR_OUT_OF_MEMORY: fuse_status_t = 13;
/// It contradicts what is there: a name or key that is taken, or a state that does not allow it.
pub const FUSE_ERR_CONFLICT: fuse_status_t = 14;
/// The caller is not known, or may not do this.
pub const FUSE_ERR_UNAUTHORIZED: fuse_status_t = 15;
/// Not now: no capacity, or a host, a store or a server that does not answer. Try again later.
pub const FUSE_ERR_UNAVAILABLE: fuse_status_t = 16;
/// The provider or the server cannot do this.
pub const FUSE_ERR_UNIMPLEMENTED: fuse_status_t = 17;
/// Too many bytes.
pub const FUSE_ERR_TOO_LARGE: fuse_status_t = 18;
/// Something else failed in the control plane; the message says what.
pub const FUSE_ERR_FAILED: fuse_status_t = 19;

/// The name of a status, such as "FUSE_ERR_TRAP"; "unknown status" for a number that this library does not know. The
/// text lives as long as the program.
///
/// ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub extern "C" fn fuse_status_name(status: fuse_status_t) -> *const c_char {
    let name = match status {
        FUSE_OK => c"FUSE_OK",
        FUSE_END => c"FUSE_END",
        FUSE_ERR_INVALID_ARG => c"FUSE_ERR_INVALID_ARG",
        FUSE_ERR_NOT_FOUND => c"FUSE_ERR_NOT_FOUND",
        FUSE_ERR_MODULE_LIMIT => c"FUSE_ERR_MODULE_LIMIT",
        FUSE_ERR_LOAD_FAILED => c"FUSE_ERR_LOAD_FAILED",
        FUSE_ERR_POLICY_VIOLATION => c"FUSE_ERR_POLICY_VIOLATION",
        FUSE_ERR_QUOTA_EXCEEDED => c"FUSE_ERR_QUOTA_EXCEEDED",
        FUSE_ERR_TRAP => c"FUSE_ERR_TRAP",
        FUSE_ERR_INTERVAL_NOT_ELAPSED => c"FUSE_ERR_INTERVAL_NOT_ELAPSED",
        FUSE_ERR_WRONG_STATE => c"FUSE_ERR_WRONG_STATE",
        FUSE_ERR_BUFFER_TOO_SMALL => c"FUSE_ERR_BUFFER_TOO_SMALL",
        FUSE_ERR_INTERNAL => c"FUSE_ERR_INTERNAL",
        FUSE_ERR_POISONED => c"FUSE_ERR_POISONED",
        FUSE_ERR_OUT_OF_MEMORY => c"FUSE_ERR_OUT_OF_MEMORY",
        FUSE_ERR_CONFLICT => c"FUSE_ERR_CONFLICT",
        FUSE_ERR_UNAUTHORIZED => c"FUSE_ERR_UNAUTHORIZED",
        FUSE_ERR_UNAVAILABLE => c"FUSE_ERR_UNAVAILABLE",
        FUSE_ERR_UNIMPLEMENTED => c"FUSE_ERR_UNIMPLEMENTED",
        FUSE_ERR_TOO_LARGE => c"FUSE_ERR_TOO_LARGE",
        FUSE_ERR_FAILED => c"FUSE_ERR_FAILED",
        _ => c"unknown status",
    };
    name.as_ptr()
}
