//! The call: what may be typed. Only what exists in this version stands here,
//! so that the help text is true.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::control_socket::How;
use crate::usage::time_range::Time;

/// Meridian: a load balancer that a provider runs once and all its customers share
#[derive(Debug, Parser)]
#[command(
    name = "meridianctl",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 the input is wrong (the manifest, or what this host offers it); \
2 the call is wrong; 3 the server cannot be reached; 4 refused (not allowed, or somebody else's); \
5 accepted, and not live everywhere yet."
)]
pub(crate) struct Call {
    /// How to answer: tables and sentences for people, or JSON on stdout for scripts
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What may be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this host in the foreground
    #[command(long_about = "Run everything on this host in the foreground.

Checks the manifest, makes the state directory's configuration equal to it, opens the \
listeners, starts meridian-dataplane (with listen.dns meridian-geodns too) and, when every worker \
serves, prints one line on stdout: `ready revision=N http=ADDRESS,... https=ADDRESS,... \
dns=ADDRESS,...`.

When the manifest is wrong, all its problems are printed and the last good revision is served; \
without one the exit code is 1. A plane that dies is started again at once, then after 0.1, \
0.2 ... 5 seconds; clients wait meanwhile and are not refused. A plane that dies before it was \
first ready ends the command.

SIGTERM or SIGINT: finish the requests under way, then stop; a second one stops now. SIGHUP: \
open logs anew. MERIDIAN_DATAPLANE names the meridian-dataplane to start, MERIDIAN_GEODNS the \
meridian-geodns; without them, those beside meridianctl are.")]
    Up(Up),
    /// Validate a manifest: all problems, not the first
    #[command(long_about = "Validate a manifest: all problems, not the first.

Reads the manifest and compiles it, and changes nothing. Exit code 0 when it is right, 1 with \
all its problems, each with file, line, key and remedy. Keys that are right but not available \
in this version are listed and are no fault here; `up` refuses them.")]
    Check(Check),
    /// Make what is served equal to a manifest, without a dropped request
    #[command(
        long_about = "Make what is served equal to a manifest, without a dropped request.

Asks the `meridianctl up` of this host. Creates, changes and deletes objects so that those of the \
manifest's owner are what the file says; what belongs to others is left alone, and a name that is \
taken is refused (exit 4). Shows the difference, and asks before it deletes when stdin is a \
terminal. Returns when every worker runs the new revision: a request whose head ends after that \
meets it. What of [host] and [listen] differs holds from the next start of `up`, and is named."
    )]
    Apply(Apply),
    /// Make or replace one object: a tenant, a site, a certificate or a backend
    #[command(
        long_about = "Make or replace one object: a tenant, a site, a certificate or a backend.

The object is what the keys say, as they stand in a manifest, and nothing else; a value that is \
no TOML is taken as a string. It belongs to the API: no manifest changes it, and what belongs to \
a manifest is refused here (exit 4).

  meridianctl set tenant acme backend_networks='[\"10.7.0.0/16\"]'
  meridianctl set site acme/shop hostnames='[\"shop.example.com\"]' backend='[{ address = \"10.7.0.1:80\" }]'
  meridianctl set certificate acme/shop chain=shop.pem key=shop.key
  meridianctl set backend acme/shop/default/a2 address=10.7.0.2:80 weight=3
  meridianctl set backend acme/shop/default/a3 address=app.example.net:80"
    )]
    Set(Set),
    /// Remove one object: a tenant, a site, a certificate or a backend
    Delete(Delete),
    /// Answer 503 for a tenant or a site until it is resumed, whoever owns it
    #[command(
        long_about = "Answer 503 for a tenant or a site until it is resumed, whoever owns it.

What is suspended here stays so whatever its owner applies or sets, also when it is deleted and \
made anew, and across restarts; only `meridianctl resume` ends it. Connections stay open, and \
requests under way end as they began.

  meridianctl suspend tenant acme
  meridianctl suspend site acme/shop"
    )]
    Suspend(Suspend),
    /// Serve a suspended tenant or site again
    Resume(Suspend),
    /// Give a backend no new requests until it is ready again
    #[command(long_about = "Give a backend no new requests until it is ready again.

Requests under way end, and tunnels go on; new requests go to the others of its pool, to its \
backups or to other groups', and are answered 503 when there is none. It stays so whatever is \
applied, and across restarts; only `meridianctl ready` ends it. It concerns this host.

  meridianctl drain backend acme/shop/default/a2
  meridianctl status")]
    Drain(Drain),
    /// Give a drained backend requests again
    Ready(Drain),
    /// Show objects: tenants, sites, certificates, backends, groups, peers, zones
    #[command(
        long_about = "Show objects: tenants, sites, certificates, backends, groups, peers, zones.

