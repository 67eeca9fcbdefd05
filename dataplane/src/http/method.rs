//! Request methods (RFC 9110 §9).

/// A method that something in the proxy depends on; the rest is [`Method::Other`],
/// whose text the head keeps. Methods are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD: its response never has a body.
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS: `*` and Max-Forwards are ours to answer.
    Options,
    /// PATCH
    Patch,
    /// CONNECT: refused, we are no tunnel.
    Connect,
    /// TRACE: refused, it reflects credentials.
    Trace,
    /// Any other token.
    Other,
}

impl Method {
    /// The method of this text.
    #[must_use]
    pub fn from_text(text: &str) -> Method {
        match text {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            "PATCH" => Method::Patch,
            "CONNECT" => Method::Connect,
            "TRACE" => Method::Trace,
            _ => Method::Other,
        }
    }

    /// Asks for no change of state (RFC 9110 §9.2.1).
    #[must_use]
    pub fn is_safe(self) -> bool {
        matches!(
            self,
            Method::Get | Method::Head | Method::Options | Method::Trace
        )
    }

    /// Has the same effect once or many times, so that it may be sent again after
    /// a connection broke (RFC 9110 §9.2.2).
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_rfc_calls_idempotent_may_be_sent_again() {
        for text in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(Method::from_text(text).is_idempotent(), "{text}");
        }
        for text in ["POST", "PATCH", "CONNECT", "get", "PROPFIND"] {
            assert!(!Method::from_text(text).is_idempotent(), "{text}");
        }
        assert!(!Method::Put.is_safe());
        assert!(!Method::Delete.is_safe());
    }
}
