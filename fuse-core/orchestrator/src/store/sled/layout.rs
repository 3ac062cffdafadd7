//! How records, events, leases and counters lie in the key space.
//!
//! ```text
//! h                                → head
//! r <kind> 0 <id>                  → checksum 16 | revision 8 | body length 4 | first piece of the body
//! c <kind> 0 <id> 0 <n>            → piece n ≥ 1
//! e <seq>                          → checksum 16 | at_ms 8 | kind length 1 | id length 2 | body length 4 | kind | id | first piece
//! d <seq> <n>                      → piece n ≥ 1
//! s <kind> 0 <id> 0 <seq>          → (empty) the events of one record
//! l <name>                         → lease
//! ```
//! Numbers are big endian, so byte order is number order. Ids hold no control characters, so 0 ends them.
//! Long bodies are cut into pieces because sled moves large pages into separate files that it does not sync.
use super::super::lease::LeaseRow;
use super::super::ledger::{Head, Stub};
use super::super::record::first_16;
use super::super::{Event, Kind, Position, Record};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Bytes of a body that one key holds.
pub(super) const PIECE: usize = 12 << 10;
pub(super) const HEAD: &[u8] = b"h";
const RECORD_HEADER: usize = 28;
const EVENT_HEADER: usize = 31;
const HEAD_VERSION: u8 = 1;

/// What is wrong with stored bytes, in words.
pub(super) type Damage = String;

pub(super) fn records_of(kind: Kind) -> Vec<u8> {
    [b"r", kind.as_str().as_bytes(), &[0]].concat()
}

pub(super) fn record_key(kind: Kind, id: &str) -> Vec<u8> {
    [&records_of(kind), id.as_bytes()].concat()
}

pub(super) fn record_piece(kind: Kind, id: &str, n: u32) -> Vec<u8> {
    [b"c", kind.as_str().as_bytes(), &[0], id.as_bytes(), &[0], &n.to_be_bytes()].concat()
}

pub(super) fn event_key(seq: u64) -> Vec<u8> {
    [&b"e"[..], &seq.to_be_bytes()].concat()
}

pub(super) fn event_piece(seq: u64, n: u32) -> Vec<u8> {
    [&b"d"[..], &seq.to_be_bytes(), &n.to_be_bytes()].concat()
}

pub(super) fn events_of(kind: Kind, id: &str) -> Vec<u8> {
    [b"s", kind.as_str().as_bytes(), &[0], id.as_bytes(), &[0]].concat()
}

pub(super) fn subject_key(kind: Kind, id: &str, seq: u64) -> Vec<u8> {
    [&events_of(kind, id)[..], &seq.to_be_bytes()].concat()
}

pub(super) fn lease_key(name: &str) -> Vec<u8> {
    [b"l", name.as_bytes()].concat()
}

/// Pieces of a body of `len` bytes, the first one included.
pub(super) fn pieces(len: usize) -> u32 {
    u32::try_from(len.div_ceil(PIECE).max(1)).unwrap_or(u32::MAX)
}

/// The bytes of piece `n` of a body.
pub(super) fn piece(body: &[u8], n: u32) -> &[u8] {
    let start = (n as usize).saturating_mul(PIECE).min(body.len());
    &body[start..body.len().min(start + PIECE)]
}

/// The value under a record's key.
pub(super) fn record_value(record: &Record, checksum: u128) -> Vec<u8> {
    let mut value = Vec::with_capacity(RECORD_HEADER + record.body.len().min(PIECE));
    value.extend(checksum.to_be_bytes());
    value.extend(record.revision.to_be_bytes());
    value.extend((record.body.len() as u32).to_be_bytes());
    value.extend(piece(&record.body, 0));
    value
}

/// A record's header, and its first piece.
pub(super) struct RecordHeader<'a> {
    pub(super) stub: Stub,
    pub(super) body_len: usize,
    pub(super) first: &'a [u8],
}

pub(super) fn record_header(value: &[u8]) -> Result<RecordHeader<'_>, Damage> {
    let mut rest = value;
    let stub = Stub {
        checksum: u128::from_be_bytes(take(&mut rest)?),
        revision: u64::from_be_bytes(take(&mut rest)?),
    };
    let body_len = u32::from_be_bytes(take(&mut rest)?) as usize;
    Ok(RecordHeader { stub, body_len, first: rest })
}

