//! What is over at once. Each answers with what came of it, or why nothing did, in a sentence.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lectern_wire::command::mac_bytes;
use lectern_wire::preflight::CheckState;
use tokio::process::Command;

use crate::model::projector::{Power, Projector};
use crate::platform::pjlink;
use crate::store::Store;

/// A doctor that asks silent cameras takes its time.
const DOCTOR: Duration = Duration::from_secs(60);
/// The recorder looks for at most ten seconds; waiting for another look comes on top.
const PREFLIGHT: Duration = Duration::from_secs(30);
const APT: Duration = Duration::from_secs(20);

async fn said(command: &mut Command, patience: Duration) -> Result<std::process::Output, String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(patience, command.output()).await {
        Ok(Ok(out)) => Ok(out),
        Ok(Err(e)) => Err(format!("{name} 不能运行：{e}")),
        Err(_) => Err(format!("{name} 在 {} 秒内没有做完", patience.as_secs())),
    }
}

/// What `lectern doctor` prints. A finding that is bad is an answer, not a failure.
pub async fn doctor(config: &Path) -> Result<String, String> {
    let own = std::env::current_exe().map_err(|e| format!("找不到自己的程序：{e}"))?;
    let out = said(Command::new(own).arg("--config").arg(config).arg("doctor"), DOCTOR).await?;
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if text.is_empty() { Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()) } else { Ok(text) }
}

/// A look at every source.
pub async fn preflight(store: &Store, look_now: &(dyn Fn() + Send + Sync)) -> Result<String, String> {
    let before = store.board().read().preflight.map_or(0, |p| p.at_boot_ms);
    look_now();
    let mut board = store.board().watch();
    let newer = board.wait_for(|s| s.preflight.as_ref().is_some_and(|p| p.at_boot_ms > before));
    let found = match tokio::time::timeout(PREFLIGHT, newer).await {
        Ok(Ok(status)) => status.preflight.clone(),
        _ => None,
    };
    let found = found.ok_or("没有看成：正在录课，或录制程序没有回答")?;
    if let Some(problem) = found.problem {
        return Err(problem);
    }
    let word = |state| match state {
        CheckState::Good => "正常",
        CheckState::Silent => "没有声音",
        CheckState::Black => "画面是黑的",
        _ => "打不开或没有画面",
    };
    let lines: Vec<_> = found.sources.iter().map(|s| format!("{}：{}", s.name, word(s.state))).collect();
    Ok(lines.join("；"))
}

/// Switches the projector; done when it says itself that it is on or off, or on the way there.
pub async fn projector(projector: Option<&Projector>, on: bool) -> Result<String, String> {
    let projector = projector.ok_or("这台设备的设置里没有投影机（[projector]）")?.clone();
    let asked = tokio::task::spawn_blocking(move || pjlink::switch(&projector, on));
    let now = asked.await.map_err(|e| format!("问投影机时中断了：{e}"))?;
    match now.map_err(|why| format!("投影机没有照办：{why}"))? {
        Power::On => Ok("投影机已打开".into()),
        Power::Warming => Ok("投影机正在预热".into()),
        Power::Cooling => Ok("投影机正在冷却，稍后自己关闭".into()),
        Power::Standby => Ok("投影机已关闭".into()),
    }
}

/// Six times 255 and sixteen times the address: what a sleeping network card listens for.
pub fn waking_packet(mac: [u8; 6]) -> Vec<u8> {
    [[0xff; 6].as_slice(), &mac.repeat(16)].concat()
}

/// Wakes another machine.
pub async fn wake(to: SocketAddr, mac: &str) -> Result<String, String> {
    let address = mac_bytes(mac).ok_or_else(|| format!("{mac} 不是网卡地址"))?;
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let send = async {
        let socket = tokio::net::UdpSocket::bind(any).await?;
        socket.set_broadcast(true)?;
        // A datagram may be lost; a card wakes once.
        for _ in 0..3 {
            socket.send_to(&waking_packet(address), to).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    send.await
        .map(|()| format!("已向 {mac} 发出唤醒信号，对方不会回答"))
        .map_err(|e| format!("唤醒信号没有发出：{e}"))
}

/// Writes more or less to the log.
pub fn log_level(level: &str) -> Result<String, String> {
    lectern_base::log::set_level(level)?;
    Ok(format!("日志改为 {level}，重新启动程序后恢复"))
}

/// Whether the package system has a newer version.
pub async fn update_check() -> Result<String, String> {
    let mut apt = Command::new("apt-cache");
    let out = said(apt.args(["policy", "lectern"]).env("LC_ALL", "C"), APT).await?;
    if !out.status.success() {
        return Err(format!("apt-cache 没有回答：{}", String::from_utf8_lossy(&out.stderr).trim()));
    }
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let (installed, candidate) = policy(&text).ok_or("软件源里没有 lectern")?;
    let running = env!("CARGO_PKG_VERSION");
    Ok(if installed == candidate {
        format!("已是最新：{running}")
    } else {
        format!("现在 {running}，可以升级到 {candidate}")
    })
}

/// Installed version and candidate of `apt-cache policy`.
fn policy(text: &str) -> Option<(&str, &str)> {
    let field = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let candidate = field("Candidate:").filter(|c| *c != "(none)")?;
    Some((field("Installed:")?, candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waking_packet_is_as_cards_listen_for_it() {
        // 102 bytes, as AMD's Magic Packet paper of 1995 has it.
        let packet = waking_packet([1, 2, 3, 4, 5, 6]);
        assert_eq!((packet.len(), &packet[..8]), (102, [255, 255, 255, 255, 255, 255, 1, 2].as_slice()));
        assert_eq!(&packet[96..], [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn what_apt_says_is_read() {
        let text = "lectern:\n  Installed: 0.1.0\n  Candidate: 0.2.0\n  Version table:\n     0.2.0 500\n";
        assert_eq!(policy(text), Some(("0.1.0", "0.2.0")));
        assert_eq!(policy("lectern:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(policy(""), None);
    }
}
