//! The certificates of a manifest, and of a call of `set`: read from their files and looked at.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::thread::{ScopedJoinHandle, available_parallelism};

use meridian_model::certificate::{CertificateContent, Digest, expiry_word};
use meridian_model::manifest::CertificateFiles;
use meridian_model::name::{Hostname, Name};
use meridian_model::sealed_file::ChainAndKey;
use meridian_model::{Desired, Manifest, Problem, Problems};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use super::authorities::{self, ReadAuthorities};
use super::fault::{Fault, Part};
use super::files::{self, FileIdentity};
use super::{pem, shown_time, verdict};

/// Verdicts that there are already. Their content is not looked at again, so that it may have
/// expired since.
pub(crate) type Known = HashMap<Digest, CertificateContent>;

/// What two files hold, not looked at yet.
pub(crate) struct PairOfFiles {
    pub(crate) digest: Digest,
    /// None where there is no use for it.
    pair: Option<ChainAndKey>,
    files: Option<[FileIdentity; 2]>,
}

/// What the files of all certificates of a manifest hold, not looked at yet.
pub(crate) struct UnjudgedCertificates<'a> {
    named: Vec<CertificateFiles<'a>>,
    each: Vec<Result<PairOfFiles, Vec<Fault>>>,
}

/// What the files of a manifest's certificates hold, which is right.
#[derive(Default)]
pub(crate) struct ReadCertificates {
    /// By tenant and name.
    contents: HashMap<(Name, Name), CertificateContent>,
    authorities: ReadAuthorities,
    /// Those that are to be kept.
    pub(crate) new: Vec<(Digest, ChainAndKey)>,
    /// What tells whether the files are still the same; none where that can not be told.
    pub(crate) files: Option<Vec<FileIdentity>>,
}

/// Reads the files of every certificate of `manifest`. Of those that are `kept` already the content
/// is not held.
pub(crate) fn read<'a>(
    manifest: &'a Manifest,
    kept: impl Fn(&Digest) -> bool + Sync,
) -> UnjudgedCertificates<'a> {
    let named: Vec<CertificateFiles<'_>> = manifest.certificates().collect();
    let each = on_all_cpus(&named, |it| {
        let mut read = pair_of_files(it.chain, it.key)?;
        if kept(&read.digest) {
            read.pair = None;
        }
        Ok(read)
    });
    UnjudgedCertificates { named, each }
}

/// Reads one certificate's files.
///
/// # Errors
/// What is wrong with either.
pub(crate) fn pair_of_files(chain: &str, key: &str) -> Result<PairOfFiles, Vec<Fault>> {
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
    let (_, digest) = pair.encode();
    Ok(PairOfFiles {
        digest,
        pair: Some(pair),
        files: chain_file.zip(key_file).map(|(chain, key)| [chain, key]),
    })
}

/// Looks at a chain and its key. `now` is in seconds since 1970.
///
/// # Errors
/// Everything that is wrong with them.
pub(crate) fn judge(pair: &ChainAndKey, now: i64) -> Result<CertificateContent, Vec<Fault>> {
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

impl PairOfFiles {
    /// Looks at it, unless the verdict is known, and gives it with what it holds.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn judge(
        &self,
        known: &Known,
        now: i64,
    ) -> Result<(CertificateContent, Option<&ChainAndKey>), Vec<Fault>> {
        let content = match (known.get(&self.digest), &self.pair) {
            (Some(content), _) => content.clone(),
            (None, Some(pair)) => judge(pair, now)?,
            (None, None) => unreachable!("only what is known is not held"),
        };
        Ok((content, self.pair.as_ref()))
    }
}

impl UnjudgedCertificates<'_> {
    /// The digests of all that could be read.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let read = self.each.iter().flatten();
        read.map(|it| it.digest).collect()
    }

    /// Looks at all of them. `file` is what problems call the manifest, `now` is in seconds since
    /// 1970.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, or between them and the hostnames of their
    /// sites.
    pub(crate) fn judge(
        self,
        manifest: &Manifest,
        file: &str,
        known: &Known,
        now: i64,
    ) -> Result<ReadCertificates, Problems> {
        let verdicts = on_all_cpus(&self.each, |it| match it {
            Ok(read) => read.judge(known, now).map(|(content, _)| content),
            Err(faults) => Err(faults.clone()),
        });
        let mut read = ReadCertificates {
            files: Some(Vec::with_capacity(2 * self.named.len())),
            ..ReadCertificates::default()
        };
        let mut problems = Vec::new();
        let all = self.named.iter().zip(self.each).zip(verdicts);
        for ((named, pair), verdict) in all {
            match (pair, verdict) {
                (Ok(pair), Ok(content)) => read.add(named, pair, content),
                (_, Err(faults)) | (Err(faults), _) => {
                    problems.extend(faults.into_iter().map(|it| problem(file, named, it)));
                }
            }
        }
        let names = |tenant: &Name, name: &Name| read.names(tenant, name);
        problems.extend(manifest.certificate_misfits(file, names));
        match authorities::read(manifest, file) {
            Ok(authorities) => {
                match (&mut read.files, &authorities.files) {
                    (Some(all), Some(files)) => all.extend_from_slice(files),
                    (all, _) => *all = None,
                }
                read.authorities = authorities;
            }
            Err(wrong) => problems.extend(wrong),
        }
        Problems::refuse_any(problems)?;
        Ok(read)
    }
}

impl ReadCertificates {
    fn add(
        &mut self,
        named: &CertificateFiles<'_>,
        read: PairOfFiles,
        content: CertificateContent,
    ) {
        let PairOfFiles {
            digest,
            pair,
            files,
        } = read;
        self.new.extend(pair.map(|pair| (digest, pair)));
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

    /// Says in the desired state of the manifest what its certificates hold, and whom its pools trust.
    pub(crate) fn fill(&self, desired: &mut Desired) {
        self.authorities.fill(desired);
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
                (expiry_word(not_after, now) != "valid").then_some((not_after, tenant, name))
            });
        let mut soon: Vec<_> = soon.collect();
        soon.sort();
        let words = soon.into_iter().map(|(not_after, tenant, name)| {
            let verb = if not_after < now {
                "expired"
            } else {
                "expires"
            };
            let when = shown_time(not_after);
            format!("certificate {tenant}/{name} {verb} on {when}; renew it")
        });
        words.collect()
    }
}

/// What `make` makes of each, on as many threads as there are CPUs: of very many that takes a
/// while.
fn on_all_cpus<T: Sync, U: Send>(all: &[T], make: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let threads = available_parallelism().map_or(1, NonZeroUsize::get);
    let part = all.len().div_ceil(threads).max(1);
    let make = &make;
    std::thread::scope(|scope| {
        let parts: Vec<ScopedJoinHandle<'_, Vec<U>>> = (all.chunks(part))
            .map(|part| scope.spawn(move || part.iter().map(make).collect()))
            .collect();
        let made = parts.into_iter();
        made.flat_map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
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
