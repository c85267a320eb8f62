//! Devices whose connection is to end: a person took them out of use, or gave them another password. Their account lets nobody
//! in any more; this also cuts off who was let in before.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use lectern_wire::id::DeviceId;

/// Those devices. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Barred(Arc<Mutex<HashSet<DeviceId>>>);

impl Barred {
    fn set(&self) -> std::sync::MutexGuard<'_, HashSet<DeviceId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts a device off with the next thing it says.
    pub fn bar(&self, device: DeviceId) {
        self.set().insert(device);
    }

    /// It was let in by what counts now.
    pub fn welcome(&self, device: &DeviceId) {
        self.set().remove(device);
    }

    /// Whether what it says is refused.
    #[must_use]
    pub fn is(&self, device: &DeviceId) -> bool {
        self.set().contains(device)
    }
}
