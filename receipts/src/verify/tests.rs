use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;
use crate::bundle as parts;
use crate::sample::{attempt, exchange, fast_directory, options, other_digit, outcome, policy_document};
use crate::{Log, Sealer, keys::Keys};

type Members = BTreeMap<String, Vec<u8>>;

/// A data directory with two bundles (receipts 0 to 3 and 4 to 7), and receipts that are not sealed.
fn evidence() -> tempfile::TempDir {
    let directory = fast_directory();
    let (log, _) = Log::open(options(directory.path())).unwrap();
    let mut sealer = Sealer::open(directory.path()).unwrap();
    for _ in 0..2 {
        exchange(&log);
        if log.status().durable_count > 4 {
            exchange(&log);
        }
        let upto = log.status().durable_count;
        sealer.seal(upto, &[policy_document()]).unwrap().unwrap();
    }
    exchange(&log);
    log.shutdown().unwrap();
    directory
}

fn bundle_files(data: &Path) -> Vec<PathBuf> {
    crate::bundle::list(data).unwrap().into_iter().map(|info| info.path).collect()
}

fn unpack(path: &Path) -> Members {
    let mut container = parts::open_bundle(path).unwrap();
    let mut members = Members::new();
    while let Some(member) = container.next().unwrap() {
        let mut bytes = Vec::new();
        container.read_to_end(&mut bytes).unwrap();
        members.insert(member.path, bytes);
    }
    members
}

