//! Opencast as a destination, by its capture-agent protocol: the agent asks, the core never calls. This part finds the
//! services, signs requests (HTTP digest), keeps the agent's state and asks for the calendar; [`super::ingest`] hands
//! lessons in.

use std::sync::Mutex;
use std::time::Duration;

use digest_auth::{AuthContext, HttpMethod, WwwAuthenticateHeader};
use lectern_base::clock;
use reqwest::header::{AUTHORIZATION, ETAG, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Body, Method, Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::work::{Checked, Place, Work};
use super::{Trouble, calendar, ingest};
use crate::config::destination::Opencast;
use crate::model::lesson::State;
use crate::model::status::Suggestion;
use crate::platform::identity;
use crate::store::Store;

/// A call without a body this long has come to nothing.
pub const CALL: Duration = Duration::from_secs(60);
/// How often the state is told and the calendar asked; Opencast calls an agent offline after two hours.
const EVERY: Duration = Duration::from_secs(30);
/// How far ahead the calendar is asked for, milliseconds.
const AHEAD_MS: i64 = 24 * 3600 * 1000;

/// See the module's header.
pub struct Core {
    http: reqwest::Client,
    base: Url,
    user: String,
    password: String,
    agent: String,
    /// What lessons are handed in as.
    pub settings: Opencast,
    /// The newest challenge; each answer to it counts one up.
    challenge: Mutex<Option<WwwAuthenticateHeader>>,
}

/// A request's body, made anew where the request must be repeated.
pub type Make<'a> = &'a (dyn Fn() -> Result<(Body, u64), Trouble> + Send + Sync);

impl Core {
    /// Sets it up; nothing is sent yet.
    pub fn new(settings: &Opencast, place: &Place) -> Result<Self, Trouble> {
        let password = identity::password(&settings.password_file).map_err(Trouble::there)?;
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let agent = if settings.agent.is_empty() { place.device.clone() } else { settings.agent.clone() };
        let (base, user) = (settings.url.clone(), settings.user.clone());
        Ok(Self {
            http,
            base,
            user,
            password,
            agent,
            settings: settings.clone(),
            challenge: Mutex::new(None),
        })
    }

    fn challenge(&self) -> std::sync::MutexGuard<'_, Option<WwwAuthenticateHeader>> {
        self.challenge.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The answer to the newest challenge, for one request.
    fn authorization(&self, method: &Method, url: &Url) -> Result<Option<String>, Trouble> {
        let mut challenge = self.challenge();
        let Some(challenge) = challenge.as_mut() else { return Ok(None) };
        let uri =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let method = HttpMethod::from(method.as_str().to_owned());
        let context =
            AuthContext::new_with_method(&self.user, &self.password, uri, Option::<&[u8]>::None, method);
        let answer = challenge
            .respond(&context)
            .map_err(|e| Trouble::there(format!("its challenge is strange: {e}")))?;
        Ok(Some(answer.to_header_string()))
    }

    /// Takes a challenge up; false when there is none.
    fn take_up(&self, response: &Response) -> bool {
        let said = response.headers().get(WWW_AUTHENTICATE).and_then(|v| v.to_str().ok());
        let parsed = said.and_then(|said| digest_auth::parse(said).ok());
        let found = parsed.is_some();
        *self.challenge() = parsed;
        found
    }

    /// Sends a request, answering a challenge once; gives any answer but a refusal of who we are.
    pub async fn send(
        &self,
        method: Method,
        url: Url,
        headers: &[(&'static str, String)],
        body: Option<Make<'_>>,
        limit: Option<Duration>,
    ) -> Result<Response, Trouble> {
        if self.challenge().is_none() {
            // A large body is not sent only to be refused.
            let probe = self.http.get(self.join(&self.base, "/services/available.json")?).timeout(CALL);
            let answer = probe.header("X-Requested-Auth", "Digest").send().await?;
            if answer.status() == StatusCode::UNAUTHORIZED && !self.take_up(&answer) {
                return Err(Trouble::there(
                    "Opencast asks for another way of authentication than HTTP digest",
                ));
            }
        }
        for last in [false, true] {
            let mut request =
                self.http.request(method.clone(), url.clone()).header("X-Requested-Auth", "Digest");
            if let Some(answer) = self.authorization(&method, &url)? {
                request = request.header(AUTHORIZATION, answer);
            }
            if let Some(limit) = limit {
                request = request.timeout(limit);
            }
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            if let Some(make) = body {
                let (body, length) = make()?;
                request = request.header(reqwest::header::CONTENT_LENGTH, length).body(body);
            }
            let response = request.send().await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            // A nonce may have grown old in the meantime.
            if last || !self.take_up(&response) {
                break;
            }
        }
        *self.challenge() = None;
        Err(Trouble::there("Opencast does not take this user and password"))
    }

    /// As [`Self::send`]; anything but success is trouble.
    pub async fn done(
        &self,
        method: Method,
        url: Url,
        headers: &[(&'static str, String)],
        body: Option<Make<'_>>,
        limit: Option<Duration>,
    ) -> Result<Response, Trouble> {
        let path = url.path().to_owned();
        let response = self.send(method, url, headers, body, limit).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        Err(Trouble::there(format!("Opencast refused {path} ({status})"))
            .after(wait.map(Duration::from_secs)))
    }

    /// Posts a form.
    pub async fn form(&self, url: Url, fields: &[(&str, &str)]) -> Result<Response, Trouble> {
        let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let make = || Ok((Body::from(text.clone()), text.len() as u64));
        let kind = ("Content-Type", "application/x-www-form-urlencoded".to_owned());
        self.done(Method::POST, url, &[kind], Some(&make), Some(CALL)).await
    }

    /// An address below a service.
    pub fn join(&self, service: &Url, path: &str) -> Result<Url, Trouble> {
        let text = format!("{}{path}", service.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|e| Trouble::there(format!("{text:?} is not an address: {e}")))
    }

    /// Where a service is; asked anew each time, for a core of several machines moves them.
    pub async fn service(&self, kind: &str) -> Result<Url, Trouble> {
        let path = format!("/services/available.json?serviceType=org.opencastproject.{kind}");
        let url = self.join(&self.base, &path)?;
        let answer: Value = self.done(Method::GET, url, &[], None, Some(CALL)).await?.json().await?;
        let one_or_many = &answer["services"]["service"];
        // One stands alone, several in a list.
        let many = one_or_many.as_array().cloned().unwrap_or_else(|| vec![one_or_many.clone()]);
        let works = |s: &&Value| s["online"] == true && s["active"] == true;
        let found = many.iter().find(works).and_then(|s| Some((s["host"].as_str()?, s["path"].as_str()?)));
        let (host, path) = found.ok_or_else(|| Trouble::there(format!("Opencast has no {kind} at work")))?;
        Url::parse(&format!("{host}{path}")).map_err(|e| Trouble::there(format!("Opencast's {kind}: {e}")))
    }

    /// Keeps the agent's state and the calendar's suggestion; never ends.
    pub async fn live(&self, store: &Store) {
        let (mut tag, mut events) = (None, Vec::new());
        loop {
            if let Err(e) = self.once(store, &mut tag, &mut events).await {
                tracing::debug!("Opencast was not told the agent's state: {e}");
            }
            let now =
                calendar::current(&events, clock::wall_ms()).map(|e| Suggestion { topic: e.title.clone() });
            store.board().update(|s| s.suggestion = now);
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn once(
        &self,
        store: &Store,
        tag: &mut Option<String>,
        events: &mut Vec<calendar::Event>,
    ) -> Result<(), Trouble> {
        let admin = self.service("capture.admin").await?;
        let name: String = url::form_urlencoded::byte_serialize(self.agent.as_bytes()).collect();
        let status = store.board().read();
        let live = status.lesson.as_ref().map(|l| l.state).filter(|s| s.is_live());
        let sending = status.destinations.iter().any(|d| d.kind == "opencast" && d.waiting > 0);
        let state = match live {
            Some(State::Recording | State::Paused) => "capturing",
            _ if sending => "uploading",
            _ => "idle",
        };
        self.form(self.join(&admin, &format!("/agents/{name}"))?, &[("state", state)]).await?;
        let device = self.settings.flavor.split('/').next().unwrap_or("presenter");
        let capabilities = json!({
            "capture.device.names": device,
            format!("capture.device.{device}.flavor"): self.settings.flavor,
        });
        let path = format!("/agents/{name}/configuration");
        self.form(self.join(&admin, &path)?, &[("configuration", &capabilities.to_string())]).await?;

        let scheduler = self.service("scheduler").await?;
        let cutoff = clock::wall_ms() + AHEAD_MS;
        let url = self.join(&scheduler, &format!("/calendars?agentid={name}&cutoff={cutoff}"))?;
        let known: Vec<_> = tag
            .iter()
            .map(|tag| (IF_NONE_MATCH.as_str(), tag.clone()))
            .map(|(_, t)| ("If-None-Match", t))
            .collect();
        let response = self.send(Method::GET, url, &known, None, Some(CALL)).await?;
        if response.status() == StatusCode::OK {
            *tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            *events = calendar::events(&response.text().await?);
        }
        Ok(())
    }

    /// Says how far a recording is. That it is not known there is no trouble: nobody planned it.
    pub async fn tell(&self, recording: &str, state: &str) {
        let told = async {
            let admin = self.service("capture.admin").await?;
            self.form(self.join(&admin, &format!("/recordings/{recording}"))?, &[("state", state)]).await
        };
        if let Err(e) = told.await {
            tracing::debug!("Opencast was not told of the recording: {e}");
        }
    }

    /// Hands a sealed lesson in.
    pub async fn finish(&self, work: &Work) -> Result<Vec<Checked>, Trouble> {
        self.tell(work.lesson.id.as_str(), "uploading").await;
        let outcome = ingest::hand_in(self, work).await;
        let state = if outcome.is_ok() { "upload_finished" } else { "upload_error" };
        self.tell(work.lesson.id.as_str(), state).await;
        outcome
    }

    /// What was only begun is dropped. What Opencast has taken in is its own: the protocol lets an agent delete nothing.
    pub async fn discard(&self, work: &Work) -> Result<(), Trouble> {
        ingest::drop_begun(self, work).await
    }
}
