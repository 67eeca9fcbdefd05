//! Requests that two readers could take for different ones, and what becomes of each here.

/// Whose request it is.
#[derive(Clone, Debug)]
pub(super) struct Addressee {
    pub(super) tenant: &'static str,
    pub(super) host: &'static str,
    /// The other tenant's.
    pub(super) other_host: &'static str,
    /// The target, which no other request has.
    pub(super) target: String,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A backend gets it, once and whole, and the connection goes on.
    Passes,
    /// The same, and the connection ends with its answer.
    PassesLast,
    /// It is refused by its head and the connection ends: no backend hears of it.
    Refused(u16),
    /// It is refused within its body and the connection ends: no backend gets it whole.
    RefusedInBody(u16),
    /// The proxy answers it and the connection goes on.
    Answered(u16),
    /// The proxy answers it and the connection ends.
    AnsweredLast(u16),
}

impl Fate {
    /// Whether nothing behind the request is read.
    pub(super) fn ends(self) -> bool {
        !matches!(self, Fate::Passes | Fate::Answered(_))
    }

    /// Whether a backend answers.
    pub(super) fn passes(self) -> bool {
        matches!(self, Fate::Passes | Fate::PassesLast)
    }
}

/// A request in its parts.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    before: Vec<u8>,
    method: &'static str,
    target: String,
    version: &'static str,
    /// In place of method, target and version.
    line: Option<Vec<u8>>,
    line_end: &'static [u8],
    hosts: Vec<String>,
    fields: Vec<Vec<u8>>,
    body: Vec<u8>,
    /// What the body carries for who reads it as we do.
    pub(super) payload: Vec<u8>,
}

