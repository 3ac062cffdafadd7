//! Reading values: durations, addresses, networks.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

/// Reads a length of time: `30s`, `1h30m`, `250ms`, or a number of seconds.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let problem = || format!("{text:?} is not a length of time; write 30s, 5m, 1h30m or 250ms");
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err(problem());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| problem())?;
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3_600).map(Duration::from_secs),
            _ => return Err(problem()),
        };
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(problem)?;
        rest = next;
    }
    Ok(total)
}

/// Reads `true` or `false`, also `1` and `0`.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// Reads networks, separated by commas. An address alone is a network of one.
///
/// # Errors
/// The first part that is not a network.
pub(crate) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let read = |part: &str| {
        part.parse::<IpNet>()
            .or_else(|_| part.parse::<IpAddr>().map(IpNet::from))
            .map(|net| net.trunc())
            .map_err(|_| format!("{part:?} is not a network; write 10.0.0.0/8 or fd00::/8"))
    };
    parts.map(read).collect()
}

/// Reads an address to listen on: `host:port`, `[v6]:port`, `:port`, or a port alone.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn listen(text: &str) -> Result<(String, u16), String> {
    let text = text.trim();
    let problem = || format!("{text:?} is not an address to listen on; write 127.0.0.1:8080 or :8080");
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => ("", text),
    };
    let port: u16 = port.parse().map_err(|_| problem())?;
    let host = match host {
        "" => "",
        _ if host.starts_with('[') => {
            host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).ok_or_else(problem)?
        }
        _ if host.contains(':') => return Err(problem()),
        _ => host,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, millis) in [("30s", 30_000), ("1h30m", 5_400_000), ("250ms", 250), ("7", 7_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "-1s", "1d", "1.5s", "5 m", "99999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_alone_listens_everywhere() {
        assert_eq!(listen(":8080"), Ok((String::new(), 8080)));
        assert_eq!(listen("127.0.0.1:0"), Ok(("127.0.0.1".to_owned(), 0)));
        assert_eq!(listen("[::1]:80"), Ok(("::1".to_owned(), 80)));
        assert!(listen("::1:80").is_err());
        assert!(listen("host").is_err());
        assert!(listen(":99999").is_err());
    }

    #[test]
    fn networks_and_single_addresses() {
        let read = networks("10.1.2.3/8, ::1 ,192.0.2.1").unwrap();
        let text: Vec<_> = read.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["10.0.0.0/8", "::1/128", "192.0.2.1/32"]);
        assert!(networks("10.0.0.0/33").is_err());
        assert_eq!(networks(""), Ok(Vec::new()));
    }
}
