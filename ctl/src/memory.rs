//! Memory that was needed for a moment only.

use rustix::thread::disable_transparent_huge_pages;
use std::thread::{Builder, sleep};
use std::time::Duration;

/// The allocator gives back what nobody has needed for a second, and looks for it when a thread
/// ends.
const UNUSED_FOR: Duration = Duration::from_secs(2);

/// Has the kernel give memory in pages of 4 KiB from here on, to this process and to those that it
/// starts: the allocator asks for huge ones, of which whoever needs a part has all.
pub(crate) fn in_small_pages() {
    // A kernel that can not has none.
    let _ = disable_transparent_huge_pages(true);
}

/// Has what was freed up to now given back in a moment. What a thread freed of another one's that
/// still runs, it has no eye for.
pub(crate) fn give_back() {
    // Without a thread it is given back when another one ends.
    let _ = Builder::new()
        .name("memory".to_string())
        .spawn(|| sleep(UNUSED_FOR));
}
