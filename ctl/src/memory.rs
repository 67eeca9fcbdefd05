//! Memory that was needed for a moment only.

use std::thread::{Builder, sleep};
use std::time::Duration;

/// The allocator gives back what nobody has needed for a second, and looks for it when a thread
/// ends.
const UNUSED_FOR: Duration = Duration::from_secs(2);

/// Has what was freed up to now given back in a moment. What a thread freed of another one's that
/// still runs, it has no eye for.
pub(crate) fn give_back() {
    // Without a thread it is given back when another one ends.
    let _ = Builder::new()
        .name("memory".to_string())
        .spawn(|| sleep(UNUSED_FOR));
}
