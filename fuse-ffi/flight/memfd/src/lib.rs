//! Stands in for the crate `memfd` where there is no std and no file descriptor.
#![no_std]
