//! The links beneath HTTP: how one that leads nowhere any more is noticed.

use std::time::Duration;

use reqwest::ClientBuilder;

/// Has the kernel drop connections whose other end is gone without a word: what was sent is not acknowledged within
/// `patience`, or, while an answer is awaited, the probes are not. An end that is merely slow acknowledges both.
pub(crate) fn drop_dead(builder: ClientBuilder, patience: Duration) -> ClientBuilder {
    let builder = builder.tcp_keepalive(patience).tcp_keepalive_interval(patience / 4);
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(patience);
    builder
}
