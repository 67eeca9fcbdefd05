//! What a plane asks of the kernel about itself: limits, affinity, its supervisor's death.

use std::io;

/// A limit of the process (getrlimit(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// RLIMIT_NOFILE, a number of descriptors.
    OpenFiles,
    /// RLIMIT_MEMLOCK, in bytes.
    LockedMemory,
}

impl Limit {
    fn resource(self) -> libc::__rlimit_resource_t {
        match self {
            Limit::OpenFiles => libc::RLIMIT_NOFILE,
            Limit::LockedMemory => libc::RLIMIT_MEMLOCK,
        }
    }
}

/// The soft and the hard value of a limit; zeroes when the kernel does not say.
pub fn limit(which: Limit) -> (u64, u64) {
    let mut value = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is ours and outlives the call.
    unsafe { libc::getrlimit(which.resource(), &mut value) };
    (value.rlim_cur, value.rlim_max)
}

/// Raises the soft value of a limit to its hard value and gives it.
pub fn raise_limit(which: Limit) -> io::Result<u64> {
    let (_, hard) = limit(which);
    let value = libc::rlimit {
        rlim_cur: hard,
        rlim_max: hard,
    };
    // SAFETY: the structure is ours and outlives the call.
    if unsafe { libc::setrlimit(which.resource(), &value) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(hard)
}

/// Whether an operation failed because this host ran out of something: descriptors, memory, or
/// local ports. It says nothing of the peer.
pub fn is_want_of_resources(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL)
    )
}

/// The CPUs that this process may use, ascending.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: a cpu_set_t is plain bits; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours, of the size given.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every index is below CPU_SETSIZE.
    Ok((0..libc::CPU_SETSIZE as usize)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect())
}

/// Pins the calling thread to one CPU.
pub fn pin_thread(cpu: usize) -> io::Result<()> {
    // SAFETY: as in `allowed_cpus`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the index is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is ours, of the size given; 0 names the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The shortest turn that the kernel grants (sched(7): 0.1 ms to 100 ms), in ns.
const SHORTEST_TURN_NS: u64 = 100_000;

/// Has the calling thread run as soon as there is something for it, instead of after the turn of
/// whoever has the CPU; in exchange its own turns are short, which matters only while others want the
/// CPU too. Its share of it, which its nice value says, stays as it is. Kernels before 6.12 take no
/// notice of it.
pub fn take_short_turns() -> io::Result<()> {
    // SAFETY: the structure is plain bits.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: the structure is ours, of the size given; 0 names the calling thread.
    if unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &mut attributes, size, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.sched_runtime = SHORTEST_TURN_NS;
    // SAFETY: as above; the kernel only reads it.
    if unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &attributes, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Asks to be killed when `supervisor`, our parent, dies. Fails when it is already gone.
pub fn die_with(supervisor: u32) -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes an integer.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: getppid takes nothing and cannot fail.
    let parent = unsafe { libc::getppid() };
    if parent as u32 != supervisor {
        return Err(io::Error::other(format!(
            "the supervisor (pid {supervisor}) is gone"
        )));
    }
    Ok(())
}

/// Random bytes of the kernel's, at most 256 at a time.
pub fn random_bytes<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    const { assert!(BYTES <= 256, "getrandom(2) gives up to 256 at once or none") };
    let mut bytes = [0; BYTES];
    loop {
        // SAFETY: the bytes are ours, of the length given.
        if unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), BYTES, 0) } == BYTES as isize {
            return Ok(bytes);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// What makes opening and writing a FIFO that nobody reads an error instead of a wait (O_NONBLOCK).
pub const NEVER_WAIT: i32 = libc::O_NONBLOCK;

/// Bytes of memory that this machine has.
pub fn memory_bytes() -> u64 {
    // SAFETY: sysconf takes an integer and touches no memory of ours.
    let of = |name| u64::try_from(unsafe { libc::sysconf(name) }).unwrap_or(0);
    of(libc::_SC_PHYS_PAGES) * of(libc::_SC_PAGESIZE)
}

/// The kernel's release, as `uname -r` gives it.
pub fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}

/// The first two numbers of a release: `6.1.0-18-amd64` is (6, 1).
pub fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_memory() {
        let bytes = memory_bytes();
        assert!(bytes > 64 << 20, "{bytes}");
        assert_eq!(bytes % 4096, 0);
    }

    #[test]
    fn releases_are_read() {
        assert_eq!(parse_release("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(parse_release("5.10.0"), Some((5, 10)));
        assert_eq!(parse_release("6.18.44-fc-v782"), Some((6, 18)));
        assert_eq!(parse_release("unknown"), None);
    }

    #[test]
    fn this_process_may_use_a_cpu_and_can_be_pinned_to_it() {
        let cpus = allowed_cpus().expect("the kernel tells");
        let first = *cpus.first().expect("at least one");
        std::thread::spawn(move || {
            pin_thread(first).expect("it is allowed");
            assert_eq!(allowed_cpus().expect("the kernel tells"), [first]);
        })
        .join()
        .expect("the thread ends well");
    }

    #[test]
    fn a_thread_takes_short_turns_and_keeps_its_nice_value() {
        std::thread::spawn(|| {
            // SAFETY: nice takes an integer and is about this thread.
            let niceness = unsafe { libc::nice(3) };
            take_short_turns().expect("everybody may");
            // SAFETY: getpriority takes integers; 0 is the calling thread.
            let after = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
            assert_eq!(after, niceness);
        })
        .join()
        .expect("the thread ends well");
    }
}