impl Shape {
    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.before.clone();
        match &self.line {
            Some(line) => bytes.extend_from_slice(line),
            None => {
                let line = format!("{} {} {}", self.method, self.target, self.version);
                bytes.extend_from_slice(line.as_bytes());
            }
        }
        bytes.extend_from_slice(self.line_end);
        for host in &self.hosts {
            bytes.extend_from_slice(host.as_bytes());
        }
        for field in &self.fields {
            bytes.extend_from_slice(field);
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn add(&mut self, line: &str) {
        self.fields.push(format!("{line}\r\n").into_bytes());
    }

    fn add_raw(&mut self, line: &[u8]) {
        self.fields.push(line.to_vec());
    }

    /// A body with these framing fields, which carries the payload.
    fn framed(&mut self, fields: &[&str], body: &[u8], payload: &[u8]) {
        for field in fields {
            self.add(field);
        }
        self.body = body.to_vec();
        self.payload = payload.to_vec();
    }

    /// A chunked body as it stands.
    fn chunked(&mut self, body: &[u8], payload: &[u8]) {
        self.framed(&["Transfer-Encoding: chunked"], body, payload);
    }

    /// A request in the body, of which both framings of `fields` say something else.
    fn smuggles(&mut self, to: &Addressee, fields: &[&str]) {
        let hidden = hidden_request(to);
        let body = [b"0\r\n\r\n", hidden.as_bytes()].concat();
        let length = format!("Content-Length: {}", body.len());
        let fields: Vec<&str> = fields
            .iter()
            .map(|field| if *field == "LENGTH" { &*length } else { field })
            .collect();
        self.framed(&fields, &body, &body);
    }
}

/// What is hidden in bodies: a request for the other tenant that must never be taken for one.
fn hidden_request(to: &Addressee) -> String {
    let (tenant, other) = (to.tenant, to.other_host);
    format!("GET /hidden HTTP/1.1\r\nHost: {other}\r\nX-Secret: secret-{tenant}\r\n\r\n")
}

/// Ordinary requests.
pub(super) const PLAIN: usize = 6;

/// An ordinary request of kind `kind`, and whether its body carries one.
pub(super) fn plain(kind: usize, to: &Addressee) -> Shape {
    let mut shape = Shape {
        before: Vec::new(),
        method: "GET",
        target: to.target.clone(),
        version: "HTTP/1.1",
        line: None,
        line_end: b"\r\n",
        hosts: vec![format!("Host: {}\r\n", to.host)],
        fields: vec![format!("X-Secret: secret-{}\r\n", to.tenant).into_bytes()],
        body: Vec::new(),
        payload: Vec::new(),
    };
    let hidden = hidden_request(to);
    match kind % PLAIN {
        0 => {}
        1 => {
            shape.method = "POST";
            let length = format!("Content-Length: {}", hidden.len());
            shape.framed(&[&length], hidden.as_bytes(), hidden.as_bytes());
        }
        2 => {
            shape.method = "PUT";
            let body = format!("{:x};a=b\r\n{hidden}\r\n0\r\nX-T: 1\r\n\r\n", hidden.len());
            shape.chunked(body.as_bytes(), hidden.as_bytes());
        }
        3 => shape.method = "DELETE",
        4 => {
            shape.method = "POST";
            shape.framed(&["Content-Length: 0"], b"", b"");
        }
        _ => {
            shape.method = "POST";
            shape.add("Expect: 100-continue");
            shape.framed(&["Content-Length: 5"], b"hello", b"hello");
        }
    }
    shape
}

/// A request with something odd about it.
pub(super) struct Oddity {
    pub(super) name: &'static str,
    pub(super) fate: Fate,
    twist: fn(&mut Shape, &Addressee),
}

impl Oddity {
    pub(super) fn shape(&self, to: &Addressee) -> Shape {
        let mut shape = plain(0, to);
        (self.twist)(&mut shape, to);
        shape
    }
}

const fn odd(name: &'static str, fate: Fate, twist: fn(&mut Shape, &Addressee)) -> Oddity {
    Oddity { name, fate, twist }
}

const BAD: Fate = Fate::Refused(400);
const BAD_BODY: Fate = Fate::RefusedInBody(400);

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Oddity> {
    let parts = [
        LENGTHS,
        CODINGS,
        LOOKALIKES,
        LINES,
        NAMES,
        HOSTS,
        START_LINES,
        CHUNKS,
        TRAILERS,
        HOPS,
        LONG,
    ];
    parts.into_iter().flatten()
}

const LENGTHS: &[Oddity] = &[
    odd("length and chunked", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "Transfer-Encoding: chunked"]);
    }),
    odd("chunked and length", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: chunked", "LENGTH"]);
    }),
    odd("length of nothing and chunked", BAD, |s, to| {
        s.smuggles(to, &["Content-Length: 0", "Transfer-Encoding: chunked"]);
    }),
    odd("a length twice", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "LENGTH"])
    }),
    odd("two lengths", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "Content-Length: 0"])
    }),
    odd("two lengths, the small one first", BAD, |s, to| {
        s.smuggles(to, &["content-length: 0", "LENGTH"]);
    }),
    odd("a list of lengths", BAD, |s, _| {
        s.framed(&["Content-Length: 5, 5"], b"hello", b"")
    }),
    odd("a list with an empty end", BAD, |s, _| {
        s.framed(&["Content-Length: 5,"], b"hello", b"")
    }),
    odd("a length with a plus", BAD, |s, _| {
        s.framed(&["Content-Length: +5"], b"hello", b"")
    }),
    odd("a length with a minus", BAD, |s, _| {
        s.framed(&["Content-Length: -5"], b"hello", b"")
    }),
    odd("a length in hexadecimal", BAD, |s, _| {
        s.framed(&["Content-Length: 0x5"], b"hello", b"")
    }),
    odd("a length with a space within", BAD, |s, _| {
        s.framed(&["Content-Length: 5 5"], b"hello", b"")
    }),
    odd("a length with a point", BAD, |s, _| {
        s.framed(&["Content-Length: 5.0"], b"hello", b"")
    }),
    odd("a length with an exponent", BAD, |s, _| {
        s.framed(&["Content-Length: 1e1"], b"hello", b"")
    }),
    odd("a length in quotes", BAD, |s, _| {
        s.framed(&["Content-Length: \"5\""], b"hello", b"")
    }),
    odd("an empty length", BAD, |s, _| {
        s.framed(&["Content-Length:"], b"hello", b"")
    }),
    odd("a length of 2^64", BAD, |s, _| {
        s.framed(&["Content-Length: 18446744073709551616"], b"hello", b"");
    }),
    odd("a length of 2^64 + 5", BAD, |s, _| {
        s.framed(&["Content-Length: 18446744073709551621"], b"hello", b"");
    }),
    odd("a length with a form feed", BAD, |s, _| {
        s.framed(&["Content-Length: \x0c5"], b"hello", b"")
    }),
    odd("a length with zeros", Fate::Passes, |s, _| {
        s.framed(
            &["Content-Length: 000000000000000000000005"],
            b"hello",
            b"hello",
        );
    }),
    odd("a length with white space around", Fate::Passes, |s, _| {
        s.framed(&["Content-Length:\t  5 \t"], b"hello", b"hello");
    }),
    odd("a length without white space", Fate::Passes, |s, _| {
        s.framed(&["content-LENGTH:5"], b"hello", b"hello");
    }),
];

