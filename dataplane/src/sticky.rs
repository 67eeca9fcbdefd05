//! Cookies by which a visitor stays with a backend.
//!
//! A cookie's value is a name of the backend that only holders of the fleet's secret can tell:
//! the first half of the HMAC-SHA256 (RFC 2104) of tenant, site, pool, backend and address, in
//! hexadecimal digits. So it says nothing to whoever reads it, whoever makes one up meets no backend, what was given
//! for one pool is worth nothing at another, and every host with the same secret takes it, whatever
//! the revision. The names of a pool's backends are worked out when a worker comes to know the
//! pool: a request compares, and hashes nothing.

use crate::http::field::FieldName;
use crate::http::section::Section;
use hmac::{Hmac, KeyInit, Mac};
use meridian_model::limits::STICKY_COOKIES_MAX;
use meridian_model::snapshot::{BackendKey, Site, Sticky};
use sha2::Sha256;
use std::hint::black_box;
use std::io::Write;
use std::net::IpAddr;

/// Bytes of a tag.
const TAG_BYTES: usize = 16;

/// What the key for cookies is derived from the secret with. Other keys have other words.
const PURPOSE: &[u8] = b"meridian sticky cookie 1";

/// The name of a backend in a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag([u8; TAG_BYTES]);

/// What makes the tags.
#[derive(Clone)]
pub(crate) struct StickyKey(Hmac<Sha256>);

/// What a request's cookies of one name amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visitor {
    /// There is none.
    New,
    /// There is none that names a backend of the pool. The first that might have.
    Unknown(Option<Tag>),
    /// It was with the backend of this tag.
    Known(Tag),
}

impl StickyKey {
    /// By the secret of the fleet.
    pub(crate) fn of_secret(secret: &[u8]) -> StickyKey {
        let derived = keyed(secret).chain_update(PURPOSE).finalize();
        StickyKey(keyed(&derived.into_bytes()))
    }

    /// The tag of a backend of `site`.
    pub(crate) fn tag(&self, site: &Site, backend: &BackendKey) -> Tag {
        self.tag_of_names(&site.tenant, &site.name, backend)
    }

    fn tag_of_names(&self, tenant: &str, site: &str, backend: &BackendKey) -> Tag {
        let mut hash = self.0.clone();
        // Names hold no zero: where one ends is plain. Ids would differ from host to host.
        for name in [tenant, site, backend.pool(), backend.backend()] {
            hash.update(name.as_bytes());
            hash.update(&[0]);
        }
        match backend.address().ip() {
            IpAddr::V4(address) => hash.update(&address.octets()),
            IpAddr::V6(address) => hash.update(&address.octets()),
        }
        hash.update(&backend.address().port().to_be_bytes());
        let whole = hash.finalize().into_bytes();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&whole[..TAG_BYTES]);
        Tag(tag)
    }
}

impl std::fmt::Debug for StickyKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StickyKey")
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

impl Tag {
    /// Whether it is this one, in a time that does not tell how much of it is: who makes cookies up
    /// learns nothing from it.
    pub(crate) fn is(self, other: Tag) -> bool {
        let pairs = self.0.iter().zip(other.0);
        black_box(pairs.fold(0, |differing, (one, other)| differing | (one ^ other))) == 0
    }

    /// The tag that a cookie's value is; none when it is something else.
    fn of_value(value: &[u8]) -> Option<Tag> {
        if value.len() != 2 * TAG_BYTES {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut tag = [0; TAG_BYTES];
        for (byte, pair) in tag.iter_mut().zip(value.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Tag(tag))
    }

    fn write(self, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in self.0 {
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }
}

impl Visitor {
    /// The visitor with these fields, at a pool where `knows` tells whose tags are its backends'.
    pub(crate) fn new(
        sticky: &Sticky,
        fields: &Section<'_>,
        knows: impl Fn(Tag) -> bool,
    ) -> Visitor {
        let mut ours = fields
            .values(FieldName::Cookie)
            .flat_map(|value| values_of(sticky.cookie.as_bytes(), value))
            .take(STICKY_COOKIES_MAX)
            .peekable();
        if ours.peek().is_none() {
            return Visitor::New;
        }
        let mut first = None;
        for tag in ours.filter_map(Tag::of_value) {
            if knows(tag) {
                return Visitor::Known(tag);
            }
            first = first.or(Some(tag));
        }
        Visitor::Unknown(first)
    }

    /// The backend that it may have been with.
    pub(crate) fn tag(self) -> Option<Tag> {
        match self {
            Visitor::New => None,
            Visitor::Unknown(tag) => tag,
            Visitor::Known(tag) => Some(tag),
        }
    }
}

/// The values of the cookies of this name in a Cookie field (RFC 6265 §4.2.1; what is between two
/// semicolons and no pair is nobody's).
fn values_of<'v>(name: &[u8], value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
    let pairs = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

/// The line that sets a pool's cookie to the backend of this tag (RFC 6265 §4.1; SameSite is of RFC
/// 6265bis §4.1.2.7). One that was set by TLS does not come back without it.
pub(crate) fn set_cookie_line(sticky: &Sticky, tag: Tag, secure: bool) -> Vec<u8> {
    let mut line = Vec::with_capacity(128 + sticky.cookie.len());
    line.extend_from_slice(b"Set-Cookie: ");
    line.extend_from_slice(sticky.cookie.as_bytes());
    line.push(b'=');
    tag.write(&mut line);
    line.extend_from_slice(b"; Path=/; HttpOnly; SameSite=Lax");
    if secure {
        line.extend_from_slice(b"; Secure");
    }
    if let Some(lifetime) = sticky.lifetime {
        write!(line, "; Max-Age={}", lifetime.as_secs()).expect("a Vec takes every byte");
    }
    line.extend_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests;
