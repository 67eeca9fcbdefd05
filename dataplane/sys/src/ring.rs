//! One io_uring, set up the one way that the runtime needs it, with errors in words.

use crate::limits::{CQ_ENTRIES, SQ_ENTRIES};
use io_uring::{IoUring, squeue, types};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a worker's ring could not be made, and what an operator can do about it.
#[derive(Debug)]
pub enum SetupError {
    /// The kernel is older than Linux 6.1.
    KernelTooOld {
        /// The release that runs, as `uname -r` gives it.
        release: String,
    },
    /// io_uring is switched off or filtered.
    NotPermitted {
        /// The value of `kernel.io_uring_disabled`, where it can be read.
        disabled: Option<u8>,
    },
    /// The rings or the buffers did not fit into the limit on locked memory.
    LockedMemory {
        /// RLIMIT_MEMLOCK, in bytes.
        limit_bytes: u64,
    },
    /// No file descriptor was left.
    Descriptors {
        /// RLIMIT_NOFILE.
        limit: u64,
    },
    /// Anything else.
    Other {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::KernelTooOld { release } => write!(
                f,
                "this kernel ({release}) lacks what Meridian needs of io_uring; run Linux 6.1 or later"
            ),
            SetupError::NotPermitted {
                disabled: Some(value),
            } if *value > 0 => write!(
                f,
                "io_uring is switched off: kernel.io_uring_disabled is {value}; set it to 0 (sysctl -w kernel.io_uring_disabled=0), or to 1 with this user in kernel.io_uring_group"
            ),
            SetupError::NotPermitted { .. } => write!(
                f,
                "io_uring is not permitted here: allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile of this container or service"
            ),
            SetupError::LockedMemory { limit_bytes } => write!(
                f,
                "the limit on locked memory ({limit_bytes} bytes) is too small for the rings; raise it to 8 MiB (LimitMEMLOCK=8M, or ulimit -l 8192)"
            ),
            SetupError::Descriptors { limit } => write!(
                f,
                "no file descriptor is left (the limit is {limit}); raise it (LimitNOFILE=, or ulimit -n)"
            ),
            SetupError::Other { step, source } => write!(f, "{step}: {source}"),
        }
    }
}

impl std::error::Error for SetupError {}

impl SetupError {
    /// Puts an error of the kernel into words.
    pub(crate) fn explain(step: &'static str, source: io::Error) -> SetupError {
        let release = crate::process::kernel_release();
        let too_old =
            crate::process::parse_release(&release).is_some_and(|version| version < (6, 1));
        match source.raw_os_error() {
            Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) if too_old => {
                SetupError::KernelTooOld { release }
            }
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => SetupError::NotPermitted {
                disabled: std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                    .ok()
                    .and_then(|text| text.trim().parse().ok()),
            },
            Some(libc::ENOMEM) => SetupError::LockedMemory {
                limit_bytes: crate::process::limit(crate::process::Limit::LockedMemory).0,
            },
            Some(libc::EMFILE | libc::ENFILE) => SetupError::Descriptors {
                limit: crate::process::limit(crate::process::Limit::OpenFiles).0,
            },
            _ => SetupError::Other { step, source },
        }
    }
}

/// A completion, copied out of the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) token: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

/// See the module.
pub(crate) struct Ring {
    inner: IoUring,
    /// What did not fit into the queue while the kernel took nothing; in order.
    backlog: VecDeque<squeue::Entry>,
    /// Times that the kernel shall take nothing, as with EAGAIN.
    #[cfg(test)]
    pub(crate) refusals: u32,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ring")
    }
}

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 8;

impl Ring {
    /// Makes the ring. It belongs to the calling thread: nobody else may submit to it.
    pub(crate) fn new() -> Result<Ring, SetupError> {
        let mut builder = IoUring::builder();
        builder
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(CQ_ENTRIES);
        let inner = builder
            .build(SQ_ENTRIES)
            .map_err(|error| SetupError::explain("making an io_uring", error))?;
        Ok(Ring {
            inner,
            backlog: VecDeque::new(),
            #[cfg(test)]
            refusals: 0,
        })
    }

    pub(crate) fn register_buffers(
        &self,
        address: u64,
        entries: u16,
        group: u16,
    ) -> io::Result<()> {
        // SAFETY: the pool that owns the memory is dropped after the ring (see `runtime`), and
        // `entries` is what was mapped at `address`.
        unsafe {
            self.inner
                .submitter()
                .register_buf_ring_with_flags(address, entries, group, 0)
        }
    }

    /// Puts a submission into the queue, submitting the ones before it when the queue is full.
    ///
    /// Whatever the entry points to (a send's bytes, a connect's address) must stay valid until
    /// its completion has been reaped; `socket` and `runtime` keep it in the socket's slot.
    pub(crate) fn push(&mut self, entry: &squeue::Entry) {
        if self.backlog.is_empty() {
            // SAFETY: upheld by the callers, as said above.
            if unsafe { self.inner.submission().push(entry) }.is_ok() {
                return;
            }
            // A kernel that can not take it now (no memory, completions that overflow) may
            // want its completions reaped first, which is not done here; what is wrong for
            // good is an error of the next turn.
            let _ = self.enter(0, None);
        }
        self.backlog.push_back(entry.clone());
        self.refill();
    }

