//! Manifests of the tests, as text, and the state directory that a plane reads.

use super::identity;
use meridian_model::certificate::Digest;
use meridian_model::config_log::journal;
use meridian_model::limits::CERTIFICATE_EXPIRES_SOON_S;
use meridian_model::name::Name;
use meridian_model::{Desired, Local, Manifest, config_log};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What a test says of its host and its one site.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// `[host] workers`.
    pub(crate) workers: usize,
    /// `[host] timeouts`, as TOML.
    pub(crate) timeouts: String,
    /// `[[site]] timeouts`, as TOML.
    pub(crate) site_timeouts: String,
    /// `[host] backend_networks`.
    pub(crate) backend_networks: Vec<String>,
    /// `[host] resolvers`.
    pub(crate) resolvers: Vec<SocketAddr>,
    /// Of the site `acme/shop`.
    pub(crate) hostnames: Vec<String>,
    /// Of the site `acme/shop`, named b1, b2, …
    pub(crate) backends: Vec<SocketAddr>,
    /// Further lines of `[host]`.
    pub(crate) host: String,
    /// Further lines of `[listen]`.
    pub(crate) listen: String,
    /// The pools of those backends; that of one which is not listed is `default`.
    pub(crate) pools: Vec<String>,
    /// Further lines of `[[tenant]]`.
    pub(crate) tenant_keys: String,
    /// Further lines of each of those backends; none of one that is not listed.
    pub(crate) backend_keys: Vec<String>,
    /// Further lines of `[[site]]`.
    pub(crate) site_keys: String,
    /// `[host] access_log`; the site then asks for all of its lines.
    pub(crate) log: Option<PathBuf>,
    /// `[[site]] access_log.sample`.
    pub(crate) log_sample: f64,
    /// Further lines.
    pub(crate) more: String,
}

impl Default for Declared {
    fn default() -> Declared {
        Declared {
            workers: 1,
            timeouts: "{}".to_owned(),
            site_timeouts: "{}".to_owned(),
            backend_networks: vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()],
            resolvers: Vec::new(),
            hostnames: vec!["shop.test".to_owned()],
            backends: Vec::new(),
            host: String::new(),
            listen: String::new(),
            pools: Vec::new(),
            tenant_keys: String::new(),
            backend_keys: Vec::new(),
            site_keys: String::new(),
            log: None,
            log_sample: 1.0,
            more: String::new(),
        }
    }
}

impl Declared {
    /// A site with these backends, everything else as it is by default.
    pub(crate) fn with_backends(backends: impl IntoIterator<Item = SocketAddr>) -> Declared {
        Declared {
            backends: backends.into_iter().collect(),
            ..Declared::default()
        }
    }

    /// The same with other timeouts of the host.
    pub(crate) fn timeouts(mut self, timeouts: &str) -> Declared {
        self.timeouts = timeouts.to_owned();
        self
    }

    /// The manifest of a host with these listeners.
    pub(crate) fn text(&self, listeners: &[SocketAddr]) -> String {
        let listeners: Vec<String> = listeners.iter().map(SocketAddr::to_string).collect();
        let (host_log, site_log) = match &self.log {
            Some(path) => (
                format!("access_log = {path:?}\n"),
                format!("access_log = {{ sample = {:?} }}\n", self.log_sample),
            ),
            None => Default::default(),
        };
        let resolvers: Vec<String> = self.resolvers.iter().map(SocketAddr::to_string).collect();
        let mut text = format!(
            "[host]\nname = \"ams-1\"\nworkers = {}\nbackend_networks = {:?}\ntimeouts = {}\n\
             resolvers = {resolvers:?}\n{}\n\
             {host_log}\
             [listen]\nhttp = {listeners:?}\n{}\n\
             [fleet]\nname = \"wire\"\n\
             [[tenant]]\nname = \"acme\"\n{}\n\
             [[site]]\ntenant = \"acme\"\nname = \"shop\"\nhostnames = {:?}\ntimeouts = {}\n\
             {site_log}{}",
            self.workers,
            self.backend_networks,
            self.timeouts,
            self.host,
            self.listen,
            self.tenant_keys,
            self.hostnames,
            self.site_timeouts,
            self.site_keys
        );
        for (index, backend) in self.backends.iter().enumerate() {
            let name = index + 1;
            let pool = self.pools.get(index).map_or("default", String::as_str);
            let keys = self.backend_keys.get(index).map_or("", String::as_str);
            write!(
                text,
                "[[site.backend]]\nname = \"b{name}\"\npool = \"{pool}\"\naddress = \"{backend}\"\n{keys}\n"
            )
            .expect("a String takes every text");
        }
        text + &self.more
    }
}

