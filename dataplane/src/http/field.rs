//! Names of fields that mean something to a proxy. What of them a tenant may touch is said in
//! [`meridian_model::fields`]; a test holds the two together.

use meridian_model::fields::looks_like_framing;

/// What a field name is to us. Compared without case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FieldName {
    /// Nothing to us: passed on.
    Other,
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Cookie`
    Cookie,
    /// `Date`
    Date,
    /// `Expect`
    Expect,
    /// `Forwarded`
    Forwarded,
    /// `Host`
    Host,
    /// `HTTP2-Settings`
    Http2Settings,
    /// `Keep-Alive`
    KeepAlive,
    /// `Max-Forwards`
    MaxForwards,
    /// `Proxy-Authenticate`, `Proxy-Authorization`: for a proxy of the client's
    /// choice, which we are not (RFC 9110 §11.7).
    ProxyAuthentication,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `Set-Cookie`
    SetCookie,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
    /// `Via`
    Via,
    /// `Proxy`: a gateway that turns names into variables makes `HTTP_PROXY` of it, which
    /// programs take for the proxy that they are to use. It means nothing in HTTP.
    Proxy,
    /// `X-Forwarded-` and anything but the next four, `X-Real-IP`, `True-Client-IP`, and what
    /// else backends take for the client's address.
    XForwarded,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Forwarded-Port`
    XForwardedPort,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-SSL-Client-` and anything, `Client-Cert`, `Client-Cert-Chain` (RFC 9440): what a proxy that
    /// looked at a client's certificate says of it. Here that is we.
    ClientCertificate,
    /// `X-Request-Id`
    XRequestId,
    /// Any of these names with `_` for a `-`. Gateways that turn names into
    /// variables (RFC 3875 §4.1.18) read it as the real one, so it is as
    /// dangerous, and nobody needs it.
    Underscored,
    /// The letters of `Content-Length` or `Transfer-Encoding` with anything else between and
    /// around them: whoever is lenient with names could take it for the real one.
    FramingLookalike,
}

impl FieldName {
    /// The name's place in a [`NameSet`].
    const fn bit(self) -> u32 {
        1 << self as u8
    }

    /// Whether a client's field of this name goes to a backend as it is.
    #[must_use]
    pub fn is_passed_in_request(self) -> bool {
        match self {
            FieldName::Other
            | FieldName::Cookie
            | FieldName::Date
            | FieldName::Expect
            | FieldName::MaxForwards
            | FieldName::SetCookie
            | FieldName::Trailer
            | FieldName::Via
            | FieldName::XRequestId => true,
            FieldName::ClientCertificate
            | FieldName::Connection
            | FieldName::ContentLength
            | FieldName::Forwarded
            | FieldName::Host
            | FieldName::Http2Settings
            | FieldName::KeepAlive
            | FieldName::Proxy
            | FieldName::ProxyAuthentication
            | FieldName::ProxyConnection
            | FieldName::Te
            | FieldName::TransferEncoding
            | FieldName::Upgrade
            | FieldName::XForwarded
            | FieldName::XForwardedFor
            | FieldName::XForwardedHost
            | FieldName::XForwardedPort
            | FieldName::XForwardedProto
            | FieldName::Underscored
            | FieldName::FramingLookalike => false,
        }
    }

    /// Whether a backend's field of this name goes to a client as it is.
    #[must_use]
    pub fn is_passed_in_response(self) -> bool {
        match self {
            FieldName::Connection
            | FieldName::ContentLength
            | FieldName::Http2Settings
            | FieldName::KeepAlive
            | FieldName::ProxyAuthentication
            | FieldName::ProxyConnection
            | FieldName::Te
            | FieldName::TransferEncoding
            | FieldName::Upgrade => false,
            FieldName::Other
            | FieldName::ClientCertificate
            | FieldName::Cookie
            | FieldName::Date
            | FieldName::Expect
            | FieldName::Forwarded
            | FieldName::Host
            | FieldName::MaxForwards
            | FieldName::Proxy
            | FieldName::SetCookie
            | FieldName::Trailer
            | FieldName::Via
            | FieldName::XForwarded
            | FieldName::XForwardedFor
            | FieldName::XForwardedHost
            | FieldName::XForwardedPort
            | FieldName::XForwardedProto
            | FieldName::XRequestId
            | FieldName::Underscored
            | FieldName::FramingLookalike => true,
        }
    }

    /// Whether Connection may name this field, so that it ends here. A sender can
    /// only name away what means nothing to us.
    #[must_use]
    pub fn may_be_named_away(self) -> bool {
        matches!(self, FieldName::Other)
    }
}

/// A set of field names, so that the common absence of a field costs one test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameSet(u32);

impl NameSet {
    /// Adds a name.
    pub fn insert(&mut self, name: FieldName) {
        self.0 |= name.bit();
    }

    /// Whether the name was added.
    #[must_use]
    pub fn contains(self, name: FieldName) -> bool {
        self.0 & name.bit() != 0
    }
}

/// What the field name `name`, a token, is to us.
#[must_use]
pub fn classify(name: &[u8]) -> FieldName {
    let Some(&first) = name.first() else {
        return FieldName::Other;
    };
    let (text, found): (&[u8], FieldName) = match (name.len(), first | 0x20) {
        (2, b't') => (b"te", FieldName::Te),
        (3, b'v') => (b"via", FieldName::Via),
        (4, b'h') => (b"host", FieldName::Host),
        (4, b'd') => (b"date", FieldName::Date),
        (5, b'p') => (b"proxy", FieldName::Proxy),
        (6, b'c') => (b"cookie", FieldName::Cookie),
        (6, b'e') => (b"expect", FieldName::Expect),
        (7, b't') => (b"trailer", FieldName::Trailer),
        (7, b'u') => (b"upgrade", FieldName::Upgrade),
        (9, b'f') => (b"forwarded", FieldName::Forwarded),
        (9, b'x') => (b"x-real-ip", FieldName::XForwarded),
        (9, b'c') => (b"client-ip", FieldName::XForwarded),
        (10, b'c') => (b"connection", FieldName::Connection),
        (10, b'k') => (b"keep-alive", FieldName::KeepAlive),
        (10, b's') => (b"set-cookie", FieldName::SetCookie),
        (11, b'c') => (b"client-cert", FieldName::ClientCertificate),
        (17, b'c') => (b"client-cert-chain", FieldName::ClientCertificate),
        (11, b'x') if name[2] | 0x20 == b'f' => (b"x-forwarded", FieldName::XForwarded),
        (11, b'x') => (b"x-client-ip", FieldName::XForwarded),
        (12, b'm') => (b"max-forwards", FieldName::MaxForwards),
        (12, b'x') => (b"x-request-id", FieldName::XRequestId),
        (13, b'f') => (b"forwarded-for", FieldName::XForwarded),
        (14, b'c') => (b"content-length", FieldName::ContentLength),
        (14, b'h') => (b"http2-settings", FieldName::Http2Settings),
        (14, b't') => (b"true-client-ip", FieldName::XForwarded),
        (16, b'c') => (b"cf-connecting-ip", FieldName::XForwarded),
        (16, b'f') => (b"fastly-client-ip", FieldName::XForwarded),
        (16, b'p') => (b"proxy-connection", FieldName::ProxyConnection),
        (17, b't') => (b"transfer-encoding", FieldName::TransferEncoding),
        (18, b'p') => (b"proxy-authenticate", FieldName::ProxyAuthentication),
        (19, b'p') => (b"proxy-authorization", FieldName::ProxyAuthentication),
        (19, b'x') if name[2] | 0x20 == b'c' => (b"x-cluster-client-ip", FieldName::XForwarded),
        (24, b'x') if name[2] | 0x20 == b'o' => {
            (b"x-original-forwarded-for", FieldName::XForwarded)
        }
        (14.., b'x') if name[2] | 0x20 == b's' => (b"x-ssl-client-", FieldName::ClientCertificate),
        (13.., b'x') => (b"x-forwarded-", kind_of_forwarded(name)),
        _ => return classify_unknown(name, first),
    };
    if !folds_to(name, text) {
        return classify_unknown(name, first);
    }
    if name[..text.len()].contains(&b'_') {
        return FieldName::Underscored;
    }
    found
}

/// A name that we do not know. Nearly all of those in use end at the first question.
fn classify_unknown(name: &[u8], first: u8) -> FieldName {
    let may_look_alike = matches!(first | 0x20, b'c' | b't') || !first.is_ascii_alphanumeric();
    if may_look_alike && looks_like_framing(name) {
        return FieldName::FramingLookalike;
    }
    FieldName::Other
}

/// What a name that begins with `X-Forwarded-` says.
fn kind_of_forwarded(name: &[u8]) -> FieldName {
    let rest = &name[b"x-forwarded-".len()..];
    let is = |text: &[u8]| rest.len() == text.len() && folds_to(rest, text);
    match rest.len() {
        3 if is(b"for") => FieldName::XForwardedFor,
        4 if is(b"host") => FieldName::XForwardedHost,
        4 if is(b"port") => FieldName::XForwardedPort,
        5 if is(b"proto") => FieldName::XForwardedProto,
        _ => FieldName::XForwarded,
    }
}

/// Whether `name` begins with `text`, which is in lower case with `-`, when case
/// is ignored and `_` is read as `-`. Both are tokens, so setting the bit of lower
/// case changes nothing else that `text` could hold; `_` becomes 0x7f by it.
fn folds_to(name: &[u8], text: &[u8]) -> bool {
    name.iter().zip(text).all(|(&byte, &expected)| {
        let folded = byte | 0x20;
        folded == expected || (folded == 0x7f && expected == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[(&str, FieldName)] = &[
        ("Client-Cert", FieldName::ClientCertificate),
        ("Client-Cert-Chain", FieldName::ClientCertificate),
        ("Connection", FieldName::Connection),
        ("Content-Length", FieldName::ContentLength),
        ("Cookie", FieldName::Cookie),
        ("Date", FieldName::Date),
        ("Expect", FieldName::Expect),
        ("Forwarded", FieldName::Forwarded),
        ("Host", FieldName::Host),
        ("HTTP2-Settings", FieldName::Http2Settings),
        ("Keep-Alive", FieldName::KeepAlive),
        ("Max-Forwards", FieldName::MaxForwards),
        ("Proxy", FieldName::Proxy),
        ("Proxy-Authenticate", FieldName::ProxyAuthentication),
        ("Proxy-Authorization", FieldName::ProxyAuthentication),
        ("Proxy-Connection", FieldName::ProxyConnection),
        ("Set-Cookie", FieldName::SetCookie),
        ("TE", FieldName::Te),
        ("Trailer", FieldName::Trailer),
        ("Transfer-Encoding", FieldName::TransferEncoding),
        ("Upgrade", FieldName::Upgrade),
        ("Via", FieldName::Via),
        ("X-Forwarded-For", FieldName::XForwardedFor),
        ("X-Forwarded-Host", FieldName::XForwardedHost),
        ("X-Forwarded-Port", FieldName::XForwardedPort),
        ("X-Forwarded-Proto", FieldName::XForwardedProto),
        ("X-Forwarded-Server", FieldName::XForwarded),
        ("X-Forwarded-Ssl", FieldName::XForwarded),
        ("X-Forwarded-Prefix", FieldName::XForwarded),
        ("X-Real-IP", FieldName::XForwarded),
        ("True-Client-IP", FieldName::XForwarded),
        ("X-Forwarded", FieldName::XForwarded),
        ("Forwarded-For", FieldName::XForwarded),
        ("Client-IP", FieldName::XForwarded),
        ("X-Client-IP", FieldName::XForwarded),
        ("X-Cluster-Client-IP", FieldName::XForwarded),
        ("CF-Connecting-IP", FieldName::XForwarded),
        ("Fastly-Client-IP", FieldName::XForwarded),
        ("X-Original-Forwarded-For", FieldName::XForwarded),
        ("X-Request-Id", FieldName::XRequestId),
    ];

    #[test]
    fn names_are_known_in_any_case() {
        for &(text, name) in NAMES {
            assert_eq!(classify(text.as_bytes()), name, "{text}");
            assert_eq!(
                classify(text.to_ascii_lowercase().as_bytes()),
                name,
                "{text}"
            );
            assert_eq!(
                classify(text.to_ascii_uppercase().as_bytes()),
                name,
                "{text}"
            );
        }
    }

    #[test]
    fn an_underscore_for_any_hyphen_is_seen() {
        for &(text, _) in NAMES {
            for (at, _) in text.match_indices('-') {
                let mut spelt = text.to_owned();
                spelt.replace_range(at..=at, "_");
                assert_eq!(
                    classify(spelt.as_bytes()),
                    FieldName::Underscored,
                    "{spelt}"
                );
            }
        }
    }

    #[test]
    fn a_name_with_a_byte_changed_added_or_missing_is_another() {
        for &(text, name) in NAMES {
            for at in 0..text.len() {
                let mut changed = text.as_bytes().to_vec();
                changed[at] = b'0';
                // Two names are known by their letters alone.
                let expected = match (text.as_bytes()[at], name) {
                    (b'-', FieldName::ContentLength | FieldName::TransferEncoding) => {
                        FieldName::FramingLookalike
                    }
                    _ => FieldName::Other,
                };
                if !text.starts_with("X-Forwarded-") {
                    assert_eq!(classify(&changed), expected, "{text} at {at}");
                }
            }
            if !text.starts_with("X-Forwarded-") {
                assert_eq!(classify(format!("{text}s").as_bytes()), FieldName::Other);
                assert_eq!(
                    classify(&text.as_bytes()[..text.len() - 1]),
                    FieldName::Other
                );
            }
        }
        for other in ["", "X", "X-Forwarded-", "X-Forwardee-For", "Accept"] {
            assert_eq!(classify(other.as_bytes()), FieldName::Other, "{other}");
        }
    }

    #[test]
    fn what_is_said_of_a_client_by_its_certificate_begins_alike() {
        for text in [
            "X-SSL-Client-DN",
            "x-ssl-client-verify",
            "X-SSL-Client-S-DN-CN",
        ] {
            assert_eq!(classify(text.as_bytes()), FieldName::ClientCertificate);
        }
        for text in ["X_SSL-Client-DN", "X-SSL_Client_DN"] {
            assert_eq!(classify(text.as_bytes()), FieldName::Underscored);
        }
        for other in ["X-SSL-Client-", "X-SSL-Clienu-DN", "X-SSL-Cipher-Name"] {
            assert_eq!(classify(other.as_bytes()), FieldName::Other, "{other}");
        }
    }

    #[test]
    fn what_could_be_taken_for_a_framing_field_is_seen() {
        for text in [
            "ContentLength",
            "Content.Length",
            "Content--Length",
            "Content0Length",
            "Content-Length-",
            "Content-Leng'th",
            "-Content-Length",
            "Transfer.Encoding",
            "TRANSFER-ENCODING!",
            "|transfer-encoding",
            "Transfer-Enc_oding",
            "Transfer-Encodin^",
        ] {
            let name = classify(text.as_bytes());
            assert_eq!(name, FieldName::FramingLookalike, "{text}");
        }
        for other in [
            "Content-Lengths",
            "Content-Encoding",
            "Content-Language",
            "Content-Disposition",
            "X-Content-Length",
            "Transfer-Encoding-Of",
            "Content00Length",
            "Traceparent-State",
        ] {
            assert_eq!(classify(other.as_bytes()), FieldName::Other, "{other}");
        }
    }

    #[test]
    fn an_underscore_in_the_free_part_of_a_prefix_is_still_a_forwarding_field() {
        assert_eq!(classify(b"X-Forwarded-Client_Cert"), FieldName::XForwarded);
        assert_eq!(classify(b"x_forwarded_for"), FieldName::Underscored);
    }
}
