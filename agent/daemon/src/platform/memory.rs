//! The memory the C library keeps back for itself.
#![expect(unsafe_code, reason = "two calls of the C library without a safe wrapper")]

/// One heap for all threads. Else each thread gets one of its own, which never shrinks: megabytes, for a daemon that
/// seldom does two things at once. Before any thread is started.
pub fn share_heap() {
    // SAFETY: sets a number; no other thread runs yet.
    let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    if set == 0 {
        tracing::debug!("the C library does not share its heap");
    }
}

/// Gives what was freed back to the system; worth it after something large.
pub fn give_back() {
    // SAFETY: may be called at any time from any thread.
    unsafe { libc::malloc_trim(0) };
}
