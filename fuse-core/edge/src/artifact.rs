//! Modules compiled ahead of time: native code (or Pulley byte code), checked by hash before it is trusted.
//!
//! Layout, all numbers little-endian:
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | magic `FUSEMOD\x1a` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | length of the header, its hash included |
//! | 16 | 8 | length of the whole artifact |
//! | 24 | 1 | metering: 1 wall, 2 fuel, 3 both |
//! | 25 | 1 | trap mode: 0 explicit, 1 signals |
//! | 26 | 1 | number of payloads, 1 or 2 |
//! | 27 | 1 | length of the engine identity |
//! | 28 | n | engine identity, UTF-8 |
//! | | 56 each | payloads: kind (u32: 1 code, 2 portable), demand (u32: [`Demand`] for code, 0 for portable), offset (u64), length (u64), SHA-256 |
//! | | 32 | SHA-256 of the header before this field |
//! | | | the payloads, each at a multiple of 64, with zeros between |

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};

use crate::app::Metering;
use crate::engine::{ENGINE_VERSION, Settings, TrapMode};

#[cfg(feature = "compiler")]
mod compile;
#[cfg(feature = "compiler")]
pub use compile::{CompileOptions, CpuLevel, compile, to_wasm};
mod demand;
pub use demand::Demand;
mod target;
pub use target::Target;

/// The first bytes of each artifact.
pub const MAGIC: [u8; 8] = *b"FUSEMOD\x1a";
/// The version of the layout.
pub const FORMAT_VERSION: u32 = 1;
const ALIGN: usize = 64;
const FIXED: usize = 28;
const ENTRY: usize = 56;
const HASH: usize = 32;

/// A SHA-256.
pub type Sha256Hash = [u8; HASH];

/// An artifact was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// It does not begin as an artifact does.
    #[error("this is not a Fuse artifact; `fuse module compile` makes one from .wasm or .wat")]
    NotAnArtifact,
    /// It ends too early.
    #[error("the artifact is truncated: {have} of {need} bytes")]
    Truncated {
        /// Bytes there.
        have: u64,
        /// Bytes expected.
        need: u64,
    },
    /// Written for another version of Fuse.
    #[error("the artifact has format version {found}, this Fuse reads {FORMAT_VERSION}; compile it again")]
    Version {
        /// The version found.
        found: u32,
    },
    /// A hash does not match: the artifact was damaged or changed.
    #[error("the artifact is damaged: the SHA-256 of its {part} does not match; fetch or compile it again")]
    Hash {
        /// Which part.
        part: &'static str,
    },
    /// A field has a value that no writer gives it.
    #[error("the artifact is malformed: {what}")]
    Malformed {
        /// Which field.
        what: &'static str,
    },
}

/// The engine that native code needs: version, target, processor level, settings.
///
/// As text: `wasmtime-48.0.8/x86_64/v2/0123456789abcdef`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EngineIdentity {
    /// Name and version of the engine.
    pub engine: String,
    /// What the code runs on.
    pub target: Target,
    /// The processor features that the code uses: a level, or a list joined by `+`.
    pub cpu: String,
    /// Hash of the settings.
    pub settings: String,
}

impl fmt::Display for EngineIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.engine, self.target.name(), self.cpu, self.settings)
    }
}

impl EngineIdentity {
    pub(crate) fn new(settings: Settings, target: Target, cpu: String) -> Self {
        Self { engine: ENGINE_VERSION.into(), target, cpu, settings: settings.hash().as_str().into() }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let identity = Self {
            engine: parts.next()?.into(),
            target: Target::from_name(parts.next()?)?,
            cpu: parts.next()?.into(),
            settings: parts.next()?.into(),
        };
        parts.next().is_none().then_some(identity)
    }