Of one zone it prints what the zone above has to hold, or at a registrar its name servers and host \
objects: NS records, and the addresses of those names (glue). Whether it does is looked for: the \
servers of the zone above are found by the resolvers of /etc/resolv.conf and asked, all of them; \
each record is told to be there, missing (with the servers that do not hold it) or unknown. Exit \
code 1 when something is missing or leads elsewhere, 3 when no server could say.

  meridianctl get zone
  meridianctl get zone lb.example.net
  meridianctl get zone lb.example.net --server 192.0.2.53
  meridianctl get zone lb.example.net --no-check"
    )]
    Get(Get),
    /// Show what the planes of this host run: revision, workers, sites, backends
    Status(Status),
    /// Show the last requests of a site that ended badly, each with cause, backend and times
    #[command(
        long_about = "Show the last requests of a site that ended badly, each with cause, backend and times.

The proxy remembers the last 100 of each site since its start, whatever the access log samples: every request that was answered with an error of our own or cut off. CAUSE is what happened, FAULT whose it is: client, backend, operator or us (docs/operations.md lists them). Newest first; `-/-` is what belongs to no site. --format json has all fields of the access log.

  meridianctl failures acme/shop"
    )]
    Failures(Failures),
    /// Show why a client gets the answer of DNS that it gets
    #[command(long_about = "Show why a client gets the answer of DNS that it gets.

Asks the meridian-geodns of this host: which prefix the client's is decided by and what decided it \
(an override of the manifest, the geographic database by coordinates or by the centre of a state or \
a country, or nothing), the groups from near to far with their distances, who is well of each, and \
what a resolver that tells the prefix (EDNS Client Subnet) is answered, with the scope that it may \
keep the answer for. NAME is a name of one of the zones; a resolver that tells nothing is located \
by its own address: give that.

  meridianctl explain shop.acme.lb.example.net --client 192.0.2.0/24
  meridianctl explain shop.acme.lb.example.net --client 2001:db8::53 --format json")]
    Explain(Explain),
    /// Show what was served, for bills: by tenant, site and time
    #[command(
        long_about = "Show what was served, for bills: by tenant, site and time.

Reads STATE/ledger and what is not in it yet, up to the moment of the call, with or without a \
running `up`, and changes nothing. Times are in UTC, `--from` included and `--to` excluded; usage \
is told apart by slots of five minutes, each of which belongs to the range in which it begins. A \
site without usage has no row; what belongs to no site is that of tenant `-`.

  meridianctl usage --from 2026-11-01 --to 2026-12-01 --format csv
  meridianctl usage --tenant acme --by day --by-host

CSV has a header line, JSON is {\"rows\": [...]} with the same names; columns are only ever added, \
at the end. What they mean: docs/usage.md."
    )]
    Usage(Usage),
}

impl Call {
    /// Ends the program when the format is not one of the command's.
    pub(crate) fn check_format(&self) {
        if self.format == Format::Csv && !matches!(self.command, Command::Usage(_)) {
            let what = "--format csv is for `meridianctl usage`; here it is table or json";
            Call::command().error(ErrorKind::InvalidValue, what).exit();
        }
    }
}

/// `meridianctl up`
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// The manifest to serve
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) state: State,
}

/// `meridianctl check`
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The manifest to validate
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `meridianctl apply`
#[derive(Args, Debug)]
pub(crate) struct Apply {
    /// The manifest to apply
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Show the difference and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Delete without asking
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// `meridianctl set`
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// tenant, site, certificate or backend
    pub(crate) kind: String,
    /// Its full name: TENANT, TENANT/SITE, TENANT/CERTIFICATE or TENANT/SITE/POOL/BACKEND
    pub(crate) name: String,
    /// Its keys as in a manifest
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) keys: Vec<String>,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// `meridianctl delete`
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// tenant, site, certificate or backend
    pub(crate) kind: String,
    /// Its full name: TENANT, TENANT/SITE, TENANT/CERTIFICATE or TENANT/SITE/POOL/BACKEND
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// `meridianctl suspend` and `meridianctl resume`
#[derive(Args, Debug)]
pub(crate) struct Suspend {
    /// tenant or site
    pub(crate) kind: String,
    /// Its full name: TENANT or TENANT/SITE
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// `meridianctl drain` and `meridianctl ready`
#[derive(Args, Debug)]
pub(crate) struct Drain {
    /// backend
    pub(crate) kind: String,
    /// Its full name: TENANT/SITE/POOL/BACKEND
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) state: State,
}

