//! Carries out what the hub asks, each command once: signed by the hub this device knows, meant for this
//! device, and in time. There is no command that starts, pauses or ends a recording.
//!
//! ```text
//! publish ─▶ store (a row) ─▶ here ─▶ store (its outcome) ─▶ publish
//! ```
//!
//! Most commands are over at once. Three last: a message until the teacher has seen it, and a restart or
//! switching off of the machine while their countdown runs; the teacher can put that off, and a lesson that begins ends it.

mod deeds;
mod power;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lectern_base::clock;
use lectern_wire::command::{Command, CommandState, Verb};
use lectern_wire::sign::{KeyRing, Signed};
use lectern_wire::topic::Topics;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::model::projector::Projector;
use crate::model::status::Note;
use crate::store::commands::CommandRow;
use crate::store::{Store, StoreError};

/// How often what lasts is looked after.
const STEP: Duration = Duration::from_millis(500);

/// What carrying out commands needs.
#[derive(Clone)]
pub struct Settings {
    /// Who this device is.
    pub topics: Topics,
    /// The settings file, for `lectern doctor`.
    pub config: PathBuf,
    /// Where a waking packet goes.
    pub wake_address: std::net::SocketAddr,
    /// How long before the machine restarts or goes off.
    pub countdown: Duration,
    /// The program that does it.
    pub systemctl: PathBuf,
    /// The projector, if there is one.
    pub projector: Option<Projector>,
    /// Asks for a look at the sources.
    pub look_now: Arc<dyn Fn() + Send + Sync>,
    /// Ends the daemon, so that systemd starts it again.
    pub restart: Arc<Notify>,
}

/// What the teacher says to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The message has been seen.
    Seen,
    /// Not now: the machine is needed.
    PutOff,
}

/// Takes the teacher's word; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::Sender<Word>);

impl Handle {
    /// Hands a word on. One that nobody waits for changes nothing.
    pub fn say(&self, word: Word) {
        if self.0.try_send(word).is_err() {
            tracing::debug!("a word about a command was not heard");
        }
    }
}

/// The stage, before it runs.
pub struct Stage {
    store: Store,
    settings: Settings,
    words: mpsc::Receiver<Word>,
    /// The message on the page: its command and until when it stands, milliseconds since boot.
    shown: Option<(String, u64)>,
    countdown: Option<power::Countdown>,
}

/// What a command comes to at once.
enum Step {
    Over(CommandState, String),
    /// It lasts.
    Lasts(String),
}

impl Stage {
    /// Makes the stage and the handle to it.
    #[must_use]
    pub fn new(store: Store, settings: Settings) -> (Self, Handle) {
        let (sender, words) = mpsc::channel(4);
        (Self { store, settings, words, shown: None, countdown: None }, Handle(sender))
    }

