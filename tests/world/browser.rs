//! A real browser that presses buttons as people do: Chromium under chromedriver, without a window.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use lectern_base::clock;
use serde_json::json;

use crate::folder::Folder;
use crate::process::{Process, eventually};
use crate::screen::{CHROMIUM, quiet_home};

/// How long a page's element may take to appear.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder `target/pictures`, for what people should look at.
///
/// # Errors
/// When it cannot be made.
pub fn pictures() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let folder = exe.ancestors().nth(3).context("a test without a target folder")?.join("pictures");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} could not be made", folder.display()))?;
    Ok(folder)
}

/// A browser with one page, in Chinese. Close it with [`Self::close`]; dropping it kills it.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    port: u16,
    driver: Process,
}

impl Browser {
    /// Starts it, 1920x1080, with an empty page. `name` tells several browsers of one folder apart.
    ///
    /// # Errors
    /// When chromedriver or Chromium does not start.
    pub async fn start(folder: &Folder, name: &str) -> anyhow::Result<Self> {
        let home = folder.make(&format!("{name}-browser"))?;
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0");
        quiet_home(&mut driver, &home);
        let mut driver = Process::start(folder, &format!("{name}-browser"), driver)?;
        let port = eventually(Duration::from_secs(60), "chromedriver's port", || {
            let text = std::fs::read_to_string(driver.log()).ok()?;
            text.rsplit("successfully on port ").next()?.split('.').next()?.parse::<u16>().ok()
        });
        let port = port.with_context(|| {
            driver.must_run().err();
            driver.tail_of_log()
        })?;
        let mut arguments: Vec<_> = CHROMIUM.iter().map(ToString::to_string).collect();
        arguments.push("--headless=new".to_owned());
        arguments.push("--window-size=1920,1080".to_owned());
        arguments.push(format!("--user-data-dir={}", home.display()));
        let mut wants = Capabilities::new();
        wants.insert(
            "goog:chromeOptions".to_owned(),
            json!({ "args": arguments, "prefs": { "intl.accept_languages": "zh-CN,zh" } }),
        );
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(wants)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .with_context(|| driver.tail_of_log())?;
        Ok(Self { client, port, driver })
    }

    /// The session itself, for what is not here.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// chromedriver, to kill: Chromium goes with it.
    pub fn driver(&mut self) -> &mut Process {
        &mut self.driver
    }

    /// Opens a page.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        self.client.goto(url).await.with_context(|| format!("the browser could not open {url}"))
    }

    /// Clicks the first element that matches, as soon as it is there and can be clicked.
    ///
    /// # Errors
    /// When there is none within 10 s or something else covers it.
    pub async fn click(&self, css: &str) -> anyhow::Result<()> {
        let give_up = clock::mono() + PATIENCE;
        loop {
            // Found anew each time: a page that redraws itself throws the old element away.
            let clicked = match self.client.find(Locator::Css(css)).await {
                Ok(element) => element.click().await,
                Err(e) => Err(e),
            };
            match clicked {
                Ok(()) => return Ok(()),
                Err(e) if clock::mono() > give_up => {
                    return Err(e).with_context(|| format!("no click on {css}"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Types into an input as a person would, after what stands there.
    ///
    /// # Errors
    /// When there is no such input.
    pub async fn type_into(&self, css: &str, text: &str) -> anyhow::Result<()> {
        let input = self.client.find(Locator::Css(css)).await.with_context(|| format!("no {css}"))?;
        input.send_keys(text).await.with_context(|| format!("{css} takes no text"))
    }

    /// The visible text of the first element that matches, now.
    ///
    /// # Errors
    /// When there is none.
    pub async fn text(&self, css: &str) -> anyhow::Result<String> {
        let element = self.client.find(Locator::Css(css)).await;
        let text = element.with_context(|| format!("no {css} on the page"))?.text().await;
        text.with_context(|| format!("{css} went away"))
    }

    /// Waits until the visible text of `css` contains `needle`; returns that text.
    ///
    /// # Errors
    /// When it does not within `limit`; says what stood there last.
    pub async fn wait_text(&self, css: &str, needle: &str, limit: Duration) -> anyhow::Result<String> {
        let give_up = clock::mono() + limit;
        loop {
            let text = self.text(css).await;
            if let Ok(text) = &text
                && text.contains(needle)
            {
                return Ok(text.clone());
            }
            if clock::mono() > give_up {
                let seen = text.unwrap_or_else(|e| format!("{e:#}"));
                bail!("{css} does not say {needle:?} within {limit:?}; it says {seen:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a script in the page; `return …` answers.
    ///
    /// # Errors
    /// When it throws.
    pub async fn run(&self, script: &str) -> anyhow::Result<serde_json::Value> {
        self.client.execute(script, Vec::new()).await.context("the page's script failed")
    }

    /// What is seen in the window, as a PNG file.
    ///
    /// # Errors
    /// When the browser does not answer or the file cannot be written.
    pub async fn screenshot(&self, png: &Path) -> anyhow::Result<()> {
        let picture = self.client.screenshot().await.context("no screenshot")?;
        std::fs::write(png, picture).with_context(|| format!("{} could not be written", png.display()))
    }

    /// Makes the page this large: 390x844 is a phone, with touch. A real window cannot be narrower than 500,
    /// so the page's own measure is set.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn set_window(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let phone = width < 600;
        let measure = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.devtools("Emulation.setDeviceMetricsOverride", &measure).await?;
        self.devtools("Emulation.setTouchEmulationEnabled", &json!({ "enabled": phone })).await.map(drop)
    }

    /// Sends a command of Chromium's DevTools protocol and returns its answer.
    ///
    /// # Errors
    /// When the browser does not know or refuses it.
    pub async fn devtools(
        &self,
        command: &str,
        arguments: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let session = self.client.session_id().await?.context("the browser's session has ended")?;
        let url = format!("http://127.0.0.1:{}/session/{session}/goog/cdp/execute", self.port);
        // The driver is on this machine: a proxy for the world outside would not find it.
        let http = reqwest::Client::builder().no_proxy().build()?;
        let request = http.post(url).json(&json!({ "cmd": command, "params": arguments }));
        let answer = request.send().await.context("the browser did not answer")?;
        let sound = answer.status().is_success();
        let answer: serde_json::Value = answer.json().await?;
        ensure!(sound, "{command} was refused: {answer}");
        Ok(answer.get("value").cloned().unwrap_or_default())
    }

    /// Closes it in order.
    ///
    /// # Errors
    /// When the browser does not answer; it is ended nevertheless.
    pub async fn close(self) -> anyhow::Result<()> {
        self.client.close().await.context("the browser did not answer")
    }
}
