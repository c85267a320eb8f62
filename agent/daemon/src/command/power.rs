//! Restarting the machine or switching it off: after a countdown the teacher can put off, never in a lesson.

use std::time::Duration;

use lectern_base::clock;
use lectern_wire::command::{CommandState, Verb};

use super::{Stage, Step, now_ms};
use crate::model::status::Power;
use crate::store::StoreError;
use crate::store::commands::CommandRow;

/// How long the teacher puts it off with one press.
const PUT_OFF: Duration = Duration::from_secs(10 * 60);
/// systemd has taken the machine down by then, or it will not.
const DOWN_BY: Duration = Duration::from_secs(5 * 60);

/// A countdown.
#[derive(Debug, Clone)]
pub struct Countdown {
    /// Of which command.
    id: String,
    off: bool,
    /// When, milliseconds since boot.
    at_ms: u64,
    /// systemd was asked.
    asked: bool,
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Stage {
    pub(super) fn records(&self) -> bool {
        self.store.board().read().lesson.is_some_and(|lesson| lesson.state.is_live())
    }

    pub(super) fn begin_countdown(&mut self, row: &CommandRow, verb: &Verb) -> Step {
        if self.records() {
            return Step::Over(CommandState::Denied, "正在录课，不能关机或重启".into());
        }
        if self.countdown.is_some() {
            return Step::Over(CommandState::Denied, "已经有一个关机或重启在倒计时".into());
        }
        let at_ms = now_ms() + ms(self.settings.countdown);
        let off = matches!(verb, Verb::PowerOff);
        self.countdown = Some(Countdown { id: row.id.clone(), off, at_ms, asked: false });
        self.show();
        Step::Lasts(format!("{} 秒后执行，教师可以推迟", self.settings.countdown.as_secs()))
    }

    fn show(&self) {
        let power = self.countdown.as_ref().map(|c| Power { off: c.off, at_boot_ms: c.at_ms });
        self.store.board().update(|s| s.power = power);
    }

    pub(super) fn put_off(&mut self) -> Result<(), StoreError> {
        let Some(countdown) = self.countdown.as_mut().filter(|c| !c.asked) else { return Ok(()) };
        countdown.at_ms = now_ms() + ms(PUT_OFF);
        let (id, at) =
            (countdown.id.clone(), clock::wall_ms() + i64::try_from(PUT_OFF.as_millis()).unwrap_or(0));
        self.show();
        let at = clock::local(at).strftime("%H:%M").to_string();
        self.end(&id, CommandState::Running, &format!("教师推迟到 {at}"))
    }

    pub(super) async fn look_after_countdown(&mut self) -> Result<(), StoreError> {
        let Some(countdown) = self.countdown.clone() else { return Ok(()) };
        if countdown.asked {
            if now_ms() > countdown.at_ms + ms(DOWN_BY) {
                self.countdown = None;
                self.show();
                self.end(&countdown.id, CommandState::Failed, "系统没有关机或重启")?;
            }
            return Ok(());
        }
        if self.records() {
            self.countdown = None;
            self.show();
            return self.end(&countdown.id, CommandState::Denied, "倒计时中开始了录课，没有关机或重启");
        }
        if now_ms() < countdown.at_ms {
            return Ok(());
        }
        let what = if countdown.off { "poweroff" } else { "reboot" };
        let asked =
            tokio::process::Command::new(&self.settings.systemctl).arg(what).kill_on_drop(true).output();
        match tokio::time::timeout(Duration::from_secs(30), asked).await {
            Ok(Ok(out)) if out.status.success() => {
                if let Some(countdown) = &mut self.countdown {
                    countdown.asked = true;
                }
                Ok(())
            }
            other => {
                let why = match other {
                    Ok(Ok(out)) => String::from_utf8_lossy(&out.stderr).trim().to_owned(),
                    Ok(Err(e)) => e.to_string(),
                    Err(_) => "30 秒没有回答".into(),
                };
                self.countdown = None;
                self.show();
                self.end(&countdown.id, CommandState::Failed, &format!("systemctl {what} 没有成功：{why}"))
            }
        }
    }
}
