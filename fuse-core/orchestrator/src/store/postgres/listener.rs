//! Hearing of other processes' commits. Only a hint: whoever waits also reads on its own from time to time.
use super::address::Address;
use super::failure::words;
use super::rows;
use std::future::poll_fn;
use std::time::Duration;
use tokio::sync::watch;
use tokio_postgres::AsyncMessage;
use tokio_postgres_rustls::MakeRustlsConnect;

const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Listens until the task is aborted, connecting again whenever the connection breaks.
pub(super) async fn listen(address: Address, tls: MakeRustlsConnect, hint: watch::Sender<u64>) {
    let mut pause = Duration::from_millis(100);
    loop {
        match listen_once(&address, tls.clone(), &hint, &mut pause).await {
            Ok(()) => tracing::debug!(store = %address.name, "the connection for notifications was closed"),
            Err(error) => {
                let error = words(&error);
                tracing::warn!(store = %address.name, %error, "no notifications; events of others are seen later");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn listen_once(
    address: &Address,
    tls: MakeRustlsConnect,
    hint: &watch::Sender<u64>,
    pause: &mut Duration,
) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = address.config.connect(tls).await?;
    let announce = |last: u64| {
        hint.send_if_modified(|seen| std::mem::replace(seen, last.max(*seen)) < last);
    };
    let hear = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message? {
                notification.payload().parse().map(announce).unwrap_or_default();
            }
        }
        Ok(())
    };
    let begin = async {
        client.batch_execute("LISTEN fuse_events").await?;
        // What was said before this connection listened.
        let head = client.query_one(rows::HEAD, &[]).await?;
        announce(u64::try_from(head.try_get::<_, i64>("last_event")?).unwrap_or(0));
        *pause = Duration::from_millis(100);
        // The client must live as long as its connection.
        std::future::pending().await
    };
    tokio::select! {
        heard = hear => heard,
        begun = begin => begun,
    }
}
