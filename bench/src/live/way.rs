//! The ways to give the site that changes another backend, as an operator of each server would.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use serde_json::Value;

use super::configuration::{self, Certified};
use super::server::{Server, main_file, write};
use super::variant::{House, Variant};
use crate::cores::{self, Cores};
use crate::failure::Failure;
use crate::process_tree;
use crate::program::signal_to;

/// What Meridian is given to make a change live everywhere.
const WAIT: &str = "60s";
const API_LIMIT: Duration = Duration::from_secs(60);
const TENANT: &str = "api";
const SITE: &str = "api/changing";
const DAY_MS: i64 = 86_400_000;

/// A change that was made.
pub(super) struct Made {
    /// Just before the command was given.
    pub(super) given: Instant,
    pub(super) returned: Instant,
    /// When the server says that it accepted, where it says so.
    pub(super) accepted: Option<Instant>,
    /// Of the command, not of the server.
    pub(super) cpu_s: f64,
    pub(super) answer: Value,
}

/// Runs commands and signals on behalf of an operator who sits at the server.
pub(super) struct Operator<'a> {
    pub(super) cores: Cores,
    /// Where the process id of a running command stands.
    pub(super) running: &'a AtomicU32,
}

/// What must be there before the site can be changed by `set`: a tenant and the site, owned by
/// the API.
pub(super) fn prepare(server: &Server<'_>, operator: &Operator<'_>) -> Result<(), Failure> {
    if !server.variant.owns_by_api() {
        return Ok(());
    }
    let networks = "backend_networks=[\"127.0.0.0/8\"]";
    operator.meridianctl(server, &["set", "tenant", TENANT, networks])?;
    operator.meridianctl(server, &set_site(server, server.sites.old))?;
    Ok(())
}

/// Writes what the change needs, before the clock runs: an operator edits first.
pub(super) fn edit(server: &Server<'_>, to: SocketAddr) -> Result<(), Failure> {
    let sites = server.sites;
    let text = match server.variant {
        Variant::OursApply => configuration::meridian(sites, Some(to)),
        Variant::HaproxyReload => configuration::haproxy(sites, to),
        Variant::NginxReload => configuration::nginx(sites, to),
        _ => return Ok(()),
    };
    write(&main_file(server.variant.house(), sites), &text)
}

/// Makes the change.
pub(super) fn change(
    server: &Server<'_>,
    operator: &Operator<'_>,
    to: SocketAddr,
) -> Result<Made, Failure> {
    let sites = server.sites;
    let site = sites.changing();
    match server.variant {
        Variant::OursSet => {
            let address = format!("address={to}");
            let backend = format!("{SITE}/default/b1");
            operator.meridianctl(server, &["set", "backend", &backend, &address])
        }
        Variant::OursSetSite => operator.meridianctl(server, &set_site(server, to)),
        Variant::OursApply => {
            let file = main_file(House::Meridian, sites);
            operator.meridianctl(server, &["apply", "-f", &file.to_string_lossy()])
        }
        Variant::HaproxyApi => {
            let (ip, port) = (to.ip(), to.port());
            haproxy_api(
                server,
                &format!("set server s{site}/b1 addr {ip} port {port}"),
            )
        }
        Variant::HaproxyMap => {
            let (map, hostname) = (sites.haproxy_map_path(), sites.hostname(site));
            let backend = if to == sites.new {
                "spare".to_owned()
            } else {
                format!("s{site}")
            };
            haproxy_api(
                server,
                &format!("set map {} {hostname} {backend}", map.display()),
            )
        }
        Variant::HaproxyReload => Ok(signalled(server, Signal::USR2)),
        Variant::NginxReload => Ok(signalled(server, Signal::HUP)),
        Variant::OursFirst
        | Variant::OursAgain
        | Variant::OursKilled
        | Variant::Haproxy
        | Variant::Nginx => Err(Failure::new(format!(
            "{} is a way to start and not to change",
            server.variant.name()
        ))),
    }
}

/// Has the server show the certificate of the site that changes, which stands in its files already.
pub(super) fn renew(
    server: &Server<'_>,
    operator: &Operator<'_>,
    certified: &Certified,
) -> Result<Made, Failure> {
    if server.variant != Variant::HaproxyApi {
        return change(server, operator, server.sites.old);
    }
    let path = certified.path(server.sites.changing(), "pem");
    let text = fs::read_to_string(&path).map_err(Failure::at(path.display()))?;
    let path = path.display();
    let set = haproxy_api(server, &format!("set ssl cert {path} <<\n{text}"))?;
    let committed = haproxy_api(server, &format!("commit ssl cert {path}"))?;
    Ok(Made {
        given: set.given,
        ..committed
    })
}

fn set_site(server: &Server<'_>, to: SocketAddr) -> [String; 5] {
    let hostname = server.sites.hostname(server.sites.changing());
    [
        "set".to_owned(),
        "site".to_owned(),
        SITE.to_owned(),
        format!("hostnames=[\"{hostname}\"]"),
        format!("backend=[{{ name = \"b1\", address = \"{to}\" }}]"),
    ]
}

