//! The world, and how C reaches it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::Arc;
use std::time::Duration;

use fuse_orchestrator::model::{EnvironmentId, VmName};
use fuse_orchestrator::provider::stub::StubHost;
use fuse_orchestrator::secrets::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

#[allow(dead_code, reason = "it also runs whole scenarios")]
#[path = "../../../../fuse-core/orchestrator/tests/scenarios/runner/mod.rs"]
mod runner;

use runner::world::World;

// All of libfuse.
pub use fuse_ffi::*;

struct Inside {
    world: World,
    /// The tokens that guests had when a step asked for them to be kept.
    tokens: BTreeMap<String, (VmName, SecretString)>,
    runtime: Arc<Runtime>,
}

thread_local! {
    static INSIDE: RefCell<Option<Inside>> = const { RefCell::new(None) };
}

static TOLD: Notify = Notify::const_new();

/// Longer than anything takes in a scenario, in virtual time.
const LONG: Duration = Duration::from_secs(3_600);

impl Inside {
    fn open(config: &Value) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = Arc::new(runtime.map_err(|e| e.to_string())?);
        let world = runtime.block_on(World::open(config, &Value::Null, |plane| plane.clone().into()))?;
        Ok(Self { world, tokens: BTreeMap::new(), runtime })
    }

    fn handle(&self) -> *mut fuse_orchestrator_t {
        orchestrator_for_c(self.world.fuse.clone(), Arc::clone(&self.runtime))
    }

    fn step(&mut self, step: &Value) -> Result<Value, String> {
        let text = |key: &str| step[key].as_str().ok_or_else(|| format!("{key:?} is not a text"));
        match text("do")? {
            "add_host" => {
                let capacity = match &step["has"] {
                    Value::Null => StubHost::standard_capacity(),
                    given => serde_json::from_value(given.clone()).map_err(|e| e.to_string())?,
                };
                self.world.stub.add(StubHost::new(text("host")?, capacity));
                Ok(Value::Null)
            }
            "vms" => Ok(self.world.stub.host(text("host")?).vms().len().into()),
            "kept_snapshots" => {
                let hosts = self.runtime.block_on(self.world.fuse.hosts(Some(200), None));
                let hosts = hosts.map_err(|e| e.to_string())?.items;
                let kept = |host: &str| self.world.stub.host(host).snapshot_count();
                Ok(hosts.iter().map(|host| kept(host.id.as_str())).sum::<usize>().into())
            }
            "keep_token" => {
                let kept = self.token(text("id")?);
                self.tokens.extend(kept.map(|(host, vm, token)| {
                    assert!(self.world.stub.host(&host).takes_token(&vm, token.expose_secret()));
                    (vm.to_string(), (vm, token))
                }));
                Ok(Value::Null)
            }
            "check_tokens" => {
                let (host, vm, token) = self.token(text("id")?).ok_or("there are no credentials")?;
                let host = self.world.stub.host(&host);
                let (_, old) = self.tokens.get(vm.as_str()).ok_or("there were no credentials")?;
                let takes = |token: &SecretString| host.takes_token(&vm, token.expose_secret());
                Ok(json!({"old": takes(old), "new": takes(&token)}))
            }
            _ => self.runtime.block_on(self.world.step(step)).map(|()| Value::Null),
        }
    }

    /// The host of an environment, its VM and the token that its agent should take.
    fn token(&self, id: &str) -> Option<(String, VmName, SecretString)> {
        let id = EnvironmentId::new(id).ok()?;
        self.runtime.block_on(async {
            let credentials = self.world.plane.credentials(&id).await.ok()?;
            let environment = self.world.fuse.get(&id).await.ok()?;
            Some((environment.host_id.to_string(), environment.vm.clone(), credentials.token().clone()))
        })
    }
}

/// # Safety
/// `text` is JSON that ends with a zero.
unsafe fn parse(text: *const c_char) -> Result<Value, String> {
    // SAFETY: the caller's.
    let text = unsafe { CStr::from_ptr(text) };
    serde_json::from_slice(text.to_bytes()).map_err(|e| e.to_string())
}

/// # Safety
/// `out` can be written.
unsafe fn say(out: *mut *mut c_char, text: String) {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: the caller's.
    unsafe { out.write(text.into_raw()) };
}

/// # Safety
/// As `world.h` says.
unsafe fn give(
    out: *mut *mut fuse_orchestrator_t,
    out_why: *mut *mut c_char,
    opened: Result<*mut fuse_orchestrator_t, String>,
) -> c_int {
    match opened {
        Ok(handle) => {
            // SAFETY: the caller's.
            unsafe { out.write(handle) };
            0
        }
        Err(why) => {
            // SAFETY: the caller's.
            unsafe { say(out_why, why) };
            1
        }
    }
}

/// # Safety
/// As `world.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn world_open(
    config: *const c_char,
    out: *mut *mut fuse_orchestrator_t,
    out_why: *mut *mut c_char,
) -> c_int {
    // SAFETY: the caller's.
    let opened = unsafe { parse(config) }.and_then(|config| Inside::open(&config)).map(|inside| {
        let handle = inside.handle();
        INSIDE.set(Some(inside));
        handle
    });
    // SAFETY: the caller's.
    unsafe { give(out, out_why, opened) }
}

/// # Safety
/// As `world.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn world_step(step: *const c_char, out: *mut *mut c_char) -> c_int {
    // SAFETY: the caller's.
    let answer = unsafe { parse(step) }.and_then(|step| {
        INSIDE.with_borrow_mut(|inside| inside.as_mut().ok_or("there is no world")?.step(&step))
    });
    let (status, text) = match answer {
        Ok(answer) => (0, answer.to_string()),
        Err(why) => (1, why),
    };
    // SAFETY: the caller's.
    unsafe { say(out, text) };
    status
}

/// # Safety
/// As `world.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn world_restart(
    out: *mut *mut fuse_orchestrator_t,
    out_why: *mut *mut c_char,
) -> c_int {
    let opened = INSIDE.with_borrow_mut(|inside| {
        let inside = inside.as_mut().ok_or("there is no world")?;
        inside.runtime.block_on(inside.world.restart())?;
        Ok(inside.handle())
    });
    // SAFETY: the caller's.
    unsafe { give(out, out_why, opened) }
}

/// As `world.h` says.
#[unsafe(no_mangle)]
pub extern "C" fn world_told() {
    TOLD.notify_one();
}

/// As `world.h` says.
#[unsafe(no_mangle)]
pub extern "C" fn world_wait() -> c_int {
    // What is told borrows nothing of it.
    let runtime = INSIDE.with_borrow(|inside| inside.as_ref().map(|inside| Arc::clone(&inside.runtime)));
    let came = runtime.is_some_and(|runtime| {
        runtime.block_on(async { tokio::time::timeout(LONG, TOLD.notified()).await.is_ok() })
    });
    c_int::from(!came)
}

/// As `world.h` says.
#[unsafe(no_mangle)]
pub extern "C" fn world_close() {
    INSIDE.set(None);
}
