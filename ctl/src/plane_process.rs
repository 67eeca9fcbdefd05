//! A plane as a child process: where its program is, and how it is started.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};

use crate::failure::Failure;
use crate::listeners::Listeners;

/// The dataplane's program.
pub(crate) const DATAPLANE: &str = "meridian-dataplane";

/// The DNS responder's program.
pub(crate) const GEODNS: &str = "meridian-geodns";

/// The first descriptor that a plane inherits: those before it are stdin, stdout and stderr.
const FIRST_LISTENER_FD: i32 = 3;

/// What is needed to start a plane, as often as it takes.
pub(crate) struct PlaneProcess {
    name: &'static str,
    program: PathBuf,
    state: PathBuf,
    listeners: Listeners,
}

impl PlaneProcess {
    /// The program `name` that its variable names (MERIDIAN_DATAPLANE, MERIDIAN_GEODNS), else the one
    /// beside our own.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn new(
        name: &'static str,
        state: &Path,
        listeners: Listeners,
    ) -> Result<PlaneProcess, Failure> {
        let variable = name.to_ascii_uppercase().replace('-', "_");
        let program = match std::env::var_os(&variable) {
            Some(named) if !named.is_empty() => PathBuf::from(named),
            _ => std::env::current_exe()
                .map_err(|error| Failure::input(format!("our own program: {error}")))?
                .with_file_name(name),
        };
        if !program.is_file() {
            return Err(Failure::input(format!(
                "{}: there is no {name}; put it beside meridianctl, or name it with {variable}",
                program.display()
            )));
        }
        Ok(PlaneProcess {
            name,
            program,
            state: state.to_path_buf(),
            listeners,
        })
    }

    /// The name of its program.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Gives the listeners up: it will not be started again.
    pub(crate) fn close_listeners(&mut self) {
        self.listeners.close();
    }

    /// Starts it. To be called on the main thread: the plane asks the kernel
    /// to end it together with the *thread* that started it.
    ///
    /// # Errors
    /// Of the fork, the exec or the copying of the listeners.
    pub(crate) fn start(&self) -> io::Result<Child> {
        let duplicates = self.listeners.duplicates()?;
        let count = duplicates.len();
        // Each copy took the lowest free number, so when all are made no
        // number below FIRST_LISTENER_FD + count is free any more, and the
        // pipe over which the child reports a failed exec lies above them:
        // the mapping can not overwrite it.
        let mappings = duplicates
            .into_iter()
            .zip(FIRST_LISTENER_FD..)
            .map(|(parent_fd, child_fd)| FdMapping {
                parent_fd,
                child_fd,
            })
            .collect();
        let mut command = Command::new(&self.program);
        command
            .arg("--state")
            .arg(&self.state)
            .env("LISTEN_FDS", count.to_string())
            .env("LISTEN_FDNAMES", self.listeners.names())
            // One that was meant for us would tell the plane to ignore its listeners.
            .env_remove("LISTEN_PID")
            .env("MERIDIAN_SUPERVISOR", std::process::id().to_string())
            .stdin(Stdio::null())
            // Our stdout carries the ready line and nothing of a plane's.
            .stdout(io::stderr().as_fd().try_clone_to_owned()?)
            // A group of its own: Ctrl-C reaches us alone and the plane gets
            // one signal, ours, not two, of which the second means "stop now".
            .process_group(0)
            .fd_mappings(mappings)
            .map_err(io::Error::other)?;
        command.spawn()
    }
}
