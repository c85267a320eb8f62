//! The conversation with `org.freedesktop.portal.ScreenCast`: create a session, say what is wanted, start it (here
//! the person at the screen is asked), take the PipeWire socket; then listen for the end of it.
//!
//! <https://flatpak.github.io/xdg-desktop-portal/docs/doc-org.freedesktop.portal.ScreenCast.html>

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{FutureExt as _, StreamExt as _};
use zbus::proxy::SignalStream;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Proxy, Variant, block_on};

const PORTAL: &str = "org.freedesktop.portal.Desktop";
/// What the portals of the single desktops are called.
const BACKENDS: &str = "org.freedesktop.impl.portal.desktop.";
/// For an answer that no person has to give.
const PATIENCE: Duration = Duration::from_secs(5);

/// A whole screen, of the kinds of things that can be shared.
const MONITOR: u32 = 1;
/// The pointer is drawn into the picture.
const POINTER_EMBEDDED: u32 = 2;
/// The leave holds until the person takes it back.
const UNTIL_REVOKED: u32 = 2;

type Options<'a> = HashMap<&'a str, Variant<'a>>;
type Results = HashMap<String, OwnedVariant>;

/// The person at the screen said no.
#[derive(Debug, thiserror::Error)]
#[error("sharing the screen was refused on the screen; the next lesson asks again")]
pub struct Refused;

/// A screen that we may see.
pub struct Cast {
    bus: Connection,
    closed: SignalStream<'static>,
    owners: MessageStream,
    /// What the portal wants to hear next time instead of asking.
    pub leave: Option<String>,
    /// The screen's node in PipeWire.
    pub node: u32,
    /// The socket to PipeWire, on which only that node is seen.
    pub remote: Option<OwnedFd>,
}

impl Cast {
    /// Asks; `ended` says when nobody wants the answer any more.
    pub fn ask(leave: Option<&str>, ended: &dyn Fn() -> bool) -> anyhow::Result<Self> {
        let (bus, cast) = connect()?;
        let version = version(&cast)?;
        let pointers: u32 = block_on(cast.get_property("AvailableCursorModes")).unwrap_or(0);
        let mut owners = owners(&bus)?;

        let ask = Asking { bus: &bus, ended };
        let options = |n: &'static str| Options::from([("handle_token", Variant::from(n))]);
        let mut create = options("lectern_create");
        create.insert("session_handle_token", Variant::from("lectern"));
        let session =
            ask.hear(&mut owners, "lectern_create", async || cast.call("CreateSession", &(create,)).await)?;
        let session = session.get("session_handle").context("the portal gave no session")?;
        let session = OwnedObjectPath::try_from(String::try_from(session.clone())?)?;
        let of_session = block_on(Proxy::new_owned(
            bus.clone(),
            PORTAL,
            session.clone(),
            "org.freedesktop.portal.Session",
        ))?;
        let closed = block_on(of_session.receive_signal("Closed"))?;

        let mut select = options("lectern_select");
        select.insert("types", Variant::from(MONITOR));
        if pointers & POINTER_EMBEDDED != 0 {
            select.insert("cursor_mode", Variant::from(POINTER_EMBEDDED));
        }
        if version >= 4 {
            select.insert("persist_mode", Variant::from(UNTIL_REVOKED));
            if let Some(leave) = leave {
                select.insert("restore_token", Variant::from(leave));
            }
        }
        ask.hear(&mut owners, "lectern_select", async || {
            cast.call("SelectSources", &(&session, select)).await
        })?;
        let started = ask.hear(&mut owners, "lectern_start", async || {
            cast.call("Start", &(&session, "", options("lectern_start"))).await
        })?;

        let streams = started.get("streams").context("the portal shares nothing")?;
        let streams: Vec<(u32, Results)> = streams.clone().try_into()?;
        let node = streams.first().context("the portal shares nothing")?.0;
        let leave = started.get("restore_token").and_then(|token| String::try_from(token.clone()).ok());
        let remote: zbus::OwnedFd = block_on(cast.call("OpenPipeWireRemote", &(&session, Options::new())))
            .context("the portal gave no PipeWire socket")?;
        Ok(Self { bus, closed, owners, leave, node, remote: Some(remote.into()) })
    }

    /// An error as soon as the screen may or can no longer be seen.
    pub fn must_live(&mut self) -> anyhow::Result<()> {
        ensure!(self.closed.next().now_or_never().is_none(), "the desktop ended the sharing of the screen");
        desktop_must_live(&self.bus, &mut self.owners)
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        // The portal ends the session with the connection.
        if let Err(e) = block_on(self.bus.clone().close()) {
            tracing::debug!("the session bus had gone already: {e}");
        }
    }
}