/// `meridianctl get`
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// tenant, site, certificate, backend, group, peer or zone
    pub(crate) kind: String,
    /// The full name of one; without it, all of them
    pub(crate) name: Option<String>,
    /// Of a zone: ask this server of the zone above, instead of those that are found; repeat it for more
    #[arg(long = "server", value_name = "ADDRESS[:PORT]", value_parser = server, conflicts_with = "no_check")]
    pub(crate) servers: Vec<SocketAddr>,
    /// Of a zone: ask nobody
    #[arg(long)]
    pub(crate) no_check: bool,
    #[command(flatten)]
    pub(crate) state: State,
}

/// A name server's address, at the port of DNS where none is named.
fn server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|it| SocketAddr::new(it, 53));
    address
        .or_else(|_| text.parse::<SocketAddr>())
        .map_err(|_| "write an address such as 192.0.2.53 or [2001:db8::53]:53".to_owned())
}

/// What all changes have in common.
#[derive(Args, Debug)]
pub(crate) struct Change {
    /// How long to wait until every worker runs it, such as 5s or 500ms, at most 10m; then the exit
    /// code is 5
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) wait: Duration,
    #[command(flatten)]
    pub(crate) state: State,
}

impl Change {
    /// What the server is told of it.
    pub(crate) fn how(&self) -> How {
        How {
            dry_run: false,
            on_revision: None,
            wait_ms: self.wait.as_millis() as u64,
        }
    }
}

/// A duration as a manifest writes it.
fn duration(text: &str) -> Result<Duration, String> {
    meridian_model::duration(text)
        .map_err(|malformed| format!("{}; {}", malformed.what, malformed.hint))
}

/// `meridianctl status`
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) state: State,
}

/// `meridianctl failures`
#[derive(Args, Debug)]
pub(crate) struct Failures {
    /// The site's full name, or -/- for what belongs to no site
    #[arg(value_name = "TENANT/SITE", allow_hyphen_values = true)]
    pub(crate) site: String,
    #[command(flatten)]
    pub(crate) state: State,
}

/// `meridianctl explain`
#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// A name of one of the zones, such as SITE.TENANT.ZONE
    pub(crate) name: String,
    /// The client's network or address
    #[arg(long, value_name = "PREFIX", value_parser = prefix)]
    pub(crate) client: String,
    #[command(flatten)]
    pub(crate) state: State,
}

/// A prefix, as it is asked for: an address alone is one of all its bits.
fn prefix(text: &str) -> Result<String, String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let parsed: Option<IpAddr> = address.parse().ok();
    let bits_max = parsed.map_or(0, |it| if it.is_ipv4() { 32_u8 } else { 128 });
    let is_right = match bits {
        None => parsed.is_some(),
        Some(bits) => bits
            .parse::<u8>()
            .is_ok_and(|bits| (1..=bits_max).contains(&bits)),
    };
    match is_right {
        true => Ok(text.to_owned()),
        false => Err(
            "write a prefix of 1 to 32 or 128 bits, such as 192.0.2.0/24, or an address".to_owned(),
        ),
    }
}

/// `meridianctl usage`
#[derive(Args, Debug)]
pub(crate) struct Usage {
    /// Only this tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only sites of this name, SITE or TENANT/SITE
    #[arg(long)]
    pub(crate) site: Option<String>,
    /// From this time on, such as 2026-11-01T00:00:00Z or 2026-11-01 [default: the month's start]
    #[arg(long, value_name = "TIME", value_parser = Time::parse)]
    pub(crate) from: Option<Time>,
    /// Before this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = Time::parse)]
    pub(crate) to: Option<Time>,
    /// What a row is of
    #[arg(long, value_enum, default_value_t = By::Total)]
    pub(crate) by: By,
    /// A row for each host instead of their sum
    #[arg(long)]
    pub(crate) by_host: bool,
    #[command(flatten)]
    pub(crate) state: State,
}

/// What a row of usage is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The whole range
    Total,
    /// Each hour in which anything was served
    Hour,
    /// Each day in which anything was served
    Day,
}

/// Where this host keeps what it knows.
#[derive(Args, Debug)]
pub(crate) struct State {
    /// The state directory [default: /var/lib/meridian as root, else $XDG_STATE_HOME/meridian]
    #[arg(long = "state", value_name = "DIR", env = "MERIDIAN_STATE")]
    pub(crate) directory: Option<PathBuf>,
}

/// How a command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; never parse it
    Table,
    /// One JSON value on stdout (`up`: one a line)
    Json,
    /// Lines with commas below a header line; `usage` alone has it
    Csv,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_is_consistent() {
        Call::command().debug_assert();
    }
}
