//! What the recorder says, and what follows from it: growth, warnings, the end of a take, its loss.

use super::driver::{Driver, millis};
use super::owed::Owed;
use super::process::{self, Heard, Whose};
use crate::model::lesson::{CutShort, Event, State};
use crate::model::status::{Level, Warning};
use crate::store::Durable;
use lectern_base::clock;
use lectern_wire::capture::{Encoder, Layout};
use lectern_wire::live::LiveState;
use lectern_wire::manifest::TakeEnd;
use lectern_wire::recorder::{Command as Order, Event as Said};

impl Driver {
    pub(super) async fn hear(&mut self, (lesson, take): &Whose, heard: Heard) {
        // A recorder that came late may speak for a lesson before: it says nothing of this one.
        if self.live.as_ref().is_none_or(|live| live.id != *lesson || live.take != *take) {
            return;
        }
        match heard {
            Heard::Connected(link) => {
                let stopping = self.live.as_mut().is_some_and(|live| {
                    live.link = Some(link);
                    live.stopping.is_some()
                });
                if stopping {
                    self.order(&Order::Stop).await;
                }
            }
            Heard::Gone => self.lose().await,
            Heard::Said(event) => self.said(event).await,
        }
    }

    async fn said(&mut self, event: Said) {
        let Some(live) = &mut self.live else { return };
        match event {
            Said::Hello { lesson_id, take, pid, layout, live: live_state, paused, .. } => {
                if lesson_id != live.id || take != live.take {
                    tracing::error!(%lesson_id, take, "another lesson's recorder answered");
                    return self.lose().await;
                }
                live.pid = Some(pid);
                // One that was found at work may have heard a word that the daemon before did not live to note.
                if paused != (live.state == State::Paused) {
                    live.still = paused;
                    self.advance(if paused { Event::Paused } else { Event::Resumed });
                }
                self.composed(layout);
                self.live_stands(live_state, "");
            }
            Said::Live { state, cause } => self.live_stands(state, &cause),
            // Said while it waited.
            Said::Armed { .. } | Said::Preflight { .. } => {}
            Said::Durable { bytes, media_ms } => self.grew(bytes, media_ms),
            Said::Paused { .. } => self.advance(Event::Paused),
            Said::Resumed { .. } => {
                live.progress = clock::mono();
                self.advance(Event::Resumed);
            }
            Said::Level { peak_dbfs, rms_dbfs } => {
                self.store.board().update(|s| s.level = Some(Level { peak_dbfs, rms_dbfs }));
            }
            Said::Marked { .. } => self.store.board().update(|s| {
                if let Some(lesson) = &mut s.lesson {
                    lesson.marks += 1;
                }
            }),
            Said::LayoutChanged { layout } => self.composed(layout),
            Said::GapOpened { source, code, cause, .. } => {
                let named = self.settings.capture.sources.iter().find(|s| s.name == source);
                let sound = named.is_some_and(|s| s.kind.is_sound());
                self.warn(Warning::SourceLost { source, sound, code, cause });
            }
            Said::GapClosed { source, .. } => {
                self.clear(|w| matches!(w, Warning::SourceLost { source: s, .. } if *s == source));
            }
            Said::FindingOpened { kind, .. } => self.warn(Warning::Finding(kind)),
            Said::FindingClosed { kind, .. } => self.clear(|w| *w == Warning::Finding(kind)),
            Said::Paced { fps, full } => {
                self.clear(|w| matches!(w, Warning::Slow { .. }));
                if !full {
                    self.warn(Warning::Slow { fps });
                }
            }
            Said::Preview { jpeg } => {
                use base64::Engine as _;
                match base64::engine::general_purpose::STANDARD.decode(jpeg) {
                    Ok(bytes) => drop(self.preview.send_replace(Some(bytes.into()))),
                    Err(e) => tracing::warn!("a preview could not be read: {e}"),
                }
            }
            Said::Stopped { bytes, media_ms } => {
                self.grew(bytes, media_ms);
                self.ended().await;
            }
            Said::Fatal { message } => {
                tracing::error!(lesson = %live.id, take = live.take, "the recorder gives up: {message}");
                live.complaint = Some(message);
            }
        }
    }