/// What every question needs.
struct Asking<'a> {
    bus: &'a Connection,
    ended: &'a dyn Fn() -> bool,
}

impl Asking<'_> {
    /// Calls a method and waits for what the portal answers to it later, by a signal of an object named
    /// after the call's token. For that a person may have to answer first, so the wait has no end of its own.
    fn hear(
        &self,
        owners: &mut MessageStream,
        token: &str,
        call: impl AsyncFnOnce() -> zbus::Result<OwnedObjectPath>,
    ) -> anyhow::Result<Results> {
        let me = self.bus.unique_name().context("the session bus gave no name")?.as_str();
        let me = me.trim_start_matches(':').replace('.', "_");
        let path = format!("/org/freedesktop/portal/desktop/request/{me}/{token}");
        let request = block_on(Proxy::new(self.bus, PORTAL, path, "org.freedesktop.portal.Request"))?;
        let mut answers = block_on(request.receive_signal("Response"))?;
        block_on(call()).map_err(|e| refused_call(&e))?;
        loop {
            if let Some(answer) = answers.next().now_or_never() {
                let answer = answer.context("the session bus was lost")?;
                let (code, results): (u32, Results) = answer.body().deserialize()?;
                return match code {
                    0 => Ok(results),
                    1 => Err(Refused.into()),
                    _ => bail!("the desktop portal could not share the screen"),
                };
            }
            ensure!(!(self.ended)(), "nobody waits for the screen any more");
            desktop_must_live(self.bus, owners)?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The error's own words tell its causes already.
fn refused_call(e: &zbus::Error) -> anyhow::Error {
    anyhow::anyhow!("the desktop portal did not do as asked: {e}")
}

fn connect() -> anyhow::Result<(Connection, Proxy<'static>)> {
    let bus = block_on(zbus::conn::Builder::session().method_timeout(PATIENCE).build()).context(
        "there is no session bus here: on Wayland, Lectern must run as the user who is logged in at the screen",
    )?;
    let cast = block_on(Proxy::new_owned(
        bus.clone(),
        PORTAL,
        "/org/freedesktop/portal/desktop",
        "org.freedesktop.portal.ScreenCast",
    ))?;
    Ok((bus, cast))
}

/// The version of the portal's ScreenCast interface; the absence of a portal is told apart from one that cannot.
fn version(cast: &Proxy<'_>) -> anyhow::Result<u32> {
    let there: zbus::Result<Vec<String>> = block_on(async {
        let bus = Proxy::new(
            cast.connection(),
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
        );
        let bus = bus.await?;
        let mut names: Vec<String> = bus.call("ListActivatableNames", &()).await?;
        names.extend(bus.call::<_, _, Vec<String>>("ListNames", &()).await?);
        Ok(names)
    });
    ensure!(
        there.context("the session bus does not answer")?.iter().any(|name| name == PORTAL),
        "this desktop has no portal: install xdg-desktop-portal and the desktop's own backend, \
         such as xdg-desktop-portal-gnome, -kde or -wlr"
    );
    let version = block_on(cast.get_property("version"));
    let kinds: u32 = block_on(cast.get_property("AvailableSourceTypes")).unwrap_or(0);
    match version {
        Ok(version) if kinds & MONITOR != 0 => Ok(version),
        outcome => {
            tracing::debug!(?outcome, kinds, "the portal's ScreenCast");
            bail!(
                "the portal of this desktop cannot share a screen: install the backend made for the desktop, \
                 such as xdg-desktop-portal-gnome, -kde or -wlr"
            )
        }
    }
}

/// Tells when a name on the bus gets another owner, or none.
fn owners(bus: &Connection) -> anyhow::Result<MessageStream> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg0ns("org.freedesktop")
        .build()?;
    Ok(block_on(MessageStream::for_match_rule(rule, bus, None))?)
}

/// An error once the portal, its backend or the bus have gone. A backend ends with its compositor, which the
/// portal itself does not tell.
fn desktop_must_live(bus: &Connection, owners: &mut MessageStream) -> anyhow::Result<()> {
    ensure!(!bus.is_closed(), "the desktop session ended");
    while let Some(change) = owners.next().now_or_never() {
        let change = change.context("the desktop session ended")??;
        let (name, _, now): (String, String, String) = change.body().deserialize()?;
        let ours = name == PORTAL || name.starts_with(BACKENDS);
        ensure!(!ours || !now.is_empty(), "the desktop, or its portal, broke off");
    }
    Ok(())
}

/// One sentence about the portal here, or what is missing.
pub fn check() -> anyhow::Result<String> {
    let (_, cast) = connect()?;
    let version = version(&cast)?;
    let asks = if version >= 4 { "asks once" } else { "asks in every lesson" };
    Ok(format!("the desktop portal (version {version}) shares screens and {asks}"))
}
