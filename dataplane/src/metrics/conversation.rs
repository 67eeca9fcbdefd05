//! One connection of who asks for metrics: one request, one answer (RFC 9110, RFC 9112).

use super::exporter::Exporter;
use super::exposition::CONTENT_TYPE;
use httparse::Status;
use meridian_model::limits::{
    FIELDS_MAX, LINGER_BYTES_MAX, LINGER_MS, METRICS_HEAD_BYTES_MAX, METRICS_HEAD_MS,
    METRICS_WRITE_MS,
};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant, SystemTime};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Metrics { head_only: bool },
    Refused(Refusal),
}

/// What is not answered with metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Malformed,
    NotFound,
    Method,
    TooLarge,
}

impl Refusal {
    fn status(self) -> &'static str {
        match self {
            Refusal::Malformed => "400 Bad Request",
            Refusal::NotFound => "404 Not Found",
            Refusal::Method => "405 Method Not Allowed",
            Refusal::TooLarge => "431 Request Header Fields Too Large",
        }
    }
}

/// Answers one request and closes. Who does not send its head in time is not answered.
pub(super) fn converse(mut stream: TcpStream, exporter: &Exporter) {
    let Ok(asked) = receive(&mut stream) else {
        return;
    };
    let answer = answer(asked, || exporter.render());
    let deadline = Instant::now() + Duration::from_millis(METRICS_WRITE_MS);
    if send(&mut stream, answer.as_bytes(), deadline).is_ok() {
        linger(stream);
    }
}

fn receive(stream: &mut TcpStream) -> io::Result<Asked> {
    let deadline = Instant::now() + Duration::from_millis(METRICS_HEAD_MS);
    let mut head = vec![0; METRICS_HEAD_BYTES_MAX];
    let mut filled = 0;
    loop {
        stream.set_read_timeout(Some(left_until(deadline)?))?;
        match stream.read(&mut head[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        match read_head(&head[..filled]) {
            Some(asked) => return Ok(asked),
            None if filled == head.len() => return Ok(Asked::Refused(Refusal::TooLarge)),
            None => {}
        }
    }
}

/// What these bytes ask for; none: that is not all yet.
fn read_head(bytes: &[u8]) -> Option<Asked> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(Status::Partial) => return None,
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Some(Asked::Refused(Refusal::TooLarge)),
        Err(_) => return Some(Asked::Refused(Refusal::Malformed)),
    }
    let hosts = request.headers.iter();
    let hosts = hosts.filter(|field| field.name.eq_ignore_ascii_case("host"));
    // RFC 9112 §3.2; what it says is of no matter here.
    let hosts_are_right = match request.version {
        Some(1) => hosts.count() == 1,
        _ => hosts.count() <= 1,
    };
    let target = request.path.unwrap_or_default();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    Some(match (path, request.method.unwrap_or_default()) {
        _ if !hosts_are_right => Asked::Refused(Refusal::Malformed),
        ("/metrics", "GET") => Asked::Metrics { head_only: false },
        ("/metrics", "HEAD") => Asked::Metrics { head_only: true },
        ("/metrics", _) => Asked::Refused(Refusal::Method),
        _ => Asked::Refused(Refusal::NotFound),
    })
}

/// The whole answer.
fn answer(asked: Asked, metrics: impl FnOnce() -> String) -> String {
    let (status, content_type, body, head_only) = match asked {
        Asked::Metrics { head_only } => ("200 OK", CONTENT_TYPE, metrics(), head_only),
        Asked::Refused(refusal) => {
            let body = match refusal {
                Refusal::NotFound => "404 Not Found: metrics are at /metrics\n".to_owned(),
                other => format!("{}\n", other.status()),
            };
            (refusal.status(), "text/plain; charset=utf-8", body, false)
        }
    };
    let allow = match asked {
        Asked::Refused(Refusal::Method) => "Allow: GET, HEAD\r\n",
        _ => "",
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nDate: {}\r\nContent-Type: {content_type}\r\n{allow}\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        httpdate::fmt_http_date(SystemTime::now()),
        body.len()
    );
    if !head_only {
        answer.push_str(&body);
    }
    answer
}

fn send(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left_until(deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads on for a while: what is unread at a close is answered with a reset, which can overtake
/// the answer (RFC 9112 §9.6).
fn linger(mut stream: TcpStream) {
    let deadline = Instant::now() + Duration::from_millis(LINGER_MS);
    let mut bytes = [0; 4096];
    let mut taken = 0;
    let _ = stream.shutdown(Shutdown::Write);
    while taken < LINGER_BYTES_MAX
        && let Ok(left) = left_until(deadline)
        && stream.set_read_timeout(Some(left)).is_ok()
        && let Ok(count @ 1..) = stream.read(&mut bytes)
    {
        taken += count;
    }
}

/// The time until then, which is never zero: that would mean to wait for ever.
fn left_until(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";

    #[test]
    fn a_head_is_read_at_every_length() {
        for length in 0..REQUEST.len() {
            assert_eq!(read_head(&REQUEST[..length]), None);
        }
        let asked = Asked::Metrics { head_only: false };
        assert_eq!(read_head(REQUEST), Some(asked));
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let many = format!(
            "GET /metrics HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "A: b\r\n".repeat(FIELDS_MAX)
        );
        for (request, refusal) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::NotFound),
            (
                "GET /metricsx HTTP/1.1\r\nHost: a\r\n\r\n",
                Refusal::NotFound,
            ),
            ("POST /x HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::NotFound),
            ("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
            ("get /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
            ("GET /metrics HTTP/1.1\r\n\r\n", Refusal::Malformed),
            (
                "GET /metrics HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n",
                Refusal::Malformed,
            ),
            ("no HTTP\r\n\r\n", Refusal::Malformed),
            (&many, Refusal::TooLarge),
        ] {
            let asked = read_head(request.as_bytes());
            assert_eq!(asked, Some(Asked::Refused(refusal)), "{request}");
        }
        let old = read_head(b"HEAD /metrics HTTP/1.0\r\n\r\n");
        assert_eq!(old, Some(Asked::Metrics { head_only: true }));
    }

    #[test]
    fn a_head_alone_says_the_length_of_what_it_leaves_out() {
        let answer = answer(Asked::Metrics { head_only: true }, || "x 1\n".to_owned());
        assert!(answer.contains("\r\nContent-Length: 4\r\n"), "{answer}");
        assert!(
            answer.ends_with("\r\nConnection: close\r\n\r\n"),
            "{answer}"
        );
    }
}
