use std::path::Path;

use proptest::prelude::*;

use super::coordinate::{Coordinate, path};
use super::store::TlogStore;
use super::*;
use crate::sample::{exchange, fast_directory, options};
use crate::tree::{Frontier, Hash, Span, Subtrees as _, leaf_hash, verify_consistency, verify_inclusion};
use crate::{Log, LogOptions, Sealer};

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

fn frontier(leaves: &[Hash]) -> Frontier {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier
}

/// Tiles of these leaves, written in steps.
fn written(directory: &Path, leaves: &[Hash], steps: &[usize]) -> Tiles {
    let store = TlogStore::at(directory, directory);
    let mut at = 0;
    for step in steps.iter().copied().chain([leaves.len()]) {
        let to = (at + step).min(leaves.len());
        store.extend(&frontier(&leaves[..at]), &leaves[at..to]).unwrap();
        at = to;
    }
    let whole = frontier(leaves);
    store.open(whole.size(), &whole.root()).unwrap()
}

#[test]
fn paths_are_those_of_the_specification() {
    assert_eq!(path("0", 1_234_067, 256).to_str().unwrap(), "tile/0/x001/x234/067");
    assert_eq!(path("entries", 0, 17).to_str().unwrap(), "tile/entries/000.p/17");
    assert_eq!(path("3", 999, 1).to_str().unwrap(), "tile/3/999.p/1");
    // The example of 70,000 leaves.
    let edges: Vec<_> =
        (0..4).map(|level| Coordinate::edge(level, 70_000).map(|edge| (edge.index, edge.width))).collect();
    assert_eq!(edges, [Some((273, 112)), Some((1, 17)), Some((0, 1)), None]);
    assert_eq!(Coordinate::edge(0, 256), None);
    assert_eq!(Coordinate::edge(1, 256).map(|edge| edge.width), Some(1));
}

#[test]
fn every_proof_out_of_tiles_is_that_of_the_leaves() {
    let directory = fast_directory();
    let all = leaves(70_000);
    let tiles = written(directory.path(), &all, &[1, 254, 1, 1, 255, 600, 60_000]);
    assert_eq!(tiles.size(), 70_000);
    let mut span = Span::default();
    all.iter().for_each(|leaf| span.push(*leaf));
    let root = frontier(&all).root();
    for index in [0u64, 1, 255, 256, 257, 511, 65_535, 65_536, 69_999] {
        let path = tiles.inclusion(index).unwrap();
        assert_eq!(path, span.inclusion(index, 70_000).unwrap(), "{index}");
        let leaf = tiles.leaf(index).unwrap();
        assert_eq!(leaf, all[index as usize]);
        verify_inclusion(&leaf, index, 70_000, &path, &root).unwrap();
    }
    for (old, new) in [(1, 70_000), (255, 256), (256, 70_000), (257, 66_000), (65_536, 69_999), (69_999, 70_000)] {
        let path = tiles.consistency(old, new).unwrap();
        let (old_root, new_root) = (tiles.root_at(old).unwrap(), tiles.root_at(new).unwrap());
        assert_eq!(old_root, frontier(&all[..old as usize]).root());
        verify_consistency(old, new, &path, &old_root, &new_root).unwrap();
    }
    assert!(tiles.leaf(70_000).is_err() && tiles.inclusion(70_000).is_err() && tiles.consistency(1, 70_001).is_err());
    // Partial tiles are gone where the full one is there.
    assert!(!directory.path().join("tile/0/000.p").exists() && directory.path().join("tile/0/273.p/112").exists());
}

