//! Responses that two readers could take for different ones, and what becomes of each here.

/// How a lie is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Get,
    Head,
    /// A request whose body has come in part.
    PartOfPost,
}

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The response, with this status and [`PAYLOAD`] or no body.
    Whole(u16),
    /// 502.
    Refused,
    /// 502, or a connection cut within the response.
    Broken,
}

/// What the backend does when it has said it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It goes on as if nothing had happened, and sees what becomes of the connection.
    Stays,
    Closes,
    Resets,
}

/// A response with something odd about it.
#[derive(Clone, Copy)]
pub(super) struct Lie {
    pub(super) name: &'static str,
    pub(super) question: Question,
    pub(super) outcome: Outcome,
    pub(super) then: Then,
    /// The connection must not be used again, though the response was good.
    pub(super) discarded: bool,
    text: fn() -> String,
}

/// What good bodies carry.
pub(super) const PAYLOAD: &str = "hello from behind";

/// What must never be taken for an answer.
const POISON: &str =
    "HTTP/1.1 200 OK\r\nX-Tenant: poison\r\nX-Target: poison\r\nContent-Length: 6\r\n\r\npoison";

impl Lie {
    /// The response to the request for `target`, of `tenant`. `{own}` stands for the fields that
    /// say whose it is, `{poison}` for a response that nobody asked for.
    pub(super) fn bytes(&self, tenant: &str, target: &str) -> Vec<u8> {
        let own = format!("X-Tenant: {tenant}\r\nX-Target: {target}\r\n");
        let text = (self.text)();
        text.replace("{own}", &own)
            .replace("{poison}", POISON)
            .into_bytes()
    }
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Lie> {
    [
        TRUTHS,
        FRAMINGS,
        CHUNKS,
        STATUS_LINES,
        FIELDS,
        SHORT,
        BODILESS,
        BEHIND,
    ]
    .into_iter()
    .flatten()
}

const fn lie(name: &'static str, outcome: Outcome, then: Then, text: fn() -> String) -> Lie {
    Lie {
        name,
        question: Question::Get,
        outcome,
        then,
        discarded: false,
        text,
    }
}

/// A good response, but nothing may follow it on its connection.
const fn last(question: Question, name: &'static str, status: u16, text: fn() -> String) -> Lie {
    Lie {
        name,
        question,
        outcome: Outcome::Whole(status),
        then: Then::Stays,
        discarded: true,
        text,
    }
}

const GOOD: Outcome = Outcome::Whole(200);

fn with_length(head: &str) -> String {
    format!(
        "{head}\r\n{{own}}Content-Length: {}\r\n\r\n{PAYLOAD}",
        PAYLOAD.len()
    )
}

fn with_fields(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{{own}}{fields}\r\n\r\n{PAYLOAD}{{poison}}")
}

fn with_chunks(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{{own}}Transfer-Encoding: chunked\r\n\r\n{body}")
}

const TRUTHS: &[Lie] = &[
    lie("a length", GOOD, Then::Stays, || {
        with_length("HTTP/1.1 200 OK")
    }),
    lie("a length with zeros", GOOD, Then::Stays, || {
        format!(
            "HTTP/1.1 200 OK\r\n{{own}}Content-Length: 000{}\r\n\r\n{PAYLOAD}",
            PAYLOAD.len()
        )
    }),
    lie("HTTP/1.0 that stays", GOOD, Then::Stays, || {
        with_length("HTTP/1.0 200 OK\r\nConnection: keep-alive")
    }),
    lie("HTTP/1.0 to its end", GOOD, Then::Closes, || {
        format!("HTTP/1.0 200 OK\r\n{{own}}\r\n{PAYLOAD}")
    }),
    lie("HTTP/1.1 to its end", GOOD, Then::Closes, || {
        format!("HTTP/1.1 200 OK\r\n{{own}}\r\n{PAYLOAD}")
    }),
    lie("no reason", GOOD, Then::Stays, || {
        with_length("HTTP/1.1 200")
    }),
    lie("an empty reason", GOOD, Then::Stays, || {
        with_length("HTTP/1.1 200 ")
    }),
    lie(
        "chunks with extensions and trailers",
        GOOD,
        Then::Stays,
        || {
            with_chunks(
                "0005;a=\"\\\";\"\r\nhello\r\nC ; b\r\n from behind\r\n0\r\nX-T: 1\r\nContent-Length: 3\r\nHost: x\r\n\r\n",
            )
        },
    ),
    lie("interim responses", GOOD, Then::Stays, || {
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n";
        format!("{}{}", interim.repeat(16), with_length("HTTP/1.1 200 OK"))
    }),
    lie(
        "a continue that nobody waits for",
        GOOD,
        Then::Stays,
        || {
            format!(
                "HTTP/1.1 100 Continue\r\n\r\n{}",
                with_length("HTTP/1.1 200 OK")
            )
        },
    ),
];

const FRAMINGS: &[Lie] = &[
    lie("length and chunked", Outcome::Refused, Then::Stays, || {
        with_fields("Content-Length: 17\r\nTransfer-Encoding: chunked")
    }),
    lie("chunked and length", Outcome::Refused, Then::Stays, || {
        with_fields("Transfer-Encoding: chunked\r\nContent-Length: 17")
    }),
    lie("a length twice", Outcome::Refused, Then::Stays, || {
        with_fields("Content-Length: 17\r\nContent-Length: 17")
    }),
    lie("two lengths", Outcome::Refused, Then::Stays, || {
        with_fields("Content-Length: 17\r\nContent-Length: 0")
    }),
    lie("a list of lengths", Outcome::Refused, Then::Stays, || {
        with_fields("Content-Length: 17, 17")
    }),
    lie(
        "a length with a sign",
        Outcome::Refused,
        Then::Stays,
        || with_fields("Content-Length: +17"),
    ),
    lie("a length below zero", Outcome::Refused, Then::Stays, || {
        with_fields("Content-Length: -1")
    }),
    lie("a length of 2^64", Outcome::Refused, Then::Stays, || {
        with_fields("Content-Length: 18446744073709551616")
    }),
    lie("an empty length", Outcome::Refused, Then::Stays, || {
        with_fields("Content-Length:")
    }),
    lie("an unknown coding", Outcome::Refused, Then::Stays, || {
        with_fields("Transfer-Encoding: gzip, chunked")
    }),
    lie("identity", Outcome::Refused, Then::Stays, || {
        with_fields("Transfer-Encoding: identity")
    }),
    lie("chunked twice", Outcome::Refused, Then::Stays, || {
        with_fields("Transfer-Encoding: chunked, chunked")
    }),
    lie("two codings", Outcome::Refused, Then::Stays, || {
        with_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")
    }),
    lie("chunked in HTTP/1.0", Outcome::Refused, Then::Stays, || {
        "HTTP/1.0 200 OK\r\n{own}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{poison}".to_owned()
    }),
];

const CHUNKS: &[Lie] = &[
    lie(
        "a chunk size with a sign",
        Outcome::Broken,
        Then::Stays,
        || with_chunks("+5\r\nhello\r\n0\r\n\r\n{poison}"),
    ),
    lie(
        "a chunk size below zero",
        Outcome::Broken,
        Then::Stays,
        || with_chunks("5\r\nhello\r\n-1\r\n\r\n{poison}"),
    ),
    lie("no chunk size", Outcome::Broken, Then::Stays, || {
        with_chunks("5\r\nhello\r\n\r\n{poison}")
    }),
    lie(
        "a space behind a size",
        Outcome::Broken,
        Then::Stays,
        || with_chunks("5 \r\nhello\r\n0\r\n\r\n{poison}"),
    ),
    lie(
        "a size that ends in LF",
        Outcome::Broken,
        Then::Stays,
        || with_chunks("5\nhello\r\n0\r\n\r\n{poison}"),
    ),
    lie(
        "a chunk longer than its size",
        Outcome::Broken,
        Then::Stays,
        || with_chunks("4\r\nhello\r\n0\r\n\r\n{poison}"),
    ),
    lie(
        "a chunk without its line end",
        Outcome::Broken,
        Then::Stays,
        || with_chunks("5\r\nhello0\r\n\r\n{poison}"),
    ),
    lie(
        "an extension with LF within",
        Outcome::Broken,
        Then::Stays,
        || with_chunks("5;a\n\r\nhello\r\n0\r\n\r\n{poison}"),
    ),
    lie(
        "extensions over 4 KiB",
        Outcome::Broken,
        Then::Stays,
        || {
            with_chunks(&format!(
                "5;{}\r\nhello\r\n0\r\n\r\n{{poison}}",
                "e".repeat(4200)
            ))
        },
    ),
    lie("a folded trailer", Outcome::Broken, Then::Stays, || {
        with_chunks("5\r\nhello\r\n0\r\nX-T: 1\r\n 2\r\n\r\n{poison}")
    }),
    lie(
        "a response for a trailer",
        Outcome::Broken,
        Then::Stays,
        || with_chunks("5\r\nhello\r\n0\r\n{poison}"),
    ),
    lie("trailers over 8 KiB", Outcome::Broken, Then::Stays, || {
        with_chunks(&format!(
            "5\r\nhello\r\n0\r\nX-T: {}\r\n\r\n{{poison}}",
            "t".repeat(9000)
        ))
    }),
];

const STATUS_LINES: &[Lie] = &[
    lie("no HTTP", Outcome::Refused, Then::Stays, || {
        "ICY 200 OK\r\n\r\n{poison}".to_owned()
    }),
    lie(
        "an empty line before",
        Outcome::Refused,
        Then::Stays,
        || "\r\n{poison}".to_owned(),
    ),
    lie("a space before", Outcome::Refused, Then::Stays, || {
        " {poison}".to_owned()
    }),
    lie("small letters", Outcome::Refused, Then::Stays, || {
        with_length("http/1.1 200 OK")
    }),
    lie("two spaces", Outcome::Refused, Then::Stays, || {
        with_length("HTTP/1.1  200 OK")
    }),
    lie("a tab", Outcome::Refused, Then::Stays, || {
        with_length("HTTP/1.1\t200 OK")
    }),
    lie("HTTP/2", Outcome::Refused, Then::Stays, || {
        with_length("HTTP/2 200 OK")
    }),
    lie("HTTP/2.0", Outcome::Refused, Then::Stays, || {
        with_length("HTTP/2.0 200 OK")
    }),
    lie(
        "a status of two digits",
        Outcome::Refused,
        Then::Stays,
        || with_length("HTTP/1.1 20 OK"),
    ),
    lie(
        "a status of four digits",
        Outcome::Refused,
        Then::Stays,
        || with_length("HTTP/1.1 2000 OK"),
    ),
    lie("a status of 99", Outcome::Refused, Then::Stays, || {
        with_length("HTTP/1.1 099 OK")
    }),
    lie("a status of 600", Outcome::Refused, Then::Stays, || {
        with_length("HTTP/1.1 600 OK")
    }),
    lie(
        "a status that is none",
        Outcome::Refused,
        Then::Stays,
        || with_length("HTTP/1.1 2x0 OK"),
    ),
    lie(
        "a status line that ends in LF",
        Outcome::Refused,
        Then::Stays,
        || "HTTP/1.1 200 OK\n{own}Content-Length: 0\r\n\r\n{poison}".to_owned(),
    ),
    lie(
        "a switch that nobody asked for",
        Outcome::Refused,
        Then::Stays,
        || {
            "HTTP/1.1 101 Switching Protocols\r\n{own}Upgrade: x\r\nConnection: upgrade\r\n\r\n{poison}".to_owned()
        },
    ),
    lie(
        "seventeen interim responses",
        Outcome::Refused,
        Then::Stays,
        || "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17) + "{poison}",
    ),
    lie(
        "interim responses and no more",
        Outcome::Refused,
        Then::Closes,
        || "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(3),
    ),
];

const FIELDS: &[Lie] = &[
    lie("a folded line", Outcome::Refused, Then::Stays, || {
        with_fields("X-A: 1\r\n 2\r\nContent-Length: 17")
    }),
    lie(
        "space before the colon",
        Outcome::Refused,
        Then::Stays,
        || with_fields("Content-Length : 17"),
    ),
    lie("no colon", Outcome::Refused, Then::Stays, || {
        with_fields("X-A\r\nContent-Length: 17")
    }),
    lie("no name", Outcome::Refused, Then::Stays, || {
        with_fields(": 1\r\nContent-Length: 17")
    }),
    lie("NUL in a value", Outcome::Refused, Then::Stays, || {
        with_fields("X-A: a\0\r\nContent-Length: 17")
    }),
    lie("a bare CR", Outcome::Refused, Then::Stays, || {
        with_fields("X-A: a\rContent-Length: 3\r\nContent-Length: 17")
    }),
    lie("a bare LF", Outcome::Refused, Then::Stays, || {
        with_fields("X-A: a\nContent-Length: 17")
    }),
    lie("101 fields", Outcome::Refused, Then::Stays, || {
        with_fields("X-A: b\r\n".repeat(99).trim_end())
    }),
    lie("a head over 32 KiB", Outcome::Refused, Then::Stays, || {
        with_fields(&format!("X-A: {}", "a".repeat(33_000)))
    }),
];

const SHORT: &[Lie] = &[
    lie("not a word", Outcome::Refused, Then::Closes, String::new),
    lie(
        "a reset without a word",
        Outcome::Refused,
        Then::Resets,
        String::new,
    ),
    lie("half a head", Outcome::Refused, Then::Closes, || {
        "HTTP/1.1 200 OK\r\n{own}Content-Len".to_owned()
    }),
    lie(
        "half a head and a reset",
        Outcome::Refused,
        Then::Resets,
        || "HTTP/1.1 200 OK\r\n{own}".to_owned(),
    ),
    lie("a short body", Outcome::Broken, Then::Closes, || {
        "HTTP/1.1 200 OK\r\n{own}Content-Length: 100\r\n\r\nhello".to_owned()
    }),
    lie(
        "a short body and a reset",
        Outcome::Broken,
        Then::Resets,
        || "HTTP/1.1 200 OK\r\n{own}Content-Length: 100\r\n\r\nhello".to_owned(),
    ),
    lie("no body", Outcome::Broken, Then::Closes, || {
        "HTTP/1.1 200 OK\r\n{own}Content-Length: 1\r\n\r\n".to_owned()
    }),
    lie("a short chunk", Outcome::Broken, Then::Closes, || {
        with_chunks("64\r\nhello")
    }),
    lie(
        "chunks without an end",
        Outcome::Broken,
        Then::Closes,
        || with_chunks("5\r\nhello\r\n"),
    ),
    lie(
        "a last chunk without its end",
        Outcome::Broken,
        Then::Closes,
        || with_chunks("5\r\nhello\r\n0\r\n"),
    ),
    lie("chunks and a reset", Outcome::Broken, Then::Resets, || {
        with_chunks("5\r\nhello\r\n")
    }),
    lie(
        "a body to its end and a reset",
        Outcome::Broken,
        Then::Resets,
        || format!("HTTP/1.1 200 OK\r\n{{own}}\r\n{PAYLOAD}"),
    ),
];

const BODILESS: &[Lie] = &[
    last(Question::Get, "204 with a body", 204, || {
        with_length("HTTP/1.1 204 No Content") + "{poison}"
    }),
    last(Question::Get, "204 with chunks", 204, || {
        "HTTP/1.1 204 No Content\r\n{own}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{poison}".to_owned()
    }),
    last(Question::Get, "304 with a body", 304, || {
        with_length("HTTP/1.1 304 Not Modified") + "{poison}"
    }),
    last(Question::Head, "a body for a HEAD", 200, || {
        with_length("HTTP/1.1 200 OK") + "{poison}"
    }),
    last(Question::Head, "chunks for a HEAD", 200, || {
        "HTTP/1.1 200 OK\r\n{own}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{poison}"
            .to_owned()
    }),
    last(Question::Get, "a response for nothing", 200, || {
        "HTTP/1.1 200 OK\r\n{own}Content-Length: 0\r\n\r\n{poison}".to_owned()
    }),
];

const BEHIND: &[Lie] = &[
    last(Question::Get, "a response behind a length", 200, || {
        with_length("HTTP/1.1 200 OK") + "{poison}"
    }),
    last(Question::Get, "a line end behind a length", 200, || {
        with_length("HTTP/1.1 200 OK") + "\r\n"
    }),
    last(Question::Get, "a response behind chunks", 200, || {
        with_chunks("11\r\nhello from behind\r\n0\r\n\r\n{poison}")
    }),
    last(Question::Get, "an interim response behind", 200, || {
        with_length("HTTP/1.1 200 OK") + "HTTP/1.1 103 Early Hints\r\n\r\n"
    }),
    last(Question::PartOfPost, "an answer too early", 200, || {
        with_length("HTTP/1.1 200 OK")
    }),
    last(Question::PartOfPost, "two answers too early", 200, || {
        with_length("HTTP/1.1 200 OK") + "{poison}"
    }),
    last(Question::PartOfPost, "a refusal too early", 413, || {
        with_length("HTTP/1.1 413 Content Too Large\r\nConnection: close")
    }),
];
