//! `bare-proxy`: the least HTTP proxy there can be, on three ways of doing I/O.
//!
//! It is the evidence for the runtime decision: all three find the empty line, forward the
//! head as it came, relay bodies by their Content-Length and keep a pool of connections to
//! one backend. What differs between them is the way of waiting for the kernel, so that is
//! what a comparison shows. None of them is fit for strangers: heads are not checked, nothing
//! has a time limit.

mod epoll;
mod glommio;
mod ring;

use std::net::SocketAddr;

use crate::failure::Failure;

/// How a prototype waits for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// Edge-triggered readiness and a state machine.
    Epoll,
    /// `TcpStream` of glommio 0.9.
    Glommio,
    /// The io_uring runtime that Meridian's workers run on.
    Ring,
}

/// What `bare-proxy` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long, value_enum)]
    engine: Engine,
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Where requests go.
    #[arg(long)]
    backend: SocketAddr,
}

/// Serves until the process is ended.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let place = Failure::at(format!("bare-proxy on {}", options.listen));
    match options.engine {
        Engine::Epoll => epoll::serve(options.listen, options.backend).map_err(place),
        Engine::Glommio => glommio::serve(options.listen, options.backend).map_err(place),
        Engine::Ring => ring::serve(options.listen, options.backend).map_err(place),
    }
}
