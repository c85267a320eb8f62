//! HTTP with the hub: by the way out that the settings name, and no dearer than it has to be.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lectern_mqtt::tls;
use url::Url;

use super::memory;

/// A connection that is not made in this time is not made.
const CONNECT: Duration = Duration::from_secs(10);

/// The hub's address and the way there. One for all who ask it: a client reads all the world's certificates when it is
/// made, so it is made when it is first needed, and once.
#[derive(Debug)]
pub struct Client {
    to: Url,
    proxy: Option<(Url, Option<String>)>,
    made: Mutex<Option<reqwest::Client>>,
}

impl Client {
    /// Nothing is made yet. `proxy` is the school's, with `user:password` where it asks for them.
    #[must_use]
    pub fn new(to: Url, proxy: Option<(Url, Option<String>)>) -> Self {
        Self { to, proxy, made: Mutex::default() }
    }

    /// The client.
    ///
    /// # Errors
    /// When TLS cannot be set up, or the proxy's address cannot be used.
    pub fn get(&self) -> reqwest::Result<reqwest::Client> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*made {
            return Ok(client.clone());
        }
        let client = made.insert(self.make()?).clone();
        memory::give_back();
        Ok(client)
    }

    fn make(&self) -> reqwest::Result<reqwest::Client> {
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(2);
        // The certificates stay in memory: not where no TLS is spoken, and nowhere twice.
        if self.to.scheme() == "http" {
            client = client.tls_certs_only([]);
        } else if let Ok(shared) = tls::connector() {
            client = client.tls_backend_preconfigured(shared);
        }
        let Some((proxy, login)) = &self.proxy else {
            // The settings say how this machine gets out, not the environment.
            return client.no_proxy().build();
        };
        let proxy = reqwest::Proxy::all(proxy.clone())?;
        let login = login.as_deref().and_then(|login| login.split_once(':'));
        let proxy = match login {
            Some((user, password)) => proxy.basic_auth(user, password),
            None => proxy,
        };
        client.proxy(proxy).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client takes it only when it is of the very library that the client was built with.
    #[test]
    fn the_client_of_a_hub_with_tls_takes_the_shared_certificates() {
        for to in ["https://hub.example", "http://hub.example"] {
            let client = Client::new(Url::parse(to).expect("an address"), None);
            client.get().expect(to);
        }
    }
}