/// Writes a generation of the config log that begins with `manifest` as `revision`, keeping the
/// ids of `previous`.
pub(crate) fn write_config(
    state: &Path,
    manifest: &str,
    generation: u64,
    revision: u64,
    previous: Option<&Desired>,
) -> Desired {
    let (local, mut desired) = parts_of(state, manifest);
    desired.assign_ids(previous);
    let directory = state.join("config");
    fs::create_dir_all(&directory).expect("the state directory takes files");
    let header = config_log::Header {
        format: config_log::FORMAT,
        store: "test".to_owned(),
        revision,
        generation,
    };
    let files = [
        ("local".to_owned(), config_log::encode_local(&local)),
        (
            format!("snapshot.{generation}"),
            config_log::encode(&header, &desired),
        ),
        (
            format!("journal.{generation}"),
            journal::encode_header(&header),
        ),
        ("current".to_owned(), format!("{generation}\n")),
    ];
    for (name, content) in files {
        let fresh = directory.join(format!("{name}.new"));
        fs::write(&fresh, content).expect("the state directory takes files");
        fs::rename(&fresh, directory.join(name)).expect("and renames them");
    }
    desired
}

/// Appends what leads from `previous` to `manifest` to the journal, as `revision`. Gives the new
/// state.
pub(crate) fn append_change(
    state: &Path,
    manifest: &str,
    generation: u64,
    revision: u64,
    previous: &Desired,
) -> Desired {
    let (_, mut desired) = parts_of(state, manifest);
    desired.assign_ids(Some(previous));
    let change = previous.change_to(&desired, revision);
    let path = state.join(format!("config/journal.{generation}"));
    let mut file = File::options()
        .append(true)
        .open(path)
        .expect("the journal is there");
    file.write_all(journal::encode_change(&change).as_bytes())
        .expect("the state directory takes files");
    desired
}

/// Writes the host's own settings of `manifest` only.
pub(crate) fn write_local(state: &Path, manifest: &str) {
    let (local, _) = parts_of(state, manifest);
    let path = state.join("config/local");
    fs::write(path, config_log::encode_local(&local)).expect("the state directory takes files");
}

/// What a manifest says. Certificates whose files are there are put into the state directory.
fn parts_of(state: &Path, manifest: &str) -> (Local, Desired) {
    let manifest = Manifest::parse(manifest, "test.toml")
        .unwrap_or_else(|problems| panic!("{problems}\nof\n{manifest}"));
    let files: HashMap<Name, (PathBuf, PathBuf)> = manifest
        .certificates()
        .map(|it| (it.name.clone(), (it.chain.into(), it.key.into())))
        .collect();
    let trusted: HashMap<(String, Option<String>), String> = manifest
        .authorities()
        .map(|it| {
            let text = fs::read_to_string(it.path).expect("the authorities are there");
            (
                (it.site.to_string(), it.pool.map(|pool| pool.to_string())),
                text,
            )
        })
        .collect();
    let (local, mut desired) = manifest.into_parts();
    for site in &mut desired.sites {
        let site = Arc::make_mut(site);
        let clients = (site.name.to_string(), None);
        if let (Some(clients), Some(text)) = (&mut site.client_certificates, trusted.get(&clients))
        {
            clients.authorities.clone_from(text);
        }
        for pool in &mut site.pools {
            let name = (site.name.to_string(), Some(pool.name.to_string()));
            if let (Some(tls), Some(text)) = (&mut pool.tls, trusted.get(&name)) {
                tls.authorities = Some(text.clone());
            }
        }
    }
    for certificate in &mut desired.certificates {
        let (chain, key) = &files[&certificate.name];
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs() as i64;
        let content = &mut certificate.content;
        content.digest = Digest([1; 32]);
        content.not_after = match certificate.name.as_str() {
            "expired" => EXPIRED,
            "soon" => now + CERTIFICATE_EXPIRES_SOON_S / 2,
            _ => now + 2 * CERTIFICATE_EXPIRES_SOON_S,
        };
        if chain.exists() {
            identity::keep(state, &identity::read(chain, key, content));
        }
    }
    (local, desired)
}

/// When the certificate `expired` ended; `soon` ends soon, and others do not.
pub(crate) const EXPIRED: i64 = 1_000_000_000;
