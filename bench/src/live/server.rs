//! One server with many sites: started, stopped, its files written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::configuration::{self, Sites};
use super::probe;
use super::variant::{House, Variant};
use crate::failure::Failure;
use crate::process_tree;
use crate::program::{Program, found};

/// nginx needs minutes for 100,000 sites.
pub(super) const SERVING_LIMIT: Duration = Duration::from_secs(900);

/// A server that was started.
pub(super) struct Server<'a> {
    pub(super) sites: &'a Sites,
    pub(super) variant: Variant,
    pub(super) program: Program,
    /// Just before exec.
    pub(super) begun: Instant,
    pub(super) bin_dir: &'a Path,
    pub(super) state: PathBuf,
}

/// Where and on which cores a server runs.
pub(super) struct Place<'a> {
    pub(super) sites: &'a Sites,
    pub(super) bin_dir: &'a Path,
    /// Meridian's state directory.
    pub(super) state: PathBuf,
    pub(super) cores: &'a [usize],
    pub(super) home: usize,
}

impl<'a> Server<'a> {
    /// Starts it; its files were written by [`write_files`].
    pub(super) fn start(variant: Variant, place: Place<'a>) -> Result<Self, Failure> {
        let directory = &place.sites.directory;
        let command = match variant.house() {
            House::Meridian => {
                let mut command = Command::new(place.bin_dir.join("meridianctl"));
                command.arg("up").arg("-f").arg(manifest(place.sites));
                command.arg("--state").arg(&place.state);
                command
            }
            House::Haproxy => {
                let mut command = Command::new(found("haproxy")?);
                command
                    .arg("-W")
                    .arg("-f")
                    .arg(directory.join("haproxy.cfg"));
                command
            }
            House::Nginx => {
                let mut command = Command::new(found("nginx")?);
                command.arg("-p").arg(directory);
                command.arg("-e").arg(directory.join("nginx.log"));
                command.arg("-c").arg(directory.join("nginx.conf"));
                command
            }
        };
        let begun = Instant::now();
        let program = Program::start(variant.name(), command, place.cores, place.home, directory)?;
        Ok(Self {
            sites: place.sites,
            variant,
            program,
            begun,
            bin_dir: place.bin_dir,
            state: place.state,
        })
    }

    /// Waits until a site that is not to change is served; returns when that was.
    pub(super) fn wait_until_serving(&mut self) -> Result<Instant, Failure> {
        let sites = self.sites;
        let site = sites.changing().saturating_sub(1);
        let (program, limit) = (&mut self.program, SERVING_LIMIT);
        probe::wait_for(program, sites, site, "old", limit)
    }

    /// Process id of Meridian's data plane.
    pub(super) fn plane(&self) -> Result<u32, Failure> {
        process_tree::plane_of(self.program.pid())
    }
}

/// Writes what a server reads, with the site that changes at its old backend.
pub(super) fn write_files(variant: Variant, sites: &Sites) -> Result<(), Failure> {
    fs::create_dir_all(&sites.directory).map_err(Failure::at(sites.directory.display()))?;
    let changing_at = (!variant.owns_by_api()).then_some(sites.old);
    let house = variant.house();
    if house == House::Haproxy {
        write(
            &sites.haproxy_map_path(),
            &configuration::haproxy_map(sites),
        )?;
    }
    let text = match house {
        House::Meridian => configuration::meridian(sites, changing_at),
        House::Haproxy => configuration::haproxy(sites, sites.old),
        House::Nginx => configuration::nginx(sites, sites.old),
    };
    write(&main_file(house, sites), &text)
}

/// The file that an operator edits.
pub(super) fn main_file(house: House, sites: &Sites) -> PathBuf {
    match house {
        House::Meridian => manifest(sites),
        House::Haproxy => sites.directory.join("haproxy.cfg"),
        House::Nginx => sites.directory.join("nginx.conf"),
    }
}

/// Writes beside and renames: a server that reads meanwhile reads one file or the other.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    fs::write(&beside, text).map_err(Failure::at(beside.display()))?;
    fs::rename(&beside, path).map_err(Failure::at(path.display()))
}

fn manifest(sites: &Sites) -> PathBuf {
    sites.directory.join("meridian.toml")
}
