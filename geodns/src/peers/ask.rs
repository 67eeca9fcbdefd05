//! One question to another host's proxy, over its real listener: a connection, a request, the whole
//! answer.

use meridian_model::limits::{PROBE_ANSWER_BYTES_MAX, PROBE_HEAD_BYTES_MAX};
use meridian_model::probe::{Answer, FIELD, PATH, ProbeKeys, Question};
use meridian_sys::process::is_want_of_resources;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// This host lacks something: it says nothing of the other one.
    Resources(String),
    /// It can not be connected to, or breaks off.
    Broken(String),
    /// It takes longer than it may.
    Late(Duration),
    /// It answers as if asked for anything else: with this status.
    NotTaken(u16),
    /// What it sends is no HTTP, or longer than an answer can be.
    Nonsense,
    /// No host of the fleet gave that answer to this question.
    Forged,
    /// Another host answers there.
    OtherHost(String),
    /// It was asked to stop.
    Draining,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Resources(what) => write!(f, "this host could not ask: {what}"),
            Failure::Broken(what) => f.write_str(what),
            Failure::Late(within) => write!(f, "no answer within {} ms", within.as_millis()),
            Failure::NotTaken(status) => write!(
                f,
                "answered {status}: it has another fleet.secret or is another host"
            ),
            Failure::Nonsense => f.write_str("what it answered is not HTTP, or too long"),
            Failure::Forged => f.write_str("its answer is not signed by the secret of the fleet"),
            Failure::OtherHost(name) => write!(f, "the host {name} answers there"),
            Failure::Draining => f.write_str("it was asked to stop"),
        }
    }
}

/// Asks `question` at `address`, and waits for the answer `within` at most.
pub(crate) fn ask(
    address: SocketAddr,
    question: &Question,
    keys: &ProbeKeys,
    within: Duration,
) -> Result<Answer, Failure> {
    let failed = |error: &io::Error| match error.kind() {
        _ if is_want_of_resources(error) => Failure::Resources(error.to_string()),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Failure::Late(within),
        ErrorKind::InvalidData => Failure::Nonsense,
        _ => Failure::Broken(error.to_string()),
    };
    let Response {
        status,
        signature,
        body,
    } = exchange(address, &question.field(keys), within).map_err(|error| failed(&error))?;
    if status != 200 {
        return Err(Failure::NotTaken(status));
    }
    if !keys.is_answer(question.nonce, &signature, &body) {
        return Err(Failure::Forged);
    }
    let answer = Answer::read(&body).ok_or(Failure::Nonsense)?;
    match answer.host == question.to {
        true => Ok(answer),
        false => Err(Failure::OtherHost(answer.host.to_string())),
    }
}

struct Response {
    status: u16,
    /// What stands in the field; nothing: there is none.
    signature: Vec<u8>,
    body: Vec<u8>,
}

fn exchange(address: SocketAddr, field: &str, within: Duration) -> io::Result<Response> {
    let deadline = Instant::now() + within;
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: {address}\r\n{FIELD}: {field}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let mut read_more = |bytes: &mut Vec<u8>| {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "it closed before it had answered",
            )),
            Ok(read) => {
                bytes.extend_from_slice(&chunk[..read]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    };
    let head_bytes = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > PROBE_HEAD_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        read_more(&mut bytes)?;
    };
    let nonsense = || io::Error::from(ErrorKind::InvalidData);
    let head = Head::read(&bytes[..head_bytes]).ok_or_else(nonsense)?;
    let (status, signature) = (head.status, head.signature.to_vec());
    let body_bytes = head.body_bytes.filter(|&it| it <= PROBE_ANSWER_BYTES_MAX);
    let whole = head_bytes + body_bytes.ok_or_else(nonsense)?;
    // Of what does not answer us only the status is of interest.
    while status == 200 && bytes.len() < whole {
        read_more(&mut bytes)?;
    }
    Ok(Response {
        status,
        signature,
        body: bytes.get(head_bytes..whole).unwrap_or_default().to_vec(),
    })
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