/// A record put together from its parts, if its checksum is right.
pub(super) fn record(kind: Kind, id: &str, stub: Stub, body: Vec<u8>) -> Result<Record, Damage> {
    let record = Record { kind, id: id.to_owned(), revision: stub.revision, body: Bytes::from(body) };
    if record.checksum() == stub.checksum {
        Ok(record)
    } else {
        Err(format!("the checksum of {kind} `{id}` at revision {} does not match", stub.revision))
    }
}

/// The id of the record under `key`, which starts with `prefix` bytes of kind.
pub(super) fn id_of(key: &[u8], prefix: usize) -> Result<&str, Damage> {
    let id = key.get(prefix..).unwrap_or_default();
    std::str::from_utf8(id).map_err(|_| "the id of a record is not text".to_owned())
}

/// The value under an event's key.
pub(super) fn event_value(event: &Event) -> Vec<u8> {
    let kind = event.kind.as_str().as_bytes();
    let mut value =
        Vec::with_capacity(EVENT_HEADER + kind.len() + event.id.len() + event.body.len().min(PIECE));
    value.extend(event.checksum().to_be_bytes());
    value.extend(event.at_ms.to_be_bytes());
    value.push(kind.len() as u8);
    value.extend((event.id.len() as u16).to_be_bytes());
    value.extend((event.body.len() as u32).to_be_bytes());
    value.extend(kind);
    value.extend(event.id.as_bytes());
    value.extend(piece(&event.body, 0));
    value
}

/// An event's header, and its first piece.
pub(super) struct EventHeader<'a> {
    pub(super) checksum: u128,
    pub(super) at_ms: u64,
    pub(super) kind: Kind,
    pub(super) id: &'a str,
    pub(super) body_len: usize,
    pub(super) first: &'a [u8],
}

pub(super) fn event_header(value: &[u8]) -> Result<EventHeader<'_>, Damage> {
    let mut rest = value;
    let checksum = u128::from_be_bytes(take(&mut rest)?);
    let at_ms = u64::from_be_bytes(take(&mut rest)?);
    let [kind_len] = take(&mut rest)?;
    let id_len = u16::from_be_bytes(take(&mut rest)?);
    let body_len = u32::from_be_bytes(take(&mut rest)?) as usize;
    let kind = text(&mut rest, kind_len.into())?;
    let id = text(&mut rest, id_len.into())?;
    let kind = Kind::parse(kind).ok_or_else(|| format!("an event is about the unknown kind {kind:?}"))?;
    Ok(EventHeader { checksum, at_ms, kind, id, body_len, first: rest })
}

/// An event put together from its parts, if its checksum is right.
pub(super) fn event(seq: u64, header: &EventHeader<'_>, body: Vec<u8>) -> Result<Event, Damage> {
    let (kind, id, at_ms) = (header.kind, header.id.to_owned(), header.at_ms);
    let event = Event { seq, kind, id, at_ms, body: Bytes::from(body) };
    if event.checksum() == header.checksum {
        Ok(event)
    } else {
        Err(format!("the checksum of event {seq} does not match"))
    }
}

/// The sequence number that ends a key.
pub(super) fn seq_of(key: &[u8]) -> Result<u64, Damage> {
    let at = key.len().checked_sub(8).ok_or("the key of an event is too short")?;
    take(&mut &key[at..]).map(u64::from_be_bytes)
}

pub(super) fn head_value(head: &Head) -> Vec<u8> {
    let p = &head.position;
    let mut value = vec![HEAD_VERSION, u8::from(head.loading)];
    for number in [p.revision, p.last_event, p.floor, p.records] {
        value.extend(number.to_be_bytes());
    }
    value.extend(p.digest.to_be_bytes());
    seal(b"head", value)
}

