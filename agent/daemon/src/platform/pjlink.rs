//! PJLink, class 1 and 2: what a projector says about itself over TCP, and how it is switched.
//!
//! Lines end with a carriage return. `%1POWR ?` is answered by `%1POWR=1`, or `%1POWR=ERR3` when it is not
//! the time to ask. A projector with a password greets with a random number; the first command then carries the MD5 of
//! number and password, so the password itself never crosses the network.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use md5::{Digest as _, Md5};

use super::identity;
use crate::model::projector::{Power, Projector};

/// No single wait is longer; a projector that warms up is slow.
const PATIENCE: Duration = Duration::from_secs(4);
/// A projector that has taken an order says so of itself within this many looks, a [`LOOK`] apart.
const LOOKS: u32 = 10;
/// See [`LOOKS`].
const LOOK: Duration = Duration::from_secs(1);
/// Longest line of the standard is 136 bytes.
const MAX_LINE: usize = 256;

/// What a projector says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// 1 or 2.
    pub class: u8,
    /// Maker and model as it calls itself.
    pub model: String,
    /// Whether it is on.
    pub power: Option<Power>,
    /// Hours and whether it is lit, lamp by lamp; a laser has none.
    pub lamps: Vec<(u32, bool)>,
    /// What is wrong: the part, and whether it is an error rather than a warning.
    pub faults: Vec<(&'static str, bool)>,
    /// The input shown, e.g. 31 for the first digital one.
    pub input: Option<u8>,
    /// Hours of the filter, of class 2.
    pub filter_h: Option<u32>,
}

/// Parts in the order `ERST` names them.
const PARTS: [&str; 6] = ["fan", "lamp", "temperature", "cover open", "filter", "other"];

/// Asks a projector everything.
///
/// # Errors
/// A sentence: it does not answer, wants a password, refuses it, or is no projector.
pub fn ask(projector: &Projector) -> Result<Report, String> {
    let mut line = Line::to(projector)?;
    let mut report = Report { class: 1, ..Report::default() };
    if line.ask(1, "CLSS")?.as_deref() == Some("2") {
        report.class = 2;
    }
    report.power = line.power()?;
    report.faults = line.ask(1, "ERST")?.map(|text| faults(&text)).unwrap_or_default();
    report.lamps = line.ask(1, "LAMP")?.map(|text| lamps(&text)).unwrap_or_default();
    report.input = line.ask(report.class, "INPT")?.and_then(|text| input(&text));
    let (maker, model) = (line.ask(1, "INF1")?, line.ask(1, "INF2")?);
    report.model = [maker.unwrap_or_default(), model.unwrap_or_default()].join(" ").trim().to_owned();
    if report.class == 2 {
        report.filter_h = line.ask(2, "FILT")?.and_then(|text| text.parse().ok());
    }
    Ok(report)
}

/// Switches a projector on or off; gives what it says of itself then. One that is so already is left alone.
///
/// # Errors
/// A sentence: as [`ask`], or it does not do what it is told.
pub fn switch(projector: &Projector, on: bool) -> Result<Power, String> {
    let mut line = Line::to(projector)?;
    let so = |power: Option<Power>| power.filter(|power| power.goes_on() == on);
    let before = line.power()?;
    if let Some(already) = so(before) {
        return Ok(already);
    }
    match line.say(1, "POWR", if on { "1" } else { "0" })?.as_str() {
        "OK" => {}
        "ERR3" if before == Some(Power::Cooling) => {
            return Err("it is cooling down and cannot be switched on now; try again in two minutes".into());
        }
        "ERR3" => return Err("it cannot be switched now; try again in a minute".into()),
        "ERR4" => return Err("it reports a fault of its own".into()),
        other => return Err(format!("it answers {other}")),
    }
    for _ in 0..LOOKS {
        std::thread::sleep(LOOK);
        match line.power().map(so) {
            Ok(Some(now)) => return Ok(now),
            Ok(None) => {}
            // Some hang up when they are switched.
            Err(_) => line = Line::to(projector)?,
        }
    }
    Err(format!("it took the order and still says nothing of it after {LOOKS} s"))
}

/// `200010`: a digit for each part, 0 well, 1 warning, 2 error.
fn faults(text: &str) -> Vec<(&'static str, bool)> {
    let digits = PARTS.into_iter().zip(text.chars());
    digits.filter(|(_, digit)| *digit != '0').map(|(part, digit)| (part, digit == '2')).collect()
}

/// `1500 1 300 0`: hours and whether it is lit.
fn lamps(text: &str) -> Vec<(u32, bool)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pairs = words.chunks_exact(2);
    pairs.filter_map(|pair| Some((pair[0].parse().ok()?, pair[1] == "1"))).collect()
}

/// Class 2 numbers inputs of one kind 1 to 9 and A to Z.
fn input(text: &str) -> Option<u8> {
    let mut digits = text.chars();
    let (kind, number) = (digits.next()?.to_digit(10)?, digits.next()?.to_digit(36)?);
    u8::try_from(kind * 10 + number.min(9)).ok()
}