    /// Runs until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        if let Err(e) = self.resume() {
            tracing::error!("commands of before could not be looked through: {e}");
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.store.bells().command.notified() => {}
                Some(word) = self.words.recv() => self.hear(word),
                () = tokio::time::sleep(STEP), if self.shown.is_some() || self.countdown.is_some() => {}
            }
            if let Err(e) = self.look().await {
                tracing::error!("a command could not be carried out: {e}");
            }
        }
    }

    /// What was under way when the daemon ended.
    fn resume(&self) -> Result<(), StoreError> {
        for row in self.store.commands_under_way()?.into_iter().filter(|r| r.state == CommandState::Running) {
            let another_boot = row.boot_id != clock::boot_id();
            let (state, detail) = match &row.document.document.verb {
                Verb::RestartAgent => (CommandState::Successful, "重新启动了程序"),
                Verb::Reboot | Verb::PowerOff if another_boot => {
                    (CommandState::Successful, "电脑重新启动过了")
                }
                _ => (CommandState::Failed, "程序中途结束，没有做完"),
            };
            self.end(&row.id, state, detail)?;
        }
        Ok(())
    }

    fn end(&self, id: &str, state: CommandState, detail: &str) -> Result<(), StoreError> {
        if self.store.advance_command(id, state, detail)? {
            tracing::info!(command = id, state = state.name(), "{detail}");
            self.store.bells().publish.notify_one();
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        for row in self.store.commands_under_way()?.into_iter().filter(|r| r.state == CommandState::Received)
        {
            let ring = self.store.hub_key()?;
            if row.document.verify(&ring).is_err_and(|e| self.store.awaits_hub_key(&e)) {
                continue;
            }
            let step = match self.refusal(&row, &ring) {
                Some((state, why)) => Step::Over(state, why),
                None => {
                    let verb = row.document.document.verb.clone();
                    tracing::info!(
                        command = row.id,
                        verb = verb.name(),
                        who = row.document.document.who,
                        "a command"
                    );
                    self.store.advance_command(&row.id, CommandState::Running, "")?;
                    self.store.bells().publish.notify_one();
                    self.carry(&row, verb).await
                }
            };
            match step {
                Step::Over(state, detail) => self.end(&row.id, state, &detail)?,
                Step::Lasts(detail) => self.end(&row.id, CommandState::Running, &detail)?,
            }
        }
        // A doctor takes its time: what the teacher said meanwhile counts before anything runs out.
        while let Ok(word) = self.words.try_recv() {
            self.hear(word);
        }
        self.look_after_message()?;
        self.look_after_countdown().await
    }

    /// Why a command is not carried out at all.
    fn refusal(&self, row: &CommandRow, hub: &KeyRing) -> Option<(CommandState, String)> {
        refusal(&row.document, &row.id, &self.settings.topics, hub, clock::wall_ms(), clock::trusted())
    }

    async fn carry(&mut self, row: &CommandRow, verb: Verb) -> Step {
        match verb {
            Verb::Refresh => {
                self.store.bells().sense.notify_one();
                Step::Over(CommandState::Successful, "已读取一次".into())
            }
            Verb::Doctor => deeds::doctor(&self.settings.config).await.into(),
            Verb::Preflight => deeds::preflight(&self.store, &*self.settings.look_now).await.into(),
            Verb::Wake { mac } => deeds::wake(self.settings.wake_address, &mac).await.into(),
            Verb::LogLevel { level } => deeds::log_level(&level).into(),
            Verb::UpdateCheck => deeds::update_check().await.into(),
            Verb::Projector { on: false } if self.records() => {
                Step::Over(CommandState::Denied, "正在录课，不能关投影机".into())
            }
            Verb::Projector { on } => deeds::projector(self.settings.projector.as_ref(), on).await.into(),
            // systemd names its children; nobody else would start the daemon again.
            Verb::RestartAgent if std::env::var_os("INVOCATION_ID").is_none() => {
                Step::Over(CommandState::Failed, "程序不是由 systemd 启动的，不能自己重新启动".into())
            }
            Verb::RestartAgent => {
                self.settings.restart.notify_one();
                Step::Lasts("正在重新启动程序".into())
            }
            Verb::Message { text } => {
                let until = now_ms() + row.document.document.good_for_ms;
                if let Some((before, _)) = self.shown.replace((row.id.clone(), until))
                    && let Err(e) =
                        self.end(&before, CommandState::Failed, "被下一条消息代替，没有人点「知道了」")
                {
                    tracing::error!("a message's end could not be kept: {e}");
                }
                let from = row.document.document.who.clone();
                self.store.board().update(|s| s.note = Some(Note { text, from }));
                Step::Lasts("已显示，等教师点「知道了」".into())
            }
            Verb::Reboot | Verb::PowerOff => self.begin_countdown(row, &verb),
        }
    }

    fn hear(&mut self, word: Word) {
        let outcome = match word {
            Word::Seen => self.shown.take().map_or(Ok(()), |(id, _)| {
                self.store.board().update(|s| s.note = None);
                self.end(&id, CommandState::Successful, "教师已看到")
            }),
            Word::PutOff => self.put_off(),
        };
        if let Err(e) = outcome {
            tracing::error!("the teacher's word about a command could not be kept: {e}");
        }
    }

    fn look_after_message(&mut self) -> Result<(), StoreError> {
        let Some((id, _)) = self.shown.take_if(|(_, until)| now_ms() > *until) else { return Ok(()) };
        self.store.board().update(|s| s.note = None);
        self.end(&id, CommandState::Failed, "到时间还没有人点「知道了」")
    }
}

impl From<Result<String, String>> for Step {
    fn from(outcome: Result<String, String>) -> Self {
        match outcome {
            Ok(detail) => Self::Over(CommandState::Successful, detail),
            Err(why) => Self::Over(CommandState::Failed, why),
        }
    }
}

/// Milliseconds since boot.
fn now_ms() -> u64 {
    u64::try_from(clock::boot().as_millis()).unwrap_or(0)
}

