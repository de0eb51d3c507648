use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;

use super::*;
use crate::hex;
use crate::sample::{files_below, vector_json, vectors};

/// The definition, straight from RFC 6962 §2.1.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let middle = leaves.len().next_power_of_two() / 2;
            node_hash(&mth(&leaves[..middle]), &mth(&leaves[middle..]))
        }
    }
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

fn frontier(leaves: &[Hash]) -> Frontier {
    let mut frontier = Frontier::default();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier
}

#[test]
fn roots_of_all_small_trees_are_those_of_the_definition() {
    let leaves = leaves(130);
    for size in 0..leaves.len() {
        let frontier = frontier(&leaves[..size]);
        assert_eq!(frontier.root(), mth(&leaves[..size]), "size {size}");
        assert_eq!(frontier.hashes().len(), size.count_ones() as usize);
        let kept = Frontier::from_parts(frontier.size(), frontier.hashes().to_vec()).unwrap();
        assert_eq!(kept, frontier);
    }
    assert!(Frontier::from_parts(3, vec![[0; 32]]).is_err());
}

#[test]
fn all_proofs_of_all_small_trees_hold_and_no_other_does() {
    let all = leaves(40);
    let mut span = Span::default();
    for leaf in &all {
        span.push(*leaf);
    }
    for size in 1..=40u64 {
        let root = mth(&all[..size as usize]);
        for index in 0..size {
            let path = span.inclusion(index, size).unwrap();
            let leaf = &all[index as usize];
            assert_eq!(verify_inclusion(leaf, index, size, &path, &root), Ok(()), "{index} of {size}");
            let wrong_leaf = &all[(index as usize + 1) % 40];
            assert!(verify_inclusion(wrong_leaf, index, size, &path, &root).is_err());
            for other in (0..size).filter(|other| *other != index) {
                assert!(verify_inclusion(leaf, other, size, &path, &root).is_err(), "{index} as {other} of {size}");
            }
        }
        assert!(verify_inclusion(&all[0], size, size, &[], &root).is_err());
        for old in 1..=size {
            let old_root = mth(&all[..old as usize]);
            let path = span.consistency(old, size).unwrap();
            assert_eq!(verify_consistency(old, size, &path, &old_root, &root), Ok(()), "{old} to {size}");
            if old < size {
                assert!(verify_consistency(old, size, &path, &root, &root).is_err());
                assert!(verify_consistency(old, size, &path[..path.len() - 1], &old_root, &root).is_err());
                let longer = [path.clone(), vec![root]].concat();
                assert!(verify_consistency(old, size, &longer, &old_root, &root).is_err());
            }
        }
    }
    assert_eq!(verify_consistency(0, 3, &[], &empty_root(), &mth(&all[..3])), Err(ProofError::Range));
}

#[test]
fn a_span_after_a_frontier_proves_that_it_continues_it() {
    let all = leaves(200);
    for old in [1u64, 2, 3, 6, 7, 8, 64, 65, 127, 128, 199] {
        let base = frontier(&all[..old as usize]);
        let mut span = Span::after(base.clone());
        for leaf in &all[old as usize..] {
            span.push(*leaf);
        }
        for new in [old, old + 1, 200] {
            let path = span.consistency(old, new).unwrap();
            let (old_root, root) = (base.root(), mth(&all[..new as usize]));
            assert_eq!(verify_consistency(old, new, &path, &old_root, &root), Ok(()), "{old} to {new}");
        }
        assert!(span.inclusion(0, 200).is_err() || old == 1, "an old leaf is not at hand");
        let path = span.inclusion(199, 200).unwrap();
        assert_eq!(verify_inclusion(&all[199], 199, 200, &path, &mth(&all)), Ok(()));
        assert_eq!(span.inclusion(200, 200), Err(ProofError::Range));
        assert_eq!(span.consistency(old, 201), Err(ProofError::Range));
    }
}

