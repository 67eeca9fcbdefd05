//! Data of static records: from presentation form (RFC 1035 §5.1) to wire form.

use domain::base::iana::Class;
use domain::base::name::{Name, RelativeName};
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};

use super::WireName;
use crate::desired::RecordType;
use crate::name::Malformed;

/// Takes `data` for the data of a record of the type `kind`, in which names that do not end with
/// a dot are relative to `origin`.
///
/// # Errors
///
/// What is wrong with it, with an example of how it is written.
pub fn record_data(
    kind: RecordType,
    data: &str,
    origin: &WireName,
) -> Result<Box<[u8]>, Malformed> {
    let refuse = |why: &str| Malformed {
        what: format!("{data:?} is not the data of {}: {why}", mnemonic(kind)),
        hint: format!("write it like {}", example(kind)),
    };
    let line = one_line(data, origin).map_err(refuse)?;
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let name = name_place(kind).and_then(|place| words.nth(place));
    if name.is_some_and(has_empty_label) {
        return Err(refuse("a name has an empty label"));
    }
    let origin = Name::from_octets(origin.octets().to_vec().into())
        .map_err(|error| refuse(&error.to_string()))?;
    let mut file = Zonefile::from(format!("@ 0 IN {} {line}\n", mnemonic(kind)).as_str());
    file.set_origin(origin);
    file.set_default_class(Class::IN);
    let entry = file.next_entry().map_err(|error| refuse(&reason(&error)))?;
    let Some(Entry::Record(record)) = entry else {
        return Err(refuse("it is none"));
    };
    match file.next_entry() {
        Ok(None) => {}
        _ => return Err(refuse("something follows it")),
    }
    let mut octets = Vec::new();
    record
        .data()
        .compose_rdata(&mut octets)
        .map_err(|_| refuse("it is too long"))?;
    if octets.len() > usize::from(u16::MAX) {
        return Err(refuse("it is longer than 65535 octets"));
    }
    Ok(octets.into())
}

/// The data as the parser wants it, which does not know `@` here and panics on what is not one
/// whole line.
fn one_line(data: &str, origin: &WireName) -> Result<String, &'static str> {
    let mut line = String::with_capacity(data.len());
    let mut is_quoted = false;
    let mut rest = data.chars().peekable();
    while let Some(letter) = rest.next() {
        let begins = line.is_empty() || line.ends_with([' ', '\t']);
        match letter {
            // A zone file's line ends there, and what follows would be records of their own.
            '\n' | '\r' => return Err("it is more than one line"),
            '\\' => {
                line.push(letter);
                line.push(rest.next().ok_or("it ends with a backslash")?);
                continue;
            }
            '"' => is_quoted = !is_quoted,
            // What follows it is a comment, and that is hardly what is meant.
            ';' if !is_quoted => return Err("a semicolon stands outside quotes"),
            '(' | ')' if !is_quoted => return Err("a parenthesis stands outside quotes"),
            '@' if !is_quoted && begins && matches!(rest.peek(), None | Some(' ' | '\t')) => {
                line.push_str(&origin.to_string());
                continue;
            }
            _ => {}
        }
        line.push(letter);
    }
    match is_quoted {
        true => Err("a quote is not closed"),
        false => Ok(line),
    }
}

/// Which word of the data is a name.
fn name_place(kind: RecordType) -> Option<usize> {
    match kind {
        RecordType::Cname | RecordType::Ns => Some(0),
        RecordType::Https | RecordType::Mx => Some(1),
        RecordType::Srv => Some(3),
        RecordType::A | RecordType::Aaaa | RecordType::Caa | RecordType::Txt => None,
    }
}

/// Whether a word would be a name with an empty label within, which the parser lets pass.
fn has_empty_label(word: &str) -> bool {
    let mut was_dot = true;
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        if letter == '.' && was_dot && word != "." {
            return true;
        }
        was_dot = letter == '.';
        if letter == '\\' {
            letters.next();
        }
    }
    false
}

/// Takes `name` for the name of a record, relative to `origin`; `@` is that itself.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn record_name(name: &str, origin: &WireName) -> Result<WireName, Malformed> {
    if name == "@" {
        return Ok(origin.clone());
    }
    let refuse = |why: &str| Malformed {
        what: format!("{name:?} is not the name of a record: {why}"),
        hint: String::from("write it relative to the zone, as in \"www\", or \"@\" for the apex"),
    };
    let relative: RelativeName<Vec<u8>> = (name.parse())
        .map_err(|error: domain::base::name::RelativeFromStrError| refuse(&error.to_string()))?;
    let octets = [relative.as_slice(), origin.octets()].concat();
    WireName::new(&octets).ok_or_else(|| refuse("with the zone it is longer than 255 octets"))
}

/// What the parser says without the place, which is one line here.
fn reason(error: &domain::zonefile::inplace::Error) -> String {
    let text = error.to_string();
    match text.splitn(3, ':').nth(2) {
        Some(what) => what.trim().to_owned(),
        None => text,
    }
}

/// The name of a type in zone files.
pub(super) fn mnemonic(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "A",
        RecordType::Aaaa => "AAAA",
        RecordType::Caa => "CAA",
        RecordType::Cname => "CNAME",
        RecordType::Https => "HTTPS",
        RecordType::Mx => "MX",
        RecordType::Ns => "NS",
        RecordType::Srv => "SRV",
        RecordType::Txt => "TXT",
    }
}

