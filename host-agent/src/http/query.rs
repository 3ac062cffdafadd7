//! Query strings in which a name may come several times.

/// The parts of a query, decoded, in their order. At most 256.
pub(super) fn parts(query: Option<&str>) -> Vec<(String, String)> {
    let pairs = query.unwrap_or_default().split('&').filter(|part| !part.is_empty()).take(256);
    pairs
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

/// The first value of a name.
pub(super) fn value<'a>(parts: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parts.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut after = rest.clone();
        let escaped = (byte == b'%').then(|| [after.next(), after.next()]);
        let digit =
            |byte: Option<u8>| (byte? as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match escaped.map(|[high, low]| (digit(high), digit(low))) {
            Some((Some(high), Some(low))) => {
                bytes.push(high * 16 + low);
                rest = after;
            }
            _ if byte == b'+' => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_repeat_and_escapes_are_undone() {
        let parts = parts(Some("cmd=sh&cmd=-c&cmd=echo%20%22a%2Bb%22+%&rows=24&tty"));
        let words: Vec<_> =
            parts.iter().filter(|(name, _)| name == "cmd").map(|(_, word)| word.as_str()).collect();
        assert_eq!(words, ["sh", "-c", "echo \"a+b\" %"]);
        assert_eq!(
            (value(&parts, "rows"), value(&parts, "tty"), value(&parts, "x")),
            (Some("24"), Some(""), None)
        );
    }
}
