//! Whether a reader takes what it is sent.
//!
//! The kernel takes more of a send only once a third of what it holds has gone, which a slow but
//! steady reader may need long for. So what the reader acknowledged between half of its time and
//! the end of it counts too.

use meridian_sys::Socket;

/// See the module.
#[derive(Debug)]
pub(crate) struct Stall {
    /// When the reader was last found to have acknowledged something of a send that stands still.
    acknowledged_ns: u64,
    /// What it had not acknowledged half-way to the end of its time.
    unacknowledged_bytes: Option<u32>,
}

impl Stall {
    /// Of a reader that is sent something from now on.
    pub(crate) fn new(now_ns: u64) -> Stall {
        Stall {
            acknowledged_ns: now_ns,
            unacknowledged_bytes: None,
        }
    }

    /// When to look again at a send under way; `None` when nothing of it was taken for `write_ns`.
    pub(crate) fn deadline_ns(
        &mut self,
        reader: &Socket,
        write_ns: u64,
        now_ns: u64,
    ) -> Option<u64> {
        let since_ns = reader.send_progress_ns().max(self.acknowledged_ns);
        let (half_ns, end_ns) = (since_ns + write_ns / 2, since_ns + write_ns);
        if now_ns < half_ns {
            self.unacknowledged_bytes = None;
            return Some(half_ns);
        }
        let Some(before_bytes) = self.unacknowledged_bytes else {
            self.unacknowledged_bytes = Some(reader.unacknowledged_bytes().unwrap_or(0));
            return Some(end_ns.max(now_ns + 1));
        };
        if now_ns < end_ns {
            return Some(end_ns);
        }
        let moved = reader
            .unacknowledged_bytes()
            .is_ok_and(|bytes| bytes < before_bytes);
        if !moved {
            return None;
        }
        self.acknowledged_ns = now_ns;
        self.unacknowledged_bytes = None;
        Some(now_ns + write_ns / 2)
    }
}
