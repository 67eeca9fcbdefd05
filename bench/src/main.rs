//! `meridian-bench`: load, and comparison of Meridian's proxy with its peers.
//!
//! Everything runs on loopback, for a bounded time, and is ended by process id.

mod backend;
mod bare;
mod compare;
mod connect_loop;
mod cores;
mod disturbance;
mod failure;
mod fairness;
mod file_limit;
mod generator;
mod handshakes;
mod health;
mod histogram;
mod identity;
mod idle;
mod listener;
mod live;
mod load;
mod machine;
mod markdown;
mod median;
mod message_head;
mod plot;
mod process_tree;
mod program;
mod quantity;
mod readiness;
mod results;
mod rounds;
mod secure;
mod slab;
mod slow_clients;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "meridian-bench",
    version,
    about = "Load, and comparison of Meridian's proxy with its peers"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare Meridian's proxy with HAProxy and nginx: table, raw samples, plot.
    Compare(Box<compare::Options>),
    /// Start with very many sites and change them under load, beside HAProxy and nginx.
    Live(Box<live::Options>),
    /// Send requests at a rate (open loop) or as fast as they are answered (closed loop).
    Load(load::Options),
    /// Make handshakes by TLS, whole or resumed, as fast as a server makes them.
    Handshakes(handshakes::Options),
    /// Measure a server's memory for each idle keep-alive connection.
    Idle(idle::Options),
    /// What ordinary clients wait for while others are as slow as they can be.
    SlowClients(slow_clients::Options),
    /// What checks of very many backends cost, and what requests notice of them.
    Health(health::Options),
    /// What a quiet tenant waits for while another floods, beside HAProxy and nginx.
    Fairness(fairness::Options),
    /// The least that checks by connecting can be, for what `health` compares with.
    ConnectLoop(connect_loop::Options),
    /// A small fast web server: `/b/<bytes>` answers a body of that size.
    Backend(backend::Options),
    /// The least HTTP proxy there can be, for the choice of a runtime.
    BareProxy(bare::Options),
}

fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Compare(options) => compare::run(*options),
        Command::Live(options) => live::run(&options),
        Command::Load(options) => load::run(options),
        Command::Handshakes(options) => handshakes::run(&options),
        Command::Idle(options) => idle::run(&options),
        Command::SlowClients(options) => slow_clients::run(options),
        Command::Health(options) => health::run(&options),
        Command::Fairness(options) => fairness::run(&options),
        Command::ConnectLoop(options) => connect_loop::run(&options),
        Command::Backend(options) => backend::run(&options),
        Command::BareProxy(options) => bare::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("meridian-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
