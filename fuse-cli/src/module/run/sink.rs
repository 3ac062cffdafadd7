//! Where the calls of a host group go: counted, and kept in a folder if that was asked for.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuse_edge::hal::{FunctionDecl, GroupDecl, HalCall, HalResult, Value};
use fuse_edge::{HalFault, ModuleId};
use serde::Serialize;

use super::clock::RunClock;
use crate::module::groups::{Taker, buffers};
use crate::outcome::{Failure, Outcome};

/// Names of modules by id, filled as they are loaded.
pub(super) type Names = Arc<Mutex<BTreeMap<u64, String>>>;

/// Code of the trap when a call could not be written.
const NOT_WRITTEN: i32 = 5;

/// What a group was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Taken {
    pub(super) group: String,
    /// The folder, where one was asked for.
    pub(super) folder: Option<String>,
    pub(super) calls: u64,
    pub(super) bytes: u64,
}

/// The folder of a sink, with its list of calls.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    list: File,
}

#[derive(Debug)]
struct State {
    taken: Taken,
    folder: Option<Folder>,
    failure: Option<(PathBuf, io::Error)>,
}

/// One group's sink. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    state: Arc<Mutex<State>>,
    names: Names,
    clock: RunClock,
}

/// A call, as the list has it.
#[derive(Serialize)]
struct Line<'a> {
    call: u64,
    time_us: u64,
    module: &'a str,
    function: &'a str,
    numbers: Vec<serde_json::Value>,
    file: &'a str,
    bytes: usize,
}

impl Sink {
    /// The sink of a group; its folder is made if it is not there.
    pub(super) fn new(
        group: &GroupDecl,
        folder: Option<&Path>,
        names: &Names,
        clock: &RunClock,
    ) -> Outcome<Self> {
        let mut taken = Taken { group: group.name.clone(), ..Taken::default() };
        let folder = match folder {
            None => None,
            Some(path) => {
                taken.folder = Some(path.display().to_string());
                fs::create_dir_all(path).map_err(Failure::io("make the folder", path))?;
                let list = path.join("calls.jsonl");
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                let list = options.open(&list).map_err(Failure::io("make a new", &list))?;
                Some(Folder { path: path.into(), list })
            }
        };
        let state = Arc::new(Mutex::new(State { taken, folder, failure: None }));
        Ok(Self { state, names: names.clone(), clock: clock.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it was given so far.
    pub(super) fn taken(&self) -> Taken {
        self.state().taken.clone()
    }

    /// Why it stopped writing, once.
    pub(super) fn failure(&self) -> Option<Failure> {
        let (path, source) = self.state().failure.take()?;
        Some(Failure::Io { tried: "write", path, source })
    }

    fn name_of(&self, module: ModuleId) -> String {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // A start function runs before its module has a name here.
        names.get(&module.to_u64()).cloned().unwrap_or_else(|| format!("module-{}", module.to_u64()))
    }
}

impl Taker for Sink {
    fn take(&mut self, function: &FunctionDecl, call: &HalCall<'_>) -> HalResult<()> {
        let module = self.name_of(call.module());
        let content: Vec<u8> = buffers(function, call).flatten().copied().collect();
        let numbers = (0..function.params.len()).filter_map(|i| call.value(i)).map(json).collect();
        let time_us = self.clock.micros();
        let mut state = self.state();
        state.taken.calls += 1;
        state.taken.bytes += content.len() as u64;
        let number = state.taken.calls;
        let Some(folder) = &mut state.folder else { return Ok(()) };
        let file = format!("{number:06}-{}-{}.bin", plain(&module), plain(&function.name));
        let line = Line {
            call: number,
            time_us,
            module: &module,
            function: &function.name,
            numbers,
            file: &file,
            bytes: content.len(),
        };
        let path = folder.path.join(&file);
        let written = fs::write(&path, &content).and_then(|()| {
            serde_json::to_writer(&folder.list, &line)?;
            folder.list.write_all(b"\n")
        });
        written.map_err(|error| {
            state.failure = Some((path, error));
            HalFault { code: NOT_WRITTEN }
        })
    }
}

fn json(value: Value) -> serde_json::Value {
    match value {
        Value::I32(v) => v.into(),
        Value::I64(v) => v.into(),
        Value::F32(v) => v.into(),
        Value::F64(v) => v.into(),
    }
}

/// A name that every file system takes, and that leads nowhere else.
fn plain(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    name.chars().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_folder() {
        assert_eq!(plain("../etc/passwd"), "___etc_passwd");
        assert_eq!(plain("frame_filter-2"), "frame_filter-2");
    }

    #[test]
    fn a_folder_with_an_earlier_run_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let group = GroupDecl { name: "g".into(), bit: 8, functions: Vec::new() };
        assert!(Sink::new(&group, Some(dir.path()), &Names::default(), &RunClock::default()).is_ok());
        let error = Sink::new(&group, Some(dir.path()), &Names::default(), &RunClock::default()).unwrap_err();
        assert_eq!(error.code(), 3);
        assert!(error.to_string().contains("calls.jsonl"));
    }
}
