//! The manifest: a TOML file in which an operator declares a host and what the fleet
//! is to serve (DESIGN §5).
//!
//! A text is read in three steps, and what is wrong is collected over all of them:
//!
//! 1. the `toml` crate takes it apart, keeping where every key stands;
//! 2. `grammar` reads each key into a value that can not be wrong on its own;
//! 3. `references` checks what must fit together: names, claims, addresses.
//!
//! Only then there is a [`Manifest`], which converts into what the host keeps
//! ([`Local`]) and what the fleet shares ([`Desired`]).

mod certificates;
mod conversion;
mod geography;
mod grammar;
mod parts;
mod reader;
mod references;
mod values;
mod written;

use std::path::Path;

use toml::de::DeTable;

use crate::desired::Desired;
use crate::limits::MANIFEST_BYTES_MAX;
use crate::local::Local;
use crate::problem::{Problem, Problems};
pub use certificates::{AuthoritiesFile, CertificateFiles};
use reader::Reader;
use written::Written;

/// A manifest in which nothing is wrong.
#[derive(Clone, Debug)]
pub struct Manifest {
    written: Written,
    host: written::Host,
    not_built: Vec<Problem>,
}

impl Manifest {
    /// Reads `text`; `file` is what problems call it.
    ///
    /// # Errors
    ///
    /// Every problem of the file at once. Where the text is not TOML, that is all that
    /// is reported: what a broken text was meant to say is a guess, and problems of a
    /// guess would send its writer the wrong way.
    pub fn parse(text: &str, file: &str) -> Result<Manifest, Problems> {
        let mut reader = Reader::new(text, file);
        if text.len() > MANIFEST_BYTES_MAX {
            let what = format!("larger than {} MiB", MANIFEST_BYTES_MAX / (1024 * 1024));
            reader.report(None, "", what, "split it, or use the API");
            return Err(reader.into_problems());
        }
        // Where that has anything to say, it is said by who reads all of it as one.
        if let Some(manifest) = parts::parse(text, file) {
            return Ok(manifest);
        }
        Manifest::parse_whole(text, reader)
    }

    fn parse_whole(text: &str, mut reader: Reader<'_>) -> Result<Manifest, Problems> {
        let (document, faults) = DeTable::parse_recoverable(text);
        for fault in &faults {
            report_not_toml(&mut reader, text, fault);
        }
        if !faults.is_empty() {
            return Err(reader.into_problems());
        }
        let (written, host) = grammar::read(&mut reader, document.get_ref());
        references::check(&mut reader, &written, host.as_ref());
        let (problems, not_built) = reader.into_parts();
        Problems::refuse_any(problems)?;
        let host = host.expect("a missing host is a problem");
        Ok(Manifest {
            written,
            host,
            not_built,
        })
    }

    /// What the host keeps for itself, and what the fleet shares. Ids are 0 until
    /// [`Desired::assign_ids`].
    pub fn into_parts(self) -> (Local, Desired) {
        let Manifest {
            written,
            host,
            not_built: _,
        } = self;
        conversion::convert(written, host)
    }

    /// Has relative paths of the host's files begin at `directory`, where the manifest stands.
    #[must_use]
    pub fn standing_in(mut self, directory: &Path) -> Manifest {
        if let Some(access_log) = &mut self.host.access_log {
            *access_log = directory.join(&access_log).to_string_lossy().into_owned();
        }
        if let Some(secret) = &mut self.written.fleet.secret {
            *secret = directory.join(&secret).to_string_lossy().into_owned();
        }
        if let Some(authorities) = &mut self.host.authorities {
            *authorities = directory.join(&authorities).to_string_lossy().into_owned();
        }
        self.move_geo_database(directory);
        let sites = &mut self.written.sites;
        for clients in sites
            .iter_mut()
            .filter_map(|site| site.client_certificates.as_mut())
        {
            let authorities = &mut clients.value.authorities;
            *authorities = directory.join(&authorities).to_string_lossy().into_owned();
        }
        let pools = sites.iter_mut().flat_map(|site| &mut site.pools);
        for tls in pools.filter_map(|pool| pool.tls.as_mut()) {
            if let Some(authorities) = &mut tls.value.authorities {
                *authorities = directory.join(&authorities).to_string_lossy().into_owned();
            }
        }
        for certificate in &mut self.written.certificates {
            for file in [&mut certificate.chain, &mut certificate.key]
                .into_iter()
                .flatten()
            {
                file.value = directory.join(&file.value).to_string_lossy().into_owned();
            }
        }
        self
    }

    pub(crate) fn not_built(&self) -> &[Problem] {
        &self.not_built
    }
}

fn report_not_toml(reader: &mut Reader<'_>, text: &str, fault: &toml::de::Error) {
    let span = fault.span();
    let line = span.as_ref().map(|span| reader.line_at(span.start));
    let seen = span.and_then(|span| text.get(span)).unwrap_or("");
    let hint = match (fault.message(), seen) {
        ("duplicate key", "pool") => {
            "a site has either one `pool = {...}` or a [[site.pool]] for each pool; \
             the one without a name is \"default\""
        }
        ("duplicate key", _) => "write each key once, and lists of tables with [[...]]",
        _ => "mend it and check again, for no key was looked at yet",
    };
    let mut what = format!("not TOML: {}", fault.message());
    if !seen.is_empty() && seen.len() <= 40 && !seen.contains('\n') {
        what.push_str(&format!(" ({seen})"));
    }
    reader.report(line, "", what, hint);
}
