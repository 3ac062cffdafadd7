//! vsock: a socket between host and guest.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{io::unix::AsyncFd, sync::Semaphore, time::sleep};

use crate::{
    agent::Agent,
    session,
    stream::{FdStream, watch},
    tokens::Trust,
};

/// Any address of this machine.
const ANY: u32 = u32::MAX;
/// Connections at once.
const CONNECTIONS: usize = 16;

/// Listens for ever. After a restore the device resets all connections; listening goes on, or begins anew.
pub(crate) async fn serve(agent: Arc<Agent>, port: u32) {
    let mut said = String::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        match listen(port) {
            Ok(socket) => {
                agent.logs.say(&format!("listening on vsock port {port}"));
                said.clear();
                let error = accept(&agent, &socket, &places).await;
                agent.logs.say(&format!("vsock port {port}: {error}; listening again"));
            }
            Err(error) if error.to_string() != said => {
                said = error.to_string();
                agent.logs.say(&format!("vsock port {port}: {said}; trying again"));
            }
            Err(_) => {}
        }
        sleep(Duration::from_millis(500)).await;
    }
}

fn listen(port: u32) -> io::Result<AsyncFd<Socket>> {
    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    socket.bind(&SockAddr::vsock(ANY, port))?;
    socket.listen(16)?;
    socket.set_nonblocking(true)?;
    watch(socket)
}

async fn accept(agent: &Arc<Agent>, socket: &AsyncFd<Socket>, places: &Arc<Semaphore>) -> io::Error {
    loop {
        let mut ready = match socket.readable().await {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        let (connection, peer) = match ready.try_io(|socket| socket.get_ref().accept()) {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(Err(error)) => return error,
            Err(_) => continue,
        };
        // Programs of the guest can reach the port too, over the loopback of vsock; they are not the host.
        let from = peer.as_vsock_address().map(|(cid, _)| cid);
        let Ok(place) = Arc::clone(places).try_acquire_owned() else { continue };
        if from != Some(agent.options.vsock_peer) {
            agent.logs.say(&format!("vsock port: refused a connection from {from:?}"));
            continue;
        }
        let agent = Arc::clone(agent);
        tokio::spawn(async move {
            if let Ok(stream) = FdStream::new(OwnedFd::from(connection)) {
                // A connection that ends in whatever way is the host's business.
                let _ = session::serve(&agent, stream, &[], Trust::Host).await;
            }
            drop(place);
        });
    }
}