    /// What stops this code from running under `settings` on this machine, as far as the identity tells.
    pub(crate) fn obstacle(&self, settings: Settings, metering: Metering) -> Option<String> {
        if metering != settings.metering {
            return Some(format!(
                "it was compiled for metering `{}`, the runtime uses `{}`",
                metering.name(),
                settings.metering.name()
            ));
        }
        if !self.target.runs_here() {
            return Some(format!(
                "it was compiled for {} and needs engine {self}; this machine runs {}",
                self.target.name(),
                Target::runnable()
            ));
        }
        let same = self.engine == ENGINE_VERSION && self.settings == settings.hash().as_str();
        (!same).then(|| {
            let mine = Self::new(settings, self.target, self.cpu.clone());
            format!("it needs engine {self}, this is {mine}")
        })
    }
}

/// One payload and its hash, which has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Their SHA-256.
    pub sha256: Sha256Hash,
}

/// An artifact whose hashes have all been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact<'a> {
    /// The engine that its code needs.
    pub identity: EngineIdentity,
    /// The metering that its code was compiled for.
    pub metering: Metering,
    /// How its code detects traps.
    pub traps: TrapMode,
    /// What memory an instance starts with.
    pub demand: Demand,
    /// Native code or byte code, in the engine's own format.
    pub code: Payload<'a>,
    /// The WebAssembly that it was compiled from.
    pub portable: Option<Payload<'a>>,
}

/// What [`Artifact::glance`] saw.
pub(crate) struct Glance<'a> {
    pub(crate) target: Target,
    pub(crate) demand: Demand,
    pub(crate) code: &'a [u8],
}

/// Reads little-endian fields; running out of bytes is truncation.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ArtifactError> {
        let end = self.at.checked_add(len).ok_or(ArtifactError::Malformed { what: "length" })?;
        let field = self
            .bytes
            .get(self.at..end)
            .ok_or(ArtifactError::Truncated { have: self.bytes.len() as u64, need: end as u64 })?;
        self.at = end;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ArtifactError> {
        self.take(N)?.try_into().map_err(|_| ArtifactError::Malformed { what: "field" })
    }

    fn u8(&mut self) -> Result<u8, ArtifactError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, ArtifactError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ArtifactError> {
        self.array().map(u64::from_le_bytes)
    }
}

impl<'a> Artifact<'a> {
    /// Whether the bytes claim to be an artifact.
    #[must_use]
    pub fn is_artifact(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// What a budget needs to know of an artifact, read without checking a hash and without allocating: `None` for
    /// what [`parse`](Self::parse) would refuse anyway.
    pub(crate) fn glance(bytes: &'a [u8]) -> Option<Glance<'a>> {
        let mut reader = Reader { bytes, at: MAGIC.len() };
        if !Self::is_artifact(bytes) || reader.u32().ok()? != FORMAT_VERSION {
            return None;
        }
        // Length of the header, whole length, metering, trap mode, number of payloads.
        reader.take(4 + 8 + 3).ok()?;
        let identity_len = usize::from(reader.u8().ok()?);
        let identity = core::str::from_utf8(reader.take(identity_len).ok()?).ok()?;
        let target = Target::from_name(identity.split('/').nth(1)?)?;
        reader.take(4).ok()?;
        let demand = Demand::from_raw(reader.u32().ok()?);
        let start = usize::try_from(reader.u64().ok()?).ok()?;
        let len = usize::try_from(reader.u64().ok()?).ok()?;
        let code = bytes.get(start..start.checked_add(len)?)?;
        Some(Glance { target, demand, code })
    }

    /// Reads an artifact and checks every hash. Nothing of it has been trusted before this succeeds.
    ///
    /// # Errors
    /// An [`ArtifactError`] for anything that a writer did not write: each truncation and each changed bit.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ArtifactError> {
        let mut reader = Reader { bytes, at: 0 };
        if !MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) || bytes.is_empty() {
            return Err(ArtifactError::NotAnArtifact);
        }
        reader.take(MAGIC.len())?;
        let version = reader.u32()?;
        if version != FORMAT_VERSION {
            return Err(ArtifactError::Version { found: version });
        }
        let header_len = reader.u32()? as usize;
        check_header_hash(bytes, header_len)?;
        let total = reader.u64()?;
        if total != bytes.len() as u64 {
            return Err(ArtifactError::Truncated { have: bytes.len() as u64, need: total });
        }
        let metering =
            Metering::from_raw(reader.u8()?).ok_or(ArtifactError::Malformed { what: "metering" })?;
        let traps = TrapMode::from_raw(reader.u8()?).ok_or(ArtifactError::Malformed { what: "trap mode" })?;
        let payloads = reader.u8()?;
        let identity_len = usize::from(reader.u8()?);
        let identity = core::str::from_utf8(reader.take(identity_len)?)
            .ok()
            .and_then(EngineIdentity::parse)
            .ok_or(ArtifactError::Malformed { what: "engine identity" })?;
        let table_end = reader.at + usize::from(payloads) * ENTRY;
        if table_end + HASH != header_len {
            return Err(ArtifactError::Malformed { what: "header length" });
        }
        let (demand, code, portable) = read_payloads(&mut reader, payloads, header_len)?;
        Ok(Self { identity, metering, traps, demand, code, portable })
    }

