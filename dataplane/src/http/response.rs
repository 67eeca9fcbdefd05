//! The head of a response (RFC 9112 §4, §5, §6.3).

use core::mem::MaybeUninit;

use meridian_model::limits::{FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX};

use super::Version;
use super::field::FieldName;
use super::framing::{self, Declared};
use super::list;
use super::method::Method;
use super::section::{ConnectionOptions, Section};
use super::syntax::decimal;

/// What the bytes so far are.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack of its one reader; a box would cost an allocation per response"
)]
pub enum Parsed<'b> {
    /// No whole head yet, and nothing wrong so far.
    Partial,
    /// A head. What follows its `head_bytes` is the body or the next response.
    Complete(ResponseHead<'b>),
}

/// A response head that was understood.
#[derive(Clone, Debug)]
pub struct ResponseHead<'b> {
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase as sent; empty when there is none, or when it holds bytes
    /// beyond ASCII.
    pub reason: &'b str,
    /// The backend's version.
    pub version: Version,
    /// Where the body ends.
    pub framing: ResponseFraming,
    /// The valid Content-Length of a response that has no body for another reason:
    /// what a GET would have had, for the answer to a HEAD and for a 304.
    pub absent_length: Option<u64>,
    /// Whether the backend's connection can take another request after this response.
    pub reusable: bool,
    /// How long the backend will keep the idle connection, in seconds, if it says so.
    pub keep_alive_timeout: Option<u32>,
    /// Bytes of the head.
    pub head_bytes: usize,
    fields: Section<'b>,
    connection: ConnectionOptions,
}

/// Where the body of a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is no body.
    None,
    /// After this many bytes.
    Length(u64),
    /// Where the chunked coding says so.
    Chunked,
    /// Where the backend closes the connection.
    UntilClose,
}

/// What is wrong with a response head. The answer to each is 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadResponse {
    /// The status line is not `version SP status [SP reason] CRLF`, or the version is not 1.0 or 1.1.
    StatusLine,
    /// The status is not 100 to 599.
    Status,
    /// The backend switches protocols, and nobody asked for that, or not for this one.
    Switching,
    /// An invalid field line.
    Field,
    /// More than 100 fields, or options in Connection.
    FieldsMany,
    /// The head is too long.
    HeadLong,
    /// Content-Length and Transfer-Encoding do not say clearly where the body ends.
    Framing,
}

impl core::fmt::Display for BadResponse {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            BadResponse::StatusLine => "the status line is invalid",
            BadResponse::Status => "the status is not 100 to 599",
            BadResponse::Switching => "it switches to a protocol that nobody asked for",
            BadResponse::Field => "a field line is invalid",
            BadResponse::FieldsMany => "it has too many fields",
            BadResponse::HeadLong => "the head is too long",
            BadResponse::Framing => "the framing fields are invalid or contradict each other",
        })
    }
}

impl<'b> ResponseHead<'b> {
    /// The fields.
    #[must_use]
    pub fn fields(&self) -> &Section<'b> {
        &self.fields
    }

    /// What the Connection fields asked for.
    #[must_use]
    pub fn connection(&self) -> ConnectionOptions {
        self.connection
    }

    /// Whether another response to the same request follows.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && !self.is_switch()
    }

    /// Whether what follows the head is no HTTP any more, but WebSocket, as the client asked.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.status == SWITCHING_PROTOCOLS
    }

    /// How the body goes to a client of this version: a body without a length is
    /// chunked for HTTP/1.1 and ends with the connection for HTTP/1.0.
    #[must_use]
    pub fn framing_to_client(&self, client: Version) -> ResponseFraming {
        match (self.framing, client) {
            (ResponseFraming::Chunked | ResponseFraming::UntilClose, Version::Http10) => {
                ResponseFraming::UntilClose
            }
            (ResponseFraming::UntilClose, Version::Http11) => ResponseFraming::Chunked,
            (framing, _) => framing,
        }
    }
}

/// 101
const SWITCHING_PROTOCOLS: u16 = 101;

/// What the response answers, as far as it matters to how it is read.
#[derive(Clone, Copy, Debug)]
struct Question {
    method: Method,
    upgrade_websocket: bool,
}

/// Parses the head at the start of `bytes`, which answers a request of `method`.
///
/// As with a request, more bytes never change what was said once.
///
/// # Errors
///
/// [`BadResponse`].
pub fn parse(bytes: &[u8], method: Method) -> Result<Parsed<'_>, BadResponse> {
    let question = Question {
        method,
        upgrade_websocket: false,
    };
    parse_answer(bytes, question)
}