#[test]
fn a_tile_that_was_touched_proves_nothing() {
    let directory = fast_directory();
    let all = leaves(66_000);
    let tiles = written(directory.path(), &all, &[]);
    let root = frontier(&all).root();
    for (tile, index) in [("tile/0/000", 3), ("tile/0/255", 65_300), ("tile/1/000", 3), ("tile/0/257.p/208", 65_900)] {
        let path = directory.path().join(tile);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[100] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let proof = Tiles::open(directory.path(), 66_000, &root).and_then(|tiles| tiles.inclusion(index));
        assert!(matches!(proof, Err(TlogError::Damaged(_))), "{tile}: {proof:?}");
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        let proof = Tiles::open(directory.path(), 66_000, &root).and_then(|tiles| tiles.inclusion(index));
        assert!(proof.is_err(), "{tile}");
        std::fs::write(&path, &good).unwrap();
        assert!(Tiles::open(directory.path(), 66_000, &root).unwrap().inclusion(index).is_ok());
    }
    assert!(Tiles::open(directory.path(), 66_000, &[0; 32]).is_err());
    drop(tiles);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn however_they_grew_tiles_are_the_same(steps in prop::collection::vec(1usize..700, 0..6), count in 1u64..1500) {
        let (grown, whole) = (fast_directory(), fast_directory());
        let all = leaves(count);
        written(grown.path(), &all, &steps);
        let tiles = written(whole.path(), &all, &[]);
        let root = frontier(&all).root();
        for index in [0, count / 2, count - 1] {
            let other = Tiles::open(grown.path(), count, &root).unwrap();
            prop_assert_eq!(other.inclusion(index).unwrap(), tiles.inclusion(index).unwrap());
        }
    }

    #[test]
    fn no_text_makes_the_reader_of_proofs_panic(text in ".{0,200}", index in any::<u64>(), n in 0usize..70) {
        let _ = TlogProof::parse(text.as_bytes());
        let proof = TlogProof { index, path: vec![[7; 32]; n], checkpoint: b"o\n1\nAA\n\n\xe2\x80\x94 o AA\n".to_vec() };
        let read = TlogProof::parse(proof.to_text().as_bytes());
        prop_assert_eq!(read, Some(proof).filter(|_| n <= 64));
    }
}

#[test]
fn a_proof_out_of_form_is_refused() {
    let hash = "A".repeat(43) + "=";
    let good = format!("c2sp.org/tlog-proof@v1\nextra AAAA\nindex 7\n{hash}\n\nnote\n");
    assert_eq!(TlogProof::parse(good.as_bytes()).unwrap().index, 7);
    for bad in [
        good.replace("@v1", "@v2"),
        good.replace("index 7", "index 07"),
        good.replace("index", "Index"),
        good.replace("extra AAAA", "extra AAA"),
        good.replace(&hash, hash.trim_end_matches('=')),
        good.replace("\n\n", "\n"),
        good.replace('\n', "\r\n"),
    ] {
        assert_eq!(TlogProof::parse(bad.as_bytes()), None, "{bad:?}");
    }
}

/// A log of this many exchanges.
fn log(directory: &Path, exchanges: usize) -> Log {
    let (log, _) = Log::open(LogOptions { segment_bytes: 64 * 1024, ..options(directory) }).unwrap();
    (0..exchanges).for_each(|_| exchange(&log));
    log
}

#[test]
fn sealing_writes_tiles_and_makes_good_what_is_missing() {
    let directory = fast_directory();
    let tlog = directory.path().join(TLOG_DIRECTORY);
    let log = log(directory.path(), 140);
    let mut sealer = Sealer::open(directory.path()).unwrap();
    let first = sealer.seal(200, &[]).unwrap().unwrap();
    assert!(tlog.join("tile/0/000.p/200").is_file());
    assert_eq!(
        std::fs::read(tlog.join("checkpoint")).unwrap(),
        std::fs::read(directory.path().join("checkpoints/200")).unwrap()
    );
    let second = sealer.seal(log.status().durable_count, &[]).unwrap().unwrap();
    assert_eq!(second.size, 282);
    let tiles = Tiles::open(&tlog, 282, &second.root).unwrap();
    assert_eq!(tiles.root_at(200).unwrap(), first.root);
    drop(sealer);

    // All gone; behind; damaged in the middle of what the edge hides.
    let note = std::fs::read(tlog.join("checkpoint")).unwrap();
    for harm in 0..3 {
        match harm {
            0 => std::fs::remove_dir_all(&tlog).unwrap(),
            1 => {
                std::fs::write(
                    tlog.join("checkpoint"),
                    std::fs::read(directory.path().join("checkpoints/200")).unwrap(),
                )
                .unwrap();
                std::fs::remove_file(tlog.join("tile/0/001.p/26")).unwrap();
            }
            _ => std::fs::write(tlog.join("tile/1/000.p/1"), [1; 32]).unwrap(),
        }
        let sealer = Sealer::open(directory.path()).unwrap();
        assert!(sealer.tlog_fault().is_none());
        assert!(Tiles::open(&tlog, 282, &second.root).unwrap().inclusion(7).is_ok(), "{harm}");
        assert_eq!(std::fs::read(tlog.join("checkpoint")).unwrap(), note);
    }
}

