//! Waking a worker from another thread.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Wakes a runtime from any thread. Many calls before it looks count as one.
#[derive(Debug, Clone)]
pub struct Notifier {
    eventfd: Arc<OwnedFd>,
}

impl Notifier {
    pub(crate) fn new() -> io::Result<Notifier> {
        // SAFETY: eventfd takes two integers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Notifier {
            eventfd: Arc::new(eventfd),
        })
    }

    /// Makes the runtime deliver [`crate::Event::Notified`].
    pub fn notify(&self) {
        let one = 1u64;
        // SAFETY: eight bytes that outlive the call. The only failure is a full counter, which
        // wakes as well.
        unsafe { libc::write(self.eventfd.as_raw_fd(), std::ptr::from_ref(&one).cast(), 8) };
    }

    /// The descriptor that is readable when somebody notified.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    /// Forgets the notifications so far.
    pub(crate) fn reset(&self) {
        let mut count = 0u64;
        // SAFETY: eight bytes of ours that outlive the call.
        unsafe {
            libc::read(
                self.eventfd.as_raw_fd(),
                std::ptr::from_mut(&mut count).cast(),
                8,
            )
        };
    }
}