/// Members as a directory called `b`.
fn lay_out(members: &Members) -> tempfile::TempDir {
    let directory = fast_directory();
    for (name, bytes) in members {
        let path = directory.path().join("b").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    directory
}

fn root_of(data: &Path) -> VerifyOptions {
    let root = Keys::open(data).unwrap().root().clone();
    VerifyOptions { trusted_root: Some(root), ..VerifyOptions::default() }
}

fn found(verdict: &Verdict) -> Vec<String> {
    let shown = |finding: &VerifyFinding| {
        let seq = finding.seq.map_or_else(String::new, |seq| format!("@{seq}"));
        let warning = if finding.severity == Severity::Warning { "?" } else { "" };
        format!("{}{warning}{seq} {}", finding.code.code(), finding.path)
    };
    verdict.findings.iter().map(shown).collect()
}

fn judge(members: &Members, options: &VerifyOptions) -> Vec<String> {
    let directory = lay_out(members);
    found(&verify(&[directory.path().join("b")], options).unwrap())
}

fn lines(members: &Members) -> Vec<Vec<u8>> {
    members[parts::RECEIPTS].split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn set_lines(members: &mut Members, lines: &[Vec<u8>]) {
    members.insert(parts::RECEIPTS.to_owned(), lines.concat());
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

/// A line with a change in the receipt's body.
fn edited(line: &[u8], from: &str, to: &str) -> Vec<u8> {
    let envelope = String::from_utf8(line.to_vec()).unwrap();
    let payload = envelope.split('"').nth(3).unwrap();
    let body = replaced(&BASE64.decode(payload).unwrap(), from, to);
    envelope.replacen(payload, &BASE64.encode(body), 1).into_bytes()
}

#[test]
fn what_a_log_leaves_behind_is_good() {
    let data = evidence();
    let verdict = verify(&[data.path()], &root_of(data.path())).unwrap();
    assert_eq!(found(&verdict), Vec::<String>::new());
    assert!(verdict.ok);
    assert_eq!(verdict.assurance, Assurance::Origin);
    assert_eq!((verdict.stats.bundles, verdict.stats.segments, verdict.stats.logs.len()), (2, 1, 1));
    // Each bundle alone, both together in any order, and as directories of their members.
    let bundles = bundle_files(data.path());
    for inputs in [&bundles[..1], &bundles[1..], &bundles[..], &[bundles[1].clone(), bundles[0].clone()]] {
        let verdict = verify(inputs, &VerifyOptions::default()).unwrap();
        assert_eq!(found(&verdict), Vec::<String>::new());
        assert_eq!(verdict.assurance, Assurance::Integrity);
    }
    for bundle in &bundles {
        assert_eq!(judge(&unpack(bundle), &root_of(data.path())), Vec::<String>::new());
    }
    let journal = verify(&[data.path().join("journal")], &root_of(data.path())).unwrap();
    assert_eq!(found(&journal), Vec::<String>::new());
    assert_eq!((journal.stats.receipts, journal.stats.last_seq), (11, Some(10)));
}

#[test]
fn the_verdict_is_canonical_json() {
    let data = evidence();
    let verdict = verify(&bundle_files(data.path())[..1], &root_of(data.path())).unwrap();
    assert_eq!(
        String::from_utf8(verdict.to_json()).unwrap(),
        concat!(
            r#"{"assurance":"origin","findings":[],"findings_dropped":0,"ok":true,"stats":{"bundles":1,"checkpoints":1,"#,
            r#""first_seq":"0","kinds":{"attempt":1,"boot":1,"genesis":1,"outcome":1},"last_seq":"3","#,
            r#""logs":["test.example/log"],"receipts":4,"segments":0,"verdicts":{"redacted":1}},"v":"pef.v0"}"#
        )
    );
}

#[test]
fn each_way_of_tampering_with_receipts_has_its_codes() {
    let data = evidence();
    let root = root_of(data.path());
    let good = unpack(&bundle_files(data.path())[1]);
    let all = lines(&good);
    assert_eq!(all.len(), 4);
    let with = |lines: &[Vec<u8>]| {
        let mut members = good.clone();
        set_lines(&mut members, lines);
        judge(&members, &root)
    };
    let mut edit = all.clone();
    edit[1] = edited(&edit[1], "\"cached\":1", "\"cached\":9");
    let digest = "E103 b/receipts.jsonl";
    let tree = "E601 b/checkpoint";
    let run = "E503@6 b/receipts.jsonl#/run";
    assert_eq!(with(&edit), [digest, "E401@5 b/receipts.jsonl", "E503@6 b/receipts.jsonl", run, tree], "edit");

    let mut edit_last = all.clone();
    edit_last[3] = edited(&edit_last[3], "\"cached\":1", "\"cached\":9");
    let chain = "E503 b/manifest.json#/chain";
    assert_eq!(with(&edit_last), [digest, "E401@7 b/receipts.jsonl", chain, tree], "edit of the last");

    let count = "E511 b/manifest.json";
    let mut delete = all.clone();
    delete.remove(1);
    let open = "E507?@4 b/receipts.jsonl";
    assert_eq!(with(&delete), [digest, count, open, "E501@5 b/receipts.jsonl", run, "E506@8 b/checkpoint"], "delete");

    let mut reorder = all.clone();
    reorder.swap(1, 2);
    assert_eq!(
        with(&reorder),
        [digest, open, "E501@5 b/receipts.jsonl", "E505@5 b/receipts.jsonl", run, tree],
        "reorder: the outcome that stands late is not looked at further"
    );

    let mut duplicate = all.clone();
    duplicate.insert(1, all[0].clone());
    assert_eq!(with(&duplicate), [digest, count, "E502@4 b/receipts.jsonl", tree], "duplicate");

    let truncated = &all[..3];
    assert_eq!(with(truncated), [digest, chain, count, "E507?@6 b/receipts.jsonl", "E506@7 b/checkpoint"], "truncate");

    let mut half = all.clone();
    half[3].pop();
    assert_eq!(
        with(&half),
        [digest, "E201@7 b/receipts.jsonl", chain, count, "E507?@6 b/receipts.jsonl", "E506@7 b/checkpoint"],
        "the last line does not end"
    );
    assert_eq!(with(&[]), [digest, count, "E506@4 b/checkpoint"], "no receipts at all");
}

/// What comes along with any change of a receipt, and is held exactly by the test above.
const FOLLOWING: [&str; 6] = ["E103", "E401", "E503", "E601", "E511", "E507"];

#[test]
fn a_body_or_envelope_out_of_form_has_its_codes() {
    let data = evidence();
    let root = root_of(data.path());
    let good = unpack(&bundle_files(data.path())[1]);
    let all = lines(&good);
    let first = |from: &str, to: &str| {
        let mut lines = all.clone();
        lines[0] = edited(&lines[0], from, to);
        let mut members = good.clone();
        set_lines(&mut members, &lines);
        let mut codes = judge(&members, &root);
        codes.retain(|code| !FOLLOWING.iter().any(|follows| code.starts_with(follows)));
        codes
    };
    let at = |code: &str| format!("{code}@4 b/receipts.jsonl");
    for (from, to, expected) in [
        ("\"v\":\"pef.v0\"", "\"v\":\"pef.v0\",\"v\":\"x\"", at("E202")),
        ("\"v\":\"pef.v0\"", "\"v\": \"pef.v0\"", at("E203")),
        ("\"us\":81", "\"us\":81.0", at("E204")),
        ("\"us\":81", "\"us\":9007199254740993", at("E204")),
        ("\"app\":\"checkout\"", "\"app\":\"\\ud800\"", at("E205")),
        ("{\"alg\"", "{\"alg\"\"", at("E201")),
        ("\"alg\":\"ed25519\"", "\"alg\":\"none\"", at("E303")),
        ("\"us\":81", "\"us\":-1", at("E206") + "#/checks/0/us"),
        ("\"v\":\"pef.v0\"", "\"v\":\"pef.v1\"", at("E206") + "#/v"),
        ("\"us\":81", "\"us\":81,\"usx\":1", at("E207") + "#/checks/0/usx"),
        ("\"v\":\"pef.v0\"", "\"v\":\"pef.v0\",\"z\":1", at("E207") + "#/z"),
        ("\"log\":\"test.example/log\"", "\"log\":\"other.example/log\"", at("E604")),
        ("\"kind\":\"attempt\"", "\"kind\":\"attest\"", at("E206") + "#/kind"),
    ] {
        assert_eq!(first(from, to), [expected], "{from} to {to}");
    }
    let envelope = |from: &str, to: &str| {
        let mut lines = all.clone();
        lines[0] = replaced(&lines[0], from, to);
        let mut members = good.clone();
        set_lines(&mut members, &lines);
        let mut codes = judge(&members, &root);
        codes.retain(|code| !FOLLOWING.iter().any(|follows| code.starts_with(follows)));
        codes
    };
    assert_eq!(envelope("\"keyid\":\"", "\"keyid\":\"f"), [at("E302")]);
    assert_eq!(envelope("\"payloadType\":\"", "\"payloadType\":\"x"), [at("E206")]);
    assert_eq!(envelope("{\"payload\"", "{ \"payload\""), [at("E203")]);
    assert_eq!(envelope("{\"payload\"", "{\"a\":1,\"payload\""), [at("E206")]);
    assert_eq!(envelope("{\"payload\"", "[\"payload\""), [at("E201")]);

    let mut long = all.clone();
    long[0] = [vec![b' '; 70_000], all[0].clone()].concat();
    let mut members = good.clone();
    set_lines(&mut members, &long);
    assert_eq!(
        judge(&members, &root),
        ["E103 b/receipts.jsonl", "E106@4 b/receipts.jsonl", "E511 b/manifest.json", "E506@4 b/checkpoint"],
        "the receipts end at a line that is too long"
    );
}

#[test]
fn each_way_of_tampering_with_the_rest_has_its_codes() {
    let data = evidence();
    let root = root_of(data.path());
    let good = unpack(&bundle_files(data.path())[1]);
    let change = |name: &str, change: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mut members = good.clone();
        let changed = change(&members[name]);
        members.insert(name.to_owned(), changed);
        judge(&members, &root)
    };
    let policy = format!("policies/{}.json", policy_document().hash);

    for name in [parts::CHECKPOINT, parts::CHECKPOINT_PREV, parts::CONSISTENCY, parts::FRONTIER, &policy] {
        let mut members = good.clone();
        members.remove(name);
        assert_eq!(judge(&members, &root), [format!("E101 b/{name}")], "without {name}");
    }
    let mut members = good.clone();
    members.insert("zzz.json".to_owned(), b"{}".to_vec());
    assert_eq!(judge(&members, &root), ["E102 b/zzz.json"]);
    let mut members = good.clone();
    members.remove(parts::MANIFEST_DSSE);
    assert_eq!(judge(&members, &root), ["E101 b/manifest.dsse.json"]);
    let mut members = good.clone();
    members.remove(parts::RECEIPTS);
    assert_eq!(judge(&members, &root), ["E101 b/receipts.jsonl"]);

    assert_eq!(
        change(&policy, &|bytes| replaced(bytes, "1", "2")),
        [format!("E103 b/{policy}"), format!("E802 b/{policy}")]
    );
    assert_eq!(
        change(parts::MANIFEST, &|bytes| replaced(bytes, "\"attempt\":2", "\"attempt\":3")),
        ["E403 b/manifest.dsse.json", "E511 b/manifest.json"]
    );
    assert_eq!(
        change(parts::MANIFEST, &|bytes| replaced(bytes, "{\"about\"", "{ \"about\"")),
        ["E104 b/manifest.json", "E403 b/manifest.dsse.json"]
    );
    let other_version = change(parts::MANIFEST, &|bytes| replaced(bytes, "\"v\":\"pef.v0\"", "\"v\":\"pef.v9\""));
    assert!(other_version.contains(&"E105 b/manifest.json".to_owned()), "{other_version:?}");
    assert_eq!(
        change(parts::MANIFEST_DSSE, &|bytes| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let at = text.find("\"sig\":\"").unwrap() + 7;
            other_digit(text.as_bytes(), at)
        }),
        ["E403 b/manifest.dsse.json"]
    );
    let flip_signature = |bytes: &[u8]| other_digit(bytes, bytes.len() - 30);
    assert_eq!(change(parts::CHECKPOINT, &flip_signature), ["E103 b/checkpoint", "E402 b/checkpoint"]);
    assert_eq!(change(parts::CHECKPOINT_PREV, &flip_signature), ["E103 b/checkpoint.prev", "E402 b/checkpoint.prev"]);
    assert_eq!(
        change(parts::CHECKPOINT, &|bytes| replaced(bytes, "\n\n", "\n")),
        ["E103 b/checkpoint", "E405 b/checkpoint"]
    );
    assert_eq!(
        change(parts::CHECKPOINT, &|bytes| replaced(bytes, "\n8\n", "\n9\n")),
        ["E103 b/checkpoint", "E402 b/checkpoint", "E506@8 b/checkpoint", "E601 b/checkpoint", "E603 b/consistency",]
    );
    assert_eq!(
        change(parts::CONSISTENCY, &|bytes| [bytes, bytes].concat()),
        ["E103 b/consistency", "E603 b/consistency"]
    );
    assert_eq!(change(parts::CONSISTENCY, &|_| b"x".to_vec()), ["E103 b/consistency", "E603 b/consistency"]);
    let frontier = change(parts::FRONTIER, &|bytes| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let at = text.find("[\"").unwrap() + 2;
        other_digit(text.as_bytes(), at)
    });
    assert_eq!(frontier, ["E103 b/frontier.json", "E601 b/checkpoint", "E601 b/checkpoint.prev"]);
    assert_eq!(
        change(parts::FRONTIER, &|bytes| replaced(bytes, "\"size\":\"4\"", "\"size\":\"5\"")),
        ["E103 b/frontier.json", "E601 b/frontier.json"]
    );
}

