//! The chunked coding, decoded in place however its bytes are cut.

use meridian_dataplane::http::chunked::{
    CHUNK_HEADER_BYTES_MAX, ChunkError, Decoder, LAST_CHUNK, write_chunk_header,
};
use meridian_dataplane::http::reject::Reject;
use proptest::prelude::*;

struct Body {
    payload: Vec<u8>,
    consumed: usize,
    done: bool,
    trailers: Vec<u8>,
}

/// Decodes `input`, handed over up to each of `cuts`.
fn decode(input: &[u8], cuts: &[usize]) -> Result<Body, ChunkError> {
    let mut decoder = Decoder::new();
    let mut payload = Vec::new();
    let mut consumed = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        let mut piece = input[consumed..cut.max(consumed)].to_vec();
        let decoded = decoder.decode(&mut piece)?;
        payload.extend_from_slice(&piece[decoded.data.clone()]);
        consumed += decoded.consumed;
        assert_eq!(decoded.done, decoder.is_done());
        if decoded.done {
            break;
        }
        assert_eq!(decoded.consumed, piece.len());
    }
    Ok(Body {
        payload,
        consumed,
        done: decoder.is_done(),
        trailers: decoder.trailers().to_vec(),
    })
}

/// Every way to cut it in two, and byte by byte.
fn all_cuts(length: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..=length)
        .map(|cut| vec![cut])
        .chain([(0..length).collect()])
}

#[track_caller]
fn assert_decodes(input: &str, rest: &str, payload: &str, trailers: &str) {
    let bytes = [input.as_bytes(), rest.as_bytes()].concat();
    for cuts in all_cuts(bytes.len()) {
        let body =
            decode(&bytes, &cuts).unwrap_or_else(|error| panic!("{error:?} cut at {cuts:?}"));
        assert!(body.done, "{cuts:?}");
        assert_eq!(body.payload, payload.as_bytes(), "{cuts:?}");
        assert_eq!(body.consumed, input.len(), "{cuts:?}");
        assert_eq!(body.trailers, trailers.as_bytes(), "{cuts:?}");
    }
    for cut in 0..input.len() {
        assert!(!decode(&bytes[..cut], &[]).unwrap().done, "done at {cut}");
    }
}

#[track_caller]
fn assert_refused(input: &str, error: ChunkError) {
    for cuts in all_cuts(input.len()) {
        assert_eq!(
            decode(input.as_bytes(), &cuts).err(),
            Some(error),
            "{input:?} cut at {cuts:?}"
        );
    }
}

#[test]
fn payload_is_moved_together_and_the_next_message_left_alone() {
    let mut buffer = *b"1\r\na\r\n2\r\nbc\r\n03\r\ndef\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
    let whole = buffer;
    let mut decoder = Decoder::new();
    let decoded = decoder.decode(&mut buffer).unwrap();
    assert!(decoded.done);
    assert_eq!(&buffer[decoded.data], b"abcdef");
    assert_eq!(&buffer[decoded.consumed..], b"GET / HTTP/1.1\r\n");
    assert_eq!(buffer[decoded.consumed..], whole[decoded.consumed..]);
    // A body that ended takes nothing more.
    let again = decoder.decode(&mut buffer).unwrap();
    assert_eq!((again.data, again.consumed, again.done), (0..0, 0, true));
}

#[test]
fn bodies_at_every_cut() {
    assert_decodes("0\r\n\r\n", "5\r\n", "", "");
    assert_decodes("5\r\nhello\r\n0\r\n\r\n", "", "hello", "");
    assert_decodes(
        "a\r\n0123456789\r\nB\r\nhello world\r\n000\r\n\r\n",
        "x",
        "0123456789hello world",
        "",
    );
    assert_decodes("0000000000000002\r\n\r\n\r\n0\r\n\r\n", "\r\n", "\r\n", "");
}

