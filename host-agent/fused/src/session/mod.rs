//! One connection of a host: takes frames, runs a task for each stream, and sends what they have to say.

mod channel;
mod writer;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fuse_guest_protocol::{
    ErrorCode, Frame, GuestError, Kind, MAX_ARGUMENTS, MAX_STREAMS, Token, VERSION, Verb, WireError,
    decode::{GuestDecoder, Incoming},
    frame::Control,
    sync::Sync,
    verb::Hello,
    window::ReceiveWindow,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::Instant,
};

use crate::{agent::Agent, tokens::Trust, verbs};

pub(crate) use channel::{Arrival, Input, Output};
use writer::{Outlet, Writer};

/// Streams and argument bytes of a connection that has not said hello.
const STRANGER_STREAMS: usize = 4;
const STRANGER_ARGUMENTS: usize = 8 * 1024;
/// Seconds for a connection from the network to say hello.
const STRANGER_PATIENCE: Duration = Duration::from_secs(10);
/// Wrong tokens until a connection from the network is closed.
const STRANGER_TRIES: u32 = 3;
/// Controls of one stream that wait to be taken.
const CONTROLS: usize = 256;

/// A stream that is not answered yet.
struct Entry {
    input: mpsc::UnboundedSender<Arrival>,
    controls: Arc<Semaphore>,
    credit: Arc<Semaphore>,
    window: Arc<Mutex<ReceiveWindow>>,
    task: tokio::task::AbortHandle,
}

type Streams = Arc<Mutex<HashMap<u32, Entry>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a connection said hello with; none before hello.
#[derive(Debug, Clone, Default)]
pub(crate) struct Greeting(Arc<Mutex<Option<Option<Token>>>>);

impl Greeting {
    /// From now on the connection counts as opened with `token`.
    pub(crate) fn set(&self, token: Option<Token>) {
        *lock(&self.0) = Some(token);
    }

    fn is_stranger(&self) -> bool {
        lock(&self.0).is_none()
    }

    /// Whether what was said is still taken.
    fn holds(&self, agent: &Agent, trust: Trust) -> bool {
        let token = lock(&self.0).clone();
        token.is_some_and(|token| agent.tokens.accepts(trust, token.as_ref().map(Token::expose)))
    }
}

/// Serves `stream` until it ends. `initial` was read from it already.
pub(crate) async fn serve<S>(agent: &Arc<Agent>, stream: S, initial: &[u8], trust: Trust) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (read, write) = tokio::io::split(stream);
    let writer = Writer::start(write);
    let mut session = Session {
        agent: Arc::clone(agent),
        trust,
        greeting: Greeting::default(),
        failures: 0,
        deadline: (trust == Trust::Network).then(|| Instant::now() + STRANGER_PATIENCE),
        outlet: None,
        opening: None,
        streams: Streams::default(),
        tasks: JoinSet::new(),
        writer,
    };
    session.run(read, initial).await
}

struct Session {
    agent: Arc<Agent>,
    trust: Trust,
    greeting: Greeting,
    failures: u32,
    /// Until when hello must have been said.
    deadline: Option<Instant>,
    /// Towards the writer, since the last SYNC.
    outlet: Option<Outlet>,
    /// A stream whose arguments are not complete.
    opening: Option<(u32, u16, Vec<u8>)>,
    streams: Streams,
    tasks: JoinSet<()>,
    writer: Writer,
}

