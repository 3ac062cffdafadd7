//! An application as a versioned binary, for uplinks and for builds without a JSON parser.
//!
//! Layout, all numbers little-endian; a text is its length (u16) and UTF-8 bytes, a list its length (u32) and
//! items:
//!
//! | content |
//! |---|
//! | magic `FUSEAPP\x1a`, format version (u32, 1), length of the whole (u64) |
//! | application: name, description, max_modules (u32), memory_pool_bytes (u64), log_pool_bytes (u64), metering (u8), hal_groups (u32) |
//! | list of events: name, id (u8) |
//! | list of host groups: name, bit (u8), list of functions: name, list of parameter types (u8), result type (u8, 0 = none) |
//! | list of modules: name, binary, policy (32 bytes), fuel_quota (u64), priority (u8), artifact (u8 1 and its length as u64 and bytes, or u8 0) |
//! | SHA-256 of everything before |

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use super::{AppConfig, Application, Metering, ModuleDecl};
use crate::error::{Error, Result};
use crate::event::EventId;
use crate::hal::{Capabilities, FunctionDecl, GroupDecl, Param, ValueType};
use crate::policy::{POLICY_BYTES, Policy};

const MAGIC: [u8; 8] = *b"FUSEAPP\x1a";
const VERSION: u32 = 1;
const HASH: usize = 32;

const PARAMS: [Param; 7] = [
    Param::Value(ValueType::I32),
    Param::Value(ValueType::I64),
    Param::Value(ValueType::F32),
    Param::Value(ValueType::F64),
    Param::In,
    Param::Out,
    Param::InOut,
];

/// The number of a parameter type; 0 is for none.
fn param_code(param: Param) -> u8 {
    PARAMS.iter().position(|p| *p == param).map_or(0, |i| i as u8 + 1)
}

/// Bytes of memory for each byte that is not of an artifact: a nameless event takes three bytes here, and sixty in a list
/// that has just grown.
const PER_BYTE: u64 = 32;
/// What any application takes.
const FIXED: u64 = 2048;

struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    fn text(&mut self, text: &str) -> Result<()> {
        let len = u16::try_from(text.len())
            .map_err(|_| Error::invalid(format!("a text of {} bytes does not fit; 65535 do", text.len())))?;
        self.bytes(&len.to_le_bytes());
        self.bytes(text.as_bytes());
        Ok(())
    }

    /// List lengths are bounded by what was parsed or built in memory; none reaches 2^32.
    fn len(&mut self, len: usize) {
        self.u32(len as u32);
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

fn malformed(what: &str) -> Error {
    Error::invalid(format!("the packed application is malformed: {what}"))
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or_else(|| malformed("it ends too early"))?;
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| malformed("field"))
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String> {
        let len = u16::from_le_bytes(self.array()?);
        let bytes = self.take(usize::from(len))?;
        core::str::from_utf8(bytes).map(Into::into).map_err(|_| malformed("a text is not UTF-8"))
    }

    fn skip_text(&mut self) -> Result<()> {
        let len = u16::from_le_bytes(self.array()?);
        self.take(usize::from(len)).map(|_| ())
    }

    /// A list. Its items are read one by one, so a false length ends where the bytes end.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let len = self.u32()?;
        let mut list = Vec::new();
        for _ in 0..len {
            list.push(item(self)?);
        }
        Ok(list)
    }
}

