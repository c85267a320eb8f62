//! Enrolment: a room and its hub come to know each other by a code that is printed on a card (HTTP, JSON bodies).
//!
//! ```text
//! device                                              hub
//!   │ GET  /api/v1/enrol/{token}?nonce=…                │   over TLS that nobody has vouched for yet
//!   │◀─ Hello: its CA, its time, a seal over both ─────│   only who knows the code can make the seal
//!   │ (from here on this CA, and no other)             │
//!   │ POST /api/v1/enrol/{token}: CSR, key, proof ─────▶│   only who knows the code can make the proof
//!   │◀─ Enrolled: id, certificate, password, hub's key │
//! ```
//!
//! The code's 75 bits of chance never cross the network, and whoever sits between the two learns nothing that could be
//! guessed at: seal and proof are keyed hashes under a key of those 75 bits, over what each side sent. So the first contact
//! cannot be intercepted, although the device knows no certificate yet, and its clock may be anywhere.
//!
//! Both calls may be repeated: a device whose answer was lost asks again with the same key and gets the same room.
//! `POST /api/v1/renew` ([`Renew`] → [`Renewed`]) replaces a certificate before it ends, by the one that is to be replaced.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::id::{DeviceId, SchoolId};
use crate::sign::PublicKey;

/// Crockford's base 32: no I, L, O and U, which people take for other characters.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a code that are chance; one more checks them.
const CHANCE: usize = 15;

/// Why a text is not a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    /// Too few or too many characters.
    #[error("the code has 16 letters and digits, this has {0}; look at the card again")]
    Length(usize),
    /// A character that codes do not have.
    #[error("{0:?} is in no code; look at the card again")]
    Character(char),
    /// The check character does not fit.
    #[error("a letter or digit of the code is mistyped; look at the card again")]
    Mistyped,
}

/// The code on a card. Knowing it is all the right to enrol.
#[derive(Clone, PartialEq, Eq)]
pub struct Code([u8; CHANCE]);

impl Code {
    /// A new code, from ten random bytes.
    #[must_use]
    pub fn new(chance: [u8; 10]) -> Self {
        let mut bits = u128::from_be_bytes(std::array::from_fn(|n| {
            n.checked_sub(6).and_then(|n| chance.get(n)).copied().unwrap_or(0)
        }));
        Self(std::array::from_fn(|_| {
            let digit = (bits & 31) as u8;
            bits >>= 5;
            digit
        }))
    }

    /// Reads what somebody typed: in any case, with or without hyphens and spaces, with O for 0 and I or L for 1, also
    /// in full width.
    ///
    /// # Errors
    /// [`BadCode`].
    pub fn read(typed: &str) -> Result<Self, BadCode> {
        let mut digits = Vec::new();
        for typed in typed.chars() {
            // Chinese keyboards write full-width letters when they are told to.
            let plain = match u32::from(typed) {
                wide @ 0xFF01..=0xFF5E => char::from_u32(wide - 0xFEE0).unwrap_or(typed),
                _ => typed,
            };
            let letter = match plain.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                letter => letter,
            };
            if letter.is_whitespace() || "-–—－_.·".contains(letter) {
                continue;
            }
            let digit = ALPHABET.iter().position(|known| char::from(*known) == letter);
            digits.push(digit.and_then(|d| u8::try_from(d).ok()).ok_or(BadCode::Character(typed))?);
        }
        let length = digits.len();
        let check = digits.pop().ok_or(BadCode::Length(length))?;
        let digits: [u8; CHANCE] = digits.try_into().map_err(|_| BadCode::Length(length))?;
        if check_digit(&digits) == check { Ok(Self(digits)) } else { Err(BadCode::Mistyped) }
    }

    /// What both sides compute seals and proofs with.
    #[must_use]
    pub fn key(&self) -> TokenKey {
        let mut hash = Sha256::new();
        hash.update(b"lectern token v1\n");
        hash.update(self.0);
        TokenKey(hash.finalize().into())
    }
}

/// As it stands on the card: `7K2M-9QXR-0TBC-WD4F`.
impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, digit) in self.0.iter().chain([&check_digit(&self.0)]).enumerate() {
            let hyphen = if n > 0 && n % 4 == 0 { "-" } else { "" };
            let letter = ALPHABET.get(usize::from(*digit)).copied().map_or('?', char::from);
            write!(f, "{hyphen}{letter}")?;
        }
        Ok(())
    }
}

/// Codes stay out of logs.
impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(…)")
    }
}

/// A sum in GF(32) whose weights are powers of a generator: one wrong character, or two exchanged, always show.
fn check_digit(digits: &[u8; CHANCE]) -> u8 {
    // Horner's rule; times two, modulo x⁵ + x² + 1.
    digits.iter().fold(0, |sum, digit| {
        let doubled = (sum ^ digit) << 1;
        if doubled & 32 == 0 { doubled } else { doubled ^ 0b10_0101 }
    })
}

/// What both sides compute seals and proofs with. As good as the code.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey([u8; 32]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

impl TokenKey {
    /// The token's name on the network; it tells nothing of the code.
    #[must_use]
    pub fn token(&self) -> String {
        let mut name = self.mac("name", &[]);
        name.truncate(24);
        name
    }

    /// The seal of a hub's [`Hello`] for this nonce.
    #[must_use]
    pub fn seal(&self, nonce: &str, hello: &Hello) -> String {
        let ca = hello.ca.as_deref().unwrap_or_default();
        self.mac("hub", &[nonce.as_bytes(), hello.now_ms.to_string().as_bytes(), ca.as_bytes()])
    }

