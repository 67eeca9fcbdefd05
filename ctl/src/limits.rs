//! The limits of meridianctl: what a change, an asker, a plane or a damaged file can make grow.

use std::time::Duration;

use meridian_model::limits::{CERTIFICATE_CONTENT_BYTES_MAX, SITES_PER_LINE_MAX};

// --- listeners ---

/// Connections that may wait on one socket; the kernel takes at most net.core.somaxconn. The same
/// as that of a plane that opens its listeners by itself.
pub(crate) const BACKLOG: i32 = 4096;

// --- the control socket ---

/// How long anybody can have a thread wait for a change, in milliseconds.
pub(crate) const WAIT_MS_MAX: u64 = 600_000;

/// How many may wait for the plane at a time; more are told that their change is not live yet.
pub(crate) const WAITING_MAX: usize = 1024;

/// Until a silent asker is hung up on.
pub(crate) const ASKER_TIMEOUT: Duration = Duration::from_secs(60);

// --- certificates ---

/// Contents of certificates that were sent to `up` and that nothing names yet: each is some hundred
/// bytes of memory, and a file.
pub(crate) const RECEIVED_CERTIFICATES_MAX: usize = 500_000;

/// Contents are sent to `up` in lines of about this length, in bytes.
pub(crate) const KEEP_LINE_BYTES: usize = 1024 * 1024;

/// How long the file of a certificate is kept that no revision names any more: a handshake may be
/// about to read it, and who sent one may be about to name it.
pub(crate) const CERTIFICATE_KEPT: Duration = Duration::from_secs(60 * 60);

/// How often it is looked for such files.
pub(crate) const CERTIFICATE_SWEEP: Duration = Duration::from_secs(20 * 60);

// --- the zone above one of ours ---

/// How long one try of a question to a name server may take.
pub(crate) const DNS_TRY: Duration = Duration::from_secs(2);

/// How long the whole of a check of a delegation may take.
pub(crate) const DELEGATION_CHECK: Duration = Duration::from_secs(20);

/// Addresses of the servers of a zone above that are asked; the root has 26.
pub(crate) const PARENT_ADDRESSES_MAX: usize = 32;

// --- the local socket of a plane ---

/// The longest answer that is read: 100,000 sites with their backends are a tenth of this.
pub(crate) const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

// --- files ---

/// A journal shorter than this is not worth a new generation, in bytes.
pub(crate) const JOURNAL_BYTES_MIN: u64 = 1024 * 1024;

/// A change that is longer than this begins a new generation: it is no line, in bytes.
pub(crate) const CHANGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest line of a slots file that is read: [`SITES_PER_LINE_MAX`] sites of 14 numbers with
/// all their digits are a third of this, in bytes.
pub(crate) const SLOTS_LINE_BYTES_MAX: u64 = 1024 * 1024;

/// The first line of the record of the manifest that was applied, in bytes.
pub(crate) const CIRCUMSTANCES_BYTES_MAX: u64 = 64 * 1024;

// A content with its digits fits many times.
const _: () = assert!(8 * CERTIFICATE_CONTENT_BYTES_MAX <= KEEP_LINE_BYTES);
const _: () = assert!(3 * 14 * 21 * SITES_PER_LINE_MAX as u64 <= SLOTS_LINE_BYTES_MAX);
