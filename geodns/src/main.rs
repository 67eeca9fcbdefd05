//! `meridian-geodns`: the DNS responder of one host, started by `meridianctl up`.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers DNS from the config log of a state directory.
///
/// Sockets are taken from LISTEN_FDS where a supervisor passes them, else bound as the manifest
/// says. SIGTERM or SIGINT ends what is under way, a second one stops at once.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The state directory.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match meridian_geodns::plane::run(&arguments.state) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("meridian-geodns: {fault}");
            ExitCode::FAILURE
        }
    }
}
