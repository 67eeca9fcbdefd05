//! The head of a request (RFC 9112 §3, §5).

use core::mem::MaybeUninit;

use meridian_model::limits::{FIELDS_MAX, REQUEST_HEAD_BYTES_MAX, REQUEST_LINE_BYTES_MAX};

use super::Version;
use super::authority::{self, Authority};
use super::field::FieldName;
use super::framing::{self, Declared, FramingError};
use super::list;
use super::method::Method;
use super::reject::Reject;
use super::section::{ConnectionOptions, Field, Section, is_named_away};
use super::syntax::decimal;
use super::via;

/// What the bytes so far are.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack of its one reader; a box would cost an allocation per request"
)]
pub enum Parsed<'b> {
    /// No whole head yet, and nothing wrong so far.
    Partial,
    /// A head. What follows its `head_bytes` is the body or the next request.
    Complete(RequestHead<'b>),
}

/// A request head that was understood.
#[derive(Clone, Debug)]
pub struct RequestHead<'b> {
    /// The method.
    pub method: Method,
    /// The method as sent.
    pub method_text: &'b str,
    /// The host as sent, without port and without one trailing dot; of the target
    /// when that is in absolute-form, else of Host.
    pub host: &'b [u8],
    /// The whole authority that `host` is of.
    pub authority: &'b [u8],
    /// The scheme of an absolute-form target. See [`RequestHead::check_scheme`].
    pub scheme: Option<Scheme>,
    /// What is asked for, in origin-form.
    pub target: Target<'b>,
    /// The client's version.
    pub version: Version,
    /// Where the body ends.
    pub framing: BodyFraming,
    /// Whether the client lets its connection stay open after the response.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 (Continue) before it sends the body.
    pub expect_continue: bool,
    /// Max-Forwards of an OPTIONS request; a number beyond 64 bits counts as their
    /// largest. `None` for every other method: only OPTIONS and TRACE heed it.
    pub max_forwards: Option<u64>,
    /// Whether the client asks to switch to WebSocket: `Upgrade` of that alone, with
    /// `Connection: upgrade`, by a GET of HTTP/1.1 without a body. A handshake is nothing else
    /// (RFC 6455 §4.1), and behind a body nobody could say for sure where the tunnel begins; any
    /// other request is served as if it had not asked (RFC 9110 §7.8).
    pub upgrade_websocket: bool,
    /// Whether the client takes trailers (`TE: trailers`).
    pub takes_trailers: bool,
    /// Bytes of the head, with the empty line before it if one was skipped.
    pub head_bytes: usize,
    fields: Section<'b>,
    connection: ConnectionOptions,
}

/// The schemes that an absolute-form target may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// What is asked for, without scheme and authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'b> {
    /// A path that begins with `/`, with its query if there is one.
    Origin(&'b [u8]),
    /// An absolute-form target without a path: nothing, or a query that begins with
    /// `?`. Its path is `/`.
    NoPath(&'b [u8]),
    /// `*`, of OPTIONS alone: the server as a whole.
    Asterisk,
}

/// Where the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    None,
    /// After this many bytes.
    Length(u64),
    /// Where the chunked coding says so.
    Chunked,
}

impl BodyFraming {
    /// Whether there is no body, or one of no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        matches!(self, BodyFraming::None | BodyFraming::Length(0))
    }
}

impl<'b> Target<'b> {
    /// The path without its query; `*` as it is.
    #[must_use]
    pub fn path(&self) -> &'b [u8] {
        match self {
            Target::Origin(text) => {
                let end = text.iter().position(|&byte| byte == b'?');
                &text[..end.unwrap_or(text.len())]
            }
            Target::NoPath(_) => b"/",
            Target::Asterisk => b"*",
        }
    }

    /// The query with its `?`; nothing when there is none.
    #[must_use]
    pub fn query(&self) -> &'b [u8] {
        match self {
            Target::Origin(text) => &text[self.path().len()..],
            Target::NoPath(query) => query,
            Target::Asterisk => b"",
        }
    }

    /// Appends it in the form that a backend gets.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Target::Origin(text) => out.extend_from_slice(text),
            Target::NoPath(query) => {
                out.push(b'/');
                out.extend_from_slice(query);
            }
            Target::Asterisk => out.push(b'*'),
        }
    }
}

