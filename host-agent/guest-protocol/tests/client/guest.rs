//! A guest agent in a hundred lines: `echo`, `cat`, `yes`, `sleep`, one file in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use fuse_guest_protocol::{
    Channel, ErrorCode, Frame, GuestError, Kind, MAX_PAYLOAD, Verb,
    decode::{GuestDecoder, Incoming},
    verb::{AgentInfo, Download, Exec, ExecResult, FileFacts, Health, Hello, Upload},
    window::{ReceiveWindow, SendWindow},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::Notify,
    task::JoinHandle,
};

pub(crate) const TOKEN: &str = "the-token-of-this-vm";

/// What the guest saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Open(u32),
    Reset(u32),
    Lost,
}

#[derive(Default)]
struct Diary {
    seen: Mutex<Vec<Seen>>,
    sent: Mutex<HashMap<u32, usize>>,
    changed: Notify,
}

pub(crate) struct Guest {
    diary: Arc<Diary>,
    task: JoinHandle<()>,
}

impl Guest {
    pub(crate) fn start(stream: DuplexStream) -> Self {
        let diary = Arc::new(Diary::default());
        let task = tokio::spawn(Session::new(Arc::clone(&diary)).run(stream));
        Self { diary, task }
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }

    pub(crate) fn sent(&self, stream: u32) -> usize {
        self.diary.sent.lock().unwrap().get(&stream).copied().unwrap_or(0)
    }

    pub(crate) async fn wait(&self, enough: impl Fn(&[Seen]) -> bool) {
        let waiting = async {
            loop {
                let changed = self.diary.changed.notified();
                if enough(&self.diary.seen.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(super::LONG, waiting).await.expect("the guest sees what it should");
    }
}

/// What a stream does with its window and its input.
#[derive(Default)]
struct Stream {
    out: SendWindow,
    back: ReceiveWindow,
    waiting: Vec<u8>,
    endless: bool,
    ends: bool,
    echoes: bool,
    file: Option<Vec<u8>>,
}

struct Session {
    diary: Arc<Diary>,
    streams: HashMap<u32, Stream>,
    arguments: Vec<u8>,
    file: Vec<u8>,
    out: Vec<u8>,
}

impl Session {
    fn new(diary: Arc<Diary>) -> Self {
        Self { diary, streams: HashMap::new(), arguments: Vec::new(), file: Vec::new(), out: Vec::new() }
    }

    async fn run(mut self, stream: DuplexStream) {
        let (mut read, mut write) = tokio::io::split(stream);
        let mut decoder = GuestDecoder::new();
        let mut buffer = [0; 7000];
        loop {
            while let Some(incoming) = decoder.take() {
                self.take(incoming);
            }
            self.pump();
            // Both at once: a host that sends and a guest that sends must not wait for each other.
            tokio::select! {
                written = write.write(&self.out), if !self.out.is_empty() => match written {
                    Ok(count) if count > 0 => drop(self.out.drain(..count)),
                    _ => return,
                },
                count = read.read(&mut buffer) => match count {
                    Ok(count) if count > 0 => decoder.feed(&buffer[..count]),
                    _ => return,
                },
            }
        }
    }

    fn see(&self, event: Seen) {
        self.diary.seen.lock().unwrap().push(event);
        self.diary.changed.notify_waiters();
    }

    fn send(&mut self, frame: &Frame) {
        if frame.kind == Kind::Data {
            *self.diary.sent.lock().unwrap().entry(frame.stream).or_default() += frame.payload.len();
        }
        frame.encode(&mut self.out);
    }

    fn answer<T: serde::Serialize>(&mut self, id: u32, answer: &T) {
        self.streams.remove(&id);
        self.send(&Frame::ok(id, serde_json::to_vec(answer).unwrap()));
    }

    fn refuse(&mut self, id: u32, code: ErrorCode, why: &str) {
        self.streams.remove(&id);
        self.send(&Frame::failed(id, &GuestError::new(code, why)));
    }

    fn take(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Sync(sync) => {
                self.streams.clear();
                self.out.extend_from_slice(&sync.encode_back());
            }
            Incoming::Lost(_) => {
                self.streams.clear();
                self.see(Seen::Lost);
            }
            Incoming::Frame(frame) => self.frame(frame),
        }
    }

    fn frame(&mut self, frame: Frame) {
        let id = frame.stream;
        match frame.kind {
            Kind::Ping => self.send(&Frame::pong(frame.payload)),
            Kind::Open => {
                self.arguments.extend_from_slice(&frame.payload);
                if frame.channel == 0 {
                    let arguments = std::mem::take(&mut self.arguments);
                    self.streams.insert(id, Stream::default());
                    self.see(Seen::Open(id));
                    self.open(id, frame.code, &arguments);
                }
            }
            Kind::Reset => {
                self.refuse(id, ErrorCode::Reset, "given up");
                self.see(Seen::Reset(id));
            }
            Kind::Credit => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    assert!(stream.out.granted(frame.granted().unwrap()));
                }
            }
            Kind::Data => {
                let Some(stream) = self.streams.get_mut(&id) else { return };
                assert!(stream.back.received(frame.payload.len()), "the host keeps to the window");
                let credit = stream.back.consumed(frame.payload.len());
                match &mut stream.file {
                    Some(file) => file.extend(frame.payload),
                    None if stream.echoes => stream.waiting.extend(frame.payload),
                    None => {}
                }
                if let Some(credit) = credit {
                    self.send(&Frame::credit(id, credit));
                }
            }
            Kind::End => match self.streams.get_mut(&id) {
                Some(Stream { file: Some(file), .. }) => {
                    self.file = std::mem::take(file);
                    let bytes = self.file.len() as u64;
                    self.answer(id, &FileFacts { bytes, ..FileFacts::default() });
                }
                Some(stream) => stream.ends = true,
                None => {}
            },
            _ => panic!("a host never sends {frame:?}"),
        }
    }