#[test]
fn another_key_is_noticed_with_the_root_and_only_with_it_when_all_is_signed_anew() {
    let (data, forged) = (evidence(), evidence());
    let root = root_of(data.path());
    let forged_bundles = bundle_files(forged.path());
    let anew = verify(&forged_bundles, &VerifyOptions::default()).unwrap();
    assert!(anew.ok && anew.assurance == Assurance::Integrity, "without a root, a whole forgery is whole");
    let anew = verify(&forged_bundles[..1], &root).unwrap();
    assert_eq!(found(&anew), ["E301 0-4.pef/keys.json"]);
    let anew = verify(&[forged.path()], &root).unwrap();
    assert!(!anew.ok);

    let mut members = unpack(&bundle_files(data.path())[0]);
    members.insert(parts::KEYS.to_owned(), unpack(&forged_bundles[0])[parts::KEYS].clone());
    let mut expected =
        vec!["E103 b/keys.json".to_owned(), "E301 b/keys.json".into(), "E301 b/manifest.dsse.json".into()];
    expected.extend((0..4).map(|seq| format!("E301@{seq} b/receipts.jsonl")));
    expected.insert(3, "E402 b/checkpoint".to_owned());
    expected.push("E504@0 b/receipts.jsonl".to_owned());
    let mut judged = judge(&members, &root);
    judged.sort();
    expected.sort();
    assert_eq!(judged, expected);

    // Receipts of another log of the same name, spliced in.
    let good = unpack(&bundle_files(data.path())[1]);
    let mut spliced = lines(&good);
    spliced[2] = lines(&unpack(&forged_bundles[1]))[2].clone();
    let mut members = good;
    set_lines(&mut members, &spliced);
    let mut judged = judge(&members, &root);
    // Whether the clock of the other log is ahead or behind is chance.
    judged.retain(|code| !code.starts_with("E508?"));
    assert_eq!(
        judged,
        [
            "E103 b/receipts.jsonl",
            "E301@6 b/receipts.jsonl",
            "E503@6 b/receipts.jsonl",
            "E503@6 b/receipts.jsonl#/run",
            "E507?@6 b/receipts.jsonl",
            "E509@6 b/receipts.jsonl",
            "E503@7 b/receipts.jsonl",
            "E503@7 b/receipts.jsonl#/run",
            "E507@7 b/receipts.jsonl",
            "E509@7 b/receipts.jsonl",
            "E601 b/checkpoint",
        ]
    );
}

