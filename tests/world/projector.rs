//! A projector in the network: PJLink class 1 or 2 with a password, as the standard has it. It can be switched.
//!
//! Written from the standard; not yet held against an independent client.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use md5::{Digest as _, Md5};

/// What it says about itself.
#[derive(Debug, Clone)]
pub struct Says {
    /// 1 or 2.
    pub class: u8,
    /// 0 standby, 1 on, 2 cooling, 3 warming up.
    pub power: u8,
    /// Hours of its lamp.
    pub lamp_h: u32,
    /// Fan, lamp, temperature, cover, filter, other: 0 well, 1 warning, 2 error.
    pub errors: &'static str,
    /// The input shown.
    pub input: &'static str,
    /// What warms up is warm, and what cools is cold, when it is asked the next time.
    pub settles: bool,
    /// It takes connections and never answers.
    pub dead: bool,
}

/// The projector.
#[derive(Debug)]
pub struct Projector {
    /// Its TCP port.
    pub port: u16,
    says: Arc<Mutex<Says>>,
}

/// Its password.
pub const PASSWORD: &str = "beamer-no-3";
/// The number it greets with; a real one takes a new one each time.
const NUMBER: &str = "498e4a67";

impl Projector {
    /// Switches it on.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port for a projector")?;
        let port = listener.local_addr()?.port();
        let says = Says {
            class: 2,
            power: 1,
            lamp_h: 2381,
            errors: "000000",
            input: "31",
            settles: true,
            dead: false,
        };
        let says = Arc::new(Mutex::new(says));
        let known = says.clone();
        // Ends with the process that tests with it.
        std::thread::Builder::new().name("projector".into()).spawn(move || {
            for line in listener.incoming().flatten() {
                let known = known.clone();
                std::thread::spawn(move || serve(line, &known).unwrap_or_default());
            }
        })?;
        Ok(Self { port, says })
    }

    /// What it says now.
    #[must_use]
    pub fn says(&self) -> Says {
        self.says.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what it says.
    pub fn now(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn serve(mut line: TcpStream, says: &Mutex<Says>) -> std::io::Result<()> {
    line.write_all(format!("PJLINK 1 {NUMBER}\r").as_bytes())?;
    let proof = hex::encode(Md5::digest(format!("{NUMBER}{PASSWORD}")));
    let mut known = false;
    for said in BufReader::new(line.try_clone()?).split(b'\r') {
        let said = String::from_utf8_lossy(&said?).into_owned();
        let now = says.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if now.dead {
            continue;
        }
        let command = match said.strip_prefix(&proof) {
            Some(command) => command,
            None if known => &said,
            None => return line.write_all(b"PJLINK ERRA\r"),
        };
        known = true;
        let (head, asked) = (command.get(..6).unwrap_or_default(), command.get(6..).unwrap_or_default());
        let mut says = says.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match (head.to_ascii_uppercase().as_str(), asked.trim()) {
            ("%1CLSS", "?") => now.class.to_string(),
            (of_class_2, _) if of_class_2.starts_with("%2") && now.class == 1 => "ERR1".to_owned(),
            ("%1POWR", "?") => {
                says.power = match now.power {
                    3 if now.settles => 1,
                    2 if now.settles => 0,
                    power => power,
                };
                now.power.to_string()
            }
            ("%1POWR", "1") if now.power == 2 => "ERR3".to_owned(),
            ("%1POWR", "0") if now.power == 3 => "ERR3".to_owned(),
            ("%1POWR", order @ ("0" | "1")) => {
                says.power = if order == "1" { 3 } else { 2 };
                "OK".to_owned()
            }
            ("%1ERST", "?") => now.errors.to_owned(),
            ("%1LAMP", "?") => format!("{} {}", now.lamp_h, u8::from(now.power == 1)),
            ("%1INPT" | "%2INPT", "?") if now.power == 1 => now.input.to_owned(),
            ("%1INPT" | "%2INPT", "?") => "ERR3".to_owned(),
            ("%1NAME", "?") => "Room 301".to_owned(),
            ("%1INF1", "?") => "EPSON".to_owned(),
            ("%1INF2", "?") => "EB-2247U".to_owned(),
            ("%2FILT", "?") => "120".to_owned(),
            _ => "ERR1".to_owned(),
        };
        drop(says);
        line.write_all(format!("{head}={answer}\r").as_bytes())?;
    }
    Ok(())
}
