//! HTTP with the hub: by the way out that the settings name, and no dearer than it has to be.

use reqwest::ClientBuilder;
use url::Url;

/// A client's beginnings for one address. `proxy` is the school's, with `user:password` where it asks for them.
///
/// # Errors
/// When the proxy's address cannot be used.
pub fn client(to: &Url, proxy: Option<(&Url, Option<&str>)>) -> reqwest::Result<ClientBuilder> {
    let mut client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    // All the world's certificates stand in memory otherwise: not where no TLS is spoken.
    if to.scheme() == "http" {
        client = client.tls_certs_only([]);
    }
    let Some((proxy, login)) = proxy else {
        // The settings say how this machine gets out, not the environment.
        return Ok(client.no_proxy());
    };
    let proxy = reqwest::Proxy::all(proxy.clone())?;
    Ok(client.proxy(match login.and_then(|login| login.split_once(':')) {
        Some((user, password)) => proxy.basic_auth(user, password),
        None => proxy,
    }))
}