impl<'b> RequestHead<'b> {
    /// The fields.
    #[must_use]
    pub fn fields(&self) -> &Section<'b> {
        &self.fields
    }

    /// Whether the client names this field of its head as one that ends here.
    #[must_use]
    pub fn names_away(&self, field: Field<'_>) -> bool {
        self.connection.names_others
            && field.name.may_be_named_away()
            && is_named_away(&self.fields, field.name_text)
    }

    /// What the Connection fields asked for.
    #[must_use]
    pub fn connection(&self) -> ConnectionOptions {
        self.connection
    }

    /// Whether the request has been through a proxy of this pseudonym before (RFC
    /// 9110 §7.6.3). To be asked before the head is written anew.
    #[must_use]
    pub fn via_contains(&self, pseudonym: &str) -> bool {
        self.fields
            .values(FieldName::Via)
            .any(|value| via::names(value, pseudonym.as_bytes()))
    }

    /// Whether the scheme of an absolute-form target, if it has one, is that of a
    /// listener with or without TLS.
    ///
    /// # Errors
    ///
    /// [`Reject::Scheme`] when it is not.
    pub fn check_scheme(&self, listener_tls: bool) -> Result<(), Reject> {
        match (self.scheme, listener_tls) {
            (None, _) | (Some(Scheme::Http), false) | (Some(Scheme::Https), true) => Ok(()),
            (Some(Scheme::Http), true) | (Some(Scheme::Https), false) => Err(Reject::Scheme),
        }
    }
}

/// Parses the head at the start of `bytes`.
///
/// What it says of a beginning it also says of every continuation: once it gives a
/// head or a [`Reject`], more bytes change nothing. Limits are enforced as soon as
/// they are passed, so a caller needs no more room than the limit of a head and the
/// two bytes of an empty line before it.
///
/// # Errors
///
/// [`Reject`], for everything that HTTP.md refuses by its syntax.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Reject> {
    // One empty line is skipped, for old clients that send it after a body (RFC 9112 §2.2).
    let skipped_bytes = match bytes {
        [] | [b'\r'] => return Ok(Parsed::Partial),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let bytes = &bytes[skipped_bytes..];
    match bytes.first() {
        None => return Ok(Parsed::Partial),
        Some(b'\r' | b'\n') => return Err(Reject::RequestLine),
        Some(_) => {}
    }
    let (window, beyond) = within_limits(bytes);
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(window, &mut slots) {
        Ok(httparse::Status::Complete(head_bytes)) => {
            let line = RequestLine {
                method: request.method.unwrap_or_default(),
                target: request.path.unwrap_or_default().as_bytes(),
                version: match request.version {
                    Some(0) => Version::Http10,
                    _ => Version::Http11,
                },
            };
            assemble(window, line, request.headers, skipped_bytes, head_bytes)
        }
        Ok(httparse::Status::Partial) => beyond.map_or(Ok(Parsed::Partial), Err),
        Err(httparse::Error::Version) => match (parse_odd_version(window, skipped_bytes), beyond) {
            (Ok(Parsed::Partial), Some(reject)) => Err(reject),
            (parsed, _) => parsed,
        },
        Err(error) => Err(reject_of(error)),
    }
}

/// Whether [`parse`] could say more than `Partial` now that bytes arrived from the
/// place `from` on; what was before it has been parsed and was `Partial`. It looks
/// at the new bytes alone, so that a head which arrives byte by byte is not parsed
/// as often. A bare CR, a bare LF and NUL are told at once, for behind them a head may
/// have no end; any other error within the head later than [`parse`] would: at its end
/// or at a limit.
#[must_use]
pub fn may_be_complete(bytes: &[u8], from: usize) -> bool {
    if bytes.len() >= REQUEST_HEAD_BYTES_MAX {
        return true;
    }
    // Crossing the limit of the line is looked at once.
    if from < REQUEST_LINE_BYTES_MAX + 4 && bytes.len() >= REQUEST_LINE_BYTES_MAX + 2 {
        return true;
    }
    // The last line end may have begun in what was there before.
    let begin = from.saturating_sub(2).min(bytes.len());
    let fresh = &bytes[begin..];
    fresh.iter().enumerate().any(|(at, &byte)| match byte {
        b'\n' => {
            let is_bare = at > 0 && fresh[at - 1] != b'\r';
            is_bare || matches!(&fresh[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..])
        }
        b'\r' => fresh.get(at + 1).is_some_and(|&next| next != b'\n'),
        0 => true,
        _ => false,
    })
}

