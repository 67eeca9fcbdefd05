//! Has the running `up` keep what it does not have yet, before it is asked for a change that names
//! it.

use std::path::Path;
use std::time::Duration;

use meridian_model::certificate::{CertificateContent, Digest};
use meridian_model::sealed_file::ChainAndKey;
use meridian_model::{Manifest, Problems};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::append_hex;
use super::keeping::KEEP_BEGINS;
use super::reading::{self, Known, ReadCertificates};
use crate::changing::{ask_line, ask_within};
use crate::control_socket::Question;
use crate::failure::Failure;
use crate::limits::KEEP_LINE_BYTES;

/// What many contents may take to be looked at, sealed and written.
const KEEP_WITHIN: Duration = Duration::from_secs(120);

/// What is known of contents that were asked about.
#[derive(Deserialize)]
struct KnownContents {
    known: Vec<CertificateContent>,
}

/// Of these contents what the running `up` has, with the verdict.
///
/// # Errors
/// When it can not be asked.
pub(crate) fn known(socket: &Path, digests: Vec<Digest>) -> Result<Known, Failure> {
    if digests.is_empty() {
        return Ok(Known::new());
    }
    let question = Question::KnownCertificates { digests };
    let answer: KnownContents = ask_within(socket, &question, KEEP_WITHIN)?;
    let known = answer.known.into_iter();
    Ok(known.map(|content| (content.digest, content)).collect())
}

/// Reads the certificates of a manifest, which problems call `file`, and looks at those that the
/// running `up` does not have.
///
/// # Errors
/// What is wrong with any of them; or that it can not be asked.
pub(crate) fn read(
    manifest: &Manifest,
    file: &str,
    socket: &Path,
    wrong: impl Fn(Problems) -> Failure,
) -> Result<ReadCertificates, Failure> {
    let unjudged = reading::read(manifest, |_| false);
    let known = known(socket, unjudged.digests())?;
    let judged = unjudged.judge(manifest, file, &known, super::now());
    let mut read = judged.map_err(wrong)?;
    read.new.retain(|(digest, _)| !known.contains_key(digest));
    Ok(read)
}

/// Has the running `up` keep these.
///
/// # Errors
/// When it refuses one, or can not be asked.
pub(crate) fn send<'a>(
    socket: &Path,
    pairs: impl IntoIterator<Item = &'a ChainAndKey>,
) -> Result<(), Failure> {
    let mut line = new_line();
    for pair in pairs {
        let (content, _) = pair.encode();
        // Not grown: what grows leaves copies behind.
        if line.len() > KEEP_LINE_BYTES - 2 * content.len() {
            send_line(socket, std::mem::replace(&mut line, new_line()))?;
        }
        if line.ends_with('"') {
            line.push(',');
        }
        line.push('"');
        append_hex(&mut line, &content);
        line.push('"');
    }
    if line.ends_with('"') {
        send_line(socket, line)?;
    }
    Ok(())
}

fn new_line() -> Zeroizing<String> {
    // What stands around the contents is less.
    let mut line = Zeroizing::new(String::with_capacity(KEEP_LINE_BYTES + 256));
    line.push_str(std::str::from_utf8(KEEP_BEGINS).unwrap_or_default());
    line.push_str("\"certificates\":[");
    line
}

fn send_line(socket: &Path, mut line: Zeroizing<String>) -> Result<(), Failure> {
    line.push_str("]}\n");
    let _: serde_json::Value = ask_line(socket, line.as_bytes(), KEEP_WITHIN)?;
    Ok(())
}