    /// The artifact as bytes; [`parse`](Self::parse) reads them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let identity = format!("{}", self.identity);
        let identity = &identity.as_bytes()[..identity.len().min(255)];
        let payloads: Vec<_> = core::iter::once((1u32, self.demand.to_raw(), self.code))
            .chain(self.portable.map(|p| (2, 0, p)))
            .collect();
        let header_len = FIXED + identity.len() + payloads.len() * ENTRY + HASH;
        let mut offsets = Vec::new();
        let mut end = header_len;
        for (.., payload) in &payloads {
            let start = end.next_multiple_of(ALIGN);
            offsets.push(start);
            end = start + payload.bytes.len();
        }
        let mut out = Vec::with_capacity(end);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&(header_len as u32).to_le_bytes());
        out.extend_from_slice(&(end as u64).to_le_bytes());
        out.extend_from_slice(&[
            self.metering as u8,
            self.traps as u8,
            payloads.len() as u8,
            identity.len() as u8,
        ]);
        out.extend_from_slice(identity);
        for ((kind, demand, payload), offset) in payloads.iter().zip(&offsets) {
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&demand.to_le_bytes());
            out.extend_from_slice(&(*offset as u64).to_le_bytes());
            out.extend_from_slice(&(payload.bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(&payload.sha256);
        }
        let hash = Sha256::digest(&out);
        out.extend_from_slice(&hash);
        for ((.., payload), offset) in payloads.iter().zip(offsets) {
            out.resize(offset, 0);
            out.extend_from_slice(payload.bytes);
        }
        out
    }
}

impl<'a> Payload<'a> {
    /// A payload with the hash of its bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, sha256: Sha256::digest(bytes).into() }
    }
}

fn check_header_hash(bytes: &[u8], header_len: usize) -> Result<(), ArtifactError> {
    let truncated = ArtifactError::Truncated { have: bytes.len() as u64, need: header_len as u64 };
    let header = bytes.get(..header_len).ok_or(truncated)?;
    let split = header_len.checked_sub(HASH).filter(|at| *at >= FIXED);
    let (covered, hash) = header.split_at(split.ok_or(ArtifactError::Malformed { what: "header length" })?);
    if Sha256::digest(covered).as_slice() != hash {
        return Err(ArtifactError::Hash { part: "header" });
    }
    Ok(())
}

