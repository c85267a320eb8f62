//! Whether the machine itself is going off, when the daemon is told to end.

use std::time::Duration;

/// systemd answers in milliseconds; a machine on its way down may never answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks systemd. Where there is none, or it does not answer, the machine is not known to go off.
pub async fn goes_off() -> bool {
    let mut ask = tokio::process::Command::new("systemctl");
    ask.arg("is-system-running").stdin(std::process::Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, ask.output()).await {
        Ok(Ok(answer)) => String::from_utf8_lossy(&answer.stdout).trim() == "stopping",
        Ok(Err(e)) => {
            tracing::debug!("systemctl cannot be asked whether the machine goes off: {e}");
            false
        }
        Err(_) => {
            tracing::debug!("systemctl did not say in time whether the machine goes off");
            false
        }
    }
}
