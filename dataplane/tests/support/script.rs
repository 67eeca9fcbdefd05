//! The text form of a conversation.
//!
//! ```text
//! clause: RFC 9112 §6.3
//! about: what is to be seen
//! timeouts: { head = "200ms" }          the rest of the head may be left out
//! site_timeouts: { write = "1s" }
//! hostnames: shop.test *.wild.test
//! backends: listening refused api/listening
//! site: request_headers = { remove = ["x-debug"] }
//! host: deny_networks = []               a line of [host]; so does `listen`
//!
//! client sends
//! | GET / HTTP/1.1                      a line with its CRLF
//! > bytes without one                   \r \n \t \0 \xHH \\ \{ stand for bytes
//! backend receives
//! …
//! counters
//! | requests 1
//! ```
//!
//! A backend may be of another pool than the default; each `site` is a line of `[[site]]`, each `backend1`,
//! `backend2`, … a line of that backend.
//!
//! Peers are `client`, `client2`, … and `backend`, `backend2`, …; what they do is one of
//! [`Act`]. In data `{x*20}` is twenty times x, `{port}` the listener's, `{proto}` what clients speak there, `{date}` any date in the
//! form of RFC 9110 §5.6.7, `{id}` any id of a request, `{forwarding HOST}` the fields that the proxy adds to a request, and
//! `{backend}` the first backend's address; `{answer STATUS}`, `{keeping STATUS}` and
//! `{closing STATUS}` are answers of the proxy itself, the second with `Connection: keep-alive`, the
//! third with `Connection: close`. Counters that are not named must not have moved;
//! `bytes_in` and `bytes_out` of a routed conversation are all bytes that its clients sent and
//! received, when they are not named.

use std::collections::BTreeMap;

/// How a backend is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reachable {
    Listening,
    Refused,
}

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Client(usize),
    Backend(usize),
}

/// What somebody does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Sends(Vec<u8>),
    /// Exactly these bytes, and in this order.
    Receives(Vec<u8>),
    /// Ends its side and goes on reading.
    Ends,
    Closes,
    Resets,
    SeesEnd,
    SeesReset,
    /// Nothing more comes for 100 ms, and no new connection to a backend either.
    SeesNothing,
    /// Takes a further connection.
    Accepts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Peer(Who, Act),
    WaitMs(u64),
}

/// A whole conversation.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) about: String,
    pub(crate) timeouts: String,
    pub(crate) site_timeouts: String,
    pub(crate) hostnames: Vec<String>,
    /// With their pools.
    pub(crate) backends: Vec<(String, Reachable)>,
    /// Further lines of each of them.
    pub(crate) backend_keys: Vec<String>,
    /// Further lines of `[[site]]`.
    pub(crate) site_keys: String,
    pub(crate) host: String,
    pub(crate) listen: String,
    /// With the line that it stands on.
    pub(crate) steps: Vec<(usize, Step)>,
    pub(crate) counters: BTreeMap<String, u64>,
}

impl Script {
    pub(crate) fn parse(text: &str) -> Result<Script, String> {
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        let mut head = BTreeMap::new();
        let mut site_keys = String::new();
        let mut backend_keys: Vec<String> = Vec::new();
        for (at, line) in lines.by_ref() {
            if line.is_empty() {
                break;
            }
            let (key, value) = line
                .split_once(": ")
                .ok_or_else(|| format!("line {at}: not `key: value`"))?;
            if key == "site" {
                site_keys.push_str(value);
                site_keys.push('\n');
            } else if let Some(Ok(number @ 1..)) =
                key.strip_prefix("backend").map(str::parse::<usize>)
            {
                backend_keys.resize(number.max(backend_keys.len()), String::new());
                backend_keys[number - 1].push_str(&format!("{value}\n"));
            } else {
                head.insert(key.to_owned(), value.trim().to_owned());
            }
        }
        let mut take = |key: &str| head.remove(key);
        take("clause").ok_or("no clause")?;
        let about = take("about").ok_or("no about")?;
        let timeouts = take("timeouts").unwrap_or_else(|| "{}".to_owned());
        let site_timeouts = take("site_timeouts").unwrap_or_else(|| "{}".to_owned());
        let hostnames = take("hostnames").unwrap_or_else(|| "shop.test".to_owned());
        let backends = take("backends").unwrap_or_else(|| "listening".to_owned());
        let mut section = |key: &str| take(key).unwrap_or_default();
        let (host, listen) = (section("host"), section("listen"));
        if let Some(key) = head.keys().next() {
            return Err(format!("unknown key {key}"));
        }
        let mut blocks: Vec<(usize, String, Vec<&str>)> = Vec::new();
        for (at, line) in lines {
            match (line.chars().next(), blocks.last_mut()) {
                (None | Some('#'), _) => {}
                (Some('|' | '>'), Some((_, _, data))) => data.push(line),
                (Some('|' | '>'), None) => return Err(format!("line {at}: data of nobody")),
                (Some(_), _) => blocks.push((at, line.trim().to_owned(), Vec::new())),
            }
        }
        let mut steps = Vec::new();
        let mut counters = None;
        for (at, title, data) in blocks {
            let with_line = |what: String| format!("line {at}: {what}");
            if title == "counters" {
                counters = Some(parse_counters(&data).map_err(with_line)?);
            } else {
                steps.push((at, parse_step(&title, &data).map_err(with_line)?));
            }
        }
        Ok(Script {
            about,
            timeouts,
            site_timeouts,
            hostnames: hostnames.split_whitespace().map(str::to_owned).collect(),
            backends: parse_backends(&backends)?,
            backend_keys,
            site_keys,
            host,
            listen,
            steps,
            counters: counters.ok_or("no counters")?,
        })
    }
}

