//! Roots, inclusion and consistency proofs (RFC 9162, 2.1; the same as RFC 6962), made and checked.
//!
//! Whoever makes them has the hashes of all complete subtrees at hand ([`Node`]) and is asked for a few, about
//! two for each doubling of the log. Whoever checks them needs nothing but what stands in the proof.

use super::node_hash;
use crate::digest::Digest;

/// A complete subtree: the entries `index << level` to `(index + 1) << level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// 0 is a leaf.
    pub level: u32,
    /// Counted from the left.
    pub index: u64,
}

/// Why a proof shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// There is no such entry or tree.
    #[error("there is no such place in a tree of that size")]
    Range,
    /// It has more or fewer hashes than the sizes ask for.
    #[error("the proof has too many or too few hashes")]
    Length,
    /// It leads to another root.
    #[error("the proof leads to another tree")]
    Root,
}

/// The nodes that come to be with the leaf at `index`, from the leaf upwards, with their hashes. `get` gives
/// nodes that are there already.
///
/// # Errors
/// What `get` says.
pub fn grow<E>(
    index: u64,
    leaf: Digest,
    mut get: impl FnMut(Node) -> Result<Digest, E>,
) -> Result<Vec<(Node, Digest)>, E> {
    let mut node = Node { level: 0, index };
    let mut out = vec![(node, leaf)];
    let mut hash = leaf;
    while !node.index.is_multiple_of(2) {
        hash = node_hash(&get(Node { level: node.level, index: node.index - 1 })?, &hash);
        node = Node { level: node.level + 1, index: node.index / 2 };
        out.push((node, hash));
    }
    Ok(out)
}

/// Root of the tree of the first `size` entries.
///
/// # Errors
/// What `get` says.
pub fn root<E>(size: u64, mut get: impl FnMut(Node) -> Result<Digest, E>) -> Result<Digest, E> {
    if size == 0 { Ok(Digest::of(b"")) } else { range(0, size, &mut get) }
}

/// Inclusion proof of the entry at `index` in the tree of `size`; none when it is not in it.
///
/// # Errors
/// What `get` says.
pub fn inclusion<E>(
    index: u64,
    size: u64,
    mut get: impl FnMut(Node) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    let mut proof = Vec::new();
    if index < size {
        path(index, (0, size), &mut get, &mut proof)?;
    }
    Ok(proof)
}

