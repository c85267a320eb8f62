//! A slow, long or lossy line, in user space: two network namespaces joined by two TUN devices, and threads that
//! pass the packets with a rate, a delay, a loss and a queue. The kernel needs no traffic shaper for it.
//!
//! ```text
//! classroom 10.77.0.1 ── lnk-a ══ threads ══ lnk-b ── 10.77.0.2 hub
//! ```
//!
//! Rate and queue hold in both directions, loss on the way to the hub. It needs the right to make namespaces.

#![expect(unsafe_code, reason = "TUNSETIFF has no safe wrapper")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lectern_base::clock;

/// What a line is like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Megabits a second, each way.
    pub megabit: f64,
    /// Round trip at rest, milliseconds.
    pub round_trip_ms: f64,
    /// Packets lost on the way to the hub, of a hundred.
    pub loss_percent: f64,
    /// What waits longer in front of the line is dropped, milliseconds.
    pub queue_ms: f64,
}

/// A line that stands; taken away on drop.
#[derive(Debug)]
pub struct Link {
    name: String,
    down: Arc<AtomicBool>,
    passed: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
}

/// The hub's address on every line; each has namespaces of its own.
pub const HUB: &str = "10.77.0.2";

impl Link {
    /// Makes the namespaces and the line; none where that is not allowed, which is then said.
    ///
    /// # Errors
    /// When they could be made but not joined.
    pub fn new(shape: Shape) -> anyhow::Result<Option<Self>> {
        let name = format!("lectern-{}", lectern_base::chance::hex::<3>());
        if !ip(&format!("netns add {name}-a"))? {
            crate::skipped("no network namespace may be made here");
            return Ok(None);
        }
        let link = Self { name, down: Arc::default(), passed: Arc::default(), end: Arc::default() };
        must(&format!("netns add {}-b", link.name))?;
        let short = &link.name["lectern-".len()..];
        let (a, b) = (format!("la{short}"), format!("lb{short}"));
        let (near, far) = (tun(&a)?, tun(&b)?);
        for (device, side, own, other) in [(&a, "a", "10.77.0.1", HUB), (&b, "b", HUB, "10.77.0.1")] {
            let space = format!("{}-{side}", link.name);
            must(&format!("link set {device} netns {space}"))?;
            must(&format!("-n {space} addr add {own} peer {other} dev {device}"))?;
            must(&format!("-n {space} link set {device} mtu 1500 up"))?;
            must(&format!("-n {space} link set lo up"))?;
        }
        link.pass(near.try_clone()?, far.try_clone()?, shape, shape.loss_percent / 100.0, true);
        link.pass(far, near, shape, 0.0, false);
        Ok(Some(link))
    }

    /// The command, on the classroom's side of the line.
    #[must_use]
    pub fn in_classroom(&self, program: &std::path::Path) -> Command {
        self.on_side("a", program)
    }

    /// The command, on the hub's side of the line.
    #[must_use]
    pub fn at_hub(&self, program: &std::path::Path) -> Command {
        self.on_side("b", program)
    }

    fn on_side(&self, side: &str, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{side}", self.name)]).arg(program);
        command
    }

    /// Cuts the line or joins it again: packets are dropped, nobody is told.
    pub fn cut(&self, cut: bool) {
        self.down.store(cut, Ordering::Relaxed);
    }

    /// Bytes of packets that came through to the hub.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// One direction: a reader that drops and queues, a writer that waits for each packet's time.
    fn pass(&self, mut from: File, mut to: File, shape: Shape, loss: f64, counts: bool) {
        type Queue = (Mutex<VecDeque<(Duration, Vec<u8>)>>, Condvar);
        let queue: Arc<Queue> = Arc::default();
        let (down, end, passed, there) =
            (self.down.clone(), self.end.clone(), self.passed.clone(), queue.clone());
        let delay = Duration::from_secs_f64(shape.round_trip_ms / 2000.0);
        let most = Duration::from_secs_f64(shape.queue_ms / 1000.0);
        std::thread::spawn(move || {
            let (mut buffer, mut free, mut dice) = (vec![0; 2048], clock::mono(), 0x2545_F491_4F6C_DD1D_u64);
            while let Ok(n) = from.read(&mut buffer) {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                let lost = (dice >> 11) as f64 / (1_u64 << 53) as f64;
                let (now, starts) = (clock::mono(), free.max(clock::mono()));
                if down.load(Ordering::Relaxed) || lost < loss || starts - now > most {
                    continue;
                }
                free = starts + Duration::from_secs_f64(n as f64 * 8.0 / (shape.megabit * 1e6));
                if counts {
                    passed.fetch_add(n as u64, Ordering::Relaxed);
                }
                let (packets, bell) = &*queue;
                let mut packets = packets.lock().unwrap_or_else(PoisonError::into_inner);
                packets.push_back((free + delay, buffer[..n].to_vec()));
                bell.notify_one();
            }
        });
        std::thread::spawn(move || {
            let (packets, bell) = &*there;
            loop {
                let mut waiting = packets.lock().unwrap_or_else(PoisonError::into_inner);
                while waiting.is_empty() {
                    waiting = bell.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
                let Some((at, packet)) = waiting.pop_front() else { continue };
                drop(waiting);
                std::thread::sleep(at.saturating_sub(clock::mono()));
                // A device that is gone takes nothing any more.
                if to.write_all(&packet).is_err() {
                    return;
                }
            }
        });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for side in ["a", "b"] {
            ip(&format!("netns del {}-{side}", self.name)).ok();
        }
    }
}

fn ip(arguments: &str) -> anyhow::Result<bool> {
    let out = Command::new("ip").args(arguments.split(' ')).output().context("ip (package iproute2)")?;
    Ok(out.status.success())
}

fn must(arguments: &str) -> anyhow::Result<()> {
    ensure!(ip(arguments)?, "ip {arguments} failed");
    Ok(())
}

/// Opens a new TUN device.
fn tun(name: &str) -> anyhow::Result<File> {
    /// `struct ifreq` as TUNSETIFF reads it.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: i16,
        rest: [u8; 22],
    }
    /// From linux/if_tun.h.
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    const IFF_TUN: i16 = 1;
    const IFF_NO_PI: i16 = 0x1000;

    let file = File::options().read(true).write(true).open("/dev/net/tun").context("/dev/net/tun")?;
    let mut request = Request { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    ensure!(name.len() < 16, "{name} is too long for a device");
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the request is a whole ifreq that lives through the call, and the descriptor is open.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) };
    ensure!(done == 0, "{name} could not be made: {}", std::io::Error::last_os_error());
    Ok(file)
}
