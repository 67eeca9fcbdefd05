//! What a worker says when the kernel really refuses to make its ring.

use meridian_sys::{Runtime, RuntimeConfig, SetupError};
use std::fs::File;

fn refusal() -> SetupError {
    let made = Runtime::new(RuntimeConfig::default());
    made.expect_err("the kernel refuses")
}

/// Runs `check` on a thread of its own, for what it does to that thread can not be undone.
fn on_a_thread(check: impl FnOnce() + Send + 'static) {
    let ended = std::thread::spawn(check).join();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn no_descriptor_is_left() {
    on_a_thread(|| {
        // SAFETY: unshare(2) takes an integer. From here on this thread has descriptors of its
        // own, so that using them up disturbs no other test.
        let result = unsafe { libc::unshare(libc::CLONE_FILES) };
        assert_eq!(result, 0);
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        assert!(matches!(refusal(), SetupError::Descriptors { limit } if limit > 0));
        // One for the ring, and none for the eventfd.
        taken.pop();
        let error = refusal();
        assert!(matches!(error, SetupError::Descriptors { .. }), "{error}");
        taken.truncate(taken.len() - 8);
        Runtime::new(RuntimeConfig::default()).expect("there is room again");
    });
}

/// Makes io_uring_setup fail with `errno` on this thread, as a container's profile would.
fn filter_io_uring(errno: i32) {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let mut program = [
        // The number of the system call stands first in seccomp_data.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_io_uring_setup as u32,
        ),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: prctl with integers, for this thread alone.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0);
    // SAFETY: the filter and its program outlive the call; it holds for this thread alone.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            std::ptr::from_ref(&filter),
        )
    };
    assert_eq!(result, 0);
}

#[test]
fn a_seccomp_profile_forbids_it() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        on_a_thread(move || {
            filter_io_uring(errno);
            let error = refusal();
            assert!(matches!(error, SetupError::NotPermitted { .. }), "{error}");
            let words = error.to_string();
            assert!(words.starts_with("io_uring is"), "{words}");
        });
    }
}