/// The same for the answer to a GET that asks to switch to WebSocket: it may be a 101.
///
/// # Errors
///
/// [`BadResponse`].
pub fn parse_after_upgrade(bytes: &[u8]) -> Result<Parsed<'_>, BadResponse> {
    let question = Question {
        method: Method::Get,
        upgrade_websocket: true,
    };
    parse_answer(bytes, question)
}

fn parse_answer(bytes: &[u8], question: Question) -> Result<Parsed<'_>, BadResponse> {
    // `httparse` would skip empty lines.
    match bytes.first() {
        None => return Ok(Parsed::Partial),
        Some(b'H') => {}
        Some(_) => return Err(BadResponse::StatusLine),
    }
    let window = &bytes[..bytes.len().min(RESPONSE_HEAD_BYTES_MAX)];
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, window, &mut slots) {
        Ok(httparse::Status::Complete(head_bytes)) => {
            let line = StatusLine {
                version: match response.version {
                    Some(0) => Version::Http10,
                    _ => Version::Http11,
                },
                status: response.code.unwrap_or_default(),
                reason: response.reason.unwrap_or_default(),
            };
            assemble(window, line, response.headers, question, head_bytes)
        }
        Ok(httparse::Status::Partial) if window.len() == RESPONSE_HEAD_BYTES_MAX => {
            Err(BadResponse::HeadLong)
        }
        Ok(httparse::Status::Partial) => Ok(Parsed::Partial),
        Err(httparse::Error::TooManyHeaders) => Err(BadResponse::FieldsMany),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => Err(BadResponse::Field),
        Err(
            httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version,
        ) => Err(BadResponse::StatusLine),
    }
}

struct StatusLine<'b> {
    version: Version,
    status: u16,
    reason: &'b str,
}

fn assemble<'b>(
    bytes: &'b [u8],
    line: StatusLine<'b>,
    headers: &[httparse::Header<'b>],
    question: Question,
    head_bytes: usize,
) -> Result<Parsed<'b>, BadResponse> {
    let StatusLine {
        version,
        status,
        reason,
    } = line;
    let mut fields = Section::new(bytes, head_bytes);
    fields.fill(headers).ok_or(BadResponse::Field)?;
    if !(100..=599).contains(&status) {
        return Err(BadResponse::Status);
    }
    let declared = framing::read(&fields, version).map_err(|_| BadResponse::Framing)?;
    let has_no_length = status < 200 || status == 204;
    let has_no_body = has_no_length || status == 304 || question.method == Method::Head;
    let framing = match declared {
        _ if has_no_body => ResponseFraming::None,
        Declared::Nothing => ResponseFraming::UntilClose,
        Declared::Length(length) => ResponseFraming::Length(length),
        Declared::Chunked => ResponseFraming::Chunked,
    };
    let connection = ConnectionOptions::read(&fields).ok_or(BadResponse::FieldsMany)?;
    let switches = status == SWITCHING_PROTOCOLS;
    if switches && !may_switch(question, version, &fields, connection) {
        return Err(BadResponse::Switching);
    }
    let stays_open = !connection.close && (version == Version::Http11 || connection.keep_alive);
    Ok(Parsed::Complete(ResponseHead {
        status,
        reason,
        version,
        framing,
        absent_length: match declared {
            Declared::Length(length) if has_no_body && !has_no_length => Some(length),
            _ => None,
        },
        reusable: stays_open && framing != ResponseFraming::UntilClose && !switches,
        keep_alive_timeout: keep_alive_timeout(&fields),
        head_bytes,
        fields,
        connection,
    }))
}

/// Whether a 101 is one that was asked for: it names WebSocket and nothing else, for this hop
/// (RFC 9110 §15.2.2, RFC 6455 §4.1).
fn may_switch(
    question: Question,
    version: Version,
    fields: &Section<'_>,
    connection: ConnectionOptions,
) -> bool {
    question.upgrade_websocket
        && version == Version::Http11
        && connection.upgrade
        && fields.single(FieldName::Upgrade).is_ok_and(|value| {
            value.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        })
}

/// `timeout` of Keep-Alive, the smallest when there are several. An old field
/// (RFC 2068 §19.7.1.1) that servers still announce their limit in.
fn keep_alive_timeout(fields: &Section<'_>) -> Option<u32> {
    const NAME: &[u8] = b"timeout=";
    fields
        .values(FieldName::KeepAlive)
        .flat_map(list::elements)
        .filter_map(|element| {
            let (name, value) = element.split_at_checked(NAME.len())?;
            if !name.eq_ignore_ascii_case(NAME) {
                return None;
            }
            u32::try_from(decimal(value)?).ok()
        })
        .min()
}
