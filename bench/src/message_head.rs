//! The little of HTTP/1.1 that the bench itself speaks: where a head ends and how long the
//! body behind it is. It talks to programs that the bench started, so it trusts more than a
//! proxy may; what it does not understand is an error all the same, never a guess.

/// A head longer than this is an error.
pub(crate) const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Index just behind the empty line that ends a head, if it is in `bytes`.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|&byte| byte == b'\n') {
        let at = from + found;
        if at >= 3 && &bytes[at - 3..at] == b"\r\n\r" {
            return Some(at + 1);
        }
        from = at + 1;
    }
    None
}

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// Content-Length, or 0 in a request without one.
    Known(u64),
    /// No Content-Length.
    Absent,
    /// Transfer-Encoding, or a Content-Length that is no number.
    NotUnderstood,
}

/// Looks for Content-Length in a complete head.
pub(crate) fn body_length(head: &[u8]) -> BodyLength {
    let mut length = BodyLength::Absent;
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        // The first letter decides quickly: this runs once per message in the prototypes.
        match line.first() {
            Some(b'c' | b'C') => {}
            Some(b't' | b'T') if field(line, b"transfer-encoding:").is_some() => {
                return BodyLength::NotUnderstood;
            }
            _ => continue,
        }
        let Some(value) = field(line, b"content-length:") else {
            continue;
        };
        length = match std::str::from_utf8(value.trim_ascii())
            .ok()
            .and_then(|text| text.parse().ok())
        {
            Some(bytes) => BodyLength::Known(bytes),
            None => return BodyLength::NotUnderstood,
        };
    }
    length
}

fn field<'a>(line: &'a [u8], name_with_colon: &[u8]) -> Option<&'a [u8]> {
    let (name, value) = line.split_at_checked(name_with_colon.len())?;
    name.eq_ignore_ascii_case(name_with_colon).then_some(value)
}

/// The status of a response head; `None` when its first line is not one of HTTP/1.x.
pub(crate) fn status(head: &[u8]) -> Option<u16> {
    let code = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(code).ok()?.parse().ok()
}

/// The field by which the bench's backends say who they are.
pub(crate) const BACKEND_FIELD: &str = "X-Backend";

/// What stands in [`BACKEND_FIELD`].
pub(crate) fn backend_name(head: &[u8]) -> Option<&[u8]> {
    let lines = head.split(|&byte| byte == b'\n').skip(1);
    let mut values = lines.filter_map(|line| field(line, b"x-backend:"));
    values.next().map(<[u8]>::trim_ascii)
}

/// Whether the sender of this head will close the connection after the message.
pub(crate) fn announces_close(head: &[u8]) -> bool {
    head.split(|&byte| byte == b'\n').skip(1).any(|line| {
        field(line, b"connection:")
            .is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\ncontent-LENGTH: 42\r\n\r\n";

    #[test]
    fn finds_the_end_only_when_it_is_there() {
        for cut in 0..HEAD.len() {
            assert_eq!(head_end(&HEAD[..cut]), None, "cut at {cut}");
        }
        assert_eq!(head_end(HEAD), Some(HEAD.len()));
        let with_body = [HEAD, b"\r\n\r\nbody"].concat();
        assert_eq!(head_end(&with_body), Some(HEAD.len()));
    }

    #[test]
    fn reads_length_status_and_close() {
        assert_eq!(body_length(HEAD), BodyLength::Known(42));
        assert_eq!(status(HEAD), Some(200));
        assert!(!announces_close(HEAD));
        assert_eq!(backend_name(HEAD), None);
        let named = b"HTTP/1.1 200 OK\r\nx-backend: old\r\n\r\n";
        assert_eq!(backend_name(named), Some(&b"old"[..]));
        assert!(announces_close(
            b"HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n"
        ));
        assert_eq!(
            body_length(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            BodyLength::Absent
        );
        for bad in [
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ] {
            assert_eq!(body_length(bad), BodyLength::NotUnderstood);
        }
        assert_eq!(status(b"SSH-2.0-x\r\n\r\n"), None);
    }
}
