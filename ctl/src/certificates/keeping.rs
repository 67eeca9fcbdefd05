//! What a running `up` knows of certificates: which contents it has, whose verdict, and which files
//! nobody needs any more.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use meridian_model::certificate::{CertificateContent, Digest};
use meridian_model::change::{Change, Object};
use meridian_model::sealed_file::ChainAndKey;
use meridian_model::{Desired, Problem, Problems};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::directory::CertificateDirectory;
use super::reading::judge;
use super::{from_hex, now};
use crate::change_request::Refusal;
use crate::limits::{CERTIFICATE_KEPT, RECEIVED_CERTIFICATES_MAX};
use crate::store::Store;

/// See the module.
pub(crate) struct Keeper {
    directory: CertificateDirectory,
    received: Mutex<Received>,
}

/// Contents that were sent or asked about, and that no revision need name yet.
#[derive(Default)]
struct Received(HashMap<Digest, (CertificateContent, Instant)>);

/// Files that no revision named when they were looked at last.
#[derive(Default)]
pub(crate) struct Unneeded(HashMap<Digest, Instant>);

/// A question that carries keys: read apart from the others, so that no copy of one is left.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeepQuestion<'a> {
    #[allow(dead_code)] // it was looked at before
    op: &'a str,
    #[serde(borrow)]
    certificates: Vec<&'a str>,
}

/// How a question begins that carries keys.
pub(crate) const KEEP_BEGINS: &[u8] = b"{\"op\":\"keep-certificates\",";

