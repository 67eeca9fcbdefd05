//! `meridianctl`: Meridian's command line and the supervisor of a host's planes.

mod applied_manifest;
mod asking;
mod backoff;
mod certificates;
mod change_request;
mod changing;
mod check;
mod cli;
mod config_directory;
mod control_socket;
mod delegation;
mod dns_status;
mod draining;
mod durable_file;
mod event;
mod explaining;
mod failure;
mod failures;
mod file_limit;
mod fleet_secret;
mod geographic_database;
mod host_status;
mod ledger;
mod limits;
mod lines;
mod listeners;
mod lock;
mod manifest_file;
mod memory;
mod output;
mod plane_life;
mod plane_process;
mod plane_socket;
mod plane_status;
mod signals;
mod state_directory;
mod status;
mod store;
mod supervisor;
mod suspending;
mod table;
mod up;
mod usage;
mod zones;

use std::process::ExitCode;

use clap::Parser;

use cli::{Call, Command};
use failure::{Exit, Failure};
use output::Output;

/// A manifest of very many sites is very many small values.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let call = Call::parse();
    call.check_format();
    let output = Output::new(call.format);
    let done: Result<(), Failure> = match &call.command {
        Command::Up(up) => up::run(up, output),
        Command::Check(check) => check::run(check, output),
        Command::Apply(apply) => changing::apply(apply, output),
        Command::Set(set) => changing::set(set, output),
        Command::Delete(delete) => changing::delete(delete, output),
        Command::Suspend(suspend) => changing::suspend(suspend, output),
        Command::Resume(resume) => changing::resume(resume, output),
        Command::Drain(drain) => draining::drain(drain, output),
        Command::Ready(ready) => draining::ready(ready, output),
        Command::Get(get) => changing::get(get, output),
        Command::Status(status) => status::run(status, output),
        Command::Failures(of) => failures::run(of, output),
        Command::Explain(explain) => explaining::run(explain, output),
        Command::Usage(usage) => usage::run(usage, output),
    };
    match done {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}