fn read_payloads<'a>(
    reader: &mut Reader<'a>,
    count: u8,
    header_len: usize,
) -> Result<(Demand, Payload<'a>, Option<Payload<'a>>), ArtifactError> {
    let mut found = [None, None];
    let mut demand = Demand::UNKNOWN;
    let mut end = header_len;
    for index in 0..count {
        let kind = reader.u32()?;
        let expected = u32::from(index) + 1;
        let raw = reader.u32()?;
        if kind != expected || (index > 0 && raw != 0) {
            return Err(ArtifactError::Malformed { what: "payload kind" });
        }
        if index == 0 {
            demand = Demand::from_raw(raw);
            // More pages than there can be: no compiler wrote that.
            if demand.to_raw() != raw {
                return Err(ArtifactError::Malformed { what: "memory that an instance starts with" });
            }
        }
        let offset = reader.u64()?;
        let len = reader.u64()?;
        let sha256: Sha256Hash = reader.array()?;
        if offset != end.next_multiple_of(ALIGN) as u64 {
            return Err(ArtifactError::Malformed { what: "payload offset" });
        }
        let start = offset as usize;
        let stop = usize::try_from(len).ok().and_then(|len| start.checked_add(len));
        let truncated =
            ArtifactError::Truncated { have: reader.bytes.len() as u64, need: offset.saturating_add(len) };
        let bytes = stop.and_then(|stop| reader.bytes.get(start..stop)).ok_or(truncated)?;
        if reader.bytes[end..start].iter().any(|b| *b != 0) {
            return Err(ArtifactError::Malformed { what: "bytes between payloads" });
        }
        if Sha256::digest(bytes).as_slice() != sha256 {
            return Err(ArtifactError::Hash { part: if index == 0 { "code" } else { "portable module" } });
        }
        end = start + bytes.len();
        *found.get_mut(usize::from(index)).ok_or(ArtifactError::Malformed { what: "payload count" })? =
            Some(Payload { bytes, sha256 });
    }
    if end != reader.bytes.len() {
        return Err(ArtifactError::Malformed { what: "bytes after the last payload" });
    }
    let [code, portable] = found;
    Ok((demand, code.ok_or(ArtifactError::Malformed { what: "no code" })?, portable))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let settings = Settings { metering: Metering::Both, traps: TrapMode::Explicit };
        Artifact {
            identity: EngineIdentity::new(settings, Target::Pulley64, "base".into()),
            metering: Metering::Both,
            traps: TrapMode::Explicit,
            demand: Demand { memory_pages: Some(2), table_elements: Some(10) },
            code: Payload::new(b"not really code"),
            portable: Some(Payload::new(b"nor a module")),
        }
        .to_bytes()
    }

    #[test]
    fn round_trips() {
        let bytes = sample();
        let artifact = Artifact::parse(&bytes).unwrap();
        assert_eq!(artifact.code.bytes, b"not really code");
        assert_eq!(artifact.demand, Demand { memory_pages: Some(2), table_elements: Some(64) });
        assert_eq!(artifact.portable.unwrap().bytes, b"nor a module");
        assert_eq!(artifact.to_bytes(), bytes);
    }

    #[test]
    fn every_truncation_and_every_bit_flip_is_refused() {
        let bytes = sample();
        for len in 0..bytes.len() {
            assert!(Artifact::parse(&bytes[..len]).is_err(), "truncated to {len}");
        }
        let mut changed = bytes.clone();
        for bit in 0..bytes.len() * 8 {
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Artifact::parse(&changed).is_err(), "bit {bit}");
            changed[bit / 8] ^= 1 << (bit % 8);
        }
        changed.push(0);
        assert!(Artifact::parse(&changed).is_err(), "one byte more");
    }

    /// A header whose hash fits and that no compiler wrote.
    #[test]
    fn a_demand_that_cannot_be_is_refused() {
        let with = |raw: u32| {
            let mut bytes = sample();
            let header_len = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
            let at = FIXED + usize::from(bytes[FIXED - 1]) + 4;
            bytes[at..at + 4].copy_from_slice(&raw.to_le_bytes());
            let hash = Sha256::digest(&bytes[..header_len - HASH]);
            bytes[header_len - HASH..header_len].copy_from_slice(&hash);
            bytes
        };
        assert_eq!(Artifact::parse(&with(65_537)).unwrap().demand.memory_pages, Some(65_536));
        let refused = Artifact::parse(&with(65_538)).unwrap_err();
        assert!(matches!(refused, ArtifactError::Malformed { .. }), "{refused}");
    }
}