impl Session {
    async fn run(&mut self, mut read: impl AsyncRead + Unpin, initial: &[u8]) -> io::Result<()> {
        let mut decoder = GuestDecoder::new();
        decoder.feed(initial);
        let mut changes = self.agent.tokens.changes();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            while let Some(incoming) = decoder.take() {
                self.take(incoming)?;
            }
            // Bytes that begin no frame are dropped as they come, so the decoder never holds more than a frame.
            tokio::select! {
                count = read.read(&mut buffer) => match count? {
                    0 => return Ok(()),
                    count => decoder.feed(&buffer[..count]),
                },
                error = self.writer.failed() => return Err(error),
                Some(_) = self.tasks.join_next() => {}
                _ = changes.changed() => self.check_token()?,
                () = until(self.deadline) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    fn take(&mut self, incoming: Incoming) -> io::Result<()> {
        match incoming {
            Incoming::Sync(sync) => self.begin(sync),
            Incoming::Lost(error) => {
                self.end_streams();
                self.outlet = None;
                // On a port of its own the other side is done for; on a serial port this is how a new host begins.
                if self.trust == Trust::Network {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
            Incoming::Frame(frame) => self.frame(frame)?,
        }
        Ok(())
    }

    /// A host begins a connection: everything before is over.
    fn begin(&mut self, sync: Sync) {
        self.end_streams();
        // The tasks of the connection before hold the old greeting, and cannot change this one.
        self.greeting = Greeting::default();
        self.failures = 0;
        let back = Sync { version: VERSION, nonce: sync.nonce }.encode_back();
        self.outlet = Some(self.writer.begin(&back));
    }

    /// Ends all that runs for the connection: dropping the tasks kills what they have started.
    fn end_streams(&mut self) {
        self.opening = None;
        lock(&self.streams).clear();
        self.tasks.abort_all();
    }

    /// The channel's token has changed: a connection with the old one ends.
    fn check_token(&mut self) -> io::Result<()> {
        if self.greeting.is_stranger() || self.greeting.holds(&self.agent, self.trust) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the token of the connection was replaced"))
    }

    fn frame(&mut self, frame: Frame) -> io::Result<()> {
        let Some(outlet) = self.outlet.clone() else { return Ok(()) };
        let id = frame.stream;
        match frame.kind {
            Kind::Open => self.open(&outlet, frame)?,
            Kind::Ping => {
                let echo = frame.payload.get(..frame.payload.len().min(64)).unwrap_or_default();
                outlet.urgent(&Frame::pong(echo.to_vec()))?;
            }
            Kind::Pong => {}
            Kind::Result => return Err(broken(WireError::Direction(Kind::Result))),
            Kind::Reset => {
                let entry = lock(&self.streams).remove(&id);
                if let Some(entry) = entry {
                    entry.task.abort();
                    let error = GuestError::new(ErrorCode::Reset, "the host gave the request up");
                    outlet.urgent(&Frame::failed(id, &error))?;
                }
            }
            Kind::Data | Kind::End | Kind::Credit | Kind::Control => {
                if let Some(entry) = lock(&self.streams).get(&id) {
                    entry.take(frame)?;
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, outlet: &Outlet, frame: Frame) -> io::Result<()> {
        let stranger = self.greeting.is_stranger();
        let (id, verb, mut arguments) = match self.opening.take() {
            Some((id, verb, arguments)) if id == frame.stream => (id, verb, arguments),
            Some(_) => return Err(broken(WireError::Payload(Kind::Open))),
            None => (frame.stream, frame.code, Vec::new()),
        };
        arguments.extend_from_slice(&frame.payload);
        let most = if stranger { STRANGER_ARGUMENTS } else { MAX_ARGUMENTS };
        if arguments.len() > most || id == 0 {
            return Err(broken(WireError::Payload(Kind::Open)));
        }
        if frame.channel != 0 {
            self.opening = Some((id, verb, arguments));
            return Ok(());
        }
        match self.admit(id, verb, &arguments) {
            Ok(verb) => self.start(outlet, id, verb, arguments),
            Err(error) => {
                outlet.urgent(&Frame::failed(id, &error))?;
                if self.failures >= STRANGER_TRIES && self.trust == Trust::Network {
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, "too many wrong tokens"));
                }
            }
        }
        Ok(())
    }

    /// Whether the stream may begin. Hello takes effect here, so that what follows it may be sent along with it.
    fn admit(&mut self, id: u32, verb: u16, arguments: &[u8]) -> Result<Verb, GuestError> {
        let most = if self.greeting.is_stranger() { STRANGER_STREAMS } else { MAX_STREAMS };
        let streams = lock(&self.streams);
        if streams.len() >= most || streams.contains_key(&id) {
            let text = format!("the connection has {} streams open; the most is {most}", streams.len());
            return Err(GuestError::new(ErrorCode::Exhausted, text));
        }
        drop(streams);
        let Some(verb) = Verb::from_number(verb) else {
            return Err(GuestError::new(ErrorCode::Unsupported, format!("there is no verb {verb}")));
        };
        if verb == Verb::Hello {
            let hello: Hello = verbs::read(verb, arguments)?;
            match self.agent.tokens.hello(self.trust, hello.token.as_ref()) {
                Ok(claimed) => {
                    if claimed {
                        self.agent.logs.say("the host has set the token of its channel");
                    }
                    self.greeting.set(hello.token);
                    self.deadline = None;
                }
                Err(error) => {
                    self.failures += 1;
                    return Err(error);
                }
            }
        } else if !verb.is_open() && !self.greeting.holds(&self.agent, self.trust) {
            let text = format!("{verb} needs a hello with the token of this VM first");
            return Err(GuestError::new(ErrorCode::Unauthorized, text));
        }
        Ok(verb)
    }

    fn start(&mut self, outlet: &Outlet, id: u32, verb: Verb, arguments: Vec<u8>) {
        let (input_end, input_start) = mpsc::unbounded_channel();
        let controls = Arc::new(Semaphore::new(CONTROLS));
        let window = Arc::new(Mutex::new(ReceiveWindow::default()));
        let output = Output::new(id, outlet.clone());
        let credit = output.credit();
        let input = Input::new(id, input_start, Arc::clone(&controls), Arc::clone(&window), outlet.clone());
        let (agent, streams, outlet) = (Arc::clone(&self.agent), Arc::clone(&self.streams), outlet.clone());

        // The entry is there before the task runs: on this runtime a task never runs before its spawner waits.
        let greeting = self.greeting.clone();
        let mut streams_now = lock(&self.streams);
        let task = self.tasks.spawn(async move {
            let context = verbs::Context { agent: &agent, greeting, output, input };
            let answer = verbs::run(context, verb, &arguments).await;
            let ours = lock(&streams).remove(&id).is_some();
            if ours {
                let frame = match answer {
                    Ok(answer) => Frame::ok(id, answer),
                    Err(error) => Frame::failed(id, &error),
                };
                outlet.send(&frame).await;
            }
        });
        streams_now.insert(id, Entry { input: input_end, controls, credit, window, task });
    }
}

impl Entry {
    fn take(&self, frame: Frame) -> io::Result<()> {
        let id = frame.stream;
        let arrival = match frame.kind {
            Kind::Credit => {
                let bytes = frame.granted().map_err(broken)? as usize;
                let window = fuse_guest_protocol::WINDOW as usize;
                if bytes > window || self.credit.available_permits() + bytes > window {
                    return Err(broken(WireError::Window(id)));
                }
                self.credit.add_permits(bytes);
                return Ok(());
            }
            Kind::Data => {
                if !lock(&self.window).received(frame.payload.len()) {
                    return Err(broken(WireError::Window(id)));
                }
                Arrival::Data(frame.payload)
            }
            Kind::Control => match (Control::from_number(frame.code), self.controls.try_acquire()) {
                (_, Err(_)) => return Err(broken(WireError::Window(id))),
                (Some(control), Ok(permit)) => {
                    permit.forget();
                    Arrival::Control(control, frame.payload)
                }
                (None, Ok(_)) => return Ok(()),
            },
            _ => Arrival::End,
        };
        // A verb that takes no input does not hear it.
        let _ = self.input.send(arrival);
        Ok(())
    }
}

fn broken(error: WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