#[test]
fn keys_json_out_of_form_has_its_codes() {
    let data = evidence();
    let good = unpack(&bundle_files(data.path())[0]);
    let change = |from: &str, to: &str| {
        let mut members = good.clone();
        let changed = replaced(&members[parts::KEYS], from, to);
        members.insert(parts::KEYS.to_owned(), changed);
        judge(&members, &VerifyOptions::default())
    };
    let digest = "E103 b/keys.json";
    for (from, to, code) in [
        ("{\"certs\"", "{\"certs", "E201"),
        ("{\"certs\"", "{ \"certs\"", "E203"),
        ("\"v\":\"pef.v0\"", "\"v\":\"pef.v1\"", "E206"),
        ("\"alg\":\"ed25519\"", "\"alg\":\"rsa\"", "E303"),
        ("\"root\":{\"alg\":\"ed25519\",\"key_id\":\"", "\"root\":{\"alg\":\"ed25519\",\"key_id\":\"0", "E302"),
        ("\"log\":\"test.example/log\"", "\"log\":\"test.example/gol\"", "E306"),
    ] {
        assert_eq!(change(from, to), [digest.to_owned(), format!("{code} b/keys.json")], "{to}");
    }
    let text = String::from_utf8(good[parts::KEYS].clone()).unwrap();
    let public = text.rsplit("\"pub\":\"").next().unwrap().split('"').next().unwrap();
    let weak = change(public, &BASE64.encode([0; 32]));
    assert_eq!(weak, [digest, "E307 b/keys.json"]);
}

