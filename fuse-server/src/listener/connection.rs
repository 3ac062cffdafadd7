//! One connection.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, StatusCode},
};
use hyper::{
    body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{
    Deadlines, Tls,
    patience::{Patient, Phase},
};

/// A connection and what it is served with.
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) router: Router,
    pub(super) tls: Option<Tls>,
    pub(super) deadlines: Deadlines,
    pub(super) stop: CancellationToken,
}

impl Connection {
    /// Serves the connection to its end.
    pub(super) async fn run(self, stream: TcpStream) {
        // A small answer must not wait for more to send with it.
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.tls.clone() else {
            return self.speak(stream).await;
        };
        match tokio::time::timeout(self.deadlines.handshake, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, "TLS handshake failed: {error}"),
            Err(_) => tracing::debug!(peer = %self.peer, "TLS handshake took too long"),
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let phase = Phase::new();
        let patient = Patient::new(stream, self.deadlines, phase.clone());
        let (router, peer) = (self.router, self.peer);
        let service = service_fn(move |request: Request<Incoming>| {
            phase.serving();
            let (router, phase) = (router.clone(), phase.clone());
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(ConnectInfo(peer));
                let response = match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    phase.upgraded();
                }
                Ok::<_, Infallible>(response.map(|body| Served { body, phase }))
            }
        });
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(self.deadlines.max_header_bytes)
            .serve_connection(TokioIo::new(patient), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, "connection ended: {error}");
        }
    }
}

/// The body of an answer. When it ends, the connection is idle.
struct Served {
    body: Body,
    phase: Phase,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.phase.idle();
    }
}

impl HttpBody for Served {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
