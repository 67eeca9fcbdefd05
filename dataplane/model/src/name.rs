//! Names: our own ([`Name`]), those that clients ask for ([`Hostname`]), those of the
//! DNS ([`DomainName`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{HOSTNAME_BYTES_MAX, NAME_BYTES_MAX};

const DEFAULT_POOL: &str = "default";

/// A name of ours: one DNS label in lower case, 1 to 63 of `a-z 0-9 -`, with no
/// hyphen at either end. It can stand in a service name and in a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Takes `text` for a name.
    ///
    /// # Errors
    ///
    /// Says which rule it breaks.
    pub fn parse(text: &str) -> Result<Name, Malformed> {
        let fits = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text.bytes().all(is_name_byte);
        if fits {
            return Ok(Name(text.into()));
        }
        let what = format!("{text:?} is not a name: 1 to 63 of a-z, 0-9 and -, none at the ends");
        let lower = text.to_ascii_lowercase().replace(['_', ' ', '.'], "-");
        let hint = match Name::parse_quietly(&lower) {
            Some(name) if lower != text => format!("write {:?}", name.as_str()),
            _ => String::from("write it like \"shop-1\""),
        };
        Err(Malformed { what, hint })
    }

    /// The name of every site's first pool.
    pub fn default_pool() -> Name {
        Name(DEFAULT_POOL.into())
    }

    /// Whether it is the name of every site's first pool.
    pub fn is_default_pool(&self) -> bool {
        &*self.0 == DEFAULT_POOL
    }

    /// The name as text that is shared with it.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse_quietly(text: &str) -> Option<Name> {
        let trimmed = text.trim_matches('-');
        let fits = !trimmed.is_empty()
            && trimmed.len() <= NAME_BYTES_MAX
            && trimmed.bytes().all(is_name_byte);
        fits.then(|| Name(trimmed.into()))
    }
}

fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')
}

/// A name that clients ask for: in lower case, without a trailing dot; `*.` in front
/// covers exactly one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(Box<str>);

impl Hostname {
    /// Takes `text` for a hostname; letter case and one trailing dot mean nothing and
    /// are dropped.
    ///
    /// # Errors
    ///
    /// Says which rule it breaks.
    pub fn parse(text: &str) -> Result<Hostname, Malformed> {
        let lower = lower_case(text);
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        let labels = name.strip_prefix("*.").unwrap_or(name);
        let refuse = |what: String, hint: &str| {
            Err(Malformed {
                what,
                hint: hint.to_owned(),
            })
        };
        if !text.is_ascii() {
            let what = format!("{text:?} is not a hostname: it is not ASCII");
            return refuse(what, "write it in its xn-- form");
        }
        if labels.contains('*') {
            let what = format!("{text:?} is not a hostname: `*` can only be the whole first label");
            return refuse(what, "write \"*.example.com\"");
        }
        if labels.contains([':', '/', ' ']) {
            let what = format!("{text:?} is not a hostname");
            return refuse(what, "write the name alone, without scheme, port or path");
        }
        if name.len() > HOSTNAME_BYTES_MAX || !labels.split('.').all(is_label) {
            let what = format!(
                "{text:?} is not a hostname: labels of 1 to 63 letters, digits, - or _, 253 in all"
            );
            return refuse(what, "write it like \"www.example.com\"");
        }
        Ok(Hostname(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether its last label is a number, as that of an IPv4 address is and that of no name in
    /// DNS (RFC 3696 §2).
    pub fn ends_in_number(&self) -> bool {
        let last = self.0.rsplit('.').next().unwrap_or_default();
        last.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// Copies only what is not in lower case yet.
fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Borrowed(text)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= NAME_BYTES_MAX
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| is_name_byte(byte) || byte == b'_')
}

/// A DNS name of a zone or a mailbox: in lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Box<str>);

impl DomainName {
    /// Takes `text` for a domain name; letter case and one trailing dot mean nothing
    /// and are dropped.
    ///
    /// # Errors
    ///
    /// Says which rule it breaks.
    pub fn parse(text: &str) -> Result<DomainName, Malformed> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        if name.len() <= HOSTNAME_BYTES_MAX && name.split('.').all(is_label) {
            return Ok(DomainName(name.into()));
        }
        Err(Malformed {
            what: format!("{text:?} is not a domain name"),
            hint: String::from("write it like \"lb.example.net\""),
        })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not what it should be, with a hint that may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, with what was seen.
    pub what: String,
    /// How to mend it.
    pub hint: String,
}

impl Malformed {
    /// The hint, or where there is none that of who knows what the value is for.
    pub(crate) fn hint_or(&self, of_key: impl FnOnce() -> String) -> String {
        match self.hint.is_empty() {
            true => of_key(),
            false => self.hint.clone(),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Malformed {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(TextVisitor(Name::parse))
    }
}

impl Serialize for Hostname {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hostname {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hostname, D::Error> {
        deserializer.deserialize_str(TextVisitor(Hostname::parse))
    }
}

impl Serialize for DomainName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DomainName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DomainName, D::Error> {
        deserializer.deserialize_str(TextVisitor(DomainName::parse))
    }
}

/// Reads a value from text without a copy of the text: a log has very many.
pub(crate) struct TextVisitor<T>(pub(crate) fn(&str) -> Result<T, Malformed>);

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}
