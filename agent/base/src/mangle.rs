//! For tests: hands a parser of outside bytes thousands of damaged forms of what it knows, the same ones every time.
//!
//! Seeds are files in `tests/seeds/NAME`. A parser holds when, whatever comes, it does not panic, and allocates no more than
//! in proportion to what came, all its allocations together: what copies itself again and again is noticed too. What makes
//! one fail is written to `target/mangled`; put there under its name among the seeds, it is tried first from then on.
//!
//! `LECTERN_MANGLE_S` makes each target run for so many seconds instead, from another beginning (`make soak`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{chance, clock, panics};

/// Inputs of a target in an ordinary test run.
const INPUTS: u64 = 3000;
/// The longest input, bytes.
const LONGEST: usize = 64 * 1024;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

/// Counts what each thread allocates; a test program names it as its global allocator.
pub struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature; this one only counts and passes on")]
// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending counts no more.
        ALLOCATED.try_with(|sum| sum.set(sum.get() + layout.size() as u64)).ok();
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What a parser may allocate, in all, for an input.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// For each byte that came.
    pub per_byte: u64,
    /// And for any input.
    pub at_rest: u64,
}

/// Enough for a reader of text or JSON.
pub const PLAIN: Limit = Limit { per_byte: 400, at_rest: 256 * 1024 };

/// Damages what lies in `tests/seeds/NAME` and in the files beside, and hands it to the parser.
///
/// # Panics
/// When the parser does not hold; says where the input is.
pub fn mangle(repository: &Path, name: &str, more: &[&str], limit: Limit, parse: impl Fn(&[u8])) {
    let seeds = seeds(repository, name, more);
    assert!(!seeds.is_empty(), "there is no seed for {name} in tests/seeds/{name}");
    panics::quiet();
    let hold = |input: &[u8]| {
        if let Some(fault) = fault(input, limit, &parse) {
            panic!("{name} does not hold: {fault}; the input is {}", keep(repository, name, input).display());
        }
    };
    seeds.iter().for_each(|seed| hold(seed));
    let for_s = std::env::var("LECTERN_MANGLE_S").ok().and_then(|s| s.parse().ok()).map(Duration::from_secs);
    let begin = for_s.map_or(name.bytes().fold(1, |sum: u64, b| sum.wrapping_mul(31) + u64::from(b)), |_| {
        u64::from_le_bytes(chance::bytes())
    });
    let mut dice = Dice(begin);
    let (start, mut tried) = (clock::mono(), 0);
    while for_s.map_or(tried < INPUTS, |wish| clock::mono().saturating_sub(start) < wish) {
        hold(&damaged(&seeds, &mut dice));
        tried += 1;
    }
    if for_s.is_some() {
        tracing::info!(name, tried, "held");
    }
}

fn seeds(repository: &Path, name: &str, more: &[&str]) -> Vec<Vec<u8>> {
    let folder = std::fs::read_dir(repository.join("tests/seeds").join(name)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.path()).collect();
    paths.extend(more.iter().map(|file| repository.join(file)));
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        .collect()
}

/// Why a parser does not hold against an input.
fn fault(input: &[u8], limit: Limit, parse: impl Fn(&[u8])) -> Option<String> {
    let before = ALLOCATED.with(Cell::get);
    if panics::survived(|| parse(input)).is_none() {
        return Some("it panicked".into());
    }
    let allocated = ALLOCATED.with(Cell::get) - before;
    let most = limit.per_byte * input.len() as u64 + limit.at_rest;
    (allocated > most)
        .then(|| format!("it allocated {allocated} bytes for {}, at most {most} are fair", input.len()))
}

fn keep(repository: &Path, name: &str, input: &[u8]) -> PathBuf {
    let folder = repository.join("target/mangled");
    let sum = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    let path = folder.join(format!("{name}-{sum:016x}"));
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&path, input))
        .expect("target can be written");
    path
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers from the same beginning.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 when `n` is 0.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % (n.max(1) as u64)).unwrap_or(0)
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// What breaks parsers, wherever it stands.
const WORDS: [&[u8]; 30] = [
    b"0",
    b"-1",
    b"-0",
    b"1e999",
    b"-1e-999",
    b"NaN",
    b"4294967296",
    b"9223372036854775808",
    b"18446744073709551615",
    b"99999999999999999999999999",
    b"true",
    b"null",
    b"\"\"",
    b"[]",
    b"{}",
    b"[[[[[[[[",
    b"{\"a\":",
    b"<a>",
    b"</",
    b"<!--",
    b"<!DOCTYPE a [<!ENTITY b \"c\">]>",
    b"&b;",
    b"\\ud800",
    b"\\u0000",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    "\u{202e}第".as_bytes(),
    b"../../",
    b"\r\n\r\n",
];