#[test]
fn no_flipped_bit_of_a_bundle_passes() {
    let data = evidence();
    let root = root_of(data.path());
    let path = &bundle_files(data.path())[0];
    let good = std::fs::read(path).unwrap();
    let out = fast_directory();
    let target = out.path().join("x.pef");
    let judge_file = |bytes: &[u8]| {
        std::fs::write(&target, bytes).unwrap();
        verify(&[&target], &root).unwrap()
    };
    let members = unpack(path);
    let mut harmless = 0;
    for index in 0..good.len() {
        let mut flipped = good.clone();
        flipped[index] ^= 1 << (index % 8);
        if judge_file(&flipped).ok {
            // Some bits of a compressed frame mean nothing to a decoder. Then the content must be the same.
            assert_eq!(unpack(&target), members, "byte {index}");
            harmless += 1;
        }
    }
    // How many varies with the keys' and times' bytes; without the checks of the content it would be all of them.
    assert!(harmless * 50 < good.len(), "{harmless} harmless bits in {} bytes", good.len());
    for length in (0..good.len()).step_by(11) {
        let codes = found(&judge_file(&good[..length]));
        assert!(
            codes.iter().any(|code| code.starts_with("E108") || code.starts_with("E101")),
            "length {length}: {codes:?}"
        );
    }
    let longer = found(&judge_file(&[&good[..], b"x"].concat()));
    assert_eq!(longer, ["E108 x.pef"]);
    for (name, bytes) in &members {
        for index in (0..bytes.len()).step_by(if name == parts::RECEIPTS { 61 } else { 7 }) {
            let mut changed = members.clone();
            changed.get_mut(name).unwrap()[index] ^= 1;
            let directory = lay_out(&changed);
            let verdict = verify(&[directory.path().join("b")], &root).unwrap();
            assert!(!verdict.ok, "{name} byte {index}");
        }
    }
}