    /// Whether a hub that knows the code said this, in answer to this nonce.
    #[must_use]
    pub fn fits(&self, nonce: &str, hello: &Hello) -> bool {
        same(&self.seal(nonce, hello), &hello.seal)
    }

    /// The proof that goes with a device's [`Wish`].
    #[must_use]
    pub fn proof(&self, wish: &Wish) -> String {
        let key = String::from(wish.key);
        self.mac("device", &[wish.csr.as_bytes(), key.as_bytes()])
    }

    /// Whether a device that knows the code asks for this.
    #[must_use]
    pub fn proven(&self, wish: &Wish) -> bool {
        same(&self.proof(wish), &wish.proof)
    }

    fn mac(&self, who: &str, parts: &[&[u8]]) -> String {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length");
        mac.update(who.as_bytes());
        for part in parts {
            // Lengths keep one part from running into the next.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        hex::encode(mac.finalize().into_bytes())
    }
}

/// Compared without telling by its time how far they agree.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |odd, (a, b)| odd | (a ^ b)) == 0
}

/// What a hub says to whoever names a token of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The certificate, PEM, that the hub's own is to be checked by; none when it is one that systems know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The hub's time, Unix milliseconds.
    pub now_ms: i64,
    /// See [`TokenKey::seal`].
    pub seal: String,
}

/// What a device asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// A certificate for this request, PEM.
    pub csr: String,
    /// The device's public signing key.
    pub key: PublicKey,
    /// What the machine is known by, as in [`crate::upload::Announce`].
    #[serde(default)]
    pub machine: Vec<Digest>,
    /// See [`TokenKey::proof`].
    pub proof: String,
}

/// What a device needs to be the room's from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The school's id.
    pub school: SchoolId,
    /// The device's id.
    pub device: DeviceId,
    /// The room as people call it.
    pub room: String,
    /// Its password.
    pub password: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The key the hub signs receipts and commands with.
    pub hub_key: PublicKey,
    /// Where the room is to report.
    pub broker: Broker,
    /// The hub's time, Unix milliseconds.
    pub now_ms: i64,
}

/// Where a room reports to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broker {
    /// The hub's own, by TLS, at this port of the host the device has called.
    Tls(u16),
    /// The hub's own, plain: both are one machine.
    Plain(u16),
    /// Another: its address.
    At(String),
}

/// A certificate that is to take the place of the one it is asked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// The request, PEM.
    pub csr: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// The certificate, PEM.
    pub certificate: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> Code {
        Code::new([1, 35, 69, 103, 137, 171, 205, 239, 90, 165])
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let card = code().to_string();
        assert_eq!(card.len(), 19, "{card}");
        let wide: String = card.chars().map(|c| char::from_u32(u32::from(c) + 0xFEE0).unwrap_or(c)).collect();
        let sloppy = card.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        for typed in [card.clone(), card.replace('-', ""), sloppy, wide, format!(" {card}\n")] {
            assert_eq!(Code::read(&typed), Ok(code()), "{typed}");
        }
        assert_eq!(Code::read("7K2M"), Err(BadCode::Length(4)));
        assert_eq!(Code::read(&format!("{card}0")), Err(BadCode::Length(17)));
        assert_eq!(Code::read(""), Err(BadCode::Length(0)));
        assert_eq!(Code::read("7K2M-9QXR-0TBC-WD4课"), Err(BadCode::Character('课')));
    }

    #[test]
    fn every_wrong_character_and_every_exchange_of_two_is_noticed() {
        let card: Vec<char> = code().to_string().replace('-', "").chars().collect();
        for at in 0..card.len() {
            for letter in ALPHABET.map(char::from) {
                let mut typed = card.clone();
                typed[at] = letter;
                let read = Code::read(&typed.iter().collect::<String>());
                assert_eq!(read == Ok(code()), letter == card[at], "{letter} at {at}");
            }
            if at > 0 && card[at] != card[at - 1] {
                let mut typed = card.clone();
                typed.swap(at, at - 1);
                assert_eq!(Code::read(&typed.iter().collect::<String>()), Err(BadCode::Mistyped), "{at}");
            }
        }
    }

    #[test]
    fn codes_do_not_repeat_their_chance() {
        let other = Code::new([1, 35, 69, 103, 137, 171, 205, 239, 90, 164]);
        assert_ne!(code().key().token(), other.key().token());
        assert!(!format!("{:?} {:?}", code(), code().key()).contains(&code().to_string()));
    }

    #[test]
    fn a_seal_and_a_proof_stand_for_just_what_was_said() {
        let key = code().key();
        let mut hello = Hello { ca: Some("CA".into()), now_ms: 5, seal: String::new() };
        hello.seal = key.seal("n", &hello);
        assert!(key.fits("n", &hello));
        assert!(!key.fits("m", &hello), "another question");
        assert!(!Code::new([0; 10]).key().fits("n", &hello), "another card");
        for changed in [
            Hello { ca: Some("CB".into()), ..hello.clone() },
            Hello { ca: None, ..hello.clone() },
            Hello { now_ms: 6, ..hello.clone() },
            Hello { seal: String::new(), ..hello.clone() },
        ] {
            assert!(!key.fits("n", &changed), "{changed:?}");
        }
        let public = PublicKey::of(&ed25519_dalek::SigningKey::from_bytes(&[7; 32]));
        let mut wish = Wish { csr: "CSR".into(), key: public, machine: vec![], proof: String::new() };
        wish.proof = key.proof(&wish);
        assert!(key.proven(&wish));
        assert!(!key.proven(&Wish { csr: "CSS".into(), ..wish.clone() }));
        assert!(!key.proven(&Wish { proof: hello.seal, ..wish }), "a seal is no proof");
    }
}
