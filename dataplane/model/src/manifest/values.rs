//! Reads single values of a manifest into types that can not hold a wrong one.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use crate::desired::BackendAddress;
use crate::name::{DomainName, Hostname, Malformed, Name};
use crate::quantity::{self, shown_duration};

/// How a value is named in "(was ...)".
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(_) => String::from("a list"),
        DeValue::Table(_) => String::from("a table"),
    }
}

/// Any text but an empty one.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, Malformed> {
    match value {
        DeValue::String(text) if text.is_empty() => Err(malformed("must not be empty", "")),
        DeValue::String(text) => Ok(text.clone().into_owned()),
        other => Err(wrong_type("a string", other)),
    }
}

/// As [`text`], where it is only looked at.
fn borrowed<'a>(value: &'a DeValue<'_>) -> Result<&'a str, Malformed> {
    match value {
        DeValue::String(text) if text.is_empty() => Err(malformed("must not be empty", "")),
        DeValue::String(text) => Ok(text),
        other => Err(wrong_type("a string", other)),
    }
}

/// Any text.
pub(super) fn text_or_empty(value: &DeValue<'_>) -> Result<String, Malformed> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        other => Err(wrong_type("a string", other)),
    }
}

pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, Malformed> {
    match value {
        DeValue::Boolean(flag) => Ok(*flag),
        other => Err(wrong_type("true or false", other)),
    }
}

pub(super) fn name(value: &DeValue<'_>) -> Result<Name, Malformed> {
    Name::parse(borrowed(value)?)
}

pub(super) fn hostname(value: &DeValue<'_>) -> Result<Hostname, Malformed> {
    Hostname::parse(borrowed(value)?)
}

/// A hostname that stands for one machine: no wildcard.
pub(super) fn plain_hostname(value: &DeValue<'_>) -> Result<Hostname, Malformed> {
    let name = hostname(value)?;
    if name.as_str().starts_with('*') {
        let hint = "write it like \"www.example.com\"";
        return Err(malformed("must be one name, without `*`", hint));
    }
    Ok(name)
}

pub(super) fn domain_name(value: &DeValue<'_>) -> Result<DomainName, Malformed> {
    DomainName::parse(&text(value)?)
}

/// An integer of `first` to `last`, both included.
pub(super) fn integer<T>(first: T, last: T) -> impl Fn(&DeValue<'_>) -> Result<T, Malformed>
where
    T: Copy + Display + Into<i64> + TryFrom<i64>,
{
    move |value| {
        let DeValue::Integer(integer) = value else {
            return Err(wrong_type("an integer", value));
        };
        let parsed = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let in_range = parsed.filter(|&parsed| first.into() <= parsed && parsed <= last.into());
        in_range
            .and_then(|parsed| T::try_from(parsed).ok())
            .ok_or_else(|| malformed(format!("must be {first} to {last} (was {integer})"), ""))
    }
}

/// A number of `first` to `last`, both included.
pub(super) fn number(first: f64, last: f64) -> impl Fn(&DeValue<'_>) -> Result<f64, Malformed> {
    move |value| {
        let parsed = match value {
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            DeValue::Float(float) => float.as_str().parse().ok(),
            other => return Err(wrong_type("a number", other)),
        };
        let in_range = parsed.filter(|parsed: &f64| (first..=last).contains(parsed));
        in_range.ok_or_else(|| {
            malformed(
                format!("must be {first} to {last} (was {})", shown(value)),
                "",
            )
        })
    }
}

/// A duration of `first_ms` to `last_ms` milliseconds, both included.
pub(super) fn duration(
    first_ms: u64,
    last_ms: u64,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, Malformed> {
    move |value| {
        let DeValue::String(text) = value else {
            let mut wrong = wrong_type("a duration", value);
            wrong.hint = String::from("write an integer and ms, s, m, h or d, as in \"10s\"");
            return Err(wrong);
        };
        let duration = quantity::duration(text)?;
        let (first, last) = (
            Duration::from_millis(first_ms),
            Duration::from_millis(last_ms),
        );
        if first <= duration && duration <= last {
            return Ok(duration);
        }
        let (first, last) = (shown_duration(first), shown_duration(last));
        Err(malformed(
            format!("must be {first} to {last} (was {text})"),
            "",
        ))
    }
}

/// A size of at least one byte, in bytes.
pub(super) fn size(value: &DeValue<'_>) -> Result<u64, Malformed> {
    let DeValue::String(text) = value else {
        let mut wrong = wrong_type("a size", value);
        wrong.hint = String::from("write an integer and B, KiB, MiB or GiB, as in \"10MiB\"");
        return Err(wrong);
    };
    match quantity::size(text)? {
        0 => Err(malformed(format!("must be at least 1B (was {text})"), "")),
        bytes => Ok(bytes),
    }
}

/// A size of `first` to `last` bytes, both included.
pub(super) fn size_between(
    first: u64,
    last: u64,
) -> impl Fn(&DeValue<'_>) -> Result<u64, Malformed> {
    move |value| {
        let bytes = size(value)?;
        if (first..=last).contains(&bytes) {
            return Ok(bytes);
        }
        let what = format!("must be {first} to {last} bytes (was {})", shown(value));
        Err(malformed(what, ""))
    }
}

pub(super) fn ip_address(value: &DeValue<'_>) -> Result<IpAddr, Malformed> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        let hint = "write it like \"192.0.2.1\" or \"2001:db8::1\", without a port";
        malformed(format!("{text:?} is not an IP address"), hint)
    })
}

