//! The certificates of a manifest, and of a call of `set`: read from their files and looked at.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::thread::available_parallelism;

use meridian_model::certificate::{CertificateContent, Digest};
use meridian_model::manifest::CertificateFiles;
use meridian_model::name::{Hostname, Name};
use meridian_model::sealed_file::ChainAndKey;
use meridian_model::{Desired, Manifest, Problem, Problems};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use super::fault::{Fault, Part};
use super::files::{self, FileIdentity};
use super::{pem, shown_time, verdict};

/// A certificate that holds for no longer than this is told of, in seconds: 30 days.
pub(crate) const EXPIRES_SOON_S: i64 = 30 * 24 * 60 * 60;

/// What the files of a manifest's certificates hold.
#[derive(Default)]
pub(crate) struct ReadCertificates {
    /// By tenant and name.
    contents: HashMap<(Name, Name), CertificateContent>,
    /// Those that were not known before.
    pub(crate) new: Vec<(Digest, ChainAndKey)>,
    /// What tells whether the files are still the same; none where that can not be told.
    pub(crate) files: Option<Vec<FileIdentity>>,
}

/// One certificate's files.
pub(crate) struct OneRead {
    pub(crate) content: CertificateContent,
    /// None where the content was known.
    pub(crate) pair: Option<ChainAndKey>,
    files: Option<[FileIdentity; 2]>,
}

/// Reads the files of every certificate of `manifest`, which problems call `file`. Content of which
/// `known` has the verdict is not looked at again, so that it may have expired since. `now` is in
/// seconds since 1970.
///
/// # Errors
/// Everything that is wrong with any of them, or between them and the hostnames of their sites.
pub(crate) fn of_manifest(
    manifest: &Manifest,
    file: &str,
    known: impl Fn(&Digest) -> Option<CertificateContent> + Sync,
    now: i64,
) -> Result<ReadCertificates, Problems> {
    let named: Vec<CertificateFiles<'_>> = manifest.certificates().collect();
    let mut read = ReadCertificates {
        files: Some(Vec::with_capacity(2 * named.len())),
        ..ReadCertificates::default()
    };
    if named.is_empty() {
        return Ok(read);
    }
    let mut problems = Vec::new();
    for (certificate, one) in named.iter().zip(read_each(&named, &known, now)) {
        match one {
            Ok(one) => read.add(certificate, one),
            Err(faults) => {
                problems.extend(faults.into_iter().map(|it| problem(file, certificate, it)));
            }
        }
    }
    let names = |tenant: &Name, name: &Name| read.names(tenant, name);
    problems.extend(manifest.certificate_misfits(file, names));
    Problems::refuse_any(problems)?;
    Ok(read)
}

/// Reads each on one of as many threads as there are CPUs: of very many that takes a while.
fn read_each(
    named: &[CertificateFiles<'_>],
    known: &(impl Fn(&Digest) -> Option<CertificateContent> + Sync),
    now: i64,
) -> Vec<Result<OneRead, Vec<Fault>>> {
    let threads = available_parallelism().map_or(1, NonZeroUsize::get);
    let part = named.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (named.chunks(part))
            .map(|part| {
                scope.spawn(move || {
                    let read = part.iter().map(|it| one(it.chain, it.key, known, now));
                    read.collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = |part: std::thread::ScopedJoinHandle<'_, Vec<_>>| {
            part.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        parts.into_iter().flat_map(joined).collect()
    })
}

/// Reads one certificate's files.
///
/// # Errors
/// Everything that is wrong with them.
pub(crate) fn one(
    chain: &str,
    key: &str,
    known: &impl Fn(&Digest) -> Option<CertificateContent>,
    now: i64,
) -> Result<OneRead, Vec<Fault>> {
    leave_no_core_dump();
    let chain = files::read(chain, Part::Chain)
        .and_then(|file| Ok((pem::chain(&file.bytes)?, file.identity)));
    let key =
        files::read(key, Part::Key).and_then(|file| Ok((pem::key(&file.bytes)?, file.identity)));
    let ((chain, chain_file), (key, key_file)) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
    };
    let pair = ChainAndKey { chain, key };
    let files = chain_file.zip(key_file).map(|(chain, key)| [chain, key]);
    let (_, digest) = pair.encode();
    Ok(match known(&digest) {
        Some(content) => OneRead {
            content,
            pair: None,
            files,
        },
        None => OneRead {
            content: verdict::of(&pair, now)?,
            pair: Some(pair),
            files,
        },
    })
}

/// Looks at what somebody else read.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn verdict_of(pair: &ChainAndKey, now: i64) -> Result<CertificateContent, Vec<Fault>> {
    verdict::of(pair, now)
}

/// From now on this process leaves no core dump, for its memory holds keys.
pub(crate) fn leave_no_core_dump() {
    // Either may be refused by a sandbox; each is worth something without the other. A limit alone
    // does not keep the memory from a program that core_pattern(5) names.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, nothing);
}

impl ReadCertificates {
    fn add(&mut self, named: &CertificateFiles<'_>, one: OneRead) {
        let OneRead {
            content,
            pair,
            files,
        } = one;
        self.new.extend(pair.map(|pair| (content.digest, pair)));
        match (&mut self.files, files) {
            (Some(all), Some(files)) => all.extend(files),
            (all, _) => *all = None,
        }
        let name = (named.tenant.clone(), named.name.clone());
        self.contents.insert(name, content);
    }

    fn names(&self, tenant: &Name, name: &Name) -> Option<&[Hostname]> {
        let content = self.contents.get(&(tenant.clone(), name.clone()))?;
        Some(&content.names)
    }

    /// Says in the desired state of the manifest what its certificates hold.
    pub(crate) fn fill(&self, desired: &mut Desired) {
        for certificate in &mut desired.certificates {
            let name = (certificate.tenant.clone(), certificate.name.clone());
            if let Some(content) = self.contents.get(&name) {
                certificate.content = content.clone();
            }
        }
    }

    /// Of each certificate that expires soon, or has, a sentence; the first to expire first.
    pub(crate) fn expiring(&self, now: i64) -> Vec<String> {
        let soon = self
            .contents
            .iter()
            .filter_map(|((tenant, name), content)| {
                let not_after = content.not_after;
                (not_after - now <= EXPIRES_SOON_S).then_some((not_after, tenant, name))
            });
        let mut soon: Vec<_> = soon.collect();
        soon.sort();
        let words = soon.into_iter().map(|(not_after, tenant, name)| {
            let (verb, when) = match not_after < now {
                true => ("expired", shown_time(not_after)),
                false => ("expires", shown_time(not_after)),
            };
            format!("certificate {tenant}/{name} {verb} on {when}; renew it")
        });
        words.collect()
    }
}

fn problem(file: &str, named: &CertificateFiles<'_>, fault: Fault) -> Problem {
    let Fault { part, what, hint } = fault;
    let (key, line, path) = match part {
        Part::Chain => ("certificate.chain", named.chain_line, named.chain),
        Part::Key => ("certificate.key", named.key_line, named.key),
    };
    Problem {
        file: file.to_string(),
        line: Some(line),
        key: key.to_string(),
        what: format!("{path}: {what}"),
        hint,
    }
}