    /// Whether the picture of the lesson being recorded is composed so by now.
    pub(super) fn is_composed(&self, layout: Layout) -> bool {
        let shown = self.store.board().read().lesson;
        self.live_state().is_some_and(State::is_live) && shown.is_some_and(|lesson| lesson.layout == layout)
    }

    fn composed(&self, layout: Layout) {
        self.store.board().update(|s| {
            if let Some(lesson) = &mut s.lesson {
                lesson.layout = layout;
            }
        });
    }

    fn warn(&self, warning: Warning) {
        self.store.board().update(move |s| {
            if !s.warnings.contains(&warning) {
                s.warnings.push(warning);
            }
        });
    }

    fn clear(&self, over: impl Fn(&Warning) -> bool) {
        self.store.board().update(|s| s.warnings.retain(|w| !over(w)));
    }

    fn grew(&mut self, bytes: u64, media_ms: u64) {
        let Some(live) = &mut self.live else { return };
        (live.take_bytes, live.take_ms) = (bytes, media_ms);
        live.progress = clock::mono();
        let (total_ms, total_bytes) = (live.before_ms + media_ms, live.before_bytes + bytes);
        let durable = Durable { lesson: live.id.clone(), take: live.take, bytes };
        let now = millis(clock::boot());
        self.store.board().update(|s| {
            if let Some(lesson) = &mut s.lesson {
                (lesson.media_ms, lesson.bytes, lesson.media_at_boot_ms) = (total_ms, total_bytes, now);
                lesson.first_durable_ms.get_or_insert(now.saturating_sub(lesson.pressed_at_boot_ms));
            }
        });
        self.advance(Event::Durable);
        self.store.set_durable(durable);
    }

    /// Moves the lesson on in the store, then here and on the board.
    pub(super) fn advance(&mut self, event: Event) {
        let Some(live) = &mut self.live else { return };
        if live.state.next(event) == Ok(live.state) {
            return;
        }
        match self.store.advance(&live.id, event) {
            Ok(state) => {
                live.state = state;
                let stopping = live.stopping.is_some() && state.is_live();
                self.store.board().update(|s| {
                    if let Some(lesson) = &mut s.lesson {
                        lesson.state = if stopping { State::Finishing } else { state };
                    }
                });
            }
            Err(e) => tracing::error!(lesson = %live.id, "the lesson could not be moved on: {e}"),
        }
    }

    /// The recorder ended the take in order.
    async fn ended(&mut self) {
        let Some(live) = &self.live else { return };
        if live.stopping.is_some() {
            let cut_short = live.cut_short;
            let end = cut_short.map_or(TakeEnd::Stopped, |c| TakeEnd::Interrupted(c.sentence().into()));
            self.end_take(end);
            self.finish(cut_short).await;
        } else {
            let reason = CutShort::EndedByItself;
            self.end_take(TakeEnd::Interrupted(reason.sentence().into()));
            self.finish(Some(reason)).await;
        }
    }

    fn end_take(&mut self, end: TakeEnd) {
        let Some(live) = &self.live else { return };
        self.owe(Owed::TakeEnd(live.id.clone(), live.take, end));
    }