/// Why a command is refused, if it is. A clock nobody trusts does not say what is too late: then the hub's word
/// counts, which sends nothing that has expired.
fn refusal(
    document: &Signed<Command>,
    id: &str,
    own: &Topics,
    hub: &KeyRing,
    now_ms: i64,
    clock_trusted: bool,
) -> Option<(CommandState, String)> {
    let denied = |why: String| Some((CommandState::Denied, why));
    let command = match document.verify(hub) {
        Ok(command) => command,
        Err(e) => return denied(format!("不是本机认识的中心发出的命令：{e}")),
    };
    if command.v != 1 || command.id != id || command.device != own.device || command.school != own.school {
        return denied("这条命令不是给这台设备的".into());
    }
    if let Some(fault) = command.verb.fault() {
        return denied(fault);
    }
    let age_ms = now_ms - command.given_ms;
    let late = i64::try_from(command.good_for_ms).is_ok_and(|good_for| age_ms > good_for);
    (clock_trusted && late).then(|| (CommandState::Expired, format!("晚到了 {} 秒，没有执行", age_ms / 1000)))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use lectern_wire::id::{DeviceId, SchoolId};
    use lectern_wire::sign::PublicKey;

    use super::*;

    #[test]
    fn only_the_known_hub_commands_only_this_device_and_only_in_time() {
        let hub = SigningKey::from_bytes(&[1; 32]);
        let mut ring = KeyRing::default();
        ring.add(PublicKey::of(&hub));
        let topics = |device: &str| Topics {
            school: SchoolId::new("s").expect("id"),
            device: DeviceId::new(device).expect("id"),
        };
        let command = Command {
            v: 1,
            id: "0123456789abcdef".into(),
            school: topics("d").school,
            device: topics("d").device,
            verb: Verb::Reboot,
            given_ms: 1_000_000,
            good_for_ms: 60_000,
            who: "admin".into(),
        };
        let signed = |c: &Command, key: &SigningKey| Signed::sign(c.clone(), key).expect("signs");
        let refused = |c: &Signed<Command>, own: &str, now, trusted| {
            refusal(c, "0123456789abcdef", &topics(own), &ring, now, trusted).map(|(state, _)| state)
        };
        let good = signed(&command, &hub);
        assert_eq!(refused(&good, "d", 1_030_000, true), None);
        assert_eq!(refused(&good, "d", 1_070_000, true), Some(CommandState::Expired));
        assert_eq!(refused(&good, "d", 9_070_000, false), None, "a wrong clock does not say what is late");
        assert_eq!(refused(&good, "e", 1_030_000, true), Some(CommandState::Denied));
        let forged = signed(&command, &SigningKey::from_bytes(&[2; 32]));
        assert_eq!(refused(&forged, "d", 1_030_000, true), Some(CommandState::Denied));
        let other = signed(&Command { id: "fedcba9876543210".into(), ..command.clone() }, &hub);
        assert_eq!(refused(&other, "d", 1_030_000, true), Some(CommandState::Denied));
        let odd = signed(&Command { verb: Verb::Message { text: String::new() }, ..command }, &hub);
        assert_eq!(refused(&odd, "d", 1_030_000, true), Some(CommandState::Denied));
    }

    #[tokio::test]
    async fn what_the_teacher_said_while_something_else_was_done_counts_before_the_countdown_ends() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(folder.path(), 1 << 20).expect("opens");
        let hub = SigningKey::from_bytes(&[1; 32]);
        store.set_fact("hub_key", &String::from(PublicKey::of(&hub))).expect("sets");
        let topics =
            Topics { school: SchoolId::new("s").expect("id"), device: DeviceId::new("d").expect("id") };
        let command = Command {
            v: 1,
            id: "0123456789abcdef".into(),
            school: topics.school.clone(),
            device: topics.device.clone(),
            verb: Verb::PowerOff,
            given_ms: clock::wall_ms(),
            good_for_ms: 60_000,
            who: "admin".into(),
        };
        let settings = Settings {
            topics,
            config: PathBuf::new(),
            wake_address: std::net::SocketAddr::from(([127, 0, 0, 1], 9)),
            countdown: Duration::ZERO,
            // Nobody's machine goes off, whatever this test finds.
            systemctl: folder.path().join("none"),
            projector: None,
            look_now: Arc::new(|| {}),
            restart: Arc::new(Notify::new()),
        };
        let (mut stage, handle) = Stage::new(store.clone(), settings);
        let signed = Signed::sign(command.clone(), &hub).expect("signs");
        let row = CommandRow {
            id: command.id.clone(),
            document: signed.clone(),
            state: CommandState::Running,
            boot_id: String::new(),
        };
        store.take_command(&command.id, &signed).expect("takes");
        store.advance_command(&command.id, CommandState::Running, "").expect("no fault");
        assert!(matches!(stage.begin_countdown(&row, &Verb::PowerOff), Step::Lasts(_)));
        handle.say(Word::PutOff);
        stage.look().await.expect("no fault");
        let told = store.outcomes_to_tell().expect("reads").remove(0);
        assert!(told.state == CommandState::Running && told.detail.starts_with("教师推迟到"), "{told:?}");
        assert!(store.board().read().power.is_some_and(|power| power.at_boot_ms > now_ms() + 500_000));
    }
}
