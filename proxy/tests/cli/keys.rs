//! `clyra keys`: where private keys live, and how one follows another.

use std::path::Path;
use std::process::Command;

use clyra_receipts::receipt::{BuildInfo, PolicyChange};
use clyra_receipts::{Log, LogOptions};
use serde_json::json;

use crate::evidence::data_dir;
use crate::{Ran, clyra, temp};

fn verified(dir: &Path, root: &str) -> Ran {
    clyra(dir, &["bundle", "seal", "--data-dir", "d"], b"").is(0);
    clyra(dir, &["verify", "d", "--root", root, "--json"], b"")
}

fn codes(verdict: &serde_json::Value) -> Vec<&str> {
    let mut codes: Vec<_> =
        verdict["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    codes.dedup();
    codes
}

#[test]
fn one_log_key_follows_another_on_record() {
    let dir = data_dir();
    let run = |args: &[&str]| clyra(dir.path(), args, b"");
    let root = run(&["keys", "export", "--root", "--data-dir", "d"]).is(0).stdout;
    run(&["bundle", "seal", "--data-dir", "d"]).is(0);
    let rotated = run(&["keys", "rotate", "--data-dir", "d", "--json"]).is(0).json();
    assert!(rotated["receipt"].as_u64().unwrap() >= rotated["valid_from_seq"].as_u64().unwrap(), "{rotated}");
    let verdict = verified(dir.path(), root.trim()).is(0).json();
    assert_eq!(verdict["stats"]["kinds"]["key.rotate"], json!(2), "in the journal and in a bundle");
    let keys = run(&["keys", "list", "--data-dir", "d", "--json"]).is(0).json_lines();
    let logs: Vec<_> = keys.iter().filter(|key| key["purpose"] == "log").map(|key| &key["private_here"]).collect();
    assert_eq!(logs, [&json!(false), &json!(true)]);

    std::fs::remove_file(dir.path().join("d/keys/root.pem")).unwrap();
    let refused = run(&["keys", "rotate", "--data-dir", "d"]).is(2);
    assert!(refused.stderr.contains("K008"), "{refused:?}");
}

#[test]
fn a_stolen_log_key_is_revoked_and_replaced() {
    let dir = data_dir();
    let run = |args: &[&str]| clyra(dir.path(), args, b"");
    let root = run(&["keys", "export", "--root", "--data-dir", "d"]).is(0).stdout;
    run(&["bundle", "seal", "--data-dir", "d"]).is(0);
    let keys = run(&["keys", "list", "--data-dir", "d", "--json"]).is(0).json_lines();
    let log = keys.iter().find(|key| key["purpose"] == "log").unwrap()["key_id"].as_str().unwrap().to_owned();
    let last = run(&["verify", "d", "--json"]).is(0).json()["stats"]["last_seq"].as_str().unwrap().to_owned();
    let revoke = |id: &str, seq: &str| {
        clyra(dir.path(), &["keys", "revoke", id, "--last-good-seq", seq, "--reason", "stolen", "--data-dir", "d"], b"")
    };
    assert!(revoke(&"0".repeat(64), &last).is(2).stderr.contains("K009"));
    assert!(revoke(&log, "999").is(2).stderr.contains("cannot be a later one"));
    assert!(revoke(&log, &last).is(0).stderr.contains("clyra keys rotate"));
    let served =
        LogOptions::new(dir.path().join("d"), "clyra.local/log", BuildInfo { digest: None, version: "0".into() });
    assert!(Log::open(served).unwrap_err().to_string().contains("K012"), "nobody goes on under a revoked key");
    run(&["keys", "rotate", "--data-dir", "d"]).is(0);
    let verdict = verified(dir.path(), root.trim()).is(0).json();
    assert_eq!(verdict["stats"]["kinds"]["key.revoke"], json!(2), "{verdict}");
}

#[test]
fn what_a_revoked_receipt_key_signed_later_is_reported() {
    let dir = data_dir();
    let run = |args: &[&str]| clyra(dir.path(), args, b"");
    let root = run(&["keys", "export", "--root", "--data-dir", "d"]).is(0).stdout;
    let keys = run(&["keys", "list", "--data-dir", "d", "--json"]).is(0).json_lines();
    let receipt = keys.iter().find(|key| key["purpose"] == "receipt").unwrap()["key_id"].as_str().unwrap().to_owned();
    run(&["keys", "revoke", &receipt, "--last-good-seq", "3", "--reason", "memory was read", "--data-dir", "d"]).is(0);
    let verdict = verified(dir.path(), root.trim()).is(1).json();
    assert_eq!(codes(&verdict), ["E305"]);
    let first = verdict["findings"].as_array().unwrap().iter().filter_map(|finding| finding["seq"].as_str()).min();
    assert_eq!(first, Some("4"));
}

#[test]
fn an_encrypted_key_signs_for_whoever_has_its_passphrase() {
    let dir = temp();
    std::fs::write(dir.path().join("pass"), "correct horse\n").unwrap();
    let run = |args: &[&str]| clyra(dir.path(), args, b"");
    let init = ["keys", "init", "--data-dir", "d", "--log-key", "age", "--root-key", "age"];
    let refused = run(&init).is(2);
    assert!(refused.stderr.contains("--passphrase-file"), "{refused:?}");
    let root = run(&[init.as_slice(), &["--passphrase-file", "pass"]].concat()).is(0).stdout;
    let names: Vec<_> =
        std::fs::read_dir(dir.path().join("d/keys")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name == "log.pem" || name == "root.pem"), "{names:?}");
    // Listing and exporting needs no secret.
    assert_eq!(run(&["keys", "export", "--root", "--data-dir", "d"]).is(0).stdout, root);

    let options =
        LogOptions::new(dir.path().join("d"), "clyra.local/log", BuildInfo { digest: None, version: "0".into() });
    assert!(Log::open(options.clone()).unwrap_err().to_string().contains("encrypted"));
    let files = clyra::keys::KeyFiles { passphrase: Some(dir.path().join("pass")), ..Default::default() };
    let (log, _) =
        Log::open(LogOptions { key_access: std::sync::Arc::new(clyra::keys::Access::new(files)), ..options }).unwrap();
    log.append_blocking(PolicyChange { from: None, source: "start".into(), to: "0".repeat(64) }).unwrap();
    log.shutdown().unwrap();
    assert!(run(&["bundle", "seal", "--data-dir", "d"]).is(2).stderr.contains("--identity-file"));
    run(&["bundle", "seal", "--data-dir", "d", "--passphrase-file", "pass"]).is(0);
    run(&["verify", "d", "--root", root.trim()]).is(0);
}

