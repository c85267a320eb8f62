//! The helpers in users' sessions: who may call, and what each said last.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::session::{AppName, MAX_LINE, Report, Wanted};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::model::usage::{App, LOOK_EVERY_MS};

/// A report that is older says nothing.
const STALE: Duration = Duration::from_millis(3 * LOOK_EVERY_MS);
/// Most helpers at once: one for each session, and nobody's room has more.
const MOST: usize = 16;
/// People's user ids begin here; below are services.
const FIRST_PERSON: u32 = 1000;

/// What the helpers said.
#[derive(Clone, Default)]
pub struct Helpers(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// By connection: whose it is, when it said something last, and what.
    said: HashMap<u64, (u32, Duration, Report)>,
    calls: u64,
    /// Who is logged in; none while nobody knows.
    people: Option<Vec<u32>>,
}

impl Helpers {
    /// Opens the door. Where it cannot be opened nobody can call; that is logged, and use is unknown without other signs.
    pub fn listen(socket: &Path, apps: &[App], stop: CancellationToken) -> Self {
        let helpers = Self::default();
        let listener = match open(socket) {
            Ok(listener) => listener,
            Err(e) => {
                tracing::warn!("{}: {e}; no helper can tell whether there is input", socket.display());
                return helpers;
            }
        };
        let names = apps.iter().map(|app| AppName { name: app.name.clone(), category: app.category.clone() });
        let wanted = Wanted { v: 1, every_ms: LOOK_EVERY_MS, apps: names.collect() };
        let (inside, socket) = (helpers.clone(), socket.to_owned());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    call = listener.accept() => match call {
                        Ok((stream, _)) => inside.take(stream, &wanted, &stop),
                        Err(e) => {
                            tracing::warn!("a helper's call failed: {e}");
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
                    },
                }
            }
            if let Err(e) = std::fs::remove_file(&socket) {
                tracing::debug!("{}: {e}", socket.display());
            }
        });
        helpers
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is logged in; none: nobody knows.
    pub fn allow(&self, people: Option<Vec<u32>>) {
        self.lock().people = people;
    }

    /// What they said last, and whose session it is.
    #[must_use]
    pub fn reports(&self) -> Vec<(u32, Report)> {
        let now = clock::mono();
        let inner = self.lock();
        let fresh = inner.said.values().filter(|(_, at, _)| now.saturating_sub(*at) < STALE);
        fresh
            .map(|(uid, at, report)| {
                let passed = u64::try_from(now.saturating_sub(*at).as_millis()).unwrap_or(0);
                (
                    *uid,
                    Report {
                        idle_ms: report.idle_ms.map(|idle| idle.saturating_add(passed)),
                        ..report.clone()
                    },
                )
            })
            .collect()
    }

    /// Whether a user may say something about this machine: who is logged in here, the agent's own user, and root.
    /// Where nobody knows who is logged in, any person.
    fn may(&self, uid: u32) -> bool {
        let own = rustix::process::getuid().as_raw();
        let inner = self.lock();
        uid == 0
            || uid == own
            || inner.people.as_ref().map_or(uid >= FIRST_PERSON, |people| people.contains(&uid))
    }

    fn take(&self, stream: UnixStream, wanted: &Wanted, stop: &CancellationToken) {
        let uid = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(e) => return tracing::warn!("a helper without a name is not heard: {e}"),
        };
        let number = {
            let mut inner = self.lock();
            inner.calls += 1;
            if inner.said.len() >= MOST {
                return tracing::warn!(uid, "there are {MOST} helpers already; this one is not heard");
            }
            inner.calls
        };
        let (helpers, wanted, stop) = (self.clone(), wanted.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                outcome = helpers.hear(stream, number, uid, &wanted) => if let Err(e) = outcome {
                    tracing::debug!(uid, "a helper is gone: {e}");
                }
            }
            helpers.lock().said.remove(&number);
        });
    }

    async fn hear(&self, stream: UnixStream, number: u64, uid: u32, wanted: &Wanted) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = serde_json::to_vec(wanted).map_err(std::io::Error::other)?;
        line.push(b'\n');
        write.write_all(&line).await?;
        let mut read = BufReader::with_capacity(512, read);
        loop {
            let mut line = Vec::new();
            let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
            let mut one = (&mut read).take(most);
            let n = tokio::time::timeout(STALE * 4, one.read_until(b'\n', &mut line)).await??;
            if n == 0 {
                return Ok(());
            }
            let report: Report = serde_json::from_slice(&line).map_err(std::io::Error::other)?;
            // Asked each time: who logged out says nothing more.
            if self.may(uid) {
                self.lock().said.insert(number, (uid, clock::mono(), report));
            } else {
                self.lock().said.remove(&number);
                tracing::debug!(uid, "is not logged in at this machine and is not heard");
            }
        }
    }
}

fn open(socket: &Path) -> std::io::Result<UnixListener> {
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    // Sessions are other users'; who may say something is asked of the kernel at each call.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn until(what: impl Fn() -> bool) {
        for _ in 0..2000 {
            if what() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not come to pass");
    }

    #[tokio::test]
    async fn a_helper_is_told_what_is_wanted_and_what_it_says_holds_while_it_is_there() {
        let folder = tempfile::tempdir().expect("folder");
        let socket = folder.path().join("run").join("s.sock");
        let apps = [App { name: "wpp".into(), category: "演示".into(), teaching: true }];
        let stop = CancellationToken::new();
        let helpers = Helpers::listen(&socket, &apps, stop.clone());
        let stream = UnixStream::connect(&socket).await.expect("connects");
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        BufReader::new(read).read_line(&mut line).await.expect("reads");
        let wanted: Wanted = serde_json::from_str(&line).expect("json");
        assert_eq!((wanted.every_ms, wanted.apps[0].category.as_str()), (LOOK_EVERY_MS, "演示"));
        write.write_all(b"{\"idle_ms\":5,\"display\":true}\n").await.expect("writes");
        until(|| helpers.reports().len() == 1).await;
        let (uid, report) = helpers.reports().remove(0);
        assert_eq!(uid, rustix::process::getuid().as_raw());
        assert!(report.idle_ms.is_some_and(|ms| ms >= 5) && report.display == Some(true), "{report:?}");
        drop(write);
        until(|| helpers.reports().is_empty()).await;
        // What cannot be read ends the call and nothing else.
        let mut rude = UnixStream::connect(&socket).await.expect("connects");
        rude.write_all(&vec![b'x'; MAX_LINE * 2]).await.ok();
        until(|| helpers.lock().calls == 2).await;
        assert!(helpers.reports().is_empty());
        stop.cancel();
        until(|| !socket.exists()).await;
    }

    #[test]
    fn who_is_not_logged_in_has_no_say() {
        let helpers = Helpers::default();
        assert!(helpers.may(0) && helpers.may(1000), "nobody knows who is logged in");
        assert!(!helpers.may(33), "a service is no person");
        helpers.allow(Some(vec![1000]));
        assert!(helpers.may(1000) && !helpers.may(1001));
    }
}