#[test]
fn archives_that_mean_harm_are_refused_within_bounds() {
    let out = fast_directory();
    let path = out.path().join("x.pef");
    let judge_tar = |tar: &[u8]| {
        let mut frame = zstd::Encoder::new(Vec::new(), 3).unwrap();
        frame.include_checksum(true).unwrap();
        io::Write::write_all(&mut frame, tar).unwrap();
        std::fs::write(&path, frame.finish().unwrap()).unwrap();
        found(&verify(&[&path], &VerifyOptions::default()).unwrap())
    };
    let first = |codes: Vec<String>| codes.into_iter().next().unwrap();
    let member = |name: &str, kind: u8, size: &str| {
        let mut header = crate::bundle::tar_header(name, 0).to_vec();
        header[156] = kind;
        header[124..124 + size.len()].copy_from_slice(size.as_bytes());
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    };
    assert_eq!(first(judge_tar(&member("a", b'2', ""))), "E108 x.pef", "a symbolic link");
    assert_eq!(first(judge_tar(&member("a", b'1', ""))), "E108 x.pef", "a hard link");
    assert_eq!(first(judge_tar(&member("../a", b'0', ""))), "E107 x.pef");
    assert_eq!(first(judge_tar(&member("/a", b'0', ""))), "E107 x.pef");
    assert_eq!(first(judge_tar(&member("a", b'0', "77777777777"))), "E106 x.pef", "eight gigabytes announced");
    let bomb = [member("keys.json", b'0', "00030000000"), vec![0; 6 * 1024 * 1024]].concat();
    assert_eq!(first(judge_tar(&bomb)), "E106 x.pef", "six megabytes of nothing in some hundred bytes");
    let many: Vec<u8> = (0..5000).flat_map(|index| member(&format!("a{index:05}"), b'0', "")).collect();
    assert_eq!(first(judge_tar(&many)), "E106 x.pef");
    // A good tar, but nothing that would show damage in its frame.
    std::fs::write(&path, zstd::encode_all(&[0; 1024][..], 3).unwrap()).unwrap();
    assert_eq!(first(found(&verify(&[&path], &VerifyOptions::default()).unwrap())), "E108 x.pef");
    for garbage in [&b""[..], b"x", &[0; 1024]] {
        std::fs::write(&path, garbage).unwrap();
        assert_eq!(first(found(&verify(&[&path], &VerifyOptions::default()).unwrap())), "E108 x.pef");
    }
    std::fs::write(out.path().join("plain"), b"").unwrap();
    let directory = out.path().join("d");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("manifest.json"), b"{}").unwrap();
    std::os::unix::fs::symlink(out.path().join("plain"), directory.join("keys.json")).unwrap();
    assert!(found(&verify(&[&directory], &VerifyOptions::default()).unwrap()).contains(&"E107 d".to_owned()));
}

#[test]
fn what_cannot_be_verified_at_all_is_an_error() {
    let out = fast_directory();
    let nothing = verify(&[out.path().join("none.pef")], &VerifyOptions::default());
    assert!(matches!(nothing, Err(VerifyError::Unreadable { .. })));
    assert!(matches!(verify(&[out.path()], &VerifyOptions::default()), Err(VerifyError::Unknown(_))));
}

#[test]
fn an_attempt_without_an_outcome_is_shown_and_is_no_error() {
    let directory = fast_directory();
    let (log, _) = Log::open(options(directory.path())).unwrap();
    log.append_blocking(attempt()).unwrap();
    drop(log);
    let (log, _) = Log::open(options(directory.path())).unwrap();
    exchange(&log);
    log.shutdown().unwrap();
    let verdict = verify(&[directory.path()], &root_of(directory.path())).unwrap();
    assert_eq!(found(&verdict), ["E507?@2 journal/seg-00000000000000000000.pefwal"]);
    assert!(verdict.ok);

    let (log, _) = Log::open(options(directory.path())).unwrap();
    let lone = attempt();
    let token = log.append_blocking(lone.clone()).unwrap();
    log.append_blocking(outcome(&lone, token.seq)).unwrap();
    let twice = log.append_blocking(outcome(&lone, token.seq)).unwrap();
    let early = log.append_blocking(outcome(&lone, 10_000)).unwrap();
    log.shutdown().unwrap();
    let segment = format!("journal/seg-{:020}.pefwal", token.seq - 1);
    let verdict = verify(&[directory.path()], &root_of(directory.path())).unwrap();
    assert_eq!(
        found(&verdict)[1..],
        [format!("E507@{} {segment}", twice.seq), format!("E505@{} {segment}", early.seq)]
    );
    assert!(!verdict.ok);
}

