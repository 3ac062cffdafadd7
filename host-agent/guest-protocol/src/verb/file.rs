//! Files in and out.

use serde::{Deserialize, Serialize};

/// Writes a file: all of INPUT until its END. The file appears whole or not at all: it is written beside its place,
/// synced, and renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its absolute path, without `.` and `..`. Directories that are missing are made, below `/fuse` with mode 0700.
    pub path: String,
    /// Its mode, such as `0o644`. Files below `/fuse` get 0600 whatever is asked.
    #[serde(default = "Upload::default_mode")]
    pub mode: u32,
    /// Its size in bytes, where it is known: less or more is an error, and a disk that cannot hold it is seen at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl Upload {
    /// The largest file, in bytes.
    pub const MAX_BYTES: u64 = 64 * 1024 * 1024 * 1024;

    fn default_mode() -> u32 {
        0o644
    }
}

/// Reads a file: OUTPUT, then END, then the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// Its absolute path.
    pub path: String,
    /// Where to begin, in bytes.
    #[serde(default)]
    pub offset: u64,
    /// How much, in bytes. None: to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FileFacts {
    /// Bytes that were written or read.
    pub bytes: u64,
    /// Its whole size in bytes.
    pub size: u64,
    /// Its mode.
    pub mode: u32,
}
