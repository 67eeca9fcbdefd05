//! Messages read as strictly as the grammar has them, with nothing of the proxy's own code: what
//! the proxy writes must be readable in one way only.

/// A whole message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The first line, without its end.
    pub(crate) line: String,
    fields: Vec<(String, String)>,
    /// The head as it came, with its empty line.
    pub(crate) head: Vec<u8>,
    /// What the body carried.
    pub(crate) body: Vec<u8>,
    /// Bytes of all of it.
    pub(crate) bytes: usize,
}

/// What the bytes so far are.
#[derive(Debug)]
pub(crate) enum Read {
    /// The beginning of a message, with its head when that is whole.
    Partial(Option<Message>),
    Whole(Message),
    /// Nothing that may be sent.
    Broken(String),
}

/// How a body ends.
#[derive(Clone, Copy)]
enum Ending {
    Length(usize),
    Chunked,
    WithConnection,
}

impl Message {
    /// The value of the only field of this name, which is in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(found, _)| found == name);
        let first = values.next()?;
        values.next().is_none().then_some(&*first.1)
    }

    fn count(&self, name: &str) -> usize {
        let with_name = self.fields.iter().filter(|(found, _)| found == name);
        with_name.count()
    }

    /// The second word of the first line: a request's target, a response's status.
    pub(crate) fn second_word(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.second_word().parse().unwrap_or(0)
    }
}

/// Reads a request.
pub(crate) fn read_request(bytes: &[u8]) -> Read {
    let message = match read_head(bytes) {
        Ok(Some(message)) => message,
        Ok(None) => return Read::Partial(None),
        Err(what) => return Read::Broken(what),
    };
    let words: Vec<&str> = message.line.split(' ').collect();
    if words.len() != 3 || words[2] != "HTTP/1.1" || words[0].is_empty() {
        return Read::Broken(format!("request line {:?}", message.line));
    }
    if !words[1].starts_with('/') || message.count("host") != 1 {
        return Read::Broken(format!("target or Host of {:?}", message.line));
    }
    match ending(&message) {
        Ok(None) => read_body(message, bytes, Ending::Length(0), false),
        Ok(Some(ending)) => read_body(message, bytes, ending, false),
        Err(what) => Read::Broken(what),
    }
}

/// Reads a response to a request whose method was HEAD or not, from a connection that has ended
/// or not.
pub(crate) fn read_response(bytes: &[u8], to_head: bool, ended: bool) -> Read {
    let message = match read_head(bytes) {
        Ok(Some(message)) => message,
        Ok(None) => return Read::Partial(None),
        Err(what) => return Read::Broken(what),
    };
    let status = message.status();
    if !message.line.starts_with("HTTP/1.1 ") || !(100..600).contains(&status) {
        return Read::Broken(format!("status line {:?}", message.line));
    }
    match ending(&message) {
        Err(what) => Read::Broken(what),
        Ok(Some(_)) if status < 200 || status == 204 => {
            Read::Broken(format!("a {status} with a length"))
        }
        Ok(_) if to_head || status < 200 || matches!(status, 204 | 304) => {
            read_body(message, bytes, Ending::Length(0), ended)
        }
        Ok(found) => read_body(
            message,
            bytes,
            found.unwrap_or(Ending::WithConnection),
            ended,
        ),
    }
}

fn read_head(bytes: &[u8]) -> Result<Option<Message>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = &bytes[..end + 4];
    let mut lines = bytes[..end].split(|&byte| byte == b'\n').map(|line| {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        text.into_owned()
    });
    let line = lines.next().unwrap_or_default();
    let line_ends = count(head, b"\r\n");
    if [b'\r', b'\n']
        .iter()
        .any(|&end| count(head, &[end]) != line_ends)
        || head.contains(&0)
    {
        return Err(format!(
            "bare CR, LF or NUL in {:?}",
            String::from_utf8_lossy(head)
        ));
    }
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or(format!("no colon in {line:?}"))?;
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(format!("field name in {line:?}"));
        }
        let value = value.trim_matches([' ', '\t']);
        if value
            .bytes()
            .any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f)
        {
            return Err(format!("control character in {line:?}"));
        }
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    Ok(Some(Message {
        line,
        fields,
        head: head.to_vec(),
        body: Vec::new(),
        bytes: head.len(),
    }))
}

fn ending(message: &Message) -> Result<Option<Ending>, String> {
    let (lengths, codings) = (
        message.count("content-length"),
        message.count("transfer-encoding"),
    );
    match (lengths, codings) {
        (0, 0) => Ok(None),
        (1, 0) => {
            let value = message.field("content-length").unwrap_or_default();
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let length = value.parse().ok().filter(|_| digits);
            let length = length.ok_or_else(|| format!("length {value:?}"))?;
            Ok(Some(Ending::Length(length)))
        }
        (0, 1) if message.field("transfer-encoding") == Some("chunked") => {
            Ok(Some(Ending::Chunked))
        }
        _ => Err(format!(
            "framing of {:?}",
            String::from_utf8_lossy(&message.head)
        )),
    }
}

fn read_body(mut message: Message, bytes: &[u8], ending: Ending, ended: bool) -> Read {
    let rest = &bytes[message.bytes..];
    match ending {
        Ending::Length(length) if rest.len() < length => Read::Partial(Some(message)),
        Ending::Length(length) => {
            message.body = rest[..length].to_vec();
            message.bytes += length;
            Read::Whole(message)
        }
        Ending::WithConnection if !ended => Read::Partial(Some(message)),
        Ending::WithConnection => {
            message.body = rest.to_vec();
            message.bytes += rest.len();
            Read::Whole(message)
        }
        Ending::Chunked => read_chunks(message, rest),
    }
}

/// Chunks as the proxy writes them: no extensions, no white space.
fn read_chunks(mut message: Message, bytes: &[u8]) -> Read {
    let mut at = 0;
    loop {
        let Some(line_end) = find(&bytes[at..], b"\r\n") else {
            return Read::Partial(Some(message));
        };
        let digits = String::from_utf8_lossy(&bytes[at..at + line_end]).into_owned();
        let hexadecimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(&digits, 16)
            .ok()
            .filter(|_| hexadecimal);
        let Some(size) = size else {
            return Read::Broken(format!("chunk size {digits:?}"));
        };
        at += line_end + 2;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Read::Partial(Some(message));
        };
        if !chunk.ends_with(b"\r\n") {
            return Read::Broken("a chunk without its line end".to_owned());
        }
        message.body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
    // Trailers, up to the empty line.
    loop {
        let Some(line_end) = find(&bytes[at..], b"\r\n") else {
            return Read::Partial(Some(message));
        };
        let line = String::from_utf8_lossy(&bytes[at..at + line_end]).into_owned();
        at += line_end + 2;
        if line.is_empty() {
            message.bytes += at;
            return Read::Whole(message);
        }
        let name = line
            .split_once(':')
            .map(|(name, _)| name.to_ascii_lowercase());
        let routes = ["content-length", "transfer-encoding", "host", "forwarded"];
        match name {
            Some(name) if name.bytes().all(is_token_byte) && !routes.contains(&&*name) => {}
            _ => return Read::Broken(format!("trailer {line:?}")),
        }
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    let windows = bytes.windows(wanted.len());
    windows.filter(|window| *window == wanted).count()
}