const CODINGS: &[Oddity] = &[
    odd("chunked twice in a list", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: chunked, chunked"]);
    }),
    odd("two codings in two fields", BAD, |s, to| {
        s.smuggles(
            to,
            &["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        );
    }),
    odd("chunked in two fields", BAD, |s, to| {
        s.smuggles(
            to,
            &["Transfer-Encoding: chunked", "transfer-encoding: chunked"],
        );
    }),
    odd("chunked and then another", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: chunked, gzip"]);
    }),
    odd("an empty element", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: , chunked"])
    }),
    odd("an empty coding", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding:"])
    }),
    odd("chunked in quotes", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: \"chunked\""])
    }),
    odd("chunked with a parameter", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: chunked;q=1"])
    }),
    odd("chunked behind a vertical tab", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: \x0bchunked"]);
    }),
    odd("chunked before a delete", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: chunked\x7f"])
    }),
    odd("chunked before NUL", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: chunked\0"])
    }),
    odd("chunked behind a no-break space", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: \u{a0}chunked"]);
    }),
    odd("gzip and chunked", Fate::Refused(501), |s, to| {
        s.smuggles(to, &["Transfer-Encoding: gzip, chunked"]);
    }),
    odd("identity", Fate::Refused(501), |s, to| {
        s.smuggles(to, &["Transfer-Encoding: identity"])
    }),
    odd("almost chunked", Fate::Refused(501), |s, to| {
        s.smuggles(to, &["Transfer-Encoding: xchunked"]);
    }),
    odd("identity with a length", BAD, |s, to| {
        s.smuggles(to, &["Transfer-Encoding: identity", "LENGTH"]);
    }),
    odd("chunked in HTTP/1.0", BAD, |s, to| {
        s.version = "HTTP/1.0";
        s.smuggles(to, &["Transfer-Encoding: chunked"]);
    }),
    odd("chunked in HTTP/1.0 that stays", BAD, |s, to| {
        s.version = "HTTP/1.0";
        s.smuggles(
            to,
            &["Connection: keep-alive", "Transfer-Encoding: chunked"],
        );
    }),
    odd("chunked in capitals", Fate::Passes, |s, _| {
        s.framed(
            &["tRANSFER-eNCODING:\tCHUNKED "],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"hello",
        );
    }),
    odd("chunked of a GET that is no GET", Fate::Passes, |s, _| {
        s.method = "get";
        s.chunked(b"0\r\n\r\n", b"");
    }),
];

/// Names that some take for others. They go no further, so they mean nothing to anybody.
const LOOKALIKES: &[Oddity] = &[
    odd("an underscore in the length", Fate::Passes, |s, _| {
        s.framed(
            &["Content_Length: 500", "Content-Length: 5"],
            b"hello",
            b"hello",
        );
    }),
    odd("an underscore in the coding", Fate::Passes, |s, _| {
        s.framed(
            &["Transfer_Encoding: chunked", "Content-Length: 5"],
            b"hello",
            b"hello",
        );
    }),
    odd("a point in the length", Fate::Passes, |s, _| {
        s.framed(
            &["Content.Length: 500", "Content-Length: 5"],
            b"hello",
            b"hello",
        );
    }),
    odd("no hyphen in the length", Fate::Passes, |s, _| {
        s.framed(
            &["ContentLength: 500", "Content-Length: 5"],
            b"hello",
            b"hello",
        );
    }),
    odd("a quote behind the coding", Fate::Passes, |s, _| {
        s.framed(
            &["Transfer-Encoding': chunked", "Content-Length: 5"],
            b"hello",
            b"hello",
        );
    }),
    odd("a bar before the coding", Fate::Passes, |s, _| {
        s.framed(
            &["|Transfer-Encoding: chunked", "Content-Length: 5"],
            b"hello",
            b"hello",
        );
    }),
    odd("two hyphens in the coding", Fate::Passes, |s, _| {
        s.framed(
            &["Transfer--Encoding: chunked", "Content-Length: 5"],
            b"hello",
            b"hello",
        );
    }),
    odd(
        "an underscore in a forwarding field",
        Fate::Passes,
        |s, to| {
            s.add(&format!("X_Forwarded_Host: {}", to.other_host));
        },
    ),
];

