//! A multishot receive that ends by itself once it has brought so many bytes in all (Linux 6.17).
//!
//! Before that version a multishot receive goes on as long as there are buffers, whatever the
//! reader keeps up with, and the kernel refuses the bound (EINVAL). Whether it is there is found
//! out by asking, once for each process.

use io_uring::{IoUring, opcode, squeue, types};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Duration;

/// Where `struct io_uring_sqe` has `optlen`, in words of 32 bits.
const OPTLEN_WORD: usize = 11;
const PROBE_GROUP: u16 = 0;
const PROBE_BUFFER_BYTES: usize = 16;

const _: () = assert!(size_of::<squeue::Entry>() == 64);

/// Bounds a multishot receive to `bytes` (at least 1) in all.
pub(crate) fn bounded(mut receive: squeue::Entry, bytes: u32) -> squeue::Entry {
    let words = std::ptr::from_mut(&mut receive).cast::<u32>();
    // SAFETY: an entry is the kernel's io_uring_sqe, 64 bytes aligned for 64-bit words, of which
    // any bits are valid; this word of it is an integer.
    unsafe { words.add(OPTLEN_WORD).write(bytes) };
    receive
}

/// Whether this kernel bounds a multishot receive.
pub fn has_bounded_receives() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // A kernel that can not even be asked is served as an older one is.
    *FOUND.get_or_init(|| probe().unwrap_or(false))
}

/// Asks for one byte of two with a receive that would take all: whether it ends there.
fn probe() -> io::Result<bool> {
    // Never freed: a kernel that went on receiving would do so until the ring is gone, and a ring
    // goes some time after it is closed.
    let buffers = Box::leak(Box::new([0_u8; 2 * PROBE_BUFFER_BYTES]));
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(b"ab")?;
    let mut ring = IoUring::new(4)?;
    let provide = opcode::ProvideBuffers::new(
        buffers.as_mut_ptr(),
        PROBE_BUFFER_BYTES as i32,
        2,
        PROBE_GROUP,
        0,
    )
    .build();
    let receive = opcode::RecvMulti::new(types::Fd(ours.as_raw_fd()), PROBE_GROUP).build();
    let mut submission = ring.submission();
    // SAFETY: the buffers live for ever, and the kernel holds the socket itself while it uses it.
    let pushed = unsafe {
        let provided = submission.push(&provide);
        provided.and_then(|()| submission.push(&bounded(receive.user_data(1), 1)))
    };
    drop(submission);
    pushed.map_err(io::Error::other)?;
    let patience = types::Timespec::from(Duration::from_secs(1));
    let arguments = types::SubmitArgs::new().timespec(&patience);
    ring.submitter().submit_with_args(2, &arguments)?;
    let mut completions = ring.completion();
    let received = completions.find(|completion| completion.user_data() == 1);
    Ok(received.is_some_and(|it| it.result() > 0 && !io_uring::cqueue::more(it.flags())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_from_6_17_on_have_it() {
        let release = crate::process::kernel_release();
        let version = crate::process::parse_release(&release).expect("it has numbers");
        assert_eq!(probe().expect("io_uring is available"), version >= (6, 17));
    }

    #[test]
    fn only_the_bound_is_written() {
        let receive = || opcode::RecvMulti::new(types::Fd(7), 3).build().user_data(9);
        let words = |entry: &squeue::Entry| {
            // SAFETY: an entry is 16 words, all of them written when it was built.
            unsafe { *std::ptr::from_ref(entry).cast::<[u32; 16]>() }
        };
        let (before, after) = (words(&receive()), words(&bounded(receive(), 4711)));
        for word in 0..16 {
            let wanted = if word == OPTLEN_WORD {
                4711
            } else {
                before[word]
            };
            assert_eq!(after[word], wanted, "word {word}");
        }
    }
}
