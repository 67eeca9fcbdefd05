//! What must hold for any bytes that are said to be a chunked body.

use meridian_dataplane::http::chunked::{
    CHUNK_END, CHUNK_HEADER_BYTES_MAX, ChunkError, Decoder, LAST_CHUNK_BEFORE_TRAILERS,
    write_chunk_header,
};

/// Panics when something does not hold.
pub fn check(input: &[u8]) {
    let whole = decode_cut(input, |_| usize::MAX);
    // The cuts are taken from the input, so that the fuzzer finds those that matter.
    let by_input = |round: usize| 1 + usize::from(input[round % input.len()] % 7);
    for cut in [decode_cut(input, |_| 1), decode_cut(input, by_input)] {
        assert_same(&whole, &cut);
    }
    match (reference(input), &whole) {
        (Reference::Done { payload, bytes }, Ok(body)) if body.done => {
            assert_eq!(body.payload, payload);
            assert_eq!(body.consumed, bytes);
        }
        (Reference::Done { .. }, Err(ChunkError::TrailersLong | ChunkError::Trailer)) => {}
        (Reference::Done { .. }, Err(ChunkError::ExtensionsLong)) if input.len() > 4096 => {}
        (Reference::Done { .. }, other) => panic!("a whole body was {other:?}"),
        (_, Ok(body)) if body.done => panic!("no whole body was {body:?}"),
        (Reference::Bad, Ok(body)) => panic!("a bad body was {body:?}"),
        (Reference::Bad | Reference::Partial, _) => {}
    }
    if let Ok(body) = &whole
        && body.done
    {
        check_round_trip(body);
    }
}

/// All that a decoder found in one body.
#[derive(Debug, PartialEq, Eq)]
struct Body {
    payload: Vec<u8>,
    consumed: usize,
    done: bool,
    trailers: Vec<u8>,
}

/// Decodes `input` in pieces of which `piece_bytes` gives the length by their number.
fn decode_cut(input: &[u8], piece_bytes: impl Fn(usize) -> usize) -> Result<Body, ChunkError> {
    let mut decoder = Decoder::new();
    let mut payload = Vec::new();
    let mut consumed = 0;
    for round in 0.. {
        if consumed == input.len() || decoder.is_done() {
            break;
        }
        let rest = &input[consumed..];
        let mut piece = rest[..piece_bytes(round).min(rest.len())].to_vec();
        let decoded = match decoder.decode(&mut piece) {
            Ok(decoded) => decoded,
            Err(error) => {
                assert_eq!(decoder.decode(&mut piece), Err(error), "an error stays");
                return Err(error);
            }
        };
        assert!(decoded.data.end <= decoded.consumed);
        assert!(decoded.done || decoded.consumed == piece.len());
        assert_eq!(
            piece[decoded.consumed..],
            rest[decoded.consumed..piece.len()],
            "what follows the body was touched"
        );
        payload.extend_from_slice(&piece[decoded.data]);
        consumed += decoded.consumed;
    }
    Ok(Body {
        payload,
        consumed,
        done: decoder.is_done(),
        trailers: decoder.trailers().to_vec(),
    })
}

fn assert_same(whole: &Result<Body, ChunkError>, cut: &Result<Body, ChunkError>) {
    assert_eq!(whole, cut, "a cut made a difference");
}

enum Reference {
    Partial,
    Bad,
    Done { payload: Vec<u8>, bytes: usize },
}