const LINES: &[Oddity] = &[
    odd("the coding on a folded line", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "X-A: b", " Transfer-Encoding: chunked"]);
    }),
    odd("the coding's value folded", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "Transfer-Encoding:", " chunked"]);
    }),
    odd("a first line that is folded", BAD, |s, _| {
        s.fields.insert(0, b"\tX-A: b\r\n".to_vec())
    }),
    odd("the coding behind a bare LF", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "X-A: b\nTransfer-Encoding: chunked"]);
    }),
    odd("the coding behind a bare CR", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "X-A: b\rTransfer-Encoding: chunked"]);
    }),
    odd("the coding behind LF CR", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "X-A: b\n\rTransfer-Encoding: chunked"]);
    }),
    odd("a field that ends in a bare LF", BAD, |s, _| {
        s.add_raw(b"X-A: b\n")
    }),
    odd("a field that ends in a bare CR", BAD, |s, _| {
        s.add_raw(b"X-A: b\r")
    }),
    odd("a field that ends in CR CR LF", BAD, |s, _| {
        s.add_raw(b"X-A: b\r\r\n")
    }),
    odd("NUL in a value", BAD, |s, _| s.add("X-A: a\0b")),
    odd("a bell in a value", BAD, |s, _| s.add("X-A: a\x07b")),
    odd("a head that ends in two bare LF", BAD, |s, to| {
        s.add_raw(b"X-A: b\n\n");
        s.add_raw(hidden_request(to).as_bytes());
    }),
    odd("bytes beyond ASCII in a value", Fate::Passes, |s, _| {
        s.add_raw(b"X-A: \xc3\xa9\xff\r\n");
    }),
    odd("an empty value", Fate::Passes, |s, _| s.add("X-A:")),
];

const NAMES: &[Oddity] = &[
    odd("space before the colon", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "Transfer-Encoding : chunked"])
    }),
    odd("tab before the colon", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "Transfer-Encoding\t: chunked"])
    }),
    odd("space within a name", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "Transfer Encoding: chunked"])
    }),
    odd("NUL within a name", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "Transfer-Encoding\0: chunked"])
    }),
    odd("bytes beyond ASCII in a name", BAD, |s, to| {
        s.smuggles(to, &["LENGTH", "Tran\u{17f}fer-Encoding: chunked"]);
    }),
    odd("a name in brackets", BAD, |s, _| s.add("(X): y")),
    odd("no name", BAD, |s, _| s.add(": y")),
    odd("no colon", BAD, |s, _| s.add("X-A")),
];

