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
    /// Whoever is lenient with names could read it as one of those that mean something to a proxy:
    /// it goes to no backend, and who sets it would not get what is written there.
    Lookalike,
}

/// Names that are the proxy's own, in lower case and with hyphens. `x-forwarded-` and
/// `x-ssl-client-` with anything behind them are, too.
const RESERVED: [&str; 22] = [
    "client-cert",
    "client-cert-chain",
    "connection",
    "content-length",
    "date",
    "expect",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy",
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

/// Further names with a hyphen that mean something to the proxy, and are a tenant's all the same.
/// Proxies in front give the client's address in most of them.
const KNOWN: [&str; 9] = [
    "cf-connecting-ip",
    "client-ip",
    "fastly-client-ip",
    "forwarded-for",
    "set-cookie",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-original-forwarded-for",
];

/// What the field name `name`, a token, is to us. Underscores are read as hyphens, as gateways
/// read them that turn names into variables (RFC 3875 §4.1.18).
pub fn kind(name: &str) -> FieldKind {
    let lower = name.to_ascii_lowercase();
    if lower == "host" {
        return FieldKind::Host;
    }
    let is_reserved = |name: &str| {
        let begins = |with| (name.strip_prefix(with)).is_some_and(|rest: &str| !rest.is_empty());
        RESERVED.contains(&name) || begins("x-forwarded-") || begins("x-ssl-client-")
    };
    if is_reserved(&lower) {
        return FieldKind::Reserved;
    }
    let folded = lower.replace('_', "-");
    let is_underscored =
        folded != lower && (is_reserved(&folded) || KNOWN.contains(&folded.as_str()));
    match is_underscored || looks_like_framing(name.as_bytes()) {
        true => FieldKind::Lookalike,
        false => FieldKind::Free,
    }
}

/// Whether `name` has the letters of `Content-Length` or `Transfer-Encoding`, with anything else
/// between and around them. The two themselves have them, too.
pub fn looks_like_framing(name: &[u8]) -> bool {
    name.len() >= b"contentlength".len()
        && (has_letters_of(name, b"content", b"length")
            || has_letters_of(name, b"transfer", b"encoding"))
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

/// Whether the letters and digits of `name` are those of the two words, with one more between
/// them at most, in the place of the hyphen. The last ones may be missing where something else
/// stands in their place.
fn has_letters_of(name: &[u8], first_word: &[u8], second_word: &[u8]) -> bool {
    let mut letters = name
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(u8::to_ascii_lowercase);
    if !first_word.iter().all(|&byte| letters.next() == Some(byte)) {
        return false;
    }
    let letters_min = match name.len() > first_word.len() + second_word.len() {
        true => 1,
        false => second_word.len(),
    };
    is_beginning_of(letters.clone(), second_word, letters_min)
        || is_beginning_of(letters.skip(1), second_word, letters_min)
}

/// Whether `letters`, at least `letters_min` of them, are what `word` begins with.
fn is_beginning_of(letters: impl Iterator<Item = u8>, word: &[u8], letters_min: usize) -> bool {
    let mut count = 0;
    for letter in letters {
        if word.get(count) != Some(&letter) {
            return false;
        }
        count += 1;
    }
    count >= letters_min
}