/// Where Debian puts SoftHSM's module.
const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

#[test]
fn a_log_key_in_a_token_signs_and_never_leaves_it() {
    if !Path::new(SOFTHSM).exists() || Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI must have softhsm2 and openssl");
        println!("a_log_key_in_a_token_signs_and_never_leaves_it: SKIPPED, no softhsm2 or openssl here");
        return;
    }
    let dir = temp();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(path("tokens")).unwrap();
    std::fs::write(path("softhsm2.conf"), format!("directories.tokendir = {}\n", path("tokens"))).unwrap();
    std::fs::write(path("pin"), "1234\n").unwrap();
    let tool = |program: &str, args: &[&str]| {
        let ran = Command::new(program).args(args).env("SOFTHSM2_CONF", path("softhsm2.conf")).output().unwrap();
        assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    tool("softhsm2-util", &["--init-token", "--free", "--label", "clyra", "--so-pin", "0000", "--pin", "1234"]);
    for (label, id) in [("log", "01"), ("next", "02")] {
        tool("openssl", &["genpkey", "-algorithm", "ed25519", "-out", &path("key.pem")]);
        let import = ["--import", &path("key.pem"), "--token", "clyra", "--label", label, "--id", id, "--pin", "1234"];
        tool("softhsm2-util", &import);
    }
    // The module reads the environment of the program that loads it.
    let run = |args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clyra"));
        command.args(args.split(' ')).current_dir(dir.path()).env("SOFTHSM2_CONF", path("softhsm2.conf"));
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{args}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let uri = |object: &str| {
        format!("pkcs11:token=clyra;object={object}?module-path={SOFTHSM}&pin-source=file:{}", path("pin"))
    };
    let root = run(&format!("keys init --data-dir d --log-key {}", uri("log")));
    assert!(!Path::new(&path("d/keys/log.pem")).exists());
    let wrong = clyra(
        dir.path(),
        &["keys", "rotate", "--data-dir", "d", "--log-key", "pkcs11:object=x?module-path=/nowhere.so"],
        b"",
    );
    assert!(wrong.is(2).stderr.contains("no receipts yet"));
    serve(dir.path(), &path("softhsm2.conf"));
    run(&format!("keys rotate --data-dir d --log-key {}", uri("next")));
    run("bundle seal --data-dir d");
    run(&format!("verify d --root {}", root.trim()));
}

/// Starts the sidecar and stops it when it is ready: what a log begins with.
fn serve(dir: &Path, softhsm: &str) {
    use std::io::{BufRead as _, BufReader};
    let args = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", "x=http://127.0.0.1:9"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_clyra"))
        .args(args)
        .args(["--data-dir", "d"])
        .current_dir(dir)
        .env("SOFTHSM2_CONF", softhsm)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("policy"));
    let drain = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(ready && stopped.success());
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {:?}", drain.join().unwrap());
}