const HOSTS: &[Oddity] = &[
    odd("no Host", BAD, |s, _| s.hosts.clear()),
    odd("a Host twice", BAD, |s, to| {
        s.hosts.push(format!("Host: {}\r\n", to.host))
    }),
    odd("two Hosts", BAD, |s, to| {
        s.hosts.push(format!("Host: {}\r\n", to.other_host))
    }),
    odd("two Hosts, the other first", BAD, |s, to| {
        s.hosts.insert(0, format!("hOST: {}\r\n", to.other_host));
    }),
    odd("a list of Hosts", BAD, |s, to| {
        s.hosts = vec![format!("Host: {}, {}\r\n", to.host, to.other_host)]
    }),
    odd("an empty Host", BAD, |s, _| {
        s.hosts = vec!["Host:\r\n".to_owned()]
    }),
    odd("Host with userinfo", BAD, |s, to| {
        s.hosts = vec![format!("Host: {}@{}\r\n", to.other_host, to.host)]
    }),
    odd("Host with a path", BAD, |s, to| {
        s.hosts = vec![format!("Host: {}/{}\r\n", to.host, to.other_host)]
    }),
    odd("Host with a query", BAD, |s, to| {
        s.hosts = vec![format!("Host: {}?{}\r\n", to.host, to.other_host)]
    }),
    odd("Host with a fragment", BAD, |s, to| {
        s.hosts = vec![format!("Host: {}#{}\r\n", to.host, to.other_host)]
    }),
    odd("Host with a backslash", BAD, |s, to| {
        s.hosts = vec![format!("Host: {}\\{}\r\n", to.host, to.other_host)]
    }),
    odd("Host with a port that is none", BAD, |s, to| {
        s.hosts = vec![format!("Host: {}:x\r\n", to.host)]
    }),
    odd("Host with a port too high", BAD, |s, to| {
        s.hosts = vec![format!("Host: {}:65536\r\n", to.host)]
    }),
    odd("Host with a space within", BAD, |s, to| {
        s.hosts = vec![format!("Host: {} {}\r\n", to.host, to.other_host)]
    }),
    odd("Host with space before the colon", BAD, |s, to| {
        s.hosts = vec![format!("Host : {}\r\n", to.host)]
    }),
    odd("Host behind a fold", BAD, |s, to| {
        s.hosts = vec![format!("Host:\r\n {}\r\n", to.host)]
    }),
    odd("Host with NUL", BAD, |s, to| {
        s.hosts = vec![format!("Host: {}\0.{}\r\n", to.host, to.other_host)]
    }),
    odd("Host percent-encoded", BAD, |s, to| {
        s.hosts = vec![format!("Host: %2e{}\r\n", to.host)]
    }),
    odd(
        "Host in capitals with port and dot",
        Fate::Passes,
        |s, to| {
            s.hosts = vec![format!("HOST:\t{}.:8080 \r\n", to.host.to_uppercase())];
        },
    ),
    odd("nobody's Host", Fate::Answered(404), |s, _| {
        s.hosts = vec!["Host: nobody.test\r\n".to_owned()]
    }),
    odd(
        "nobody's Host and a body",
        Fate::AnsweredLast(404),
        |s, to| {
            s.hosts = vec!["Host: nobody.test\r\n".to_owned()];
            s.smuggles(to, &["LENGTH"]);
        },
    ),
    odd("absolute-form and another Host", Fate::Passes, |s, to| {
        s.target = format!("http://{}{}", to.host, to.target);
        s.hosts = vec![format!("Host: {}\r\n", to.other_host)];
    }),
    odd("absolute-form in capitals", Fate::Passes, |s, to| {
        s.target = format!("HTTP://{}:80{}", to.host.to_uppercase(), to.target);
    }),
    odd("absolute-form without Host", BAD, |s, to| {
        s.target = format!("http://{}{}", to.host, to.target);
        s.hosts.clear();
    }),
    odd("absolute-form and two Hosts", BAD, |s, to| {
        s.target = format!("http://{}{}", to.host, to.target);
        s.hosts.push(format!("Host: {}\r\n", to.other_host));
    }),
    odd("absolute-form and a bad Host", BAD, |s, to| {
        s.target = format!("http://{}{}", to.host, to.target);
        s.hosts = vec!["Host: a b\r\n".to_owned()];
    }),
    odd("absolute-form with userinfo", BAD, |s, to| {
        s.target = format!("http://{}@{}{}", to.other_host, to.host, to.target);
    }),
    odd("absolute-form with a backslash", BAD, |s, to| {
        s.target = format!("http://{}\\@{}{}", to.other_host, to.host, to.target);
    }),
    odd("absolute-form without an authority", BAD, |s, to| {
        s.target = format!("http://{}", to.target)
    }),
    odd(
        "absolute-form of another scheme",
        Fate::Refused(421),
        |s, to| {
            s.target = format!("ftp://{}{}", to.host, to.target);
        },
    ),
    odd(
        "absolute-form of https",
        Fate::AnsweredLast(421),
        |s, to| {
            s.target = format!("https://{}{}", to.host, to.target);
        },
    ),
    odd("authority-form", BAD, |s, to| {
        s.target = format!("{}:80", to.host)
    }),
    odd(
        "a target that looks like an authority",
        Fate::Passes,
        |s, to| {
            s.target = format!("//{}{}", to.other_host, to.target);
        },
    ),
    odd("Connection names Host", Fate::Passes, |s, _| {
        s.add("Connection: Host, X-Forwarded-Host")
    }),
];