fn parse_backends(text: &str) -> Result<Vec<(String, Reachable)>, String> {
    let words = text.split_whitespace().filter(|word| *word != "none");
    words
        .map(|word| {
            let (pool, reachable) = word.split_once('/').unwrap_or(("default", word));
            let reachable = match reachable {
                "listening" => Reachable::Listening,
                "refused" => Reachable::Refused,
                other => return Err(format!("backends: {other}?")),
            };
            Ok((pool.to_owned(), reachable))
        })
        .collect()
}

fn parse_counters(data: &[&str]) -> Result<BTreeMap<String, u64>, String> {
    data.iter()
        .map(|line| {
            let (name, count) = line[1..]
                .trim()
                .split_once(' ')
                .ok_or_else(|| format!("not `name count`: {line}"))?;
            let count = count.trim().parse().map_err(|_| format!("{line}?"))?;
            Ok((name.to_owned(), count))
        })
        .collect()
}

fn parse_step(title: &str, data: &[&str]) -> Result<Step, String> {
    let (who, act) = title
        .split_once(' ')
        .ok_or_else(|| format!("{title}: who does what?"))?;
    if who == "wait" {
        let ms = act.strip_suffix("ms").and_then(|ms| ms.parse().ok());
        return ms.map(Step::WaitMs).ok_or_else(|| format!("{title}?"));
    }
    let number = |rest: &str| match rest {
        "" => Some(0),
        digits => digits.parse::<usize>().ok()?.checked_sub(1),
    };
    let who = if let Some(index) = who.strip_prefix("client").and_then(number) {
        Who::Client(index)
    } else if let Some(index) = who.strip_prefix("backend").and_then(number) {
        Who::Backend(index)
    } else {
        return Err(format!("{who}?"));
    };
    let bytes = parse_data(data)?;
    let act = match act {
        "sends" => Act::Sends(bytes),
        "receives" => Act::Receives(bytes),
        "ends" => Act::Ends,
        "closes" => Act::Closes,
        "resets" => Act::Resets,
        "sees end" => Act::SeesEnd,
        "sees reset" => Act::SeesReset,
        "sees nothing" => Act::SeesNothing,
        "accepts" => Act::Accepts,
        other => return Err(format!("{other}?")),
    };
    Ok(Step::Peer(who, act))
}

fn parse_data(lines: &[&str]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for line in lines {
        let rest = &line[1..];
        let text = rest.strip_prefix(' ').unwrap_or(rest);
        unescape(text, &mut bytes)?;
        if line.starts_with('|') {
            bytes.extend_from_slice(b"\r\n");
        }
    }
    Ok(bytes)
}

/// Backslash escapes, and repetitions; other words in braces stay for whoever plays the script.
fn unescape(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '\\' => {
                let escape = rest.chars().next().ok_or("a lone backslash")?;
                rest = &rest[escape.len_utf8()..];
                out.push(match escape {
                    'r' => b'\r',
                    'n' => b'\n',
                    't' => b'\t',
                    '0' => 0,
                    '\\' => b'\\',
                    'x' => {
                        let digits = rest.get(..2).ok_or("\\x without digits")?;
                        rest = &rest[2..];
                        u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?
                    }
                    other => return Err(format!("\\{other}?")),
                });
            }
            '{' => {
                let (word, behind) = rest.split_once('}').ok_or("an open brace")?;
                rest = behind;
                match word.rsplit_once('*') {
                    Some((unit, count)) => {
                        let count = count.parse().map_err(|_| format!("{{{word}}}?"))?;
                        let mut once = Vec::new();
                        unescape(unit, &mut once)?;
                        out.extend(once.repeat(count));
                    }
                    None => out.extend_from_slice(format!("{{{word}}}").as_bytes()),
                }
            }
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
    }
    Ok(())
}
