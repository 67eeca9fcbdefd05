//! Fields of messages as far as a tenant decides about them: which names, which values.

/// What a name in `request_headers`, `response_headers` or a route's `headers` is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// The tenant's to set, add, remove and compare.
    Free,
    /// Host: a request has exactly one.
    Host,
    /// It says where a message ends, what a connection is to do, who asked and by which way: the
    /// proxy writes it, and drops what others wrote.
    Reserved,
}

/// Names that are the proxy's own, in lower case and with hyphens. `x-forwarded-` and anything
/// are, too.
const RESERVED: [&str; 19] = [
    "connection",
    "content-length",
    "date",
    "expect",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-real-ip",
    "x-request-id",
];

/// What the field name `name`, a token, is to us. Underscores are read as hyphens, as gateways
/// read them that turn names into variables (RFC 3875 §4.1.18).
pub fn kind(name: &str) -> FieldKind {
    let folded = name.to_ascii_lowercase().replace('_', "-");
    if folded == "host" {
        return FieldKind::Host;
    }
    let reserved = RESERVED.contains(&folded.as_str()) || folded.starts_with("x-forwarded-");
    match reserved {
        true => FieldKind::Reserved,
        false => FieldKind::Free,
    }
}

/// Whether `text` is a token (RFC 9110 §5.6.2), as names of fields and methods are.
pub fn is_token(text: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether `text` can stand in a field without changing where it ends: printable ASCII, without
/// white space at its ends.
pub fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text
}
