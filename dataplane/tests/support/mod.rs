//! A real data plane on loopback, scripted peers around it, and conversations in text files.

pub(crate) mod conversation;
pub(crate) mod identity;
pub(crate) mod manifest;
pub(crate) mod message;
pub(crate) mod name_server;
pub(crate) mod peer;
pub(crate) mod plane;
pub(crate) mod script;
pub(crate) mod secure;
pub(crate) mod told;

/// Runs `check` again and again until it holds, for `seconds` at most. Whether it ever held.
pub(crate) fn eventually(seconds: u64, mut check: impl FnMut() -> bool) -> bool {
    let begun = std::time::Instant::now();
    loop {
        if check() {
            return true;
        }
        if begun.elapsed() > std::time::Duration::from_secs(seconds) {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