#[test]
fn a_remembered_checkpoint_shows_rollback_and_fork() {
    let (data, other) = (evidence(), evidence());
    let note = |data: &Path, size: &str| std::fs::read(data.join("checkpoints").join(size)).unwrap();
    let with = |inputs: &[PathBuf], note: Vec<u8>| {
        let options = VerifyOptions { remembered_checkpoint: Some(note), ..VerifyOptions::default() };
        found(&verify(inputs, &options).unwrap())
    };
    let bundles = bundle_files(data.path());
    let none = Vec::<String>::new();
    for size in ["4", "8"] {
        assert_eq!(with(&[data.path().to_owned()], note(data.path(), size)), none, "size {size}");
        assert_eq!(with(&bundles, note(data.path(), size)), none, "size {size}");
    }
    assert_eq!(with(&bundles[1..], note(data.path(), "4")), none, "the bundle begins where it ends");
    assert_eq!(with(&bundles[..1], note(data.path(), "8")), ["E605@4 remembered checkpoint"]);
    let forked = with(&bundles, note(other.path(), "8"));
    assert!(forked.contains(&"E402 remembered checkpoint".to_owned()), "another key: {forked:?}");
    assert!(forked.iter().any(|code| code.starts_with("E606")), "{forked:?}");
    assert_eq!(with(&bundles, b"x".to_vec()), ["E405 remembered checkpoint"]);
}

#[test]
fn bundles_that_do_not_continue_each_other_are_noticed() {
    let directory = fast_directory();
    let (log, _) = Log::open(options(directory.path())).unwrap();
    let mut sealer = Sealer::open(directory.path()).unwrap();
    for _ in 0..3 {
        exchange(&log);
        sealer.seal(log.status().durable_count, &[]).unwrap().unwrap();
    }
    let bundles = bundle_files(directory.path());
    let root = root_of(directory.path());
    let gap = verify(&[&bundles[0], &bundles[2]], &root).unwrap();
    assert_eq!(found(&gap), ["E501?@4 6-8.pef"]);
    assert!(gap.ok, "a bundle that was not handed over is no forgery");
    let twice = verify(&[&bundles[0], &bundles[0]], &root).unwrap();
    assert_eq!(found(&twice), Vec::<String>::new());
    let other = evidence();
    let mixed = verify(&[&bundles[0], &bundle_files(other.path())[1]], &VerifyOptions::default()).unwrap();
    assert!(found(&mixed).contains(&"E606 4-8.pef/checkpoint.prev".to_owned()), "{:?}", found(&mixed));
}

mod journals {
    //! Tampering with the journal's own files.

    use super::*;
    use crate::journal::testing::{Piece, pieces, put};

    fn segment(data: &Path) -> PathBuf {
        data.join("journal/seg-00000000000000000000.pefwal")
    }

    fn judge_with(data: &tempfile::TempDir, change: impl FnOnce(&mut Vec<Piece>)) -> Vec<String> {
        let path = segment(data.path());
        let good = std::fs::read(&path).unwrap();
        let (header, mut frames) = pieces(&good);
        change(&mut frames);
        std::fs::write(&path, put(&header, &frames)).unwrap();
        let codes = found(&verify(&[data.path().join("journal")], &root_of(data.path())).unwrap());
        std::fs::write(&path, good).unwrap();
        codes.into_iter().map(|code| code.replace(" journal/seg-00000000000000000000.pefwal", "")).collect()
    }

    #[test]
    fn each_way_of_tampering_has_its_codes() {
        let data = evidence();
        assert_eq!(judge_with(&data, |_| {}), Vec::<String>::new());
        // The frame is written anew around the changed body, CRC and chain value and all.
        let edit = judge_with(&data, |frames| frames[5].edit("\"cached\":1", "\"cached\":9", true));
        assert_eq!(edit, ["E401@5", "E503@6", "E503@6#/run"]);
        let edit = judge_with(&data, |frames| frames[5].edit("\"cached\":1", "\"cached\":9", false));
        assert_eq!(edit, ["W002@5", "E401@5", "E503@6", "E503@6#/run"], "the chain value of the frame was left");
        let delete = judge_with(&data, |frames| drop(frames.remove(5)));
        assert_eq!(delete, ["W002@11", "E507?@4", "E501@5", "E503@6#/run"], "the seal is over more");
        let reorder = judge_with(&data, |frames| frames.swap(4, 5));
        assert_eq!(reorder, ["E501@4", "E505@4", "E503@5#/run", "E507@5"]);
        let duplicate = judge_with(&data, |frames| frames.insert(5, frames[4].clone()));
        assert_eq!(duplicate, ["W002@11", "E502@4"], "the seal is over less");
        let truncate = judge_with(&data, |frames| frames.truncate(9));
        assert_eq!(truncate, ["E507?@8"], "a tail cut between receipts shows only where somebody holds a checkpoint");
        let seal = judge_with(&data, |frames| drop(frames.remove(10)));
        assert_eq!(seal, ["W002@10"], "the seal counts more receipts than there are");
        let after = judge_with(&data, |frames| {
            let last = frames[10].clone();
            frames.push(last);
        });
        assert_eq!(after, ["W002@11"]);
    }