impl AppConfig {
    /// The binary form, artifacts included where modules carry them.
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg) when the application is not valid.
    pub fn to_binary(&self) -> Result<Vec<u8>> {
        self.validate()?;
        let mut w = Writer(Vec::new());
        w.bytes(&MAGIC);
        w.u32(VERSION);
        w.u64(0); // the length, once it is known
        write_application(&mut w, &self.application)?;
        w.len(self.modules.len());
        for module in &self.modules {
            write_module(&mut w, module)?;
        }
        let length = (w.0.len() + HASH) as u64;
        w.0[12..20].copy_from_slice(&length.to_le_bytes());
        let hash = Sha256::digest(&w.0);
        w.bytes(&hash);
        Ok(w.0)
    }

    /// Whether the bytes claim to be a packed application.
    #[must_use]
    pub fn is_binary(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// How much memory [`from_binary`](Self::from_binary) takes at most, in bytes of an allocator with headers: the
    /// artifacts as they are, and a bound for everything else.
    #[must_use]
    pub fn binary_memory_bytes(bytes: &[u8]) -> u64 {
        let len = bytes.len() as u64;
        let artifacts = artifact_bytes(bytes).unwrap_or(0).min(len);
        artifacts + (len - artifacts) * PER_BYTE + FIXED
    }

    /// Reads the binary form. Its SHA-256 is checked before anything else is believed.
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg) when it is damaged, of another version, or not valid.
    pub fn from_binary(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader { bytes };
        if !Self::is_binary(bytes) {
            return Err(malformed("it does not begin as one; `fuse module pack` makes one"));
        }
        r.take(MAGIC.len())?;
        let version = r.u32()?;
        if version != VERSION {
            return Err(Error::invalid(format!(
                "the packed application has format version {version}, this Fuse reads {VERSION}; pack it again"
            )));
        }
        let length = r.u64()?;
        if length != bytes.len() as u64 {
            return Err(malformed(&format!("it has {} bytes and says {length}", bytes.len())));
        }
        let body = r.bytes.len().checked_sub(HASH).ok_or_else(|| malformed("it ends too early"))?;
        let (covered, hash) = bytes.split_at(bytes.len() - HASH);
        if Sha256::digest(covered).as_slice() != hash {
            return Err(malformed("its SHA-256 does not match; fetch or pack it again"));
        }
        r.bytes = &r.bytes[..body];
        let application = read_application(&mut r)?;
        let modules = r.list(read_module)?;
        if !r.bytes.is_empty() {
            return Err(malformed("bytes after the last module"));
        }
        let app = Self { application, modules };
        app.validate()?;
        Ok(app)
    }
}

/// The length of all artifacts. Only lengths are read, and nothing is allocated, since a list of nothings has no size.
fn artifact_bytes(bytes: &[u8]) -> Result<u64> {
    let mut r = Reader { bytes };
    r.take(MAGIC.len() + 4 + 8)?;
    r.skip_text()?;
    r.skip_text()?;
    r.take(4 + 8 + 8 + 1 + 4)?;
    r.list(|r| r.skip_text().and_then(|()| r.take(1)).map(|_| ()))?;
    r.list(|r| {
        r.skip_text()?;
        r.take(1)?;
        r.list(|r| {
            r.skip_text()?;
            r.list(|r| r.take(1).map(|_| ()))?;
            r.take(1).map(|_| ())
        })
        .map(|_| ())
    })?;
    let mut total = 0;
    r.list(|r| {
        r.skip_text()?;
        r.skip_text()?;
        r.take(POLICY_BYTES + 8 + 1)?;
        if r.u8()? == 1 {
            let len = r.u64()?;
            r.take(usize::try_from(len).map_err(|_| malformed("artifact length"))?)?;
            total += len;
        }
        Ok(())
    })?;
    Ok(total)
}

fn write_application(w: &mut Writer, app: &Application) -> Result<()> {
    w.text(&app.name)?;
    w.text(&app.description)?;
    w.u32(app.max_modules);
    w.u64(app.memory_pool_bytes);
    w.u64(app.log_pool_bytes);
    w.bytes(&[app.metering as u8]);
    w.u32(app.hal_groups.bits());
    w.len(app.events.len());
    for (name, id) in &app.events {
        w.text(name)?;
        w.bytes(&[id.get() as u8]);
    }
    w.len(app.custom_groups.len());
    for group in &app.custom_groups {
        w.text(&group.name)?;
        w.bytes(&[group.bit]);
        w.len(group.functions.len());
        for function in &group.functions {
            w.text(&function.name)?;
            w.len(function.params.len());
            for param in &function.params {
                w.bytes(&[param_code(*param)]);
            }
            w.bytes(&[function.result.map_or(0, |r| param_code(Param::Value(r)))]);
        }
    }
    Ok(())
}

fn read_application(r: &mut Reader<'_>) -> Result<Application> {
    let mut app = Application { name: r.text()?, description: r.text()?, ..Application::default() };
    app.max_modules = r.u32()?;
    app.memory_pool_bytes = r.u64()?;
    app.log_pool_bytes = r.u64()?;
    app.metering = Metering::from_raw(r.u8()?).ok_or_else(|| malformed("metering"))?;
    app.hal_groups = Capabilities::from_bits(r.u32()?);
    app.events = r.list(|r| Ok((r.text()?, EventId::new(u32::from(r.u8()?))?)))?;
    app.custom_groups =
        r.list(|r| Ok(GroupDecl { name: r.text()?, bit: r.u8()?, functions: r.list(read_function)? }))?;
    Ok(app)
}

