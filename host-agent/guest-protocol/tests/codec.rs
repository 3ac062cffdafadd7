//! The decoders against whatever bytes may come, in whatever pieces.

use fuse_guest_protocol::{
    Channel, Frame, GuestError, Kind, MAX_PAYLOAD, VERSION, Verb, WireError,
    decode::{GuestDecoder, HostDecoder, Incoming},
    frame::Control,
    sync::{PADDING, Sync, announcement},
};
use proptest::{collection::vec, prelude::*};

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let payload = prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), MAX_PAYLOAD - 3..=MAX_PAYLOAD)];
    let frame = (1..=u32::MAX, any::<u8>(), payload).prop_map(|(stream, pick, payload)| match pick % 8 {
        0 => Frame::open(stream, Verb::Exec, &payload).remove(0),
        1 => Frame::data(stream, Channel::Error, payload),
        2 => Frame::end(stream, Channel::Output),
        3 => Frame::ok(stream, payload),
        4 => Frame::failed(stream, &GuestError::new(fuse_guest_protocol::ErrorCode::Failed, "why")),
        5 => Frame::control(stream, Control::Resize, payload),
        6 => Frame::credit(stream, pick.into()),
        _ => Frame::reset(stream),
    });
    vec(frame, 0..6)
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

fn sync(nonce: u8) -> Sync {
    Sync { version: VERSION, nonce: [nonce; 16] }
}

fn all(decoder: &mut GuestDecoder, bytes: &[u8], piece: usize) -> Vec<Incoming> {
    let mut found = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        decoder.feed(piece);
        while let Some(incoming) = decoder.take() {
            found.push(incoming);
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn frames_come_out_as_they_went_in(frames in frames(), piece in 1_usize..9000, zeros in 0_usize..40) {
        let mut bytes = sync(1).encode().to_vec();
        bytes.resize(bytes.len() + zeros, 0);
        bytes.extend(encoded(&frames));
        let found = all(&mut GuestDecoder::new(), &bytes, piece);
        let expected: Vec<_> = std::iter::once(Incoming::Sync(sync(1)))
            .chain(frames.into_iter().map(Incoming::Frame)).collect();
        prop_assert!(found == expected);
    }

    /// Wherever an earlier connection was cut, padding and SYNC bring both sides together, and nothing that was cut is
    /// taken for whole.
    #[test]
    fn a_new_connection_is_understood_after_any_cut(old in frames(), cut in any::<prop::sample::Index>(),
                                                    new in frames(), piece in 1_usize..9000) {
        let whole = encoded(&old);
        let cut = if whole.is_empty() { 0 } else { cut.index(whole.len()) };
        let mut bytes = sync(1).encode().to_vec();
        bytes.extend_from_slice(&whole[..cut]);
        bytes.resize(bytes.len() + PADDING, 0);
        bytes.extend_from_slice(&sync(2).encode());
        bytes.extend(encoded(&new));
        let found = all(&mut GuestDecoder::new(), &bytes, piece);

        let second = found.iter().position(|incoming| *incoming == Incoming::Sync(sync(2))).unwrap();
        let after: Vec<_> = new.into_iter().map(Incoming::Frame).collect();
        prop_assert!(found[second + 1..] == after[..]);
        let taken: Vec<_> = found[1..second].iter().filter(|incoming| !matches!(incoming, Incoming::Lost(_))).collect();
        prop_assert!(taken.len() <= old.len());
        prop_assert!(taken.into_iter().zip(&old).all(|(found, old)| *found == Incoming::Frame(old.clone())));
    }

    #[test]
    fn the_host_drops_everything_before_the_answer(old in frames(), cut in any::<prop::sample::Index>(), new in frames()) {
        let whole = encoded(&old);
        let mut bytes = whole[if whole.is_empty() { 0 } else { cut.index(whole.len()) }..].to_vec();
        bytes.extend_from_slice(&sync(3).encode_back());
        bytes.extend_from_slice(&sync(4).encode_back());
        bytes.extend(encoded(&new));
        let mut decoder = HostDecoder::new([4; 16]);
        decoder.feed(&bytes);
        prop_assert_eq!(decoder.synced(), Ok(true));
        for frame in new {
            prop_assert_eq!(decoder.take(), Ok(Some(frame)));
        }
        prop_assert_eq!(decoder.take(), Ok(None));
    }

    /// Wherever an agent died, the host sees that another one has begun, and takes no frame that was cut for whole.
    #[test]
    fn the_host_sees_that_the_agent_is_another(old in frames(), cut in any::<prop::sample::Index>()) {
        let whole = encoded(&old);
        let mut bytes = sync(1).encode_back().to_vec();
        bytes.extend_from_slice(&whole[..if whole.is_empty() { 0 } else { cut.index(whole.len()) }]);
        bytes.extend(announcement([9; 16]));
        let mut decoder = HostDecoder::new([1; 16]);
        decoder.feed(&bytes);
        prop_assert_eq!(decoder.synced(), Ok(true));
        let mut expected = old.into_iter();
        loop {
            match decoder.take() {
                Ok(Some(frame)) => prop_assert_eq!(Some(frame), expected.next()),
                other => {
                    prop_assert!(other.is_err(), "it waits for more");
                    break;
                }
            }
        }
    }

    #[test]
    fn noise_is_never_a_frame(noise in vec(any::<u8>(), 0..4000), piece in 1_usize..500) {
        let mut decoder = GuestDecoder::new();
        let mut bytes = sync(1).encode().to_vec();
        bytes.extend(noise);
        for incoming in all(&mut decoder, &bytes, piece).into_iter().skip(1) {
            prop_assert!(matches!(incoming, Incoming::Lost(_)), "{incoming:?}");
        }
    }

    #[test]
    fn a_changed_bit_is_seen(frame in frames().prop_filter("one", |frames| !frames.is_empty()), bit in any::<prop::sample::Index>()) {
        let mut bytes = encoded(&frame[..1]);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut decoder = HostDecoder::new([1; 16]);
        decoder.feed(&sync(1).encode_back());
        decoder.feed(&bytes);
        prop_assert_eq!(decoder.synced(), Ok(true));
        // A longer length waits for more; everything else is an error.
        match decoder.take() {
            Ok(Some(frame)) => prop_assert!(false, "{frame:?} was taken"),
            Ok(None) => prop_assert!((64..96).contains(&bit) || bit < 8, "bit {bit} makes it wait"),
            Err(_) => {}
        }
    }
}

#[test]
fn what_is_too_long_is_refused_before_it_is_kept() {
    let mut decoder = HostDecoder::new([1; 16]);
    decoder.feed(&sync(1).encode_back());
    assert_eq!(decoder.synced(), Ok(true));
    let mut bytes = encoded(&[Frame::data(1, Channel::Output, Vec::new())]);
    bytes[8..12].copy_from_slice(&(MAX_PAYLOAD as u32 + 1).to_le_bytes());
    decoder.feed(&bytes);
    assert_eq!(decoder.take(), Err(WireError::Length(MAX_PAYLOAD as u32 + 1)));
}

#[test]
fn another_version_is_named() {
    let mut decoder = HostDecoder::new([1; 16]);
    decoder.feed(&Sync { version: 9, nonce: [1; 16] }.encode_back());
    assert_eq!(decoder.synced(), Err(WireError::Version(9)));
    assert_eq!(Kind::ALL.len(), 9);
}