fn hashes(value: &serde_json::Value, decode: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Vec<Hash>> {
    let Some(items) = value.as_array() else { return Some(Vec::new()) };
    items.iter().map(|item| decode(item.as_str()?)?.try_into().ok()).collect()
}

fn base64_hash(value: &serde_json::Value) -> Option<Hash> {
    BASE64.decode(value.as_str()?).ok()?.try_into().ok()
}

/// Some of the published roots are not 32 bytes long; a digest of them is as good for telling them apart.
fn base64_root(value: &serde_json::Value) -> Option<Hash> {
    let bytes = BASE64.decode(value.as_str()?).ok()?;
    Some(bytes.as_slice().try_into().unwrap_or_else(|_| leaf_hash(&bytes)))
}

#[test]
fn rfc6962_published_roots_and_proofs() {
    let Some(vectors) = vectors("rfc6962") else { return };
    let roots = vector_json(&vectors.join("rfc6962/roots.json"));
    let unhex = |text: &str| -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let inputs = roots["leaf_inputs_hex"].as_array().unwrap();
    let mut tree = Frontier::default();
    for (size, root) in roots["roots_by_size"].as_array().unwrap().iter().enumerate() {
        assert_eq!(hex::encode(&tree.root()), root.as_str().unwrap(), "size {size}");
        if let Some(input) = inputs.get(size) {
            tree.push(leaf_hash(&unhex(input.as_str().unwrap())));
        }
    }
    let ct = vector_json(&vectors.join("rfc6962/rfc6962_ct.json"));
    let digest = |value: &serde_json::Value| hex::decode_32(value.as_str().unwrap()).unwrap();
    let cases = ct["consistency"].as_array().unwrap();
    for case in cases {
        let proof = hashes(&case["proof"], |text| Some(unhex(text))).unwrap();
        let (old, new) = (case["size1"].as_u64().unwrap(), case["size2"].as_u64().unwrap());
        assert_eq!(verify_consistency(old, new, &proof, &digest(&case["root1"]), &digest(&case["root2"])), Ok(()));
    }
    assert_eq!(cases.len(), 4);
}

#[test]
fn transparency_dev_inclusion_and_consistency() {
    let Some(vectors) = vectors("transparency-dev") else { return };
    let testdata = vectors.join("transparency-dev-merkle/testdata");
    let mut counts = [0, 0];
    for path in files_below(&testdata.join("inclusion"), ".json") {
        let case = vector_json(&path);
        let good = (|| {
            let proof = hashes(&case["proof"], |text| BASE64.decode(text).ok())?;
            let (leaf, root) = (base64_hash(&case["leafHash"])?, base64_hash(&case["root"])?);
            let (index, size) = (case["leafIdx"].as_u64()?, case["treeSize"].as_u64()?);
            verify_inclusion(&leaf, index, size, &proof, &root).ok()
        })();
        assert_eq!(good.is_none(), case["wantErr"].as_bool().unwrap(), "{}", path.display());
        counts[0] += 1;
    }
    for path in files_below(&testdata.join("consistency"), ".json") {
        let case = vector_json(&path);
        let good = (|| {
            let proof = hashes(&case["proof"], |text| BASE64.decode(text).ok())?;
            let (old_root, root) = (base64_root(&case["root1"])?, base64_root(&case["root2"])?);
            let (old, new) = (case["size1"].as_u64()?, case["size2"].as_u64()?);
            verify_consistency(old, new, &proof, &old_root, &root).ok()
        })();
        assert_eq!(good.is_none(), case["wantErr"].as_bool().unwrap(), "{}", path.display());
        counts[1] += 1;
    }
    assert_eq!(counts, [98, 98]);
}

#[test]
fn transparency_dev_subtrees() {
    let Some(vectors) = vectors("transparency-dev") else { return };
    let testdata = vectors.join("transparency-dev-merkle/testdata");
    let mut counts = [0, 0];
    let range = |case: &serde_json::Value| Some((case["start"].as_u64()?, case["end"].as_u64()?));
    for path in files_below(&testdata.join("subtreeinclusion"), ".json") {
        let case = vector_json(&path);
        let good = (|| {
            let proof = hashes(&case["proof"], |text| BASE64.decode(text).ok())?;
            let (leaf, root) = (base64_hash(&case["leafHash"])?, base64_hash(&case["root"])?);
            verify_subtree_inclusion(&leaf, case["leafIdx"].as_u64()?, range(&case)?, &proof, &root).ok()
        })();
        assert_eq!(good.is_none(), case["wantErr"].as_bool().unwrap(), "{}", path.display());
        counts[0] += 1;
    }
    for path in files_below(&testdata.join("subtreeconsistency"), ".json") {
        let case = vector_json(&path);
        let good = (|| {
            let proof = hashes(&case["proof"], |text| BASE64.decode(text).ok())?;
            let (subtree, root) = (base64_root(&case["root1"])?, base64_root(&case["root2"])?);
            verify_subtree_consistency(range(&case)?, case["size"].as_u64()?, &proof, &subtree, &root).ok()
        })();
        assert_eq!(good.is_none(), case["wantErr"].as_bool().unwrap(), "{}", path.display());
        counts[1] += 1;
    }
    assert_eq!(counts, [204, 118]);
}

#[test]
fn sigsum_inclusion() {
    let Some(vectors) = vectors("sigsum") else { return };
    let mut counts = [0, 0];
    for (at, (name, good)) in [("valid", true), ("invalid", false)].into_iter().enumerate() {
        let cases = vector_json(&vectors.join(format!("sigsum/src/merkle/testdata/inclusion-{name}.json")));
        for case in cases.as_array().unwrap() {
            let held = (|| {
                let path = hashes(&case["inclusion_path"], |text| BASE64.decode(text).ok())?;
                let (leaf, root) = (base64_hash(&case["leaf_hash"])?, base64_hash(&case["root_hash"])?);
                let (index, size) = (case["leaf_index"].as_u64()?, case["tree_size"].as_u64()?);
                verify_inclusion(&leaf, index, size, &path, &root).ok()
            })();
            assert_eq!(held.is_some(), good, "{case}");
            counts[at] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

proptest! {
    #[test]
    fn a_changed_proof_never_holds(size in 2u64..60, pick in any::<u64>(), bit in 0usize..256) {
        let all = leaves(size);
        let root = mth(&all);
        let mut span = Span::default();
        for leaf in &all { span.push(*leaf); }
        let index = pick % size;
        let mut path = span.inclusion(index, size).unwrap();
        let at = (pick as usize) % path.len();
        path[at][bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(verify_inclusion(&all[index as usize], index, size, &path, &root), Err(ProofError::Root));
        let old = 1 + pick % (size - 1);
        let mut path = span.consistency(old, size).unwrap();
        let at = (pick as usize) % path.len();
        path[at][bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify_consistency(old, size, &path, &mth(&all[..old as usize]), &root).is_err());
    }

    #[test]
    fn any_numbers_are_judged_without_a_panic(a in any::<u64>(), b in any::<u64>(), n in 0usize..70) {
        let path = vec![[1; 32]; n];
        let _ = verify_inclusion(&[0; 32], a, b, &path, &[2; 32]);
        let _ = verify_consistency(a, b, &path, &[0; 32], &[2; 32]);
        let _ = verify_subtree_consistency((a, b), a ^ b, &path, &[0; 32], &[2; 32]);
        let _ = verify_subtree_inclusion(&[0; 32], a, (b, a), &path, &[2; 32]);
    }
}
