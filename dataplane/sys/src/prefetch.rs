//! Asks the processor for memory that is needed soon.
//!
//! With some hundred connections at work their entries and tasks have left the near caches
//! whenever something comes for them. What comes is known many at a time, so the memory of the
//! later ones can be on its way while the earlier ones are worked on.

const LINE_BYTES: usize = 64;

/// Brings the whole value nearer. A hint: nothing is read as far as the program can tell.
#[inline]
pub(crate) fn prefetch<T: ?Sized>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    for offset in (0..size_of_val(value)).step_by(LINE_BYTES) {
        line(start.wrapping_add(offset));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch neither faults nor changes anything, whatever the address is.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// Where stable Rust has no name for the instruction the caches are left to themselves.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn line(_: *const u8) {}
