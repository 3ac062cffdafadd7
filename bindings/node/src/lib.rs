//! Fuse for Node.