    /// Moves what waits into the queue, as far as it goes.
    fn refill(&mut self) {
        while let Some(entry) = self.backlog.front() {
            // SAFETY: as in `push`: the callers keep what it points to.
            if unsafe { self.inner.submission().push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    pub(crate) fn queued(&mut self) -> usize {
        self.inner.submission().len() + self.backlog.len()
    }

    /// Submits everything and runs the kernel's deferred work; waits for `want` completions, for
    /// at most `timeout`. A wait that ends by time or by a signal is no error. It does not wait
    /// when more stands in line than the queue holds: then it is to be called again.
    pub(crate) fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        #[cfg(test)]
        if self.refusals > 0 {
            self.refusals -= 1;
            return Ok(());
        }
        self.refill();
        let want = if self.backlog.is_empty() { want } else { 0 };
        let queued = self.inner.submission().len() as u32;
        let timespec = timeout.map(types::Timespec::from);
        let mut arguments = types::SubmitArgs::new();
        if let Some(timespec) = &timespec {
            arguments = arguments.timespec(timespec);
        }
        // SAFETY: the argument is the extended one, of the size that EXT_ARG promises, and it
        // outlives the call. GETEVENTS is always set: with DEFER_TASKRUN nothing completes
        // without it.
        let result = unsafe {
            self.inner.submitter().enter(
                queued,
                want,
                ENTER_GETEVENTS | ENTER_EXT_ARG,
                Some(&arguments),
            )
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Whether the kernel has something for us that [`Ring::enter`] would bring. Asks no kernel.
    pub(crate) fn has_news(&mut self) -> bool {
        self.inner.submission().taskrun() || !self.inner.completion().is_empty()
    }

    /// Moves all completions that are there into `into`.
    pub(crate) fn reap(&mut self, into: &mut Vec<Completion>) {
        let queue = self.inner.completion();
        into.extend(queue.map(|entry| Completion {
            token: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    /// Cancels everything that is under way. Completions still say what was.
    pub(crate) fn cancel_everything(&self) -> io::Result<()> {
        let builder = types::CancelBuilder::any().all();
        self.inner
            .submitter()
            .register_sync_cancel(Some(types::Timespec::from(Duration::from_secs(1))), builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errno: i32) -> String {
        let error = io::Error::from_raw_os_error(errno);
        SetupError::explain("making an io_uring", error).to_string()
    }

    #[test]
    fn each_refusal_says_what_to_change() {
        let old = SetupError::KernelTooOld {
            release: "5.10.0-30-amd64".into(),
        };
        assert_eq!(
            old.to_string(),
            "this kernel (5.10.0-30-amd64) lacks what Meridian needs of io_uring; run Linux 6.1 or later"
        );
        for value in [1, 2] {
            let off = SetupError::NotPermitted {
                disabled: Some(value),
            };
            let words = off.to_string();
            let sysctl = format!("kernel.io_uring_disabled is {value}; set it to 0");
            assert!(words.contains(&sysctl), "{words}");
            assert!(words.contains("kernel.io_uring_group"), "{words}");
        }
        // Switched on, and refused all the same: it is filtered.
        for disabled in [None, Some(0)] {
            let words = SetupError::NotPermitted { disabled }.to_string();
            assert!(words.contains("seccomp profile"), "{words}");
            for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
                assert!(words.contains(call), "{words}");
            }
        }
        let locked = SetupError::LockedMemory {
            limit_bytes: 65_536,
        };
        assert_eq!(
            locked.to_string(),
            "the limit on locked memory (65536 bytes) is too small for the rings; raise it to 8 MiB (LimitMEMLOCK=8M, or ulimit -l 8192)"
        );
        let files = SetupError::Descriptors { limit: 16 };
        assert_eq!(
            files.to_string(),
            "no file descriptor is left (the limit is 16); raise it (LimitNOFILE=, or ulimit -n)"
        );
        let other = SetupError::Other {
            step: "registering the receive buffers",
            source: io::Error::from_raw_os_error(libc::EIO),
        };
        assert_eq!(
            other.to_string(),
            "registering the receive buffers: Input/output error (os error 5)"
        );
    }

    #[test]
    fn the_answers_of_the_kernel_are_told_apart() {
        assert!(said(libc::ENOMEM).contains("locked memory"));
        assert!(said(libc::EMFILE).contains("file descriptor"));
        assert!(said(libc::ENFILE).contains("file descriptor"));
        assert!(said(libc::EPERM).contains("io_uring is"));
        assert!(said(libc::EIO).starts_with("making an io_uring: "));
    }
}