    #[test]
    fn a_tail_that_a_checkpoint_covers_is_missed() {
        let data = evidence();
        let path = segment(data.path());
        let (header, mut frames) = pieces(&std::fs::read(&path).unwrap());
        frames.truncate(6);
        std::fs::write(&path, put(&header, &frames)).unwrap();
        let codes = found(&verify(&[data.path()], &root_of(data.path())).unwrap());
        assert_eq!(codes, ["E506@6 checkpoints/8"]);
        frames.truncate(0);
        std::fs::write(&path, put(&header, &frames)).unwrap();
        let codes = found(&verify(&[data.path()], &root_of(data.path())).unwrap());
        assert_eq!(codes, ["E506@0 checkpoints/4", "E506@0 checkpoints/8"]);
        std::fs::remove_file(&path).unwrap();
        let codes = found(&verify(&[data.path()], &root_of(data.path())).unwrap());
        assert_eq!(codes, ["E506@0 checkpoints/4", "E506@0 checkpoints/8"]);
    }

    #[test]
    fn every_flipped_bit_is_damage_or_a_torn_tail_and_never_silent() {
        let directory = fast_directory();
        let (log, _) = Log::open(options(directory.path())).unwrap();
        exchange(&log);
        drop(log);
        let path = segment(directory.path());
        let good = std::fs::read(&path).unwrap();
        let (_, frames) = pieces(&good);
        let last = good.len() - frames.last().unwrap().bytes();
        let root = root_of(directory.path());
        let judge = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            verify(&[directory.path().join("journal")], &root).unwrap()
        };
        for index in (0..4096).step_by(97).chain(4096..good.len()) {
            let mut flipped = good.clone();
            flipped[index] ^= 1 << (index % 8);
            let verdict = judge(&flipped);
            let first = verdict.findings.first().map(|finding| finding.code);
            let expected = if index >= last { Code::W001 } else { Code::W002 };
            assert_eq!(first, Some(expected), "byte {index}");
            assert_eq!(verdict.ok, index >= last, "byte {index}");
        }
        for length in (4096..good.len()).step_by(29) {
            let verdict = judge(&good[..length]);
            let boundary = length == 4096
                || frames
                    .iter()
                    .scan(4096, |at, frame| {
                        *at += frame.bytes();
                        Some(*at)
                    })
                    .any(|at| at == length);
            assert_eq!(verdict.findings.iter().any(|finding| finding.code == Code::W001), !boundary, "length {length}");
        }
    }

    #[test]
    fn missing_or_foreign_keys_are_said_so() {
        let (data, other) = (evidence(), evidence());
        let root = root_of(data.path());
        std::fs::rename(data.path().join("keys"), data.path().join("moved")).unwrap();
        let codes = found(&verify(&[data.path().join("journal")], &root).unwrap());
        assert_eq!(codes, ["E101 keys"]);
        std::fs::rename(other.path().join("keys"), data.path().join("keys")).unwrap();
        let codes = found(&verify(&[data.path().join("journal")], &root).unwrap());
        assert!(codes.contains(&"E301 keys".to_owned()));
        assert_eq!(codes.iter().filter(|code| code.starts_with("E301@")).count(), 11);
        assert!(codes.iter().any(|code| code.starts_with("E504@0")));
    }

    #[test]
    fn starts_that_do_not_follow_each_other_are_noticed() {
        let directory = fast_directory();
        for _ in 0..3 {
            Log::open(options(directory.path())).unwrap().0.shutdown().unwrap();
        }
        let journal = directory.path().join("journal");
        assert!(verify(&[&journal], &root_of(directory.path())).unwrap().ok);
        std::fs::remove_file(journal.join(format!("seg-{:020}.pefwal", 3))).unwrap();
        let codes = found(&verify(&[&journal], &root_of(directory.path())).unwrap());
        assert_eq!(
            codes,
            [format!("W002@5 journal/seg-{:020}.pefwal", 5), format!("E501@3 journal/seg-{:020}.pefwal", 5)]
        );
        std::fs::remove_file(journal.join(format!("seg-{:020}.pefwal", 5))).unwrap();
        let codes = found(&verify(&[&journal], &root_of(directory.path())).unwrap());
        assert_eq!(codes, ["W003@3 journal"], "a key was certified for receipts that are not there");
    }
}
