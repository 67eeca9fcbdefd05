//! The one form of a path in which routes are compared, and in which a backend gets it.
//!
//! A path that two readers could take for two places is a way around a route: `/%61dmin`,
//! `//admin` and `/x/../admin` are `/admin` to most servers. Where a site has routes by path, its
//! paths are brought to one form first, that form is compared, and that form is what is sent; what
//! has no such form is refused (docs/decisions/0020).
//!
//! What is done: percent-encoded unreserved characters stand as themselves, hexadecimal digits in
//! upper case (both RFC 3986 §6.2.2), and runs of slashes as one. Nothing is decoded twice.

use std::fmt;

/// What becomes of `%2F` and `%5C`, which some servers take for a slash and some for a character
/// of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// A path that has one is refused.
    Refused,
    /// They are characters of a name, and stay as they are.
    Passed,
}

/// Why a path has no one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// A percent sign without two hexadecimal digits behind it.
    Percent,
    /// `%00`, where some readers stop.
    Nul,
    /// `\`, which some servers take for a slash.
    Backslash,
    /// `%2F` or `%5C` where they are refused.
    EncodedSlash,
    /// A segment `.` or `..`, or one that is such to some reader: `..;x`, `..%2F`.
    DotSegment,
    /// A segment that is nothing but parameters, which is none to some readers: `/;x/`.
    EmptySegment,
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathFault::Percent => "a % without two hexadecimal digits behind it",
            PathFault::Nul => "%00",
            PathFault::Backslash => "a backslash",
            PathFault::EncodedSlash => "%2F or %5C, which the site does not take",
            PathFault::DotSegment => "a segment . or ..",
            PathFault::EmptySegment => "a segment of parameters alone",
        })
    }
}

/// The form of `path`, which begins with a slash and has no query. It is `path` itself where
/// that has it already, and is written to `room` otherwise.
///
/// # Errors
///
/// [`PathFault`], for what could be read as another path.
pub fn normal_form<'p>(
    path: &'p [u8],
    slashes: EncodedSlashes,
    room: &'p mut Vec<u8>,
) -> Result<&'p [u8], PathFault> {
    if is_plain(path) {
        return Ok(path);
    }
    room.clear();
    let mut rest = path;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'\\' => return Err(PathFault::Backslash),
            b'/' if room.last() == Some(&b'/') => {}
            b'%' => {
                let (digits, behind) = rest.split_at_checked(2).ok_or(PathFault::Percent)?;
                rest = behind;
                push_octet(digits, slashes, room)?;
            }
            byte => room.push(byte),
        }
    }
    check_segments(room)?;
    Ok(room)
}

/// Whether there is nothing in the path that [`normal_form`] would look at twice. Most paths pass
/// here, at one look at each byte.
fn is_plain(path: &[u8]) -> bool {
    let mut before = b' ';
    for &byte in path {
        let suspicious = match byte {
            b'%' | b'\\' => true,
            // An empty segment, a segment that may be dots, parameters of no segment.
            b'/' | b'.' | b';' => before == b'/',
            _ => false,
        };
        if suspicious {
            return false;
        }
        before = byte;
    }
    true
}

/// Appends the octet that two hexadecimal digits stand for.
fn push_octet(digits: &[u8], slashes: EncodedSlashes, room: &mut Vec<u8>) -> Result<(), PathFault> {
    let octet = octet(digits).ok_or(PathFault::Percent)?;
    match octet {
        0 => return Err(PathFault::Nul),
        b'/' | b'\\' if slashes == EncodedSlashes::Refused => return Err(PathFault::EncodedSlash),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => room.push(octet),
        _ => {
            room.push(b'%');
            room.extend(digits.iter().map(u8::to_ascii_uppercase));
        }
    }
    Ok(())
}

/// The octet of two hexadecimal digits.
pub(crate) fn octet(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let [high, low] = digits else { return None };
    Some((digit(*high)? * 16 + digit(*low)?) as u8)
}

/// Refuses segments that are dots, or nothing, to any reader: one that cuts parameters off, one
/// that takes an encoded slash for a slash.
fn check_segments(path: &[u8]) -> Result<(), PathFault> {
    let mut rest = path;
    while let Some(at) = rest.iter().position(|&byte| byte == b'/') {
        rest = &rest[at + 1..];
        let end = rest.iter().position(|&byte| byte == b'/');
        let segment = &rest[..end.unwrap_or(rest.len())];
        if segment.first() == Some(&b';') && end.is_some() {
            return Err(PathFault::EmptySegment);
        }
        check_dots(segment)?;
    }
    Ok(())
}

fn check_dots(segment: &[u8]) -> Result<(), PathFault> {
    let mut dots = 0;
    let mut rest = segment;
    loop {
        let (ends, taken) = match rest {
            [] => (true, 0),
            [b';', ..] => (true, 1),
            [b'%', b'2', b'F', ..] | [b'%', b'5', b'C', ..] | [b'%', b'3', b'B', ..] => (true, 3),
            [b'.', ..] => (false, 1),
            _ => (false, 0),
        };
        if ends && (1..=2).contains(&dots) {
            return Err(PathFault::DotSegment);
        }
        match (ends, taken) {
            (true, 0) => return Ok(()),
            (true, taken) => {
                dots = 0;
                rest = &rest[taken..];
            }
            (false, 1) => {
                dots += 1;
                rest = &rest[1..];
            }
            // A name: what could end it and begin another is looked for.
            (false, _) => {
                dots = 0;
                let next = rest
                    .iter()
                    .skip(1)
                    .position(|&byte| matches!(byte, b'%' | b';'));
                let Some(next) = next else { return Ok(()) };
                rest = &rest[next + 1..];
            }
        }
    }
}

/// What follows `prefix` in a path of the normal form, when the path is in it or below it: nothing
/// or a slash and more. A prefix is whole segments without a slash at its end, so that of `/` is
/// nothing. Parameters of a segment (`/a;v=1/b`) are passed over: a server that knows them cuts
/// them off before it looks at a path.
pub fn below<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    let rest = behind(path, prefix)?;
    matches!(rest.first(), None | Some(b'/')).then_some(rest)
}

/// Whether a path of the normal form is `wanted`, parameters of segments aside.
pub fn is_at(path: &[u8], wanted: &[u8]) -> bool {
    behind(path, wanted).is_some_and(<[u8]>::is_empty)
}

/// What follows `wanted`, and the parameters behind it.
fn behind<'p>(path: &'p [u8], wanted: &[u8]) -> Option<&'p [u8]> {
    if let Some(rest) = path.strip_prefix(wanted)
        && rest.first() != Some(&b';')
    {
        return Some(rest);
    }
    let mut rest = path;
    for &byte in wanted {
        if byte == b'/' {
            rest = without_parameters(rest);
        }
        match rest.split_first() {
            Some((&first, behind)) if first == byte => rest = behind,
            _ => return None,
        }
    }
    Some(without_parameters(rest))
}

/// What follows the parameters that `path` begins with, if it does.
fn without_parameters(path: &[u8]) -> &[u8] {
    if path.first() != Some(&b';') {
        return path;
    }
    let end = path.iter().position(|&byte| byte == b'/');
    &path[end.unwrap_or(path.len())..]
}
