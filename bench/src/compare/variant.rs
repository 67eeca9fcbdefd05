//! The servers that are compared, and how each is started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use super::configuration::{self, Configured, Site};
use crate::cores::Cores;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::machine;
use crate::program::{self, Program, found, this_program};

/// Meridian's timeouts: as long as its peers keep idle connections.
const IDLE_FOR: &str = "{ keep_alive = \"300s\", upstream_idle = \"300s\" }";

/// A server under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Variant {
    /// Meridian, through `meridianctl up` (or whatever --ours-cmd names).
    Ours,
    Haproxy,
    Nginx,
    /// No proxy: straight to the backend.
    Direct,
    BareEpoll,
    BareGlommio,
    BareRing,
}

impl Variant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Direct => "direct",
            Self::BareEpoll => "bare-epoll",
            Self::BareGlommio => "bare-glommio",
            Self::BareRing => "bare-ring",
        }
    }

    /// The prototypes do not, and a backend does not either.
    pub(crate) fn speaks_tls(self) -> bool {
        matches!(self, Self::Ours | Self::Haproxy | Self::Nginx)
    }

    /// The program of another house that this variant needs.
    fn needs(self) -> Option<&'static str> {
        match self {
            Self::Haproxy => Some("haproxy"),
            Self::Nginx => Some("nginx"),
            Self::Ours | Self::Direct | Self::BareEpoll | Self::BareGlommio | Self::BareRing => {
                None
            }
        }
    }
}

/// Where things are and where they run.
pub(crate) struct Bed {
    pub(crate) cores: Cores,
    /// For configuration and output of the programs; gone afterwards.
    pub(crate) scratch: PathBuf,
    pub(crate) bin_dir: PathBuf,
    pub(crate) ours_command: Option<String>,
    /// The first is where a prototype and `direct` go, which know no other.
    pub(crate) sites: Vec<Site>,
    /// What all show that speak TLS.
    pub(crate) identity: Option<Identity>,
}

/// A server that answers.
pub(crate) struct Server {
    pub(crate) variant: Variant,
    pub(crate) address: SocketAddr,
    /// Where it tells its metrics.
    pub(crate) metrics: Option<SocketAddr>,
    /// What its clients are to trust, where it speaks TLS.
    pub(crate) root: Option<PathBuf>,
    /// `None` for `direct`.
    program: Option<Program>,
}

impl Server {
    /// The root of the process tree whose time and memory count.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.program.as_ref().map(Program::pid)
    }
}

/// Says in words what is not installed or not built, all of it at once.
pub(crate) fn check_present(
    variants: &[Variant],
    wrk: bool,
    bin_dir: &Path,
    ours_command: Option<&str>,
) -> Result<(), Failure> {
    let needed = variants.iter().filter_map(|variant| variant.needs());
    let needed: Vec<&str> = needed.chain(wrk.then_some("wrk")).collect();
    let ours = variants.contains(&Variant::Ours) && ours_command.is_none();
    program::check_present(&needed, ours.then_some(bin_dir))
}

/// What the programs that are compared say of themselves.
pub(crate) fn versions(bed: &Bed, variants: &[Variant], wrk: bool) -> Vec<String> {
    let mut versions = Vec::new();
    for variant in variants {
        match variant {
            Variant::Haproxy => versions.extend(machine::first_line("haproxy", "-v")),
            Variant::Nginx => versions.extend(machine::first_line("nginx", "-v")),
            Variant::Ours => versions.push(match &bed.ours_command {
                Some(command) => format!("ours is: {command}"),
                None => machine::meridian_version(&bed.bin_dir),
            }),
            Variant::Direct | Variant::BareEpoll | Variant::BareGlommio | Variant::BareRing => {}
        }
    }
    if wrk {
        versions.extend(machine::first_line("wrk", "-v"));
    }
    versions
}

/// Starts a server on the server's core and waits until it answers.
pub(crate) fn start(
    variant: Variant,
    bed: &Bed,
    connections: u32,
    configured: Configured<'_>,
) -> Result<Server, Failure> {
    let address = program::free_address()?;
    let backend = (bed.sites.first().map(|site| site.backend))
        .ok_or_else(|| Failure::new("a server without a site"))?;
    let write = |name: &str, text: String| -> Result<PathBuf, Failure> {
        let path = bed.scratch.join(name);
        fs::write(&path, text).map_err(Failure::at(path.display()))?;
        Ok(path)
    };
    let command = match variant {
        Variant::Direct => {
            return Ok(Server {
                variant,
                address: backend,
                metrics: None,
                root: None,
                program: None,
            });
        }
        Variant::Haproxy => {
            let path = write(
                "haproxy.cfg",
                configuration::haproxy(address, &bed.sites, connections, configured),
            )?;
            let mut command = Command::new(found("haproxy")?);
            command.arg("-db").arg("-f").arg(path);
            command
        }
        Variant::Nginx => {
            let path = write(
                "nginx.conf",
                configuration::nginx(address, &bed.sites, connections, &bed.scratch, configured),
            )?;
            let mut command = Command::new(found("nginx")?);
            command
                .arg("-p")
                .arg(&bed.scratch)
                .arg("-e")
                .arg(bed.scratch.join("nginx.log"))
                .arg("-c")
                .arg(path);
            command
        }
        Variant::Ours => match &bed.ours_command {
            Some(template) => from_template(template, address, backend)?,
            None => {
                let path = write(
                    "meridian.toml",
                    configuration::meridian(address, &bed.sites, IDLE_FOR, configured),
                )?;
                // A state of its own for every start: no start finds what another left.
                let state = bed.scratch.join(format!("state-{}", address.port()));
                let mut command = Command::new(bed.bin_dir.join("meridianctl"));
                command
                    .arg("up")
                    .arg("-f")
                    .arg(path)
                    .arg("--state")
                    .arg(state);
                command
            }
        },
        Variant::BareEpoll => bare("epoll", address, backend)?,
        Variant::BareGlommio => bare("glommio", address, backend)?,
        Variant::BareRing => bare("ring", address, backend)?,
    };
    let mut program = Program::start(
        variant.name(),
        command,
        &[bed.cores.server],
        bed.cores.load,
        &bed.scratch,
    )?;
    if variant == Variant::Ours && bed.ours_command.is_none() {
        program.wait_for_line("ready ")?;
    }
    program.wait_for_port(address)?;
    let metrics = match configured {
        Configured::Everything { metrics } if variant != Variant::Nginx => Some(metrics),
        _ => None,
    };
    let root = match configured {
        Configured::Secure(identity) => Some(identity.root.clone()),
        Configured::Plain | Configured::Everything { .. } => None,
    };
    Ok(Server {
        variant,
        address,
        metrics,
        root,
        program: Some(program),
    })
}

fn bare(engine: &str, address: SocketAddr, backend: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(this_program()?);
    command.args(["bare-proxy", "--engine", engine]);
    command
        .arg("--listen")
        .arg(address.to_string())
        .arg("--backend")
        .arg(backend.to_string());
    Ok(command)
}

fn from_template(
    template: &str,
    address: SocketAddr,
    backend: SocketAddr,
) -> Result<Command, Failure> {
    let mut words = template.split_ascii_whitespace().map(|word| {
        word.replace("{listen}", &address.to_string())
            .replace("{backend}", &backend.to_string())
    });
    let program = words
        .next()
        .ok_or_else(|| Failure::new("--ours-cmd: no program named"))?;
    let mut command = Command::new(program);
    command.args(words);
    Ok(command)
}
