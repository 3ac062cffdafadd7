//! The orchestrator: calls by name that tell a callback on JavaScript's thread when they are done.

use fuse_calls::body;
use fuse_orchestrator::Error;
use napi::bindgen_prelude::{FnArgs, Uint8ArraySlice};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use tokio::task::AbortHandle;

use crate::shelf::Shelf;

/// Is told whether a call succeeded, and its answer or error.
pub type Done = ThreadsafeFunction<
    FnArgs<(bool, Option<String>)>,
    (),
    FnArgs<(bool, Option<String>)>,
    napi::Status,
    false,
>;

static OPENED: Shelf<fuse_calls::Plane> = Shelf::new();

pub(crate) fn tell(done: &Done, ended: Result<Option<String>, Error>) {
    let told = match ended {
        Ok(answer) => (true, answer),
        Err(error) => (false, Some(body(&error))),
    };
    // It is refused only when JavaScript is going away.
    let _ = done.call(FnArgs::from(told), ThreadsafeFunctionCallMode::NonBlocking);
}

pub(crate) fn thrown(error: &Error) -> napi::Error {
    napi::Error::from_reason(body(error))
}

/// Opens an orchestrator on a thread of its own: `in_memory`, `open` with a path, a provider and the folder of this machine's
/// VMs, or `connect` with a URL and a token. `done` gets a number for `NativePlane`.
#[napi(
    ts_args_type = "kind: string, where: string, token: string | null, provider: string, hostData: string | null, \
                       done: (ok: boolean, text: string | null) => void"
)]
pub fn native_open_plane(
    kind: String,
    place: String,
    token: Option<String>,
    provider: String,
    host_data: Option<String>,
    done: Done,
) -> napi::Result<()> {
    let open = move || {
        let plane = match kind.as_str() {
            "open" => fuse_calls::Plane::open(place.as_ref(), &provider, host_data.map(Into::into)),
            "connect" => fuse_calls::Plane::connect(&place, token),
            _ => fuse_calls::Plane::in_memory(),
        };
        tell(&done, plane.map(|plane| Some(OPENED.put(plane).to_string())));
    };
    let thread = std::thread::Builder::new().name("fuse-open".into()).spawn(open);
    thread.map(drop).map_err(|e| napi::Error::from_reason(format!("there is no thread to open it on: {e}")))
}

/// An orchestrator's calls by name.
#[napi(js_name = "NativePlane")]
pub struct Plane {
    pub(crate) plane: std::sync::Arc<fuse_calls::Plane>,
}

/// A call under way.
#[napi(js_name = "NativePending")]
pub struct Pending(AbortHandle);

/// A stream under way.
#[napi(js_name = "NativeStream")]
pub struct Stream {
    plane: std::sync::Arc<fuse_calls::Plane>,
    stream: fuse_calls::Stream,
}

impl Plane {
    /// Begins something; `done` is told its end on another thread.
    pub(crate) fn begin_call<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send + 'static,
        done: impl FnOnce(Result<T, Error>) + Send + 'static,
    ) -> napi::Result<Pending> {
        self.plane.begin(call, done).map(Pending).map_err(|e| thrown(&e))
    }
}

#[napi]
impl Plane {
    /// Takes the plane of this number.
    #[napi(constructor)]
    pub fn new(number: u32) -> napi::Result<Self> {
        OPENED.take(number, "orchestrator").map(|plane| Self { plane: plane.into() })
    }

    /// What runs its environments, as JSON; null behind the REST API.
    #[napi(getter)]
    pub fn provider(&self) -> napi::Result<Option<String>> {
        self.plane.provider().map_err(|e| thrown(&e))
    }

    /// Begins a call.
    #[napi(
        ts_args_type = "name: string, arguments: string, done: (ok: boolean, text: string | null) => void"
    )]
    pub fn begin(&self, name: String, arguments: String, done: Done) -> napi::Result<Pending> {
        self.begin_call(self.plane.call(&name, arguments), move |ended| tell(&done, ended.map(Some)))
    }

    /// Begins to write a file.
    #[napi(
        ts_args_type = "id: string, path: string, mode: number, content: Uint8Array, done: (ok: boolean, text: string | null) => void"
    )]
    pub fn begin_upload(
        &self,
        id: String,
        path: String,
        mode: u32,
        content: Uint8ArraySlice<'_>,
        done: Done,
    ) -> napi::Result<Pending> {
        let call = self.plane.upload(&id, &path, mode, content.to_vec());
        self.begin_call(call, move |ended| tell(&done, ended.map(Some)))
    }

    /// Opens a stream. It looks nothing up over the network when `after` is given.
    #[napi]
    pub fn stream(&self, name: String, arguments: String) -> napi::Result<Stream> {
        let stream = self.plane.stream(&name, &arguments).map_err(|e| thrown(&e))?;
        Ok(Stream { plane: self.plane.clone(), stream })
    }

    /// Ends its work, on a thread of its own.
    #[napi(ts_args_type = "done: (ok: boolean, text: string | null) => void")]
    pub fn close(&self, done: Done) -> napi::Result<()> {
        let plane = self.plane.clone();
        let close = move || tell(&done, plane.close().map(|()| None));
        let thread = std::thread::Builder::new().name("fuse-close".into()).spawn(close);
        thread
            .map(drop)
            .map_err(|e| napi::Error::from_reason(format!("there is no thread to close it on: {e}")))
    }
}

impl From<AbortHandle> for Pending {
    fn from(handle: AbortHandle) -> Self {
        Self(handle)
    }
}

#[napi]
impl Pending {
    /// Abandons the call; the control plane finishes what it began.
    #[napi]
    pub fn cancel(&self) {
        self.0.abort();
    }
}

#[napi]
impl Stream {
    /// Begins to wait for the next piece.
    #[napi(ts_args_type = "done: (ok: boolean, text: string | null) => void")]
    pub fn begin(&self, done: Done) -> napi::Result<Pending> {
        let next = self.stream.clone().next();
        self.plane.begin(next, move |ended| tell(&done, ended)).map(Pending).map_err(|e| thrown(&e))
    }
}
