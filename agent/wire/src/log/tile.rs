//! The tree in tiles, as C2SP tlog-tiles lays them out: what a log's reader fetches and may keep for ever.
//!
//! A tile is up to 256 hashes of 32 bytes side by side: those at height 8 × level of the tree. Its path is
//! `tile/{level}/{n}`, with `.p/{width}` behind it while it is not full; an entry bundle is at
//! `tile/entries/{n}` and holds each entry behind its length in two bytes, the higher first. Numbers go in
//! groups of three digits, all but the last with an `x`: 1234067 is `x001/x234/067`.

use super::proof::Node;

/// Hashes of a full tile.
pub const WIDTH: u64 = 256;
/// Levels a tree of 2^64 entries can have.
const LEVELS: u32 = 8;

/// Which hashes, or which entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Height of its hashes divided by 8; none for entries.
    pub level: Option<u32>,
    /// Counted from the left.
    pub n: u64,
    /// Hashes in it: 1 to 256.
    pub width: u64,
}

impl Tile {
    /// The hashes it holds, in order; of entries, their leaves.
    pub fn nodes(self) -> impl Iterator<Item = Node> {
        let level = self.level.unwrap_or(0) * 8;
        (0..self.width).map(move |k| Node { level, index: self.n * WIDTH + k })
    }

    /// Whether a tree of that size has all of it.
    #[must_use]
    pub fn is_in(self, size: u64) -> bool {
        let there = size.checked_shr(self.level.unwrap_or(0) * 8).unwrap_or(0);
        let end = self.n.checked_mul(WIDTH).and_then(|first| first.checked_add(self.width));
        end.is_some_and(|end| end <= there)
    }

    /// Its path behind `tile/`.
    #[must_use]
    pub fn path(self) -> String {
        let level = self.level.map_or_else(|| "entries".to_owned(), |level| level.to_string());
        let mut groups = vec![format!("{:03}", self.n % 1000)];
        let mut rest = self.n / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        let tail = if self.width == WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("{level}/{}{tail}", groups.join("/"))
    }

    /// Reads a path; none when it is not exactly how [`Tile::path`] writes it.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.split_once('/')?;
        let level = match level {
            "entries" => None,
            number => Some(number.parse().ok().filter(|n| *n < LEVELS)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|w| (1..WIDTH).contains(w))?),
            None => (rest, WIDTH),
        };
        let mut n: u64 = 0;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            n = n.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        let tile = Self { level, n, width };
        (tile.path() == path).then_some(tile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification_and_nothing_else_is_one() {
        let tile = |level, n, width| Tile { level, n, width };
        for (path, want) in [
            ("0/000", tile(Some(0), 0, 256)),
            ("0/x001/x234/067", tile(Some(0), 1_234_067, 256)),
            ("1/000.p/1", tile(Some(1), 0, 1)),
            ("entries/x001/000.p/255", tile(None, 1000, 255)),
        ] {
            assert_eq!((want.path().as_str(), Tile::parse(path)), (path, Some(want)));
        }
        for bad in [
            "",
            "0",
            "0/",
            "0/0",
            "0/0000",
            "8/000",
            "-1/000",
            "+1/000",
            "0/x000/001",
            "0/001/002",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/+1",
            "0/000.p/",
            "0/../000",
            "x/000",
            "0/x18446744073709551615/000",
            "0/x018/x446/x744/x073/x709/x551/616/000",
        ] {
            assert_eq!(Tile::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_tree_has_the_tiles_it_has_grown() {
        let tile = |level, n, width| Tile { level: Some(level), n, width };
        assert!(tile(0, 0, 256).is_in(256) && !tile(0, 0, 256).is_in(255) && tile(0, 0, 255).is_in(255));
        assert!(tile(1, 0, 1).is_in(256) && !tile(1, 0, 1).is_in(255) && !tile(0, 1, 1).is_in(256));
        assert!(!tile(7, u64::MAX, 1).is_in(u64::MAX));
        let nodes: Vec<_> = tile(1, 2, 2).nodes().collect();
        assert_eq!(nodes, [Node { level: 8, index: 512 }, Node { level: 8, index: 513 }]);
    }
}
