//! Terminals in environments.

use std::sync::Arc;

use fuse_calls::body;
use fuse_orchestrator::Error;
use napi::bindgen_prelude::{Buffer, Either, FnArgs, Uint8ArraySlice};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;

use crate::plane::{Done, Pending, Plane, tell, thrown};
use crate::shelf::Shelf;

type Shown = FnArgs<(bool, Option<Either<Buffer, String>>)>;
/// Is told whether a read succeeded, and what was shown or the error.
pub type DoneReading = ThreadsafeFunction<Shown, (), Shown, napi::Status, false>;

static OPENED: Shelf<(Arc<fuse_calls::Plane>, fuse_calls::Terminal)> = Shelf::new();

/// A terminal.
#[napi(js_name = "NativeTerminal")]
pub struct Terminal {
    plane: Arc<fuse_calls::Plane>,
    terminal: fuse_calls::Terminal,
}

#[napi]
impl Plane {
    /// Begins to open a terminal; `done` gets a number for `NativeTerminal`.
    #[napi(ts_args_type = "arguments: string, done: (ok: boolean, text: string | null) => void")]
    pub fn attach(&self, arguments: String, done: Done) -> napi::Result<Pending> {
        let (plane, open) = (self.plane.clone(), self.plane.attach(arguments));
        let open = async move { Ok(OPENED.put((plane, open.await?)).to_string()) };
        self.begin_call(open, move |ended| tell(&done, ended.map(Some)))
    }
}

impl Terminal {
    fn begin(
        &self,
        call: impl Future<Output = Result<(), Error>> + Send + 'static,
        done: Done,
    ) -> napi::Result<Pending> {
        let begun = self.plane.begin(call, move |ended| tell(&done, ended.map(|()| None)));
        begun.map(Pending::from).map_err(|e| thrown(&e))
    }
}

#[napi]
impl Terminal {
    /// Takes the terminal of this number.
    #[napi(constructor)]
    pub fn new(number: u32) -> napi::Result<Self> {
        OPENED.take(number, "terminal").map(|(plane, terminal)| Self { plane, terminal })
    }

    /// Begins to wait for what it shows next; null at the end.
    #[napi(ts_args_type = "done: (ok: boolean, shown: Buffer | string | null) => void")]
    pub fn begin_read(&self, done: DoneReading) -> napi::Result<Pending> {
        let told = move |ended: Result<Option<Vec<u8>>, Error>| {
            let told = match ended {
                Ok(shown) => (true, shown.map(|bytes| Either::A(bytes.into()))),
                Err(error) => (false, Some(Either::B(body(&error)))),
            };
            // It is refused only when JavaScript is going away.
            let _ = done.call(FnArgs::from(told), ThreadsafeFunctionCallMode::NonBlocking);
        };
        let begun = self.plane.begin(self.terminal.clone().read(), told);
        begun.map(Pending::from).map_err(|e| thrown(&e))
    }

    /// Begins to type bytes.
    #[napi(ts_args_type = "data: Uint8Array, done: (ok: boolean, text: string | null) => void")]
    pub fn begin_write(&self, data: Uint8ArraySlice<'_>, done: Done) -> napi::Result<Pending> {
        self.begin(self.terminal.clone().write(data.to_vec()), done)
    }

    /// Begins to tell a new size.
    #[napi(ts_args_type = "rows: number, cols: number, done: (ok: boolean, text: string | null) => void")]
    pub fn begin_resize(&self, rows: u32, cols: u32, done: Done) -> napi::Result<Pending> {
        self.begin(self.terminal.clone().resize(rows, cols), done)
    }

    /// The exit code, once a read has come to the end.
    #[napi(getter)]
    pub fn exit_code(&self) -> Option<i32> {
        self.terminal.exit_code()
    }

    /// Closes it.
    #[napi]
    pub fn close(&self) {
        self.terminal.close();
    }
}
