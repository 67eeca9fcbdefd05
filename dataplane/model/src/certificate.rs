//! Certificates by their content: what stands for the bytes, what is known of them, and which
//! hostnames they are good for.
//!
//! The bytes themselves, of which one part is a secret, stand in a [`crate::sealed_file`] and never
//! in the desired state.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::CERTIFICATE_EXPIRES_SOON_S;
use crate::name::{Hostname, Malformed, TextVisitor};

/// A SHA-256 (FIPS 180-4), written as 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Takes 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// When `text` is something else.
    pub fn parse(text: &str) -> Result<Digest, Malformed> {
        let malformed = || Malformed {
            what: format!("{text:?} is not a digest"),
            hint: String::from("it is 64 of 0-9 and a-f"),
        };
        let mut digest = Digest::default();
        let digits = text.as_bytes();
        if digits.len() != 2 * digest.0.len() {
            return Err(malformed());
        }
        for (byte, pair) in digest.0.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            };
            let (high, low) = value(pair[0]).zip(value(pair[1])).ok_or_else(malformed)?;
            *byte = high << 4 | low;
        }
        Ok(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        deserializer.deserialize_str(TextVisitor(Digest::parse))
    }
}

/// What is known of a chain and its key once they were looked at: the verdict that is kept, so that
/// the same content is not looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateContent {
    /// Of chain and key, and the name of the file that holds them. Zero until they were read.
    pub digest: Digest,
    /// SHA-256 of the leaf: what browsers and `openssl x509 -fingerprint -sha256` show.
    pub fingerprint: Digest,
    /// DNS names that the leaf is good for (its subjectAltName, RFC 5280 §4.2.1.6), sorted.
    pub names: Box<[Hostname]>,
    /// Who signed the leaf, as RFC 4514 writes it.
    pub issuer: Box<str>,
    /// Seconds since 1970 from which the leaf holds.
    pub not_before: i64,
    /// Seconds since 1970 after which it does not.
    pub not_after: i64,
    /// The kind of the key.
    pub key: KeyKind,
}

/// A kind of key that we can sign handshakes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// ECDSA on P-256.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519. Few browsers take it.
    Ed25519,
    /// RSA of 2048 to 8192 bits.
    Rsa,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyKind::P256 => "ECDSA P-256",
            KeyKind::P384 => "ECDSA P-384",
            KeyKind::Ed25519 => "Ed25519",
            KeyKind::Rsa => "RSA",
        })
    }
}

/// Whether a certificate with these sorted `names` is good for `hostname` (RFC 9525 §6.3): a
/// wildcard stands for one whole label, and nothing but a wildcard is good for one.
pub fn covers(names: &[Hostname], hostname: &str) -> bool {
    let is_there = |wanted: &dyn Fn(&str) -> std::cmp::Ordering| {
        names.binary_search_by(|it| wanted(it.as_str())).is_ok()
    };
    if is_there(&|name| name.cmp(hostname)) {
        return true;
    }
    match hostname.split_once('.') {
        Some((label, rest)) if label != "*" => {
            is_there(&|name| name.bytes().cmp("*.".bytes().chain(rest.bytes())))
        }
        _ => false,
    }
}

/// How long a certificate holds on, in a word; times are in seconds since 1970.
pub fn expiry_word(not_after: i64, now: i64) -> &'static str {
    match not_after.saturating_sub(now) {
        ..0 => "expired",
        0..=CERTIFICATE_EXPIRES_SOON_S => "expires_soon",
        _ => "valid",
    }
}

/// What does not fit between a site's hostnames and its certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit<'a> {
    /// None of the certificates is good for this hostname.
    Hostname(&'a str),
    /// The certificate at this place is good for none of the hostnames.
    Certificate(usize),
}

/// All that does not fit between hostnames and certificates, of each of which there are the sorted
/// names. An IP address is never asked for by SNI (RFC 6066 §3), so nothing need be good for it. A
/// site without certificates wants none.
pub fn misfits<'a>(
    hostnames: impl Iterator<Item = &'a str> + Clone,
    certificates: &[&[Hostname]],
) -> Vec<Misfit<'a>> {
    if certificates.is_empty() {
        return Vec::new();
    }
    let asked_for = hostnames.filter(|name| !ends_in_number(name));
    let uncovered = asked_for.clone().filter(|hostname| {
        let mut names = certificates.iter();
        !names.any(|names| covers(names, hostname))
    });
    let useless = certificates.iter().enumerate().filter(|(_, names)| {
        let mut asked_for = asked_for.clone();
        !asked_for.any(|hostname| covers(names, hostname))
    });
    let uncovered = uncovered.map(Misfit::Hostname);
    let useless = useless.map(|(place, _)| Misfit::Certificate(place));
    uncovered.chain(useless).collect()
}

fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Hostname> {
        let mut names: Vec<Hostname> = (names.iter())
            .map(|name| Hostname::parse(name).unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_digest_is_what_was_written() {
        let text = "00010203040506070809".to_string() + &"af".repeat(22);
        let digest = Digest::parse(&text).unwrap();
        assert_eq!(digest.to_string(), text);
        for wrong in [
            "",
            "00",
            &text[1..],
            &(text.clone() + "00"),
            &text.to_uppercase(),
        ] {
            Digest::parse(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_wildcard_is_one_label_and_only_a_wildcard_covers_one() {
        let names = names(&["b.example", "*.example", "*.a.example", "x.a.example"]);
        for good in [
            "b.example",
            "c.example",
            "*.example",
            "z.a.example",
            "*.a.example",
        ] {
            assert!(covers(&names, good), "{good}");
        }
        for bad in [
            "example",
            "z.b.example",
            "y.z.a.example",
            "*.b.example",
            "*.*",
            "a",
        ] {
            assert!(!covers(&names, bad), "{bad}");
        }
    }

    #[test]
    fn each_hostname_and_each_certificate_is_looked_at() {
        let (one, other) = (names(&["a.test", "b.test"]), names(&["c.test"]));
        let of = |hostnames: &[&'static str], all: &[&[Hostname]]| {
            misfits(hostnames.iter().copied(), all)
        };
        assert_eq!(of(&["a.test", "c.test"], &[&one, &other]), []);
        assert_eq!(of(&["a.test", "192.0.2.1"], &[&one]), []);
        assert_eq!(of(&["a.test", "d.test"], &[]), []);
        assert_eq!(
            of(&["a.test", "d.test"], &[&one, &other]),
            [Misfit::Hostname("d.test"), Misfit::Certificate(1)]
        );
    }
}