const START_LINES: &[Oddity] = &[
    odd("an empty line before", Fate::Passes, |s, _| {
        s.before = b"\r\n".to_vec()
    }),
    odd("two empty lines before", BAD, |s, _| {
        s.before = b"\r\n\r\n".to_vec()
    }),
    odd("a bare LF before", BAD, |s, _| s.before = b"\n".to_vec()),
    odd("a space before", BAD, |s, _| s.before = b" ".to_vec()),
    odd("a bare LF behind the line", BAD, |s, _| s.line_end = b"\n"),
    odd("a bare CR behind the line", BAD, |s, _| s.line_end = b"\r"),
    odd("a space behind the line", BAD, |s, _| s.line_end = b" \r\n"),
    odd("two spaces", BAD, |s, to| {
        s.line = Some(format!("GET  {} HTTP/1.1", to.target).into_bytes())
    }),
    odd("a tab for a space", BAD, |s, to| {
        s.line = Some(format!("GET\t{} HTTP/1.1", to.target).into_bytes())
    }),
    odd("a space in the target", BAD, |s, to| {
        s.target = format!("{} x", to.target)
    }),
    odd("two versions", BAD, |s, to| {
        s.target = format!("{} HTTP/1.1", to.target)
    }),
    odd("NUL in the target", BAD, |s, to| {
        s.target = format!("{}\0", to.target)
    }),
    odd("a bare CR in the target", BAD, |s, to| {
        s.target = format!("{}\rx", to.target)
    }),
    odd("bytes beyond ASCII in the target", BAD, |s, to| {
        s.target = format!("{}\u{e9}", to.target)
    }),
    odd("a fragment", BAD, |s, to| {
        s.target = format!("{}#x", to.target)
    }),
    odd("a target without a slash", BAD, |s, to| {
        s.target = to.target[1..].to_owned()
    }),
    odd("no target", BAD, |s, _| {
        s.line = Some(b"GET HTTP/1.1".to_vec())
    }),
    odd("no version", BAD, |s, to| {
        s.line = Some(format!("GET {}", to.target).into_bytes())
    }),
    odd("no method", BAD, |s, to| {
        s.line = Some(format!(" {} HTTP/1.1", to.target).into_bytes())
    }),
    odd("a method in brackets", BAD, |s, _| s.method = "(GET)"),
    odd("a version in small letters", BAD, |s, _| {
        s.version = "http/1.1"
    }),
    odd("a version of two digits", BAD, |s, _| {
        s.version = "HTTP/1.10"
    }),
    odd("a version with a zero", BAD, |s, _| s.version = "HTTP/01.1"),
    odd("HTTP/0.9", Fate::Refused(505), |s, _| {
        s.version = "HTTP/0.9"
    }),
    odd("HTTP/2.0", Fate::Refused(505), |s, _| {
        s.version = "HTTP/2.0"
    }),
    odd("the preface of HTTP/2", Fate::Refused(505), |s, _| {
        s.before = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    }),
    odd("the beginning of TLS", BAD, |s, _| {
        s.before = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()
    }),
    odd("HTTP/1.2", Fate::Passes, |s, _| s.version = "HTTP/1.2"),
    odd("HTTP/1.0", Fate::PassesLast, |s, _| s.version = "HTTP/1.0"),
    odd("HTTP/1.0 that stays", Fate::Passes, |s, _| {
        s.version = "HTTP/1.0";
        s.add("Connection: keep-alive");
        s.framed(&["Content-Length: 5"], b"hello", b"hello");
        // A body of unknown length would end the connection: a HEAD has none.
        s.method = "HEAD";
    }),
    odd("CONNECT", Fate::Refused(405), |s, to| {
        s.method = "CONNECT";
        s.target = format!("{}:80", to.host);
    }),
    odd("TRACE", Fate::Refused(405), |s, _| s.method = "TRACE"),
    odd("OPTIONS *", Fate::Answered(204), |s, _| {
        s.method = "OPTIONS";
        s.target = "*".to_owned();
    }),
    odd("* of another method", BAD, |s, _| s.target = "*".to_owned()),
    odd("OPTIONS with no hop left", Fate::Answered(204), |s, _| {
        s.method = "OPTIONS";
        s.add("Max-Forwards: 0");
    }),
    odd("a method that nobody knows", Fate::Passes, |s, _| {
        s.method = "PROPFIND";
        s.framed(&["Content-Length: 5"], b"hello", b"hello");
    }),
];