#[test]
fn what_cannot_be_made_good_does_not_keep_the_log_from_being_sealed() {
    let directory = fast_directory();
    let log = log(directory.path(), 3);
    // Where the tiles should go is a file.
    std::fs::write(directory.path().join(TLOG_DIRECTORY), b"").unwrap();
    let mut sealer = Sealer::open(directory.path()).unwrap();
    let sealed = sealer.seal(log.status().durable_count, &[]).unwrap().unwrap();
    assert!(sealer.tlog_fault().unwrap().code() == "T001");
    std::fs::remove_file(directory.path().join(TLOG_DIRECTORY)).unwrap();
    exchange(&log);
    let again = sealer.seal(log.status().durable_count, &[]).unwrap().unwrap();
    assert!(sealer.tlog_fault().is_none() && again.size > sealed.size);
    assert!(Tiles::open(&directory.path().join(TLOG_DIRECTORY), again.size, &again.root).is_ok());
}

#[test]
fn the_whole_log_can_be_handed_out() {
    let directory = fast_directory();
    assert!(matches!(export(directory.path(), &directory.path().join("out")), Err(ExportError::NoCheckpoint)));
    let log = log(directory.path(), 140);
    let sealed = Sealer::open(directory.path()).unwrap().seal(log.status().durable_count, &[]).unwrap().unwrap();
    let out = directory.path().join("out");
    assert_eq!(export(directory.path(), &out).unwrap(), Exported { size: sealed.size, root: sealed.root });
    let mut entries = std::fs::read(out.join("tile/entries/000")).unwrap();
    entries.extend(std::fs::read(out.join("tile/entries/001.p/26")).unwrap());
    let tiles = Tiles::open(&out, sealed.size, &sealed.root).unwrap();
    let (mut rest, mut count) = (entries.as_slice(), 0);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        assert_eq!(tiles.leaf(count).unwrap(), leaf_hash(entry));
        (rest, count) = (after, count + 1);
    }
    assert_eq!(count, sealed.size);
}

use super::export::ExportError;

#[test]
fn a_receipt_has_one_proof_for_good() {
    let directory = fast_directory();
    let log = log(directory.path(), 5);
    assert!(matches!(prove(directory.path(), 3), Err(ProveError::NotSealed { seq: 3, size: 0 })));
    let mut sealer = Sealer::open(directory.path()).unwrap();
    let first = sealer.seal(8, &[]).unwrap().unwrap();
    let early = prove(directory.path(), 3).unwrap();
    let parsed = TlogProof::parse(early.proof.as_bytes()).unwrap();
    let leaf = leaf_hash(&early.receipt);
    verify_inclusion(&leaf, 3, 8, &parsed.path, &first.root).unwrap();
    (0..150).for_each(|_| exchange(&log));
    sealer.seal(log.status().durable_count, &[]).unwrap().unwrap();
    // Later, and without tiles, it is the same.
    assert_eq!(prove(directory.path(), 3).unwrap().proof, early.proof);
    let late = prove(directory.path(), 300).unwrap();
    std::fs::remove_dir_all(directory.path().join(TLOG_DIRECTORY)).unwrap();
    assert_eq!(prove(directory.path(), 3).unwrap().proof, early.proof);
    assert_eq!(prove(directory.path(), 300).unwrap().proof, late.proof);
    assert!(matches!(prove(directory.path(), 5_000), Err(ProveError::Read(_))));
    assert!(matches!(prove_event(directory.path(), 0, 0), Err(ProveError::NoStream(0))));
    // The sample outcomes name a stream that nobody kept.
    assert!(matches!(prove_event(directory.path(), 3, 20), Err(ProveError::NoEvent { events: 20, .. })));
    assert!(matches!(prove_event(directory.path(), 3, 19), Err(ProveError::Forgotten(3))));
    let mut store = crate::streams::StreamStore::open(directory.path(), 1 << 20).unwrap();
    store.append(3, &leaves(20)).unwrap();
    assert!(matches!(prove_event(directory.path(), 3, 19), Err(ProveError::OtherStream(3))));
}
