//! A Wayland desktop: the compositor says when nobody has touched anything for a while, and when somebody does again
//! (ext-idle-notify-v1, or the older form KDE's protocol has). It says nothing of windows, so there are no categories.

use std::time::Duration;

use lectern_base::clock;
use lectern_wire::session::{AppName, Report};
use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::{Connection, Dispatch, EventQueue, QueueHandle, delegate_noop};
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notification_v1::{
    self as ext_notification, ExtIdleNotificationV1,
};
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notifier_v1::ExtIdleNotifierV1;
use wayland_protocols_plasma::idle::client::org_kde_kwin_idle::OrgKdeKwinIdle;
use wayland_protocols_plasma::idle::client::org_kde_kwin_idle_timeout::{
    self as kde_timeout, OrgKdeKwinIdleTimeout,
};

use super::Desktop;

/// After this long without input the compositor says so.
const TIMEOUT_MS: u32 = 5_000;

/// A connection to a compositor.
pub struct Wayland {
    queue: EventQueue<Idle>,
    idle: Idle,
}

/// What the compositor said last.
#[derive(Default)]
struct Idle {
    /// When it said that nobody is there; none while somebody is.
    since: Option<Duration>,
}

impl Idle {
    fn left(&mut self) {
        self.since.get_or_insert_with(clock::mono);
    }
}

impl Wayland {
    /// Connects to the session's compositor.
    ///
    /// # Errors
    /// A sentence; also when it has neither protocol.
    pub fn open() -> Result<Self, String> {
        let failed = |e: &dyn std::fmt::Display| format!("the Wayland desktop: {e}");
        let server = Connection::connect_to_env().map_err(|e| failed(&e))?;
        let (globals, mut queue) = registry_queue_init::<Idle>(&server).map_err(|e| failed(&e))?;
        let handle = queue.handle();
        let seat: WlSeat = globals.bind(&handle, 1..=1, ()).map_err(|e| failed(&e))?;
        if let Ok(notifier) = globals.bind::<ExtIdleNotifierV1, _, _>(&handle, 1..=1, ()) {
            notifier.get_idle_notification(TIMEOUT_MS, &seat, &handle, ());
        } else if let Ok(idle) = globals.bind::<OrgKdeKwinIdle, _, _>(&handle, 1..=1, ()) {
            idle.get_idle_timeout(&seat, TIMEOUT_MS, &handle, ());
        } else {
            return Err("this Wayland desktop tells nobody how long ago there was input; \
                        what it tells the login service is used instead"
                .into());
        }
        let mut idle = Idle::default();
        queue.roundtrip(&mut idle).map_err(|e| failed(&e))?;
        Ok(Self { queue, idle })
    }
}

impl Desktop for Wayland {
    fn ask(&mut self, _apps: &[AppName]) -> Result<Report, String> {
        self.queue.roundtrip(&mut self.idle).map_err(|e| format!("the session has ended: {e}"))?;
        let since = self.idle.since.map(|at| clock::mono().saturating_sub(at).as_millis());
        let idle_ms =
            since.map_or(0, |ms| u64::try_from(ms).unwrap_or(u64::MAX).saturating_add(TIMEOUT_MS.into()));
        Ok(Report { idle_ms: Some(idle_ms), ..Report::default() })
    }
}

impl Dispatch<ExtIdleNotificationV1, ()> for Idle {
    fn event(
        idle: &mut Self,
        _: &ExtIdleNotificationV1,
        event: ext_notification::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            ext_notification::Event::Idled => idle.left(),
            ext_notification::Event::Resumed => idle.since = None,
            _ => {}
        }
    }
}

impl Dispatch<OrgKdeKwinIdleTimeout, ()> for Idle {
    fn event(
        idle: &mut Self,
        _: &OrgKdeKwinIdleTimeout,
        event: kde_timeout::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            kde_timeout::Event::Idle => idle.left(),
            kde_timeout::Event::Resumed => idle.since = None,
            _ => {}
        }
    }
}

impl Dispatch<WlRegistry, GlobalListContents> for Idle {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: wl_registry::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        // A seat that comes later is not waited for.
    }
}

delegate_noop!(Idle: ignore WlSeat);
delegate_noop!(Idle: ignore ExtIdleNotifierV1);
delegate_noop!(Idle: ignore OrgKdeKwinIdle);