/// What of a response's head matters. Ours is written by one of us; of anybody else's nothing is
/// believed before its signature was looked at.
struct Head<'b> {
    status: u16,
    body_bytes: Option<usize>,
    signature: &'b [u8],
}

impl<'b> Head<'b> {
    fn read(bytes: &'b [u8]) -> Option<Head<'b>> {
        let mut lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let rest = lines.next()?.strip_prefix(b"HTTP/1.1 ")?;
        let status = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
        let mut head = Head {
            status,
            body_bytes: None,
            signature: b"",
        };
        for line in lines {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"Content-Length") {
                head.body_bytes = std::str::from_utf8(value).ok()?.parse().ok();
            } else if name.eq_ignore_ascii_case(FIELD.as_bytes()) {
                head.signature = value;
            }
        }
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::name::Name;
    use meridian_model::probe::{Known, Nonce, Period};
    use std::net::TcpListener;

    const WITHIN: Duration = Duration::from_secs(10);

    fn question() -> Question {
        Question {
            from: Name::parse("ams-1").expect("a name"),
            to: Name::parse("nyc-1").expect("a name"),
            nonce: Nonce([3; 16]),
            period: Period::default(),
            known: Known::default(),
        }
    }

    fn keys() -> ProbeKeys {
        ProbeKeys::of_secret(b"0123456789abcdef0123456789abcdef")
    }

    /// What comes of it when this is all that the other side says, byte by byte.
    fn asked_of(response: Vec<u8>, within: Duration) -> Result<Answer, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            for byte in &response {
                if stream.write_all(&[*byte]).is_err() {
                    break;
                }
            }
            if response.is_empty() {
                // Until who asks has gone.
                let _ = stream.read(&mut request);
            }
        });
        let answer = ask(address, &question(), &keys(), within);
        other.join().expect("it ends");
        answer
    }

    fn answered(host: &str, nonce: Nonce, keys: &ProbeKeys) -> Vec<u8> {
        let answer = Answer {
            host: Name::parse(host).expect("a name"),
            incarnation: 1,
            period: 2,
            report: None,
        };
        let body = answer.body();
        let signed = keys.sign_answer(nonce, &body);
        let head = format!(
            "HTTP/1.1 200 OK\r\nmeridian-probe: {signed}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    }

    #[test]
    fn an_answer_is_believed_when_it_is_signed_and_is_to_this_question() {
        let other = ProbeKeys::of_secret(b"another secret of another fleet!");
        let of = |host, nonce, keys: &ProbeKeys| {
            asked_of(answered(host, Nonce([nonce; 16]), keys), WITHIN)
        };
        assert_eq!(of("nyc-1", 3, &keys()).expect("it is right").period, 2);
        assert_eq!(of("nyc-1", 4, &keys()), Err(Failure::Forged));
        assert_eq!(of("nyc-1", 3, &other), Err(Failure::Forged));
        let elsewhere = Failure::OtherHost("fra-1".to_owned());
        assert_eq!(of("fra-1", 3, &keys()), Err(elsewhere));
    }

    #[test]
    fn whatever_else_comes_has_a_name() {
        let said = |text: &str| asked_of(text.as_bytes().to_vec(), WITHIN);
        let refused = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(said(refused), Err(Failure::NotTaken(404)));
        assert_eq!(said("SSH-2.0-x\r\n\r\n\r\n"), Err(Failure::Nonsense));
        let long = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 20);
        assert_eq!(said(&long), Err(Failure::Nonsense));
        assert_eq!(said(&"x".repeat(8192)), Err(Failure::Nonsense));
        let unsigned = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(said(unsigned), Err(Failure::Forged));
        let whole = answered("nyc-1", Nonce([3; 16]), &keys());
        let cut = asked_of(whole[..whole.len() - 1].to_vec(), WITHIN);
        assert!(matches!(cut, Err(Failure::Broken(_))), "{cut:?}");
        let within = Duration::from_millis(50);
        assert_eq!(asked_of(Vec::new(), within), Err(Failure::Late(within)));
    }
}
