//! The figures that Fuse promises, each measured beside its rival in the same run.
//!
//! A figure and its rival are measured turn by turn ([`sample::interleave`]), so that a busy machine slows both,
//! and the bars are ratios wherever they can be. A sample of something short is the mean of a batch of calls;
//! medians and p99 are over the samples. What takes milliseconds of pure computation is measured in CPU time of
//! the thread, everything else by the monotonic clock.
//!
//! The program `fuse-bench` writes the table; `benches/hot_paths.rs` looks at the shortest paths one at a time
//! with criterion, for comparison between two versions of the code.
#![deny(unsafe_code)]

pub mod fixture;
pub mod machine;
pub mod native;
pub mod plan;
pub mod raw;
pub mod report;
pub mod rows;
pub mod sample;

/// What can go wrong: setting up, or a result that is not the right one. A figure is never an error.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