/// The plainest decoder of a whole body: it knows nothing of cuts and of limits.
fn reference(input: &[u8]) -> Reference {
    let mut payload = Vec::new();
    let mut rest = input;
    loop {
        let Some(line_bytes) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return Reference::Partial;
        };
        let line = &rest[..line_bytes];
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let text = std::str::from_utf8(&line[..digits]).expect("digits");
        if digits == 0 || digits > 16 || !is_extension(&line[digits..]) {
            return Reference::Bad;
        }
        let size = u64::from_str_radix(text, 16).expect("sixteen digits");
        rest = &rest[line_bytes + 2..];
        if size == 0 {
            break;
        }
        let Ok(size) = usize::try_from(size) else {
            return Reference::Partial;
        };
        let Some(chunk) = rest.get(..size) else {
            return Reference::Partial;
        };
        payload.extend_from_slice(chunk);
        rest = match &rest[size..] {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Reference::Partial,
            _ => return Reference::Bad,
        };
    }
    let trailer_bytes = if rest.starts_with(b"\r\n") {
        2
    } else {
        match rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            Some(at) => at + 4,
            None => return Reference::Partial,
        }
    };
    let is_bare = |at: usize, byte: u8| match byte {
        b'\r' => rest[at + 1] != b'\n',
        b'\n' => at == 0 || rest[at - 1] != b'\r',
        _ => false,
    };
    if rest[..trailer_bytes]
        .iter()
        .enumerate()
        .any(|(at, &byte)| is_bare(at, byte))
    {
        return Reference::Bad;
    }
    let bytes = input.len() - rest.len() + trailer_bytes;
    Reference::Done { payload, bytes }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`, maybe none.
fn is_extension(mut text: &[u8]) -> bool {
    const TOKEN: &[u8] = b"!#$%&'*+-.^_`|~";
    let token = |text: &[u8]| {
        text.iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || TOKEN.contains(byte))
            .count()
    };
    let skip = |text: &mut &[u8]| {
        let spaces = text
            .iter()
            .take_while(|&&byte| byte == b' ' || byte == b'\t')
            .count();
        *text = &text[spaces..];
        spaces > 0
    };
    loop {
        let spaced = skip(&mut text);
        match text {
            [] => return !spaced,
            [b';', rest @ ..] => text = rest,
            _ => return false,
        }
        skip(&mut text);
        let name_bytes = token(text);
        if name_bytes == 0 {
            return false;
        }
        text = &text[name_bytes..];
        let before = text;
        skip(&mut text);
        let [b'=', rest @ ..] = text else {
            text = before;
            continue;
        };
        text = rest;
        skip(&mut text);
        if let [b'"', rest @ ..] = text {
            text = rest;
            loop {
                match text {
                    [b'"', rest @ ..] => {
                        text = rest;
                        break;
                    }
                    [b'\\', b'\t' | b' '..=b'~' | 0x80.., rest @ ..] => text = rest,
                    [b'\\', ..] => return false,
                    [b'\t' | b' '..=b'~' | 0x80.., rest @ ..] => text = rest,
                    _ => return false,
                }
            }
            continue;
        }
        let value_bytes = token(text);
        if value_bytes == 0 {
            return false;
        }
        text = &text[value_bytes..];
    }
}

/// What we would send on is read as the same body.
fn check_round_trip(body: &Body) {
    let mut sent = Vec::new();
    for chunk in body.payload.chunks(5) {
        let mut room = [0; CHUNK_HEADER_BYTES_MAX];
        sent.extend_from_slice(write_chunk_header(chunk.len(), &mut room));
        sent.extend_from_slice(chunk);
        sent.extend_from_slice(CHUNK_END);
    }
    sent.extend_from_slice(LAST_CHUNK_BEFORE_TRAILERS);
    sent.extend_from_slice(&body.trailers);
    sent.extend_from_slice(CHUNK_END);
    let again = match decode_cut(&sent, |_| usize::MAX) {
        Ok(again) => again,
        // A colon gets a space behind it, so what was near the limit may pass it.
        Err(ChunkError::TrailersLong) if body.trailers.len() > 7 * 1024 => return,
        Err(error) => panic!("{error:?} of what we send on"),
    };
    assert!(again.done);
    assert_eq!(again.consumed, sent.len());
    assert_eq!(again.payload, body.payload);
    assert_eq!(again.trailers, body.trailers);
}