/// Proof that the tree of `new` entries begins with that of `old`; none when that needs none.
///
/// # Errors
/// What `get` says.
pub fn consistency<E>(
    old: u64,
    new: u64,
    mut get: impl FnMut(Node) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    let mut proof = Vec::new();
    if 0 < old && old < new {
        subproof(old, (0, new), true, &mut get, &mut proof)?;
    }
    Ok(proof)
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// Hash of the entries `from` to `to`, as they hang together in any tree that holds them.
fn range<E>(from: u64, to: u64, get: &mut impl FnMut(Node) -> Result<Digest, E>) -> Result<Digest, E> {
    let n = to - from;
    if n.is_power_of_two() {
        let level = n.trailing_zeros();
        return get(Node { level, index: from >> level });
    }
    let middle = from + split(n);
    Ok(node_hash(&range(from, middle, get)?, &range(middle, to, get)?))
}

fn path<E>(
    index: u64,
    (from, to): (u64, u64),
    get: &mut impl FnMut(Node) -> Result<Digest, E>,
    out: &mut Vec<Digest>,
) -> Result<(), E> {
    if to - from == 1 {
        return Ok(());
    }
    let middle = from + split(to - from);
    if index < middle {
        path(index, (from, middle), get, out)?;
        out.push(range(middle, to, get)?);
    } else {
        path(index, (middle, to), get, out)?;
        out.push(range(from, middle, get)?);
    }
    Ok(())
}

/// `old` is where the smaller tree ends; `whole` is true as long as it began with `from` 0.
fn subproof<E>(
    old: u64,
    (from, to): (u64, u64),
    whole: bool,
    get: &mut impl FnMut(Node) -> Result<Digest, E>,
    out: &mut Vec<Digest>,
) -> Result<(), E> {
    if old == to {
        if !whole {
            out.push(range(from, to, get)?);
        }
        return Ok(());
    }
    let middle = from + split(to - from);
    if old <= middle {
        subproof(old, (from, middle), whole, get, out)?;
        out.push(range(middle, to, get)?);
    } else {
        subproof(old, (middle, to), false, get, out)?;
        out.push(range(from, middle, get)?);
    }
    Ok(())
}

/// Checks that a leaf stands at `index` in the tree of `size` with that root.
///
/// # Errors
/// [`BadProof`].
pub fn check_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), BadProof> {
    if index >= size {
        return Err(BadProof::Range);
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(BadProof::Length);
        }
        if !at.is_multiple_of(2) || at == last {
            hash = node_hash(sibling, &hash);
            while at.is_multiple_of(2) && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match () {
        () if last != 0 => Err(BadProof::Length),
        () if hash != *root => Err(BadProof::Root),
        () => Ok(()),
    }
}

/// Checks that the larger tree begins with the smaller: `old` and `new` are size and root of each.
///
/// # Errors
/// [`BadProof`]; a larger tree before a smaller is [`BadProof::Range`].
pub fn check_consistency(old: (u64, &Digest), new: (u64, &Digest), proof: &[Digest]) -> Result<(), BadProof> {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size {
        return Err(BadProof::Range);
    }
    if old_size == 0 || old_size == new_size {
        let (same, nothing) = (old_root == new_root, Digest::of(b""));
        let right = if old_size == new_size { same } else { *old_root == nothing };
        return match () {
            () if !proof.is_empty() => Err(BadProof::Length),
            () if !right => Err(BadProof::Root),
            () => Ok(()),
        };
    }
    let mut hashes = proof.iter();
    let (mut at, mut last) = (old_size - 1, new_size - 1);
    while !at.is_multiple_of(2) {
        (at, last) = (at >> 1, last >> 1);
    }
    // Where the smaller tree is one whole subtree, its root is the first hash and goes without saying.
    let first = if old_size.is_power_of_two() { Some(old_root) } else { hashes.next() };
    let first = *first.ok_or(BadProof::Length)?;
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in hashes {
        if last == 0 {
            return Err(BadProof::Length);
        }
        if !at.is_multiple_of(2) || at == last {
            (old_hash, new_hash) = (node_hash(sibling, &old_hash), node_hash(sibling, &new_hash));
            while at.is_multiple_of(2) && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    match () {
        () if last != 0 => Err(BadProof::Length),
        () if old_hash != *old_root || new_hash != *new_root => Err(BadProof::Root),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::log::leaf_hash;

    /// A log in memory.
    #[derive(Default)]
    struct Tree {
        size: u64,
        nodes: BTreeMap<Node, Digest>,
    }

    impl Tree {
        fn of(entries: impl IntoIterator<Item = Vec<u8>>) -> Self {
            let mut tree = Self::default();
            for entry in entries {
                let Ok(grown) = grow(tree.size, leaf_hash(&entry), |node| tree.get(node));
                tree.nodes.extend(grown);
                tree.size += 1;
            }
            tree
        }

        fn numbered(size: u64) -> Self {
            Self::of((0..size).map(|n| n.to_be_bytes().to_vec()))
        }

        fn get(&self, node: Node) -> Result<Digest, Infallible> {
            Ok(self.nodes[&node])
        }

        fn root(&self, size: u64) -> Digest {
            let Ok(root) = root(size, |node| self.get(node));
            root
        }

        fn inclusion(&self, index: u64, size: u64) -> Vec<Digest> {
            let Ok(proof) = inclusion(index, size, |node| self.get(node));
            proof
        }

        fn consistency(&self, old: u64, new: u64) -> Vec<Digest> {
            let Ok(proof) = consistency(old, new, |node| self.get(node));
            proof
        }
    }

    /// RFC 9162, 2.1.1, written as it stands there.
    fn textbook(entries: &[Vec<u8>]) -> Digest {
        match entries {
            [] => Digest::of(b""),
            [one] => leaf_hash(one),
            many => {
                let (left, right) = many.split_at(split(many.len() as u64) as usize);
                node_hash(&textbook(left), &textbook(right))
            }
        }
    }

    #[test]
    fn roots_and_proofs_are_the_published_ones() {
        // The test vectors of the Certificate Transparency project (merkletree tests): entries, roots, proofs.
        let entries = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let tree = Tree::of(entries.iter().map(|e| hex::decode(e).expect("hex")));
        for (size, root) in roots.iter().enumerate() {
            assert_eq!(tree.root(size as u64).to_string(), *root, "size {size}");
        }
        let text = |proof: Vec<Digest>| proof.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            text(tree.inclusion(0, 8)),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            text(tree.consistency(6, 8)),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
    }

    #[test]
    fn every_proof_of_every_tree_to_300_entries_holds_and_a_changed_hash_in_it_does_not() {
        let tree = Tree::numbered(300);
        let entries: Vec<Vec<u8>> = (0..300_u64).map(|n| n.to_be_bytes().to_vec()).collect();
        let roots: Vec<Digest> = (0..=300).map(|size| tree.root(size)).collect();
        for size in 0..=300_u64 {
            let root = &roots[size as usize];
            if size < 70 {
                assert_eq!(*root, textbook(&entries[..size as usize]), "size {size}");
            }
            for index in 0..size {
                let leaf = leaf_hash(&entries[index as usize]);
                let mut proof = tree.inclusion(index, size);
                assert_eq!(check_inclusion(&leaf, index, size, &proof, root), Ok(()), "{index} of {size}");
                assert!(check_inclusion(&Digest::of(b"x"), index, size, &proof, root).is_err());
                if let Some(at) = (index % 7).checked_rem(proof.len() as u64) {
                    proof[at as usize] = Digest::of(b"x");
                    assert!(check_inclusion(&leaf, index, size, &proof, root).is_err());
                }
            }
            for old in 0..=size {
                let before = (old, &roots[old as usize]);
                let mut proof = tree.consistency(old, size);
                assert_eq!(check_consistency(before, (size, root), &proof), Ok(()), "{old} to {size}");
                if let Some(at) = (old % 5).checked_rem(proof.len() as u64) {
                    proof[at as usize] = Digest::of(b"x");
                    assert!(check_consistency(before, (size, root), &proof).is_err(), "{old} to {size}");
                }
            }
        }
    }

    proptest! {
        /// Nothing but the right leaf, place, size, proof and root together is a proof.
        #[test]
        fn a_proof_holds_for_what_it_was_made_for_alone(
            size in 1..300_u64, seed in any::<u64>(), other in any::<u64>(), cut in 0..4_usize,
        ) {
            let tree = Tree::numbered(size);
            let (index, old) = (seed % size, seed % (size + 1));
            let (leaf, root) = (leaf_hash(&index.to_be_bytes()), tree.root(size));
            let proof = tree.inclusion(index, size);
            let wrong = other % size;
            if wrong != index {
                prop_assert!(check_inclusion(&leaf, wrong, size, &proof, &root).is_err());
            }
            prop_assert!(check_inclusion(&leaf, size, size, &proof, &root).is_err());
            let bad_root = Digest::of(&other.to_be_bytes());
            prop_assert!(check_inclusion(&leaf, index, size, &proof, &bad_root).is_err());
            if cut < proof.len() {
                let mut short = proof.clone();
                short.remove(cut);
                prop_assert!(check_inclusion(&leaf, index, size, &short, &root).is_err());
            }
            let long: Vec<_> = proof.iter().copied().chain([bad_root]).collect();
            prop_assert!(check_inclusion(&leaf, index, size, &long, &root).is_err());

            let old_root = tree.root(old);
            let proof = tree.consistency(old, size);
            prop_assert!(check_consistency((old, &bad_root), (size, &root), &proof).is_err());
            prop_assert!(check_consistency((old, &old_root), (size, &bad_root), &proof).is_err() || old == 0);
            let long: Vec<_> = proof.iter().copied().chain([bad_root]).collect();
            prop_assert!(check_consistency((old, &old_root), (size, &root), &long).is_err());
            if cut < proof.len() {
                let mut short = proof;
                short.remove(cut);
                prop_assert!(check_consistency((old, &old_root), (size, &root), &short).is_err());
            }
            prop_assert_eq!(check_consistency((size + 1, &root), (size, &root), &[]), Err(BadProof::Range));
        }

        /// A tree with one entry changed, left out or put in is never consistent with what was witnessed.
        #[test]
        fn a_changed_past_is_consistent_with_nothing(
            old in 1..200_u64, more in 0..100_u64, seed in any::<u64>(), what in 0..3,
        ) {
            let (size, at) = (old + more, seed % old);
            let mut entries: Vec<Vec<u8>> = (0..size).map(|n| n.to_be_bytes().to_vec()).collect();
            match what {
                0 => entries[at as usize] = b"other".to_vec(),
                1 => { entries.remove(at as usize); entries.push(b"more".to_vec()); }
                _ => entries.insert(at as usize, b"other".to_vec()),
            }
            let forged = Tree::of(entries);
            let (size, before) = (forged.size, Tree::numbered(old).root(old));
            let proof = forged.consistency(old, size);
            let outcome = check_consistency((old, &before), (size, &forged.root(size)), &proof);
            prop_assert_eq!(outcome, Err(BadProof::Root));
        }
    }
}