pub(super) fn head(value: &[u8]) -> Result<Head, Damage> {
    let mut rest = open(b"head", value)?;
    let [version, loading] = take(&mut rest)?;
    if version != HEAD_VERSION {
        return Err(format!(
            "the counters have layout {version}, and this version of Fuse reads {HEAD_VERSION}"
        ));
    }
    let mut number = || take(&mut rest).map(u64::from_be_bytes);
    let (revision, last_event, floor, records) = (number()?, number()?, number()?, number()?);
    let digest = u128::from_be_bytes(take(&mut rest)?);
    Ok(Head { position: Position { revision, last_event, floor, records, digest }, loading: loading != 0 })
}

pub(super) fn lease_value(name: &str, row: &LeaseRow) -> Vec<u8> {
    let mut value = vec![u8::from(row.released)];
    value.extend(row.token.to_be_bytes());
    value.extend(row.expires_ms.to_be_bytes());
    value.extend(row.holder.as_bytes());
    seal(name.as_bytes(), value)
}

pub(super) fn lease(name: &str, value: &[u8]) -> Result<LeaseRow, Damage> {
    let mut rest = open(name.as_bytes(), value)?;
    let [released] = take(&mut rest)?;
    let token = u64::from_be_bytes(take(&mut rest)?);
    let expires_ms = u64::from_be_bytes(take(&mut rest)?);
    let len = rest.len();
    let holder = text(&mut rest, len)?.to_owned();
    Ok(LeaseRow { holder, token, expires_ms, released: released != 0 })
}

/// Puts a checksum over `what` and the value in front of the value.
pub(super) fn seal(what: &[u8], value: Vec<u8>) -> Vec<u8> {
    [&checksum(what, &value)[..], &value].concat()
}

pub(super) fn open<'a>(what: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Damage> {
    let mut rest = sealed;
    let sum: [u8; 16] = take(&mut rest)?;
    if sum == checksum(what, rest) {
        return Ok(rest);
    }
    Err(format!("the checksum of {:?} does not match", String::from_utf8_lossy(what)))
}

fn checksum(what: &[u8], value: &[u8]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"fuse-sealed-1\0");
    hash.update((what.len() as u64).to_be_bytes());
    hash.update(what);
    hash.update(value);
    first_16(hash).to_be_bytes()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Damage> {
    let (first, after) = rest.split_first_chunk::<N>().ok_or("a stored value is too short")?;
    *rest = after;
    Ok(*first)
}

fn text<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a str, Damage> {
    let (first, after) = rest.split_at_checked(len).ok_or("a stored value is too short")?;
    *rest = after;
    std::str::from_utf8(first).map_err(|_| "a stored value is not text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_every_flipped_bit_is_noticed() {
        let head_in = Head {
            position: Position { revision: 9, last_event: 8, floor: 3, records: 2, digest: 77 },
            loading: true,
        };
        let row = LeaseRow { holder: "a".into(), token: 4, expires_ms: 12, released: false };
        let event_in =
            Event { seq: 5, kind: Kind::Host, id: "h".into(), at_ms: 1, body: Bytes::from_static(b"{}") };
        assert_eq!(head(&head_value(&head_in)), Ok(head_in));
        assert_eq!(lease("x", &lease_value("x", &row)), Ok(row.clone()));
        assert!(lease("y", &lease_value("x", &row)).is_err(), "a lease under another name is damage");
        let read = |value: &[u8]| event_header(value).and_then(|h| event(5, &h, h.first.to_vec()));
        assert_eq!(read(&event_value(&event_in)), Ok(event_in.clone()));
        type Check<'a> = &'a dyn Fn(&[u8]) -> bool;
        let cases: [(Vec<u8>, Check<'_>); 3] = [
            (head_value(&head_in), &|v| head(v).is_ok()),
            (lease_value("x", &row), &|v| lease("x", v).is_ok()),
            (event_value(&event_in), &|v| {
                read(v).is_ok_and(|e| e != event_in || event_header(v).is_ok_and(|h| h.body_len == 2))
            }),
        ];
        for (value, accepted) in cases {
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(!accepted(&flipped), "bit {bit}");
            }
        }
    }

    #[test]
    fn bodies_are_cut_and_joined() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let joined: Vec<u8> = (0..pieces(len)).flat_map(|n| piece(&body, n).to_vec()).collect();
            assert_eq!(joined, body, "{len}");
        }
    }
}