    /// The lesson ends; a reason says why it is not whole.
    pub(super) async fn finish(&mut self, reason: Option<CutShort>) {
        if self.live.as_ref().is_some_and(|live| live.stopping.is_none()) {
            self.mark_stopping();
        }
        let Some(live) = &self.live else { return };
        let id = live.id.clone();
        tracing::info!(lesson = %id, takes = live.take, media_ms = live.before_ms + live.take_ms, "recording ended");
        if let Some(reason) = reason {
            self.owe(Owed::CutShort(id.clone(), reason));
            self.store.board().update(|s| {
                if let Some(lesson) = &mut s.lesson {
                    lesson.cut_short.get_or_insert(reason);
                }
            });
        }
        self.owe(Owed::Ended(id));
        self.report("ended");
        self.live_stands(LiveState::Off, "");
        self.show_nothing_heard();
        if let Some(child) = self.live.take().and_then(|live| live.child) {
            tokio::spawn(process::farewell(child));
        }
        self.store.bells().evidence.notify_one();
    }

    /// No recorder looks or listens: what the last one said of picture and sound is shown no more.
    fn show_nothing_heard(&self) {
        self.store.board().update(|s| {
            s.level = None;
            s.warnings.retain(|w| matches!(w, Warning::LittleSpace { .. }));
        });
        self.preview.send_replace(None);
    }

    /// The recorder is gone and the take had not ended.
    pub(super) async fn lose(&mut self) {
        let Some(live) = &mut self.live else { return };
        if live.restart_at.is_some() || live.rests {
            return;
        }
        let reason = live.complaint.take().unwrap_or_else(|| "the recorder was lost".into());
        tracing::warn!(lesson = %live.id, take = live.take, reason, "take interrupted");
        if let Some(pid) = live.pid {
            process::end(pid).await;
        }
        if let Some(child) = live.child.take() {
            tokio::spawn(process::farewell(child));
        }
        let (stopping, cut_short) = (live.stopping.is_some(), live.cut_short);
        // Whatever the cause was: no lesson is lost to a driver twice.
        self.settings.capture.video.encoder = Some(Encoder::Libx264);
        let sent = live.sent;
        let wait = live.lost(clock::mono());
        self.show_encoder();
        self.live_stands(if sent { LiveState::Lost } else { LiveState::Off }, "the recorder was lost");
        self.end_take(TakeEnd::Interrupted(reason));
        if self.live_state() == Some(State::Paused) {
            // While it is paused nothing is recorded: nobody records until the teacher goes on.
            self.advance(Event::Paused);
            self.report("interrupted");
            self.show_nothing_heard();
            if let Some(live) = &mut self.live {
                live.rest();
            }
            return;
        }
        self.advance(Event::RecorderLost);
        self.report("interrupted");
        match wait {
            // It was lost while ending: its last second is missing at most, and the take says why.
            _ if stopping => self.finish(cut_short).await,
            None => self.finish(Some(CutShort::RecorderLost)).await,
            Some(wait) => {
                if let Some(live) = &mut self.live {
                    live.restart_at = Some(clock::mono() + wait);
                }
                if wait.is_zero() {
                    Box::pin(self.next_take()).await;
                }
            }
        }
    }

    /// The teacher goes on with a lesson that rests.
    pub(super) async fn go_on(&mut self) {
        let Some(live) = &mut self.live else { return };
        (live.still, live.rests) = (false, false);
        self.advance(Event::RecorderLost);
        self.next_take().await;
    }

    pub(super) async fn next_take(&mut self) {
        let Some(live) = &mut self.live else { return };
        live.restart_at = None;
        live.next_take();
        let (id, take) = (live.id.clone(), live.take);
        tracing::info!(lesson = %id, take, "the lesson goes on in its next take");
        if let Err(e) = self.store.begin_take(&id, take) {
            tracing::error!(lesson = %id, "the next take could not be begun: {e}");
            return self.finish(Some(CutShort::RecorderLost)).await;
        }
        self.store.board().update(|s| {
            if let Some(lesson) = &mut s.lesson {
                lesson.take = take;
            }
            s.warnings.retain(|w| matches!(w, Warning::LittleSpace { .. }));
        });
        self.store.bells().evidence.notify_one();
        Box::pin(self.start_recorder()).await;
    }
}
