//! Quantities as they are typed: durations and addresses of web servers.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// An integer with `us`, `ms` or `s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let hint =
        || format!("\"{text}\" is not a duration; write an integer with us, ms or s, such as 20ms");
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit())
        .ok_or_else(hint)?;
    let number: u64 = text[..digits].parse().map_err(|_| hint())?;
    match &text[digits..] {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(hint()),
    }
}

/// Where a generator sends its requests.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As typed.
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    /// Host and port, for the Host field.
    pub(crate) authority: String,
    pub(crate) path: String,
    /// Whether it is reached by TLS.
    pub(crate) is_secure: bool,
}

/// An `http://` or `https://` URL whose host resolves now.
pub(crate) fn target(url: &str) -> Result<Target, String> {
    let (rest, port, is_secure) = match (url.strip_prefix("http://"), url.strip_prefix("https://"))
    {
        (Some(rest), _) => (rest, 80, false),
        (None, Some(rest)) => (rest, 443, true),
        (None, None) => {
            let hint = "is not a URL that starts with http:// or https://";
            return Err(format!("\"{url}\" {hint}"));
        }
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(format!(
            "\"{url}\" has a space or control character in its path"
        ));
    }
    let port_is_named = authority
        .rsplit(']')
        .next()
        .is_some_and(|tail| tail.contains(':'));
    let with_port = if port_is_named {
        authority.to_owned()
    } else {
        format!("{authority}:{port}")
    };
    let address = with_port
        .to_socket_addrs()
        .map_err(|error| format!("\"{url}\": {error}"))?
        .next()
        .ok_or_else(|| format!("\"{url}\": the host has no address"))?;
    Ok(Target {
        url: url.to_owned(),
        address,
        authority: authority.to_owned(),
        path: path.to_owned(),
        is_secure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        for bad in ["", "20", "ms", "-1s", "1.5s", "1h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn targets() {
        let found = target("http://127.0.0.1:8080/b/100").unwrap();
        assert_eq!(found.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(found.path, "/b/100");
        assert_eq!(
            target("http://[::1]").unwrap().address,
            "[::1]:80".parse().unwrap()
        );
        assert!(!found.is_secure);
        let found = target("https://127.0.0.1/").unwrap();
        assert_eq!(found.address, "127.0.0.1:443".parse().unwrap());
        assert!(found.is_secure);
        for bad in [
            "127.0.0.1:80",
            "ftp://127.0.0.1/",
            "http://127.0.0.1:99999/",
            "http://",
            "http://127.0.0.1/a b",
        ] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
