//! The hub's console as a program uses it: forms, a session cookie, the bytes themselves. What people see
//! is [`crate::Browser`]'s to find out.

use anyhow::{Context as _, ensure};
use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use reqwest::{RequestBuilder, Response, StatusCode};

use crate::school::{Hub, SCHOOL};

/// A session at the console. Redirects are shown, not followed.
#[derive(Debug)]
pub struct Console {
    http: reqwest::Client,
    url: String,
    cookie: Option<String>,
}

impl Console {
    /// Nobody: what a stranger can reach.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn stranger(hub: &Hub) -> anyhow::Result<Self> {
        let ca =
            hub.ca().filter(|_| hub.secure).map(|pem| reqwest::Certificate::from_pem(&pem)).transpose()?;
        let http = reqwest::Client::builder()
            .tls_certs_only(ca)
            .no_proxy()
            // A line the hub is about to close must not carry the next request.
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, url: hub.url(), cookie: None })
    }

    /// The administrator.
    ///
    /// # Errors
    /// When the hub does not let us in.
    pub async fn admin(hub: &Hub) -> anyhow::Result<Self> {
        let mut console = Self::stranger(hub)?;
        let answer = console.post("/login", &[("password", &hub.admin_password)]).await?;
        ensure!(answer.status() == StatusCode::SEE_OTHER, "the login was answered with {}", answer.status());
        let cookie = answer.headers().get(SET_COOKIE).context("no cookie")?.to_str()?;
        console.cookie = cookie.split(';').next().map(str::to_owned);
        Ok(console)
    }

    /// The secret half of the session's cookie.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.cookie.as_deref()?.split_once('=').map(|(_, token)| token)
    }

    /// A request with the session's cookie.
    pub fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.cookie {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        }
    }

    /// Asks for a page or a file.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<Response> {
        self.request(reqwest::Method::GET, path).send().await.with_context(|| format!("no answer to {path}"))
    }

    /// A page as text; it must be there.
    ///
    /// # Errors
    /// When it is not.
    pub async fn page(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.get(path).await?;
        ensure!(answer.status() == StatusCode::OK, "{path} was answered with {}", answer.status());
        Ok(answer.text().await?)
    }

    /// Sends a form.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Response> {
        let body: Vec<_> = form.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        let request = self.request(reqwest::Method::POST, path);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(body.join("&")).send().await.with_context(|| format!("no answer to {path}"))
    }

    /// Sends a form with a file, as browsers do.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn post_parts(
        &self,
        path: &str,
        parts: &[(&str, Option<&str>, &[u8])],
    ) -> anyhow::Result<Response> {
        const EDGE: &str = "lectern-test-edge";
        let mut body = Vec::new();
        for (name, file, bytes) in parts {
            let file = file.map_or_else(String::new, |file| format!("; filename=\"{file}\""));
            body.extend(
                format!("--{EDGE}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes(),
            );
            body.extend_from_slice(bytes);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{EDGE}--\r\n").bytes());
        let request = self.request(reqwest::Method::POST, path);
        let request = request.header("content-type", format!("multipart/form-data; boundary={EDGE}"));
        request.body(body).send().await.with_context(|| format!("no answer to {path}"))
    }

    /// Registers a device of the school through the form; its password.
    ///
    /// # Errors
    /// When the form is refused.
    pub async fn add_device(&self, device: &str, room: &str) -> anyhow::Result<String> {
        let form = [("school", SCHOOL), ("device", device), ("room", room)];
        let answer = self.post("/devices", &form).await?;
        ensure!(answer.status() == StatusCode::OK, "the form was answered with {}", answer.status());
        let page = answer.text().await?;
        let password = page.split("class=\"secret\">").nth(1).and_then(|rest| rest.split('<').next());
        Ok(password.context("the page shows no password")?.to_owned())
    }

    /// Sends a file to the timetable's import as a browser does; the page that comes.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn import_timetable(&self, name: &str, bytes: &[u8]) -> anyhow::Result<String> {
        let mut body = format!(
            "--x\r\ncontent-disposition: form-data; name=\"school\"\r\n\r\n{SCHOOL}\r\n\
             --x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n--x--\r\n");
        let request = self.request(reqwest::Method::POST, "/timetable/import");
        let request = request.header(CONTENT_TYPE, "multipart/form-data; boundary=x").body(body);
        Ok(request.send().await.context("no answer to the import")?.text().await?)
    }

    /// Sets the school's bells, a period a line, and its lessons, from a table as people send one.
    ///
    /// # Errors
    /// When the hub refuses them.
    pub async fn set_timetable(&self, first_monday: &str, bells: &str, csv: &str) -> anyhow::Result<()> {
        let form = [("school", SCHOOL), ("first_monday", first_monday), ("offset", "0"), ("bells", bells)];
        let saved = self.post("/timetable/bells", &form).await?;
        ensure!(saved.status() == StatusCode::SEE_OTHER, "the bells were answered with {}", saved.status());
        let seen = self.import_timetable("课表.csv", csv.as_bytes()).await?;
        let token = seen.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let token = token.with_context(|| format!("the timetable was refused: {seen}"))?;
        let applied = self.post("/timetable/apply", &[("token", token)]).await?;
        ensure!(applied.status() == StatusCode::SEE_OTHER, "it was answered with {}", applied.status());
        Ok(())
    }

    /// Where an answer leads to.
    #[must_use]
    pub fn leads_to(answer: &Response) -> Option<&str> {
        answer.headers().get(LOCATION)?.to_str().ok()
    }
}

fn quoted(text: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    text.bytes().map(|c| if plain(c) { char::from(c).to_string() } else { format!("%{c:02X}") }).collect()
}