    fn open(&mut self, id: u32, verb: u16, arguments: &[u8]) {
        match Verb::from_number(verb) {
            Some(Verb::Hello) => {
                let hello: Hello = serde_json::from_slice(arguments).unwrap();
                if hello.token.is_some_and(|token| token.matches(TOKEN)) {
                    self.answer(id, &AgentInfo { agent: "small".into(), ..AgentInfo::default() });
                } else {
                    self.refuse(id, ErrorCode::Unauthorized, "wrong token");
                }
            }
            Some(Verb::Health) => self.answer(id, &Health::default()),
            Some(Verb::Exec) => self.exec(id, &serde_json::from_slice(arguments).unwrap()),
            Some(Verb::Upload) => {
                let upload: Upload = serde_json::from_slice(arguments).unwrap();
                match self.streams.get_mut(&id) {
                    Some(stream) if upload.path.starts_with('/') => stream.file = Some(Vec::new()),
                    _ => self.refuse(id, ErrorCode::Refused, "the path is not absolute"),
                }
            }
            Some(Verb::Download) => {
                let _: Download = serde_json::from_slice(arguments).unwrap();
                let stream = self.streams.get_mut(&id).unwrap();
                stream.waiting.clone_from(&self.file);
                stream.ends = true;
            }
            _ => self.refuse(id, ErrorCode::Unsupported, "not here"),
        }
    }

    fn exec(&mut self, id: u32, exec: &Exec) {
        let stream = self.streams.get_mut(&id).unwrap();
        match exec.argv[0].as_str() {
            "echo" => (stream.waiting, stream.ends) = (exec.argv[1].clone().into_bytes(), true),
            "cat" => stream.echoes = true,
            "yes" => stream.endless = true,
            "sleep" => {}
            "flood" => {
                for _ in 0..9 {
                    self.send(&Frame::data(id, Channel::Output, vec![0; MAX_PAYLOAD]));
                }
            }
            _ => self.refuse(id, ErrorCode::NotFound, "no such program"),
        }
    }

    /// Sends what the windows allow, and answers what is done.
    fn pump(&mut self) {
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            while let Some(stream) = self.streams.get_mut(&id) {
                if stream.endless {
                    stream.waiting.resize(MAX_PAYLOAD, b'y');
                }
                let piece = stream.out.room().min(stream.waiting.len());
                if piece == 0 {
                    if stream.ends && stream.waiting.is_empty() {
                        self.answer(id, &ExecResult::default());
                    }
                    break;
                }
                stream.out.sent(piece);
                let bytes: Vec<u8> = stream.waiting.drain(..piece).collect();
                self.send(&Frame::data(id, Channel::Output, bytes));
            }
        }
    }
}