/// The part of `bytes` that the limits let us look at, and what to answer when that
/// part holds no whole head.
fn within_limits(bytes: &[u8]) -> (&[u8], Option<Reject>) {
    const LINE_WINDOW: usize = REQUEST_LINE_BYTES_MAX + 2;
    if bytes.len() >= LINE_WINDOW && !bytes[..LINE_WINDOW].contains(&b'\n') {
        return (&bytes[..LINE_WINDOW], Some(Reject::RequestLineLong));
    }
    if bytes.len() >= REQUEST_HEAD_BYTES_MAX {
        return (&bytes[..REQUEST_HEAD_BYTES_MAX], Some(Reject::HeadLong));
    }
    (bytes, None)
}

fn reject_of(error: httparse::Error) -> Reject {
    match error {
        httparse::Error::TooManyHeaders => Reject::FieldsMany,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Reject::Field,
        httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => Reject::RequestLine,
    }
}

struct RequestLine<'b> {
    method: &'b str,
    target: &'b [u8],
    version: Version,
}

/// A head whose version `httparse` does not know, but whose method and target it
/// took: HTTP/1.2 and up are served as 1.1, another major version is refused as such.
fn parse_odd_version(bytes: &[u8], skipped_bytes: usize) -> Result<Parsed<'_>, Reject> {
    let mut words = bytes.splitn(3, |&byte| byte == b' ');
    let (Some(method), Some(target), Some(rest)) = (words.next(), words.next(), words.next())
    else {
        return Err(Reject::RequestLine);
    };
    let fits = |place: usize, byte: u8| match place {
        5 | 7 => byte.is_ascii_digit(),
        _ => byte == b"HTTP/0.0\r\n"[place],
    };
    const VERSION_BYTES: usize = b"HTTP/0.0\r\n".len();
    let seen = &rest[..rest.len().min(VERSION_BYTES)];
    if !seen
        .iter()
        .enumerate()
        .all(|(place, &byte)| fits(place, byte))
    {
        return Err(Reject::RequestLine);
    }
    if seen.len() < VERSION_BYTES {
        return Ok(Parsed::Partial);
    }
    if seen[5] != b'1' {
        return Err(Reject::Version);
    }
    let mut headers = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let line_bytes = bytes.len() - rest.len() + VERSION_BYTES;
    match httparse::parse_headers(&bytes[line_bytes..], &mut headers) {
        Ok(httparse::Status::Partial) => Ok(Parsed::Partial),
        Err(error) => Err(reject_of(error)),
        Ok(httparse::Status::Complete((fields_bytes, headers))) => {
            let line = RequestLine {
                method: core::str::from_utf8(method).map_err(|_| Reject::RequestLine)?,
                target,
                version: Version::Http11,
            };
            assemble(
                bytes,
                line,
                headers,
                skipped_bytes,
                line_bytes + fields_bytes,
            )
        }
    }
}

/// Everything behind the tokens: what the head means, and whether it may mean that.
fn assemble<'b>(
    bytes: &'b [u8],
    line: RequestLine<'b>,
    headers: &[httparse::Header<'b>],
    skipped_bytes: usize,
    head_bytes: usize,
) -> Result<Parsed<'b>, Reject> {
    let mut fields = Section::new(bytes, head_bytes);
    fields.fill(headers).ok_or(Reject::Field)?;
    let method = Method::from_text(line.method);
    if matches!(method, Method::Connect | Method::Trace) {
        return Err(Reject::Method);
    }
    let located = locate(method, line.target, &fields)?;
    let version = line.version;
    let framing = match framing::read(&fields, version) {
        Ok(Declared::Nothing) => BodyFraming::None,
        Ok(Declared::Length(length)) => BodyFraming::Length(length),
        Ok(Declared::Chunked) => BodyFraming::Chunked,
        Err(FramingError::Bad) => return Err(Reject::Framing),
        Err(FramingError::UnknownCoding) => return Err(Reject::Coding),
    };
    let connection = ConnectionOptions::read(&fields).ok_or(Reject::FieldsMany)?;
    let is_http11 = version == Version::Http11;
    // Made in the place of the result: a head is large enough for moves to show.
    Ok(Parsed::Complete(RequestHead {
        method,
        method_text: line.method,
        host: located.authority.host,
        authority: located.authority.text,
        scheme: located.scheme,
        target: located.target,
        version,
        framing,
        keep_alive: !connection.close && (is_http11 || connection.keep_alive),
        // HTTP/1.0 does not know it, and it must be ignored there (RFC 9110 §10.1.1).
        expect_continue: is_http11
            && fields
                .values(FieldName::Expect)
                .any(|value| list::contains(value, b"100-continue")),
        max_forwards: match method {
            Method::Options => max_forwards(&fields)?,
            _ => None,
        },
        upgrade_websocket: connection.upgrade
            && is_http11
            && method == Method::Get
            && framing.is_empty()
            && matches!(fields.single(FieldName::Upgrade),
                Ok(Some(value)) if value.eq_ignore_ascii_case(b"websocket")),
        takes_trailers: is_http11
            && fields
                .values(FieldName::Te)
                .any(|value| list::contains(value, b"trailers")),
        head_bytes: skipped_bytes + head_bytes,
        fields,
        connection,
    }))
}