fn read_function(r: &mut Reader<'_>) -> Result<FunctionDecl> {
    let by_code = |code: u8| PARAMS.get(usize::from(code).wrapping_sub(1)).copied();
    let name = r.text()?;
    let params = r.list(|r| by_code(r.u8()?).ok_or_else(|| malformed("parameter type")))?;
    let result = match r.u8()? {
        0 => None,
        code => match by_code(code) {
            Some(Param::Value(value)) => Some(value),
            _ => return Err(malformed("result type")),
        },
    };
    Ok(FunctionDecl { name, params, result })
}

fn write_module(w: &mut Writer, module: &ModuleDecl) -> Result<()> {
    w.text(&module.name)?;
    w.text(&module.binary)?;
    w.bytes(&module.policy.to_bytes());
    w.u64(module.policy.fuel_quota);
    w.bytes(&[module.policy.priority, u8::from(module.artifact.is_some())]);
    if let Some(artifact) = &module.artifact {
        w.u64(artifact.len() as u64);
        w.bytes(artifact);
    }
    Ok(())
}

fn read_module(r: &mut Reader<'_>) -> Result<ModuleDecl> {
    let (name, binary) = (r.text()?, r.text()?);
    let mut policy = Policy::from_bytes(r.take(POLICY_BYTES)?)?;
    policy.fuel_quota = r.u64()?;
    policy.priority = r.u8()?;
    let artifact = match r.u8()? {
        0 => None,
        1 => {
            let len = usize::try_from(r.u64()?).map_err(|_| malformed("artifact length"))?;
            Some(r.take(len)?.into())
        }
        _ => return Err(malformed("artifact flag")),
    };
    Ok(ModuleDecl { name, binary, policy, artifact })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventMask;

    fn sample() -> AppConfig {
        let groups = alloc::vec![GroupDecl {
            name: "gpio".into(),
            bit: 9,
            functions: alloc::vec![FunctionDecl {
                name: "gpio_read".into(),
                params: PARAMS.to_vec(),
                result: Some(ValueType::F64),
            }],
        }];
        let application = Application {
            name: "demo".into(),
            description: "with everything".into(),
            max_modules: 7,
            memory_pool_bytes: 1 << 40,
            metering: Metering::Both,
            custom_groups: groups,
            events: alloc::vec![("FRAME".into(), EventId::new(31).unwrap())],
            ..Application::default()
        };
        let policy = Policy {
            capabilities: Capabilities::custom(9) | Capabilities::LOG,
            fuel_quota: u64::MAX,
            priority: 3,
            cpu_quota_us: 5,
            event_subscribe: EventMask::from_bits(1 << 31),
            ..Policy::default()
        };
        let module = |name: &str, artifact| ModuleDecl {
            name: name.into(),
            binary: "m.fuse".into(),
            policy: policy.clone(),
            artifact,
        };
        AppConfig {
            application,
            modules: alloc::vec![module("a", None), module("b", Some(alloc::vec![1, 2, 3]))],
        }
    }

    #[test]
    fn round_trips() {
        let app = sample();
        assert_eq!(AppConfig::from_binary(&app.to_binary().unwrap()).unwrap(), app);
    }

    #[test]
    fn artifacts_count_once_and_the_rest_by_a_bound() {
        let mut app = sample();
        let without = AppConfig::binary_memory_bytes(&app.to_binary().unwrap());
        app.modules[1].artifact = Some(alloc::vec![7; 100_003]);
        assert_eq!(AppConfig::binary_memory_bytes(&app.to_binary().unwrap()), without + 100_000);
        assert!(AppConfig::binary_memory_bytes(b"nothing") >= FIXED);
    }

    #[test]
    fn every_truncation_and_every_bit_flip_is_refused() {
        let bytes = sample().to_binary().unwrap();
        for len in 0..bytes.len() {
            assert!(AppConfig::from_binary(&bytes[..len]).is_err(), "truncated to {len}");
        }
        let mut changed = bytes.clone();
        for bit in 0..bytes.len() * 8 {
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(AppConfig::from_binary(&changed).is_err(), "bit {bit}");
            changed[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