impl Operator<'_> {
    /// Runs `meridianctl` on the server's core to its end; anything but success is an error.
    fn meridianctl(
        &self,
        server: &Server<'_>,
        arguments: &[impl AsRef<str>],
    ) -> Result<Made, Failure> {
        let output = server.sites.directory.join("change.out");
        let file = File::create(&output).map_err(Failure::at(output.display()))?;
        let errors = file.try_clone().map_err(Failure::at(output.display()))?;
        let mut command = Command::new(server.bin_dir.join("meridianctl"));
        command.args(arguments.iter().map(AsRef::as_ref));
        command.args(["--format", "json", "--wait", WAIT, "--state"]);
        command.arg(&server.state);
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let place = || Failure::at("meridianctl");
        cores::pin(self.cores.server)?;
        let clock = SystemTime::now();
        let given = Instant::now();
        let started = command.spawn();
        cores::pin(self.cores.load)?;
        let mut child = started.map_err(place())?;
        self.running.store(child.id(), Ordering::Relaxed);
        // Its CPU time can be read until it is waited for.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let waited = Pid::from_raw(child.id() as i32)
            .map_or(Ok(None), |pid| waitid(WaitId::Pid(pid), ended));
        let returned = Instant::now();
        let cpu_s = process_tree::ended_cpu_s(child.id());
        self.running.store(0, Ordering::Relaxed);
        let status = child.wait().map_err(place())?;
        waited.map_err(Failure::at("meridianctl"))?;
        let said = fs::read_to_string(&output).map_err(Failure::at(output.display()))?;
        if !status.success() {
            return Err(Failure::new(format!(
                "meridianctl {} ended with {status}: {}",
                arguments[0].as_ref(),
                said.trim_end()
            )));
        }
        let answer: Value = serde_json::from_str(&said)
            .map_err(Failure::at(format!("answer of meridianctl: {said}")))?;
        let accepted = answer["accepted_at"]
            .as_str()
            .and_then(|text| moment(text, clock, given));
        Ok(Made {
            given,
            returned,
            accepted,
            cpu_s,
            answer,
        })
    }
}

/// A time of day in UTC on the clock that only goes forward.
fn moment(text: &str, clock: SystemTime, at: Instant) -> Option<Instant> {
    let since_epoch = clock.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    let now_us = i64::try_from(since_epoch / 1000).ok()? % (DAY_MS * 1000);
    let later_us = ms_of_day(text)? * 1000 - now_us;
    // Behind midnight the time of day begins anew; a whole millisecond may lie before the clock.
    let later_us = if later_us < -DAY_MS * 500 {
        later_us + DAY_MS * 1000
    } else {
        later_us
    };
    Some(at + Duration::from_micros(u64::try_from(later_us).unwrap_or(0)))
}

/// `2026-11-24T14:26:02.123Z`
fn ms_of_day(text: &str) -> Option<i64> {
    let time = text.split_once('T')?.1.strip_suffix('Z')?;
    let (whole, fraction) = time.split_once('.')?;
    let mut parts = whole.split(':').map(str::parse::<i64>);
    let (hour, minute, second) = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    );
    let ms: i64 = fraction.get(..3)?.parse().ok()?;
    Some(((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

fn haproxy_api(server: &Server<'_>, order: &str) -> Result<Made, Failure> {
    let path = server.sites.haproxy_socket();
    let place = || Failure::at(path.display());
    let given = Instant::now();
    let mut stream = UnixStream::connect(&path).map_err(place())?;
    stream.set_read_timeout(Some(API_LIMIT)).map_err(place())?;
    stream
        .write_all(format!("{order}\n").as_bytes())
        .map_err(place())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(place())?;
    Ok(Made {
        given,
        returned: Instant::now(),
        accepted: None,
        cpu_s: 0.0,
        answer: Value::String(answer.trim().to_owned()),
    })
}

fn signalled(server: &Server<'_>, signal: Signal) -> Made {
    let given = Instant::now();
    signal_to(server.program.pid(), signal);
    Made {
        given,
        returned: Instant::now(),
        accepted: None,
        cpu_s: 0.0,
        answer: Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_becomes_a_moment_and_midnight_is_no_day_long() {
        assert_eq!(ms_of_day("2026-11-24T00:01:02.345Z"), Some(62_345));
        assert_eq!(ms_of_day("yesterday"), None);
        let at = Instant::now();
        let clock = UNIX_EPOCH + Duration::from_millis(DAY_MS as u64 * 20_000 - 5);
        let later = |text| moment(text, clock, at).map(|it| it.duration_since(at));
        assert_eq!(
            later("2026-11-24T23:59:59.998Z"),
            Some(Duration::from_millis(3))
        );
        assert_eq!(
            later("2026-11-25T00:00:00.010Z"),
            Some(Duration::from_millis(15))
        );
        assert_eq!(later("2026-11-24T23:59:59.994Z"), Some(Duration::ZERO));
    }
}