struct Line {
    stream: TcpStream,
    /// Goes before the first command.
    proof: String,
}

impl Line {
    fn to(projector: &Projector) -> Result<Self, String> {
        let password = projector.password_file.as_ref().map(|file| identity::password(file)).transpose()?;
        Self::open(&projector.host, projector.port, &password.unwrap_or_default())
    }

    fn open(host: &str, port: u16, password: &str) -> Result<Self, String> {
        let lost = |e: std::io::Error| format!("the projector {host}:{port}: {e}");
        let mut addresses = (host, port).to_socket_addrs().map_err(lost)?;
        let address = addresses.next().ok_or_else(|| format!("{host} has no address"))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(lost)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(lost)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(lost)?;
        let mut line = Self { stream, proof: String::new() };
        let greeting = line.read()?;
        line.proof = proof(&greeting, password)?;
        Ok(line)
    }

    fn read(&mut self) -> Result<String, String> {
        let mut said = Vec::new();
        let mut byte = [0];
        while said.len() < MAX_LINE {
            match self.stream.read(&mut byte) {
                Ok(0) => return Err("the projector hung up".into()),
                Ok(_) if byte[0] == b'\r' => return Ok(String::from_utf8_lossy(&said).into_owned()),
                Ok(_) => said.push(byte[0]),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    return Err("the projector does not answer".into());
                }
                Err(e) => return Err(format!("the projector: {e}")),
            }
        }
        Err("what answers is no projector: its line has no end".into())
    }

    /// The answer to a question; none when the projector does not know it or cannot say now.
    fn ask(&mut self, class: u8, what: &str) -> Result<Option<String>, String> {
        let answer = self.say(class, what, "?")?;
        Ok((!answer.starts_with("ERR")).then_some(answer))
    }

    fn power(&mut self) -> Result<Option<Power>, String> {
        Ok(self.ask(1, "POWR")?.as_deref().and_then(Power::of))
    }

    /// What is answered to a question (`?`) or an order.
    fn say(&mut self, class: u8, what: &str, word: &str) -> Result<String, String> {
        let said = format!("{}%{class}{what} {word}\r", std::mem::take(&mut self.proof));
        self.stream.write_all(said.as_bytes()).map_err(|e| format!("the projector: {e}"))?;
        // Class 2 tells changes unasked: lines of another name are passed over.
        for _ in 0..8 {
            let said = self.read()?;
            if said.to_ascii_uppercase().starts_with("PJLINK ERRA") {
                return Err("the projector refuses the password".into());
            }
            let body = said.get(2..).filter(|_| said.starts_with('%'));
            let Some((name, answer)) = body.and_then(|body| body.split_once('=')) else {
                return Err(format!("what answers is no projector: {said:?}"));
            };
            if name.eq_ignore_ascii_case(what) {
                return Ok(answer.trim().to_owned());
            }
        }
        Err(format!("the projector does not answer {what}"))
    }
}

/// What the first command begins with.
fn proof(greeting: &str, password: &str) -> Result<String, String> {
    let words: Vec<&str> = greeting.split_whitespace().collect();
    match words[..] {
        ["PJLINK", "0"] => Ok(String::new()),
        ["PJLINK", "1", _] if password.is_empty() => {
            Err("the projector asks for a password; none is set".into())
        }
        ["PJLINK", "1", number] => Ok(hex::encode(Md5::digest(format!("{number}{password}")))),
        ["PJLINK", "ERRA", ..] => Err("the projector refuses us".into()),
        _ => Err(format!("what answers is no projector: {greeting:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_proven_as_it_says() {
        // PJLink specification 5.1: number 498e4a67, password JBMIAProjectorLink.
        let proof = proof("PJLINK 1 498e4a67", "JBMIAProjectorLink");
        assert_eq!(proof.as_deref(), Ok("5d8409bc1c3fa39749434aa3a5c38682"));
        assert!(super::proof("PJLINK 1 498e4a67", "").is_err(), "a password is asked for");
        assert!(super::proof("SSH-2.0-OpenSSH", "").is_err());
    }

    #[test]
    fn answers_are_read_part_by_part() {
        assert_eq!(faults("210000"), [("fan", true), ("lamp", false)]);
        assert_eq!(faults("000000"), []);
        assert_eq!(lamps("1500 1 300 0"), [(1500, true), (300, false)]);
        assert_eq!((input("31"), input("3A"), input("")), (Some(31), Some(39), None));
    }

    #[test]
    fn whatever_a_projector_says_is_read_or_refused() {
        use lectern_base::mangle::{PLAIN, mangle};
        mangle(crate::mangled::repository(), "pjlink", &[], PLAIN, |bytes| {
            let said = String::from_utf8_lossy(bytes);
            drop(super::proof(&said, "secret"));
            faults(&said);
            lamps(&said);
            input(&said);
        });
    }
}