fn example(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "\"192.0.2.1\"",
        RecordType::Aaaa => "\"2001:db8::1\"",
        RecordType::Caa => "'0 issue \"letsencrypt.org\"'",
        RecordType::Cname => "\"www.example.com.\"",
        RecordType::Https => "'1 . alpn=\"h2\"'",
        RecordType::Mx => "\"10 mail.example.com.\"",
        RecordType::Ns => "\"ns1.example.com.\"",
        RecordType::Srv => "\"0 5 5060 sip.example.com.\"",
        RecordType::Txt => "'\"hello\"'",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::DomainName;
    use proptest::prelude::*;

    const ALL: [RecordType; 9] = [
        RecordType::A,
        RecordType::Aaaa,
        RecordType::Caa,
        RecordType::Cname,
        RecordType::Https,
        RecordType::Mx,
        RecordType::Ns,
        RecordType::Srv,
        RecordType::Txt,
    ];

    fn origin() -> WireName {
        WireName::from(&DomainName::parse("example.net").expect("a name"))
    }

    fn read(kind: RecordType, data: &str) -> Result<Box<[u8]>, Malformed> {
        record_data(kind, data, &origin())
    }

    fn octets(kind: RecordType, data: &str) -> Vec<u8> {
        read(kind, data)
            .unwrap_or_else(|error| panic!("{error}"))
            .into()
    }

    #[test]
    fn data_of_every_type_is_read() {
        assert_eq!(octets(RecordType::A, "192.0.2.1"), [192, 0, 2, 1]);
        assert_eq!(
            octets(RecordType::Aaaa, "2001:db8::1")[..4],
            [0x20, 1, 0xd, 0xb8]
        );
        assert_eq!(
            octets(RecordType::Cname, "www"),
            b"\x03www\x07example\x03net\0"
        );
        assert_eq!(
            octets(RecordType::Ns, "ns.Example.COM."),
            b"\x02ns\x07Example\x03COM\0"
        );
        assert_eq!(
            octets(RecordType::Mx, "10 @"),
            b"\0\x0a\x07example\x03net\0"
        );
        assert_eq!(octets(RecordType::Ns, r"a\..b."), b"\x02a.\x01b\0");
        assert_eq!(octets(RecordType::Srv, "1 2 3 ."), [0, 1, 0, 2, 0, 3, 0]);
        assert_eq!(
            octets(RecordType::Txt, r#""a b" c "\100""#),
            b"\x03a b\x01c\x01d"
        );
        assert_eq!(octets(RecordType::Txt, r#""a;b""#), b"\x03a;b");
        assert_eq!(
            octets(RecordType::Caa, r#"0 issue "ca.example""#),
            b"\0\x05issueca.example"
        );
        let alpn = [&b"\0\x01\0"[..], b"\0\x01\0\x03\x02h2"].concat();
        assert_eq!(octets(RecordType::Https, r#"1 . alpn="h2""#), alpn);
        // What is no name may have dots as it likes.
        let path = [&b"\0\x01\0"[..], b"\xfd\xe8\0\x07/../dns"].concat();
        assert_eq!(octets(RecordType::Https, r#"1 . key65000="/../dns""#), path);
    }

    #[test]
    fn what_is_no_data_is_refused_with_an_example() {
        for (kind, data) in [
            (RecordType::A, "192.0.2"),
            (RecordType::A, "192.0.2.1 192.0.2.2"),
            (RecordType::A, ""),
            (RecordType::Aaaa, "192.0.2.1"),
            (RecordType::Mx, "mail"),
            (RecordType::Srv, "1 2 3"),
            (RecordType::Txt, "\"a"),
            (RecordType::Txt, ""),
            (RecordType::Txt, "a\nb 0 IN A 192.0.2.1"),
            (RecordType::Txt, "( a"),
            (RecordType::Txt, "v=DMARC1; p=none"),
            (RecordType::Txt, "a\\"),
            (RecordType::Caa, "issue ca"),
            (RecordType::Https, "1"),
            (RecordType::Cname, "a..b"),
            (RecordType::Mx, "10 .a"),
            (RecordType::Ns, "a.."),
            (RecordType::Srv, "1 2  3 a..b"),
            (RecordType::Https, "1 a..b alpn=h2"),
        ] {
            let refused = read(kind, data).expect_err(data);
            assert!(refused.what.contains(mnemonic(kind)), "{refused}");
            assert!(refused.hint.contains(example(kind)), "{refused}");
        }
    }

    #[test]
    fn every_example_is_right() {
        for kind in ALL {
            // Less the quotes of the manifest.
            let written = example(kind);
            let data = &written[1..written.len() - 1];
            read(kind, data).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn names_are_relative_to_the_zone() {
        let name = |text| record_name(text, &origin()).map(|it| it.octets().to_vec());
        assert_eq!(name("@"), Ok(b"\x07example\x03net\0".to_vec()));
        assert_eq!(name("a.B"), Ok(b"\x01a\x01b\x07example\x03net\0".to_vec()));
        assert_eq!(name("*"), Ok(b"\x01*\x07example\x03net\0".to_vec()));
        assert_eq!(name(r"a\.b"), Ok(b"\x03a.b\x07example\x03net\0".to_vec()));
        assert!(name(&"a.".repeat(126)[..251]).is_err());
    }

    proptest! {
        /// Whatever is written, it is read or refused.
        #[test]
        fn nothing_makes_the_parser_panic(data in r#"[ -~\t()";\\]{0,60}"#, kind in 0..ALL.len()) {
            let _ = read(ALL[kind], &data);
            let _ = record_name(&data, &origin());
        }
    }
}
