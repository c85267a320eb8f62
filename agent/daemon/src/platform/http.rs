//! HTTP with the hub: by the way out that the settings name, and no dearer than it has to be.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use url::Url;

use super::memory;
use super::tls::{Trust, TrustError};

/// A connection that is not made in this time is not made.
const CONNECT: Duration = Duration::from_secs(10);

/// The hub's address and the way there. One for all who ask it: a client reads all the world's certificates when it is
/// made, so it is made when it is first needed, and once.
#[derive(Debug)]
pub struct Client {
    to: Url,
    proxy: Option<(Url, Option<String>)>,
    trust: Arc<Trust>,
    /// And with which certificate of this device.
    made: Mutex<Option<(reqwest::Client, u64)>>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS with the hub.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The library, or the proxy's address.
    #[error("{0}")]
    Library(#[from] reqwest::Error),
}

impl Client {
    /// Nothing is made yet. `proxy` is the school's, with `user:password` where it asks for them.
    #[must_use]
    pub fn new(to: Url, proxy: Option<(Url, Option<String>)>, trust: Arc<Trust>) -> Self {
        Self { to, proxy, trust, made: Mutex::default() }
    }

    /// The client.
    ///
    /// # Errors
    /// When TLS cannot be set up, or the proxy's address cannot be used.
    pub fn get(&self) -> Result<reqwest::Client, ClientError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((client, turn)) = &*made
            && *turn == self.trust.turn()
        {
            return Ok(client.clone());
        }
        let client = made.insert(self.make()?).0.clone();
        memory::give_back();
        Ok(client)
    }

    fn make(&self) -> Result<(reqwest::Client, u64), ClientError> {
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(2);
        let mut turn = self.trust.turn();
        if self.to.scheme() == "http" {
            // The certificates would stay in memory: not where no TLS is spoken.
            client = client.tls_certs_only([]);
        } else {
            let (tls, now) = self.trust.connector()?;
            (client, turn) = (client.tls_backend_preconfigured(tls), now);
        }
        let Some((proxy, login)) = &self.proxy else {
            // The settings say how this machine gets out, not the environment.
            return Ok((client.no_proxy().build()?, turn));
        };
        let proxy = reqwest::Proxy::all(proxy.clone())?;
        let login = login.as_deref().and_then(|login| login.split_once(':'));
        let proxy = match login {
            Some((user, password)) => proxy.basic_auth(user, password),
            None => proxy,
        };
        Ok((client.proxy(proxy).build()?, turn))
    }
}
