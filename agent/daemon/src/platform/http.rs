//! HTTP with the hub: by the way out that the settings name, and no dearer than it has to be.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Body, Method, Request, Response};
use url::Url;

use super::memory;
use super::plain::{NoAnswer, Plain};
use super::tls::{Trust, TrustError};

/// A connection that is not made in this time is not made.
const CONNECT: Duration = Duration::from_secs(10);

/// The hub's address and the way there. One for all who ask it: a client that speaks TLS reads all the world's
/// certificates when it is made, so it is made when it is first needed, and once.
#[derive(Debug)]
pub struct Client {
    to: Url,
    proxy: Option<(Url, Option<String>)>,
    trust: Arc<Trust>,
    /// And with which certificate of this device.
    made: Mutex<Option<(Way, u64)>>,
}

#[derive(Debug, Clone)]
enum Way {
    Plain(Plain),
    Library(reqwest::Client),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS with the hub.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The library, or the proxy's address.
    #[error("{0}")]
    Library(#[from] reqwest::Error),
    /// The line, where no TLS is spoken.
    #[error(transparent)]
    Plain(#[from] NoAnswer),
    /// What is to be said cannot be.
    #[error("this cannot be asked: {0}")]
    Unsayable(String),
}

impl Client {
    /// Nothing is made yet. `proxy` is the school's, with `user:password` where it asks for them.
    #[must_use]
    pub fn new(to: Url, proxy: Option<(Url, Option<String>)>, trust: Arc<Trust>) -> Self {
        Self { to, proxy, trust, made: Mutex::default() }
    }

    /// Its address.
    #[must_use]
    pub fn to(&self) -> Url {
        self.to.clone()
    }

    /// A question to be asked.
    pub fn call(&self, method: Method, url: Url) -> Call<'_> {
        Call { client: self, request: Ok(Request::new(method, url)) }
    }

    fn way(&self) -> Result<Way, ClientError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((way, turn)) = &*made
            && *turn == self.trust.turn()
        {
            return Ok(way.clone());
        }
        let way = made.insert(self.make()?).0.clone();
        memory::give_back();
        Ok(way)
    }

    fn make(&self) -> Result<(Way, u64), ClientError> {
        if self.to.scheme() == "http" && self.proxy.is_none() {
            return Ok((Way::Plain(Plain::new(CONNECT)), self.trust.turn()));
        }
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
            return Ok((Way::Library(client.no_proxy().build()?), turn));
        };
        let proxy = reqwest::Proxy::all(proxy.clone())?;
        let login = login.as_deref().and_then(|login| login.split_once(':'));
        let proxy = match login {
            Some((user, password)) => proxy.basic_auth(user, password),
            None => proxy,
        };
        Ok((Way::Library(client.proxy(proxy).build()?), turn))
    }
}

/// A question, until it is sent.
#[must_use]
pub struct Call<'c> {
    client: &'c Client,
    request: Result<Request, ClientError>,
}

impl Call<'_> {
    fn with(mut self, change: impl FnOnce(&mut Request) -> Result<(), String>) -> Self {
        self.request = self.request.and_then(|mut request| {
            change(&mut request).map_err(ClientError::Unsayable)?;
            Ok(request)
        });
        self
    }

    /// How long all of it may take.
    pub fn timeout(self, patience: Duration) -> Self {
        self.with(|request| {
            *request.timeout_mut() = Some(patience);
            Ok(())
        })
    }

    /// One more header.
    pub fn header(self, name: HeaderName, value: &str) -> Self {
        self.with(|request| {
            let value = HeaderValue::from_str(value).map_err(|e| format!("{name}: {e}"))?;
            request.headers_mut().insert(name, value);
            Ok(())
        })
    }

    /// As whom.
    pub fn basic_auth(self, user: &impl std::fmt::Display, password: &str) -> Self {
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        self.header(AUTHORIZATION, &format!("Basic {login}"))
    }

    /// Bytes of a kind.
    pub fn body(self, kind: &str, bytes: impl Into<Body>) -> Self {
        self.header(CONTENT_TYPE, kind).with(|request| {
            *request.body_mut() = Some(bytes.into());
            Ok(())
        })
    }

    /// A document.
    pub fn json(self, document: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(document) {
            Ok(bytes) => self.body("application/json", bytes),
            Err(e) => self.with(|_| Err(e.to_string())),
        }
    }

    /// Asks. What is wrong with the question is said now.
    ///
    /// # Errors
    /// [`ClientError`]; an answer that says no is none.
    pub async fn send(self) -> Result<Response, ClientError> {
        let request = self.request?;
        Ok(match self.client.way()? {
            Way::Plain(plain) => plain.send(request).await?,
            Way::Library(client) => client.execute(request).await?,
        })
    }
}
