//! TLS by the system's certificates, one for all lines of a program: it holds all the world's, more than a megabyte.

use std::sync::{Mutex, PoisonError};

pub use tokio_native_tls::native_tls::{Error, TlsConnector};

static SHARED: Mutex<Option<TlsConnector>> = Mutex::new(None);

/// What connections are made with; made when it is first needed.
///
/// # Errors
/// When TLS cannot be set up.
pub fn connector() -> Result<TlsConnector, Error> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = &*shared {
        return Ok(made.clone());
    }
    Ok(shared.insert(TlsConnector::new()?).clone())
}

/// A connection was refused: the certificates are read anew for the next one, for somebody may be putting that right.
pub fn refused() {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_until_a_connection_is_refused() {
        connector().expect("made");
        assert!(SHARED.lock().expect("unharmed").is_some());
        refused();
        assert!(SHARED.lock().expect("unharmed").is_none());
        connector().expect("made anew");
    }
}