fn damaged(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let all: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let mut out = dice.of(&all).to_vec();
    for _ in 0..=dice.below(6) {
        let (at, length) = (dice.below(out.len() + 1), dice.below(32) + 1);
        let end = (at + length).min(out.len());
        match dice.below(11) {
            0 if at < out.len() => out[at] ^= 1 << dice.below(8),
            1 if at < out.len() => out[at] = dice.roll().to_le_bytes()[0],
            2 => drop(out.drain(at..end)),
            3 => out.truncate(at),
            4 => drop(out.splice(at..at, dice.of(&WORDS).iter().copied())),
            5 => drop(out.splice(at..end, dice.of(&WORDS).iter().copied())),
            // A number where one stands.
            6 => {
                if let Some(from) = out[at..].iter().position(u8::is_ascii_digit).map(|n| at + n) {
                    let to =
                        out[from..].iter().position(|b| !b.is_ascii_digit()).map_or(out.len(), |n| from + n);
                    drop(out.splice(from..to, dice.of(&WORDS[..10]).iter().copied()));
                }
            }
            // A piece of it again, often: what nests, and what is counted.
            7 => {
                let piece = out[at..end].repeat(1 << dice.below(9));
                drop(out.splice(at..at, piece));
            }
            // A length or an offset of binary formats.
            8 if at + 4 <= out.len() => {
                let n: u32 = *dice.of(&[&0, &1, &7, &8, &0x7fff_ffff, &0x8000_0000, &0xffff_ffff]);
                out[at..at + 4].copy_from_slice(&if dice.below(2) == 0 {
                    n.to_be_bytes()
                } else {
                    n.to_le_bytes()
                });
            }
            9 => {
                let other = dice.of(&all);
                let from = dice.below(other.len());
                drop(out.splice(at.., other[from..].iter().copied()));
            }
            _ => out.reverse(),
        }
        out.truncate(LONGEST);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static COUNTING: Counting = Counting;

    const TIGHT: Limit = Limit { per_byte: 10, at_rest: 1000 };

    #[test]
    fn a_parser_that_panics_or_takes_too_much_is_found() {
        panics::quiet();
        let panics = |bytes: &[u8]| assert!(!bytes.contains(&b'!'), "on purpose");
        assert_eq!(fault(b"fine", TIGHT, panics), None);
        assert_eq!(fault(b"not!", TIGHT, panics).as_deref(), Some("it panicked"));
        let believes = |bytes: &[u8]| drop(Vec::<u8>::with_capacity(usize::from(bytes[0]) << 10));
        assert_eq!(fault(&[0], TIGHT, believes), None);
        assert!(fault(&[255], TIGHT, believes).is_some_and(|why| why.contains("allocated 261120 bytes")));
        let copies = |bytes: &[u8]| (0..bytes.len()).for_each(|n| drop(bytes[..n].to_vec()));
        assert_eq!(fault(&[0; 10], TIGHT, copies), None);
        assert!(fault(&[0; 1000], TIGHT, copies).is_some(), "work that grows with the square is noticed");
    }

    #[test]
    fn the_same_beginning_damages_the_same_way_and_everything_is_damaged() {
        let seeds = vec![b"{\"a\": 12, \"b\": [1, 2, 3]}".to_vec(), b"<a>text</a>".to_vec()];
        let make = || {
            let mut dice = Dice(7);
            (0..500).map(|_| damaged(&seeds, &mut dice)).collect::<Vec<_>>()
        };
        let made = make();
        assert_eq!(made, make());
        let different: std::collections::BTreeSet<_> =
            made.iter().filter(|input| !seeds.contains(input)).collect();
        assert!(different.len() > 400, "{}", different.len());
        assert!(made.iter().all(|input| input.len() <= LONGEST));
    }
}
