//! Evidence laid out for libraries that are not ours: `tests/scripts/thirdparty.sh` names the directory and runs them on it.

use crate::evidence::record;
use crate::{clyra, temp};

#[test]
fn evidence_is_laid_out_for_others() {
    let (scratch, ours) = (temp(), temp());
    let out = std::env::var_os("CLYRA_THIRDPARTY_DIR").map_or(ours.path().to_owned(), Into::into);
    let run = |args: &[&str]| clyra(scratch.path(), args, b"").is(0).stdout;
    // Enough receipts for a full tile and a partial one, in three bundles.
    for rounds in [1, 20, 20] {
        (0..rounds).for_each(|_| record(scratch.path()));
        run(&["bundle", "seal", "--data-dir", "d"]);
    }
    let target = out.to_str().unwrap();
    for seq in ["0", "5", "255", "256", "280"] {
        run(&["receipts", "prove", seq, "--out", target, "--data-dir", "d"]);
    }
    run(&["receipts", "tiles", "--out", &format!("{target}/tlog"), "--data-dir", "d"]);
    let keys = run(&["keys", "list", "--data-dir", "d", "--json"]);
    let keys: Vec<serde_json::Value> = keys.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let log = keys.iter().find(|key| key["purpose"] == "log").unwrap();
    std::fs::write(out.join("log.vkey"), log["vkey"].as_str().unwrap()).unwrap();
    std::fs::copy(out.join("tlog/checkpoint"), out.join("checkpoint")).unwrap();
    std::fs::create_dir_all(out.join("bundles")).unwrap();
    for bundle in std::fs::read_dir(scratch.path().join("d/bundles")).unwrap() {
        let bundle = bundle.unwrap();
        std::fs::copy(bundle.path(), out.join("bundles").join(bundle.file_name())).unwrap();
    }
    assert_eq!(std::fs::read_dir(out.join("bundles")).unwrap().count(), 3);
    assert!(out.join("tlog/tile/0/000").is_file() && out.join("280.tlog-proof").is_file());
}