pub(super) fn network(value: &DeValue<'_>) -> Result<IpNet, Malformed> {
    let text = text(value)?;
    let Ok(network) = text.parse::<IpNet>() else {
        let hint = match text.parse::<IpAddr>() {
            Ok(address) => format!("write \"{}\" for this address alone", IpNet::from(address)),
            Err(_) => String::from("write it like \"10.0.0.0/8\""),
        };
        return Err(malformed(format!("{text:?} is not a network"), hint));
    };
    if network.trunc() != network {
        let what = format!("{text:?} has bits set beyond its prefix");
        return Err(malformed(what, format!("write \"{}\"", network.trunc())));
    }
    Ok(network)
}

/// Where to listen: an address, maybe unspecified, with a port.
pub(super) fn listener(value: &DeValue<'_>) -> Result<SocketAddr, Malformed> {
    let text = text(value)?;
    let Ok(address) = text.parse::<SocketAddr>() else {
        let hint = "write it like \"0.0.0.0:80\" or \"[::]:80\"";
        return Err(malformed(
            format!("{text:?} is not an address with a port"),
            hint,
        ));
    };
    if address.port() == 0 {
        return Err(port_is_0(&text));
    }
    Ok(address)
}

/// A name server: an address, with a port where it is not 53.
pub(super) fn resolver(value: &DeValue<'_>) -> Result<SocketAddr, Malformed> {
    let text = text(value)?;
    let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    let address = text.parse::<SocketAddr>().or(bare).ok();
    let fits = address.filter(|address| address.port() != 0 && !address.ip().is_unspecified());
    fits.ok_or_else(|| {
        let hint = "write its address, like \"192.0.2.53\" or \"[2001:db8::53]:5353\"";
        malformed(
            format!("{text:?} is not the address of a name server"),
            hint,
        )
    })
}

/// `http://` and an address, maybe with a port.
pub(super) fn probe_address(value: &DeValue<'_>) -> Result<SocketAddr, Malformed> {
    let text = text(value)?;
    let authority = text
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'));
    let address = authority.and_then(|authority| {
        let bare = authority.trim_start_matches('[').trim_end_matches(']');
        let without_port = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 80));
        authority.parse::<SocketAddr>().or(without_port).ok()
    });
    let fits = address.filter(|address| address.port() != 0 && !address.ip().is_unspecified());
    fits.ok_or_else(|| {
        let hint = "write it like \"http://192.0.2.1:80\"";
        malformed(format!("{text:?} is not the probe address of a host"), hint)
    })
}

pub(super) fn backend_address(value: &DeValue<'_>) -> Result<BackendAddress, Malformed> {
    let text = borrowed(value)?;
    let hint = "write it like \"203.0.113.10:80\", \"[2001:db8::10]:80\" or \"app.example.net:80\"";
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err(port_is_0(text)),
            _ => Ok(BackendAddress::Ip(address)),
        };
    }
    let refuse = || malformed(format!("{text:?} is not an address with a port"), hint);
    let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|&port| port != 0)
        .ok_or_else(refuse)?;
    let host = Hostname::parse(host).map_err(|_| refuse())?;
    let looks_like_address = host
        .as_str()
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'.');
    if looks_like_address || host.as_str().starts_with('*') {
        return Err(refuse());
    }
    Ok(BackendAddress::Name { host, port })
}

fn port_is_0(text: &str) -> Malformed {
    let hint = "write a port, such as 80";
    malformed(format!("the port must be 1 to 65535 (was {text})"), hint)
}

/// One of a closed list of words.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, Malformed> {
    move |value| {
        let text = text(value)?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*meaning);
        }
        let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let hint = format!("write one of {}", known.join(", "));
        Err(malformed(format!("{text:?} is not known"), hint))
    }
}

pub(super) fn malformed(what: impl Into<String>, hint: impl Into<String>) -> Malformed {
    Malformed {
        what: what.into(),
        hint: hint.into(),
    }
}

fn wrong_type(wanted: &str, value: &DeValue<'_>) -> Malformed {
    malformed(format!("must be {wanted} (was {})", shown(value)), "")
}
