//! Work that can wait yields to everything else on the machine.

/// The lowest priority there is without a right of one's own: nice 19, and with it the last place among
/// those that wait for the disk.
pub fn yield_to_all() {
    if let Err(e) = rustix::process::nice(19) {
        tracing::warn!("this work could not be given a low priority: {e}");
    }
}