#[test]
fn extensions_are_read_and_dropped() {
    for extension in [
        ";a",
        ";a=b",
        ";a;b",
        " ;a",
        "\t;\ta\t=\tb",
        ";a=\"\"",
        ";a=\"x y\\\"\\\\;\u{e9}\" ;b",
        " ; a = b ; c",
        ";a=\"\t\"",
    ] {
        assert_decodes(
            &format!("1{extension}\r\nx\r\n0{extension}\r\n\r\n"),
            "y",
            "x",
            "",
        );
    }
}

#[test]
fn what_is_no_size() {
    for size in [
        "", "-1", "+1", " 1", "\t1", "0x1", "g", "1g", "1,", "1.0", "\r", ";a", "1\n", "1\0",
    ] {
        assert_refused(&format!("{size}\r\nx\r\n0\r\n\r\n"), ChunkError::Size);
    }
    assert_refused("1\r\nx\r\n\r\n\r\n", ChunkError::Size);
    assert_refused("00000000000000001\r\nx\r\n0\r\n\r\n", ChunkError::SizeLong);
    assert_refused("10000000000000000\r\nx\r\n0\r\n\r\n", ChunkError::SizeLong);
    assert_refused("1\rx\r\n0\r\n\r\n", ChunkError::LineEnd);
    // The largest that fits is a size; it just never ends.
    let body = decode(b"ffffffffffffffff\r\nabc", &[]).unwrap();
    assert_eq!((body.payload.as_slice(), body.done), (&b"abc"[..], false));
}

#[test]
fn what_is_no_extension() {
    for extension in [
        " ",
        "\t",
        ";",
        ";;a",
        ";a=",
        ";a=;b",
        ";=b",
        ";a b",
        ";a=b c",
        ";a ",
        ";a=b ",
        ";a=\"b\"c",
        ";a=\"b\" ",
        ";a=\"b",
        ";a=b\"c\"",
        ";a\0",
        ";a=\"\0\"",
        ";a=\"\\\0\"",
        ";a=\"\u{7f}\"",
        " a",
        ";\u{e9}",
        ";a\n",
        ";a=\"\n\"",
        ";a,b",
        ";a=(b)",
    ] {
        assert_refused(
            &format!("1{extension}\r\nx\r\n0\r\n\r\n"),
            ChunkError::Extension,
        );
    }
}

#[test]
fn extensions_are_limited_in_all() {
    let with = |chunks: usize, bytes: usize| {
        let chunk = format!("1;{}\r\nx\r\n", "a".repeat(bytes - 1));
        chunk.repeat(chunks) + "0\r\n\r\n"
    };
    assert!(decode(with(1, 4096).as_bytes(), &[]).unwrap().done);
    assert!(decode(with(16, 256).as_bytes(), &[]).unwrap().done);
    for input in [with(1, 4097), with(17, 256), with(4097, 2), with(1, 9000)] {
        let error = decode(input.as_bytes(), &[]).err().unwrap();
        assert_eq!(error, ChunkError::ExtensionsLong);
        assert_eq!(error.reject().status(), 400);
    }
}

#[test]
fn a_chunk_is_followed_by_cr_lf() {
    for input in [
        "1\r\nxy\r\n0\r\n\r\n",
        "1\r\nxy\n0\r\n\r\n",
        "1\r\nx\n0\r\n\r\n",
        "1\r\nx\r0\r\n\r\n",
        "1\r\nx0\r\n\r\n",
    ] {
        assert_refused(input, ChunkError::LineEnd);
    }
}

#[test]
fn trailers_are_passed_on_but_for_those_that_steer() {
    assert_decodes(
        "0\r\nX-Sum: 1\r\nA:b \r\n\r\n",
        "z",
        "",
        "X-Sum: 1\r\nA: b\r\n",
    );
    for name in [
        "Transfer-Encoding",
        "Content-Length",
        "Host",
        "Connection",
        "Via",
        "Forwarded",
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-Real-IP",
        "Trailer",
        "TE",
        "Set-Cookie",
        "Content_Length",
        "Upgrade",
    ] {
        assert_decodes(
            &format!("0\r\n{name}: 1\r\nA: b\r\n\r\n"),
            "",
            "",
            "A: b\r\n",
        );
        assert_decodes(&format!("0\r\n{name}: 1\r\n\r\n"), "", "", "");
    }
}

