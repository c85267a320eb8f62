//! TLS servers before the hub, as a school's own web server may stand there.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::fake_clock::FakeClock;
use crate::folder::Folder;
use crate::process::{Process, eventually, free_port, output};

/// One that hands everything on to the hub.
#[derive(Debug)]
pub struct Tls {
    _server: Process,
    /// Where it listens.
    pub port: u16,
}

impl Tls {
    /// Before the hub at this port, with the certificate that [`certificate`] made under this name.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(folder: &Folder, name: &str, hub: u16) -> anyhow::Result<Self> {
        let port = free_port()?;
        let (pem, config) = (folder.join(&format!("{name}.pem")), folder.join(&format!("{name}.conf")));
        let text = format!(
            "foreground = yes\npid =\nsyslog = no\n[hub]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{hub}\ncert = {}\n",
            pem.display()
        );
        std::fs::write(&config, text)?;
        let mut server = Command::new("stunnel");
        server.arg(&config);
        let server = Process::start(folder, name, server)?;
        let there = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        eventually(Duration::from_secs(60), "the TLS server", there).with_context(|| server.tail_of_log())?;
        Ok(Self { _server: server, port })
    }
}

/// A key and a certificate for 127.0.0.1 that signs itself, valid for a day from now or from so many days ago. What is to be
/// believed of it: where the certificate stands.
///
/// # Errors
/// When it cannot be made.
pub fn certificate(folder: &Folder, name: &str, ago: Option<u32>) -> anyhow::Result<PathBuf> {
    let (pem, own) = (folder.join(&format!("{name}.pem")), folder.join(&format!("{name}.crt")));
    let mut make = Command::new("openssl");
    if let Some(days) = ago {
        make.env("LD_PRELOAD", FakeClock::library()?).env("FAKETIME", format!("-{days}d"));
    }
    let key = folder.join(&format!("{name}.key"));
    make.args(
        "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
            .split(' '),
    );
    make.arg("-keyout").arg(&key).arg("-out").arg(&own);
    output(make)?;
    std::fs::write(&pem, [std::fs::read(&key)?, std::fs::read(&own)?].concat())?;
    Ok(own)
}