const CHUNKS: &[Oddity] = &[
    odd("a size with a sign", BAD_BODY, |s, _| {
        s.chunked(b"+5\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("a size below zero", BAD_BODY, |s, _| {
        s.chunked(b"-1\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("a size with 0x", BAD_BODY, |s, _| {
        s.chunked(b"0x5\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("a size with an underscore", BAD_BODY, |s, _| {
        s.chunked(b"1_0\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("no size", BAD_BODY, |s, _| {
        s.chunked(b"\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("no size but an extension", BAD_BODY, |s, _| {
        s.chunked(b";x\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("space before a size", BAD_BODY, |s, _| {
        s.chunked(b" 5\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("space behind a size", BAD_BODY, |s, _| {
        s.chunked(b"5 \r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("a size of 17 digits", BAD_BODY, |s, _| {
        s.chunked(b"00000000000000005\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("a size of 2^64 + 5", BAD_BODY, |s, _| {
        s.chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("a size that ends in LF", BAD_BODY, |s, _| {
        s.chunked(b"5\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("a size that ends in CR", BAD_BODY, |s, _| {
        s.chunked(b"5\rhello\r\n0\r\n\r\n", b"")
    }),
    odd("a chunk longer than its size", BAD_BODY, |s, _| {
        s.chunked(b"4\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("a chunk without its line end", BAD_BODY, |s, _| {
        s.chunked(b"5\r\nhello0\r\n\r\n", b"")
    }),
    odd("a chunk that ends in LF", BAD_BODY, |s, _| {
        s.chunked(b"5\r\nhello\n0\r\n\r\n", b"")
    }),
    odd("a chunk that ends in two other bytes", BAD_BODY, |s, _| {
        s.chunked(b"5\r\nhelloxx0\r\n\r\n", b"")
    }),
    odd("an extension with LF within", BAD_BODY, |s, _| {
        s.chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("an extension with CR within", BAD_BODY, |s, _| {
        s.chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd(
        "an extension with a line end in quotes",
        BAD_BODY,
        |s, _| {
            s.chunked(b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", b"");
        },
    ),
    odd("an extension that is none", BAD_BODY, |s, _| {
        s.chunked(b"5;\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("an extension behind a comma", BAD_BODY, |s, _| {
        s.chunked(b"5,a\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("NUL in an extension", BAD_BODY, |s, _| {
        s.chunked(b"5;a=\0\r\nhello\r\n0\r\n\r\n", b"")
    }),
    odd("extensions over 4 KiB", BAD_BODY, |s, _| {
        let body = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(4200));
        s.chunked(body.as_bytes(), b"");
    }),
    odd("a last chunk that is no zero", BAD_BODY, |s, _| {
        s.chunked(b"5\r\nhello\r\ng\r\n\r\n", b"")
    }),
    odd("sizes with zeros and extensions", Fate::Passes, |s, _| {
        s.chunked(
            b"0005 ; a = \"\\\";0\\\"\" ;b\r\nhello\r\nA\r\n0123456789\r\n000;c\r\n\r\n",
            b"hello0123456789",
        );
    }),
    odd("a request within a chunk", Fate::Passes, |s, to| {
        let hidden = format!("0\r\n\r\n{}", hidden_request(to));
        let body = format!("{:X}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
        s.chunked(body.as_bytes(), hidden.as_bytes());
    }),
    odd("many small chunks", Fate::Passes, |s, _| {
        let body = "1\r\na\r\n".repeat(300) + "0\r\n\r\n";
        s.chunked(body.as_bytes(), "a".repeat(300).as_bytes());
    }),
];

const TRAILERS: &[Oddity] = &[
    odd("trailers that frame and route", Fate::Passes, |s, to| {
        let other = to.other_host;
        let body = format!(
            "5\r\nhello\r\n0\r\nContent-Length: 500\r\nTransfer-Encoding: chunked\r\nHost: {other}\r\n\
             Content_Length: 7\r\nX-T: 1\r\n\r\n"
        );
        s.chunked(body.as_bytes(), b"hello");
    }),
    odd("a trailer that ends in LF", BAD_BODY, |s, _| {
        s.chunked(b"0\r\nX-T: 1\n\r\n", b"")
    }),
    odd("a trailer with a bare CR", BAD_BODY, |s, _| {
        s.chunked(b"0\r\nX-T: 1\rX\r\n\r\n", b"")
    }),
    odd("trailers that end in LF", BAD_BODY, |s, _| {
        s.chunked(b"0\r\nX-T: 1\r\n\n", b"")
    }),
    odd("a folded trailer", BAD_BODY, |s, _| {
        s.chunked(b"0\r\nX-T: 1\r\n 2\r\n\r\n", b"")
    }),
    odd("a trailer with space before the colon", BAD_BODY, |s, _| {
        s.chunked(b"0\r\nX-T : 1\r\n\r\n", b"")
    }),
    odd("a trailer without a colon", BAD_BODY, |s, _| {
        s.chunked(b"0\r\nGET / HTTP/1.1\r\n\r\n", b"")
    }),
    odd("trailers over 8 KiB", Fate::RefusedInBody(431), |s, _| {
        let body = format!("0\r\nX-T: {}\r\n\r\n", "t".repeat(9000));
        s.chunked(body.as_bytes(), b"");
    }),
];

const HOPS: &[Oddity] = &[
    odd("Connection names the length", Fate::Passes, |s, _| {
        s.framed(
            &["Connection: Content-Length", "Content-Length: 5"],
            b"hello",
            b"hello",
        );
    }),
    odd("Connection names the coding", Fate::Passes, |s, _| {
        s.add("Connection: Transfer-Encoding, close-not");
        s.chunked(b"5\r\nhello\r\n0\r\n\r\n", b"hello");
    }),
    odd("close and a body", Fate::PassesLast, |s, to| {
        s.add("Connection: keep-alive, cLoSe");
        s.smuggles(to, &["LENGTH"]);
    }),
    odd("an upgrade that is none", Fate::Passes, |s, _| {
        s.add("Connection: Upgrade, HTTP2-Settings");
        s.add("Upgrade: h2c");
        s.add("HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA");
    }),
    odd("an expectation in HTTP/1.0", Fate::PassesLast, |s, _| {
        s.version = "HTTP/1.0";
        s.add("Expect: 100-continue");
        s.framed(&["Content-Length: 5"], b"hello", b"hello");
    }),
    odd("a GET with a body", Fate::Passes, |s, to| {
        s.smuggles(to, &["LENGTH"])
    }),
    odd("a HEAD with a body", Fate::Passes, |s, to| {
        s.method = "HEAD";
        s.smuggles(to, &["LENGTH"]);
    }),
    odd("a loop", Fate::Answered(508), |s, _| {
        s.add("Via: 1.1 a, 1.1 meridian-wire")
    }),
];

const LONG: &[Oddity] = &[
    odd("a request line over 8 KiB", Fate::Refused(414), |s, to| {
        s.target = format!("{}?{}", to.target, "a".repeat(8200));
    }),
    odd("a head over 32 KiB", Fate::Refused(431), |s, _| {
        s.add(&format!("X-A: {}", "a".repeat(33_000)));
    }),
    odd("101 fields", Fate::Refused(431), |s, _| {
        (0..100).for_each(|_| s.add("X-A: b"))
    }),
    odd("100 fields", Fate::Passes, |s, _| {
        (0..98).for_each(|_| s.add("X-A: b"))
    }),
    odd("a long field", Fate::Passes, |s, _| {
        s.add(&format!("X-A: {}", "a".repeat(31_000)))
    }),
];