struct Located<'b> {
    scheme: Option<Scheme>,
    authority: Authority<'b>,
    target: Target<'b>,
}

/// What is asked for and of whom (RFC 9112 §3.2, §3.3). Host is checked even when an
/// absolute-form target replaces it: whoever else reads the request may prefer it.
fn locate<'b>(
    method: Method,
    target: &'b [u8],
    fields: &Section<'b>,
) -> Result<Located<'b>, Reject> {
    // Bytes above 0x7f are no part of a URI, a fragment none of a request target.
    // Without an early exit the loop is done with vectors.
    let invalid = target.iter().fold(false, |invalid, &byte| {
        invalid | (byte >= 0x80) | (byte == b'#')
    });
    if invalid {
        return Err(Reject::RequestLine);
    }
    let host = match fields.single(FieldName::Host) {
        Ok(Some(value)) => authority::parse(value).ok_or(Reject::Host)?,
        Ok(None) | Err(_) => return Err(Reject::Host),
    };
    match (target, method) {
        ([b'/', ..], _) => Ok(Located {
            scheme: None,
            authority: host,
            target: Target::Origin(target),
        }),
        (b"*", Method::Options) => Ok(Located {
            scheme: None,
            authority: host,
            target: Target::Asterisk,
        }),
        _ => locate_absolute(method, target),
    }
}

/// An absolute-form target: `scheme "://" authority path-abempty ["?" query]`.
fn locate_absolute(method: Method, target: &[u8]) -> Result<Located<'_>, Reject> {
    let scheme_end = target
        .iter()
        .position(|&byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')))
        .unwrap_or(target.len());
    let (scheme, rest) = target.split_at(scheme_end);
    let rest = rest.strip_prefix(b"://").ok_or(Reject::RequestLine)?;
    if !scheme.first().is_some_and(u8::is_ascii_alphabetic) {
        return Err(Reject::RequestLine);
    }
    let scheme = if scheme.eq_ignore_ascii_case(b"http") {
        Scheme::Http
    } else if scheme.eq_ignore_ascii_case(b"https") {
        Scheme::Https
    } else {
        return Err(Reject::Scheme);
    };
    let authority_end = rest
        .iter()
        .position(|&byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_end);
    let target = match (rest, method) {
        // RFC 9112 §3.2.4: the server as a whole, asked for through a proxy.
        ([], Method::Options) => Target::Asterisk,
        ([b'/', ..], _) => Target::Origin(rest),
        _ => Target::NoPath(rest),
    };
    Ok(Located {
        scheme: Some(scheme),
        authority: authority::parse(authority).ok_or(Reject::Host)?,
        target,
    })
}

/// Max-Forwards (RFC 9110 §7.6.2).
fn max_forwards(fields: &Section<'_>) -> Result<Option<u64>, Reject> {
    match fields.single(FieldName::MaxForwards) {
        Err(_) => Err(Reject::MaxForwards),
        Ok(None) => Ok(None),
        Ok(Some(digits)) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            Ok(Some(decimal(digits).unwrap_or(u64::MAX)))
        }
        Ok(Some(_)) => Err(Reject::MaxForwards),
    }
}