impl Keeper {
    /// Keeps in this directory.
    pub(crate) fn new(directory: CertificateDirectory) -> Keeper {
        Keeper {
            directory,
            received: Mutex::default(),
        }
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of these contents, as far as they are kept: the others are to be sent.
    pub(crate) fn known(&self, store: &Store, digests: &[Digest]) -> Vec<CertificateContent> {
        let named = contents_of(store);
        let mut received = self.received();
        let mut known = Vec::new();
        for digest in digests {
            let content = match (named.get(digest), received.0.get(digest)) {
                (Some(content), _) => (*content).clone(),
                (None, Some((content, _))) => content.clone(),
                (None, None) => continue,
            };
            if self.directory.holds(digest) {
                // Who was told so names it in a moment: it must still be there.
                received.note(content.clone());
                known.push(content);
            }
        }
        known
    }

    /// Keeps the contents that `line`, which begins with [`KEEP_BEGINS`], carries.
    ///
    /// # Errors
    /// What is wrong with any of them, or why they can not be written.
    pub(crate) fn keep(&self, line: &[u8]) -> Result<usize, Refusal> {
        // Whatever the reader of JSON says might repeat a part of a key.
        let broken = || Refusal::call("keep-certificates is not understood".to_string());
        let question: KeepQuestion<'_> = serde_json::from_slice(line).map_err(|_| broken())?;
        let mut all = Vec::with_capacity(question.certificates.len());
        let mut contents = Vec::with_capacity(all.capacity());
        for digits in question.certificates {
            let bytes: Zeroizing<Vec<u8>> = from_hex(digits).ok_or_else(broken)?;
            let pair = ChainAndKey::decode(&bytes).ok_or_else(broken)?;
            let content = judge(&pair, now()).map_err(|faults| {
                let problems = faults.into_iter().map(|fault| Problem {
                    file: String::new(),
                    line: None,
                    key: "certificate".to_string(),
                    what: fault.what,
                    hint: fault.hint,
                });
                match Problems::refuse_any(problems.collect()) {
                    Err(problems) => Refusal::wrong(problems),
                    Ok(()) => broken(),
                }
            })?;
            all.push((content.digest, pair));
            contents.push(content);
        }
        if self.received().0.len() + contents.len() > RECEIVED_CERTIFICATES_MAX {
            return Err(Refusal::conflict(format!(
                "{RECEIVED_CERTIFICATES_MAX} certificates were sent that nothing names; send fewer at a \
                 time, or wait an hour"
            )));
        }
        self.directory
            .keep(&all)
            .map_err(|error| Refusal::unwritten(&error))?;
        let mut received = self.received();
        let count = contents.len();
        contents.into_iter().for_each(|it| received.note(it));
        Ok(count)
    }

    /// What is known of one content that was sent.
    pub(crate) fn content(&self, store: &Store, digest: &Digest) -> Option<CertificateContent> {
        let certificates = &store.desired().others().certificates;
        let mut named = certificates.iter().map(|it| &it.content);
        match named.find(|it| it.digest == *digest) {
            Some(content) => Some(content.clone()),
            None => {
                let received = self.received();
                received.0.get(digest).map(|(content, _)| content.clone())
            }
        }
    }

    /// Says in what somebody declares what its certificates hold, as we know it and not as they
    /// say. A `dry_run` may name what was not sent.
    ///
    /// # Errors
    /// When one names content that was not sent.
    pub(crate) fn fill(
        &self,
        store: &Store,
        declared: &mut Desired,
        dry_run: bool,
    ) -> Result<(), Refusal> {
        if declared.certificates.is_empty() {
            return Ok(());
        }
        let named = contents_of(store);
        let received = self.received();
        for certificate in &mut declared.certificates {
            let digest = certificate.content.digest;
            certificate.content = match (named.get(&digest), received.0.get(&digest)) {
                (Some(content), _) => (*content).clone(),
                (None, Some((content, _))) => content.clone(),
                (None, None) if dry_run => continue,
                (None, None) => {
                    let (tenant, name) = (&certificate.tenant, &certificate.name);
                    return Err(Refusal::conflict(format!(
                        "what certificate {tenant}/{name} holds was not sent; do the same again"
                    )));
                }
            };
        }
        Ok(())
    }

    /// Refuses a change that names a file which is not there. Asked with the store locked, as is
    /// whatever removes one.
    ///
    /// # Errors
    /// When one is gone.
    pub(crate) fn has_all(&self, change: &Change) -> Result<(), Refusal> {
        for object in &change.puts {
            if let Object::Certificate(certificate) = object
                && !self.directory.holds(&certificate.content.digest)
            {
                let (tenant, name) = (&certificate.tenant, &certificate.name);
                return Err(Refusal::conflict(format!(
                    "what certificate {tenant}/{name} holds is not kept any more; do the same again"
                )));
            }
        }
        Ok(())
    }

    /// Removes the files that were `unneeded` for as long as [`CERTIFICATE_KEPT`]: that neither
    /// the newest revision names, nor any that stands in `config`, and that nobody sent since. Asked
    /// with the store locked, and only when every plane serves the newest revision.
    pub(crate) fn sweep(&self, store: &Store, config: &Path, unneeded: &mut Unneeded) -> usize {
        let now = Instant::now();
        let mut received = self.received();
        received
            .0
            .retain(|_, (_, since)| now.duration_since(*since) < CERTIFICATE_KEPT);
        let Ok(mut files) = self.directory.tidy() else {
            return 0;
        };
        let named: HashSet<Digest> = contents_of(store).into_keys().collect();
        files.retain(|digest| !named.contains(digest) && !received.0.contains_key(digest));
        if !files.is_empty() {
            let Some(named) = named_in(config) else {
                return 0;
            };
            files.retain(|digest| !named.contains(digest));
        }
        unneeded.take_up(files, now, |digest| self.directory.remove(digest))
    }
}

impl Received {
    fn note(&mut self, content: CertificateContent) {
        self.0.insert(content.digest, (content, Instant::now()));
    }
}

impl Unneeded {
    /// Takes up who is unneeded `now`, and removes who has been for long enough. How many that
    /// were.
    fn take_up(&mut self, files: Vec<Digest>, now: Instant, remove: impl Fn(&Digest)) -> usize {
        let before = std::mem::take(&mut self.0);
        let mut removed = 0;
        for digest in files {
            let since = before.get(&digest).copied().unwrap_or(now);
            if now.duration_since(since) >= CERTIFICATE_KEPT {
                remove(&digest);
                removed += 1;
            } else {
                self.0.insert(digest, since);
            }
        }
        removed
    }
}

fn contents_of(store: &Store) -> HashMap<Digest, &CertificateContent> {
    let certificates = store.desired().others().certificates.iter();
    certificates
        .map(|it| (it.content.digest, &it.content))
        .collect()
}

/// Whatever looks like a digest in any file of the configuration: a line that is damaged, or of a
/// generation that nothing leads to, may be gone back to. None where one can not be read.
fn named_in(config: &Path) -> Option<HashSet<Digest>> {
    const KEY: &[u8] = b"\"digest\":\"";
    const DIGITS: usize = 64;
    let mut named = HashSet::new();
    for entry in std::fs::read_dir(config).ok()? {
        let path: PathBuf = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        if !name.starts_with("snapshot.") && !name.starts_with("journal.") {
            continue;
        }
        let bytes = std::fs::read(&path).ok()?;
        let mut rest = &bytes[..];
        while let Some(at) = rest.windows(KEY.len()).position(|it| it == KEY) {
            rest = &rest[at + KEY.len()..];
            let digits = rest
                .get(..DIGITS)
                .and_then(|it| std::str::from_utf8(it).ok());
            named.extend(digits.and_then(|it| Digest::parse(it).ok()));
        }
    }
    Some(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn a_file_goes_when_nobody_needed_it_for_long() {
        let (one, other) = (Digest([1; 32]), Digest([2; 32]));
        let removed = RefCell::new(Vec::new());
        let mut unneeded = Unneeded::default();
        let begun = Instant::now();
        let mut look = |files: &[Digest], after: std::time::Duration| {
            let remove = |digest: &Digest| removed.borrow_mut().push(*digest);
            unneeded.take_up(files.to_vec(), begun + after, remove)
        };
        let kept = CERTIFICATE_KEPT;
        assert_eq!(look(&[one, other], kept / 4), 0);
        // One is needed for a moment, and its time begins anew.
        assert_eq!(look(&[other], kept / 2), 0);
        assert_eq!(look(&[one, other], kept), 0);
        assert_eq!(look(&[one, other], kept * 5 / 4), 1);
        assert_eq!(*removed.borrow(), [other]);
        assert_eq!(look(&[one], kept * 2), 1);
        assert_eq!(*removed.borrow(), [other, one]);
    }

    #[test]
    fn what_any_file_of_the_log_names_is_named() {
        let at = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(at.path().join(name), text).unwrap();
        let digest = |number: u8| Digest([number; 32]);
        write("snapshot.3", format!("x {{\"digest\":\"{}\",", digest(1)));
        write(
            "journal.2",
            format!(
                "{{\"digest\":\"{}\"}} {{\"digest\":\"{}",
                digest(2),
                digest(3)
            ),
        );
        write(
            "journal.3",
            format!("cut \"digest\":\"{}", &digest(4).to_string()[1..]),
        );
        write("local", format!("\"digest\":\"{}\"", digest(5)));
        let named = named_in(at.path()).unwrap();
        assert_eq!(named, (1..4).map(digest).collect());
        assert_eq!(named_in(&at.path().join("none")), None);
    }
}