#[test]
fn trailers_are_as_strict_as_fields() {
    for line in [
        "A : b",
        " A: b",
        "A: b\r\n c",
        ": b",
        "A",
        "A: b\0",
        "\u{e9}: b",
    ] {
        assert_refused(&format!("0\r\n{line}\r\n\r\n"), ChunkError::Trailer);
    }
    for line in ["A: b\nC: d", "A: b\n", "A: b\rc", "\n", "\r\r"] {
        assert_refused(&format!("0\r\n{line}\r\n\r\n"), ChunkError::LineEnd);
    }
}

#[test]
fn trailers_are_limited() {
    let of_bytes = |bytes: usize| format!("0\r\nA: {}\r\n\r\n", "v".repeat(bytes - 7));
    assert!(decode(of_bytes(8192).as_bytes(), &[]).unwrap().done);
    let error = decode(of_bytes(8193).as_bytes(), &[]).err().unwrap();
    assert_eq!(error, ChunkError::TrailersLong);
    assert_eq!(error.reject(), Reject::TrailersLong);
    assert_eq!(error.reject().status(), 431);
    // Without an end, too.
    let endless = format!("0\r\nA: {}", "v".repeat(9000));
    assert_eq!(
        decode(endless.as_bytes(), &[]).err(),
        Some(ChunkError::TrailersLong)
    );
    let many = |count: usize| format!("0\r\n{}\r\n", "a:b\r\n".repeat(count));
    assert!(decode(many(100).as_bytes(), &[]).unwrap().done);
    assert_eq!(
        decode(many(101).as_bytes(), &[]).err(),
        Some(ChunkError::TrailersLong)
    );
}

#[test]
fn an_error_stays() {
    let mut decoder = Decoder::new();
    assert_eq!(decoder.decode(&mut b"x".to_vec()), Err(ChunkError::Size));
    assert_eq!(
        decoder.decode(&mut b"0\r\n\r\n".to_vec()),
        Err(ChunkError::Size)
    );
    assert_eq!(decoder.decode(&mut []), Err(ChunkError::Size));
    assert!(!decoder.is_done());
}

#[test]
fn a_chunk_header_is_its_length_in_hexadecimal() {
    for (length, text) in [
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (0xabc_def, "abcdef\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        let mut room = [0; CHUNK_HEADER_BYTES_MAX];
        assert_eq!(write_chunk_header(length, &mut room), text.as_bytes());
    }
}

proptest! {
    /// Any payload in any chunks, cut anywhere, comes out whole.
    #[test]
    fn any_chunking_at_any_cuts(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..12),
        style in prop::collection::vec((0_usize..4, any::<bool>()), 12),
        next in prop::collection::vec(any::<u8>(), 0..20),
        raw_cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let mut input = Vec::new();
        for (chunk, &(zeros, upper)) in chunks.iter().zip(&style) {
            let size = match upper {
                true => format!("{}{:X}", "0".repeat(zeros), chunk.len()),
                false => format!("{}{:x};a={zeros}", "0".repeat(zeros), chunk.len()),
            };
            input.extend_from_slice(size.as_bytes());
            input.extend_from_slice(b"\r\n");
            input.extend_from_slice(chunk);
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(LAST_CHUNK);
        let body_bytes = input.len();
        input.extend_from_slice(&next);
        let mut cuts: Vec<usize> = raw_cuts.iter().map(|cut| cut.index(input.len())).collect();
        cuts.sort_unstable();
        let body = decode(&input, &cuts).expect("a valid body");
        prop_assert!(body.done);
        prop_assert_eq!(body.payload, chunks.concat());
        prop_assert_eq!(body.consumed, body_bytes);
    }
}
