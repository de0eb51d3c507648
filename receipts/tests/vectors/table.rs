//! The table: written from the cases, and run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clyra_receipts::PublicKey;
use clyra_receipts::verify::{Code, Severity, Verdict, VerifyError, VerifyOptions, verify};
use clyra_receipts::witness::WitnessPolicy;
use serde_json::{Value, json};

use crate::cases::{Case, cases};
use crate::forge::{Files, hex, sha256};
use crate::verifiers::Verifier;

const SUMS: &str = "SHA256SUMS";

/// All that the table may take: it is in every clone.
const BYTES_MAX: usize = 6 << 20;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/pef")
}

fn read_table() -> Vec<Value> {
    let index: Value = serde_json::from_slice(&std::fs::read(directory().join("index.json")).unwrap()).unwrap();
    assert_eq!(index["v"], "pef.v0");
    index["cases"].as_array().unwrap().clone()
}

fn run(case: &Value, base: &Path) -> Result<Verdict, VerifyError> {
    let inputs: Vec<PathBuf> =
        case["inputs"].as_array().unwrap().iter().map(|path| base.join(path.as_str().unwrap())).collect();
    let file = |member: &str| case[member].as_str().map(|path| std::fs::read(base.join(path)).unwrap());
    let options = VerifyOptions {
        trusted_root: case["root"].as_str().map(|vkey| PublicKey::from_vkey(vkey).unwrap()),
        remembered_checkpoint: file("checkpoint"),
        witness_policy: file("witness_policy").map(|policy| WitnessPolicy::parse(&policy).unwrap()),
        event: file("event"),
    };
    verify(&inputs, &options)
}

fn codes(verdict: &Verdict) -> BTreeSet<(String, String)> {
    let severity = |severity| if severity == Severity::Error { "error" } else { "warning" };
    verdict.findings.iter().map(|found| (found.code.code().to_owned(), severity(found.severity).to_owned())).collect()
}

fn exit(result: &Result<Verdict, VerifyError>) -> u8 {
    match result {
        Ok(verdict) if verdict.ok => 0,
        Ok(_) => 1,
        Err(_) => 2,
    }
}

/// What differs from the table, a line each.
fn differences(case: &Value, base: &Path) -> Vec<String> {
    let result = run(case, base);
    let mut lines = Vec::new();
    if exit(&result) != case["exit"] {
        lines.push(format!("exit {} instead of {}", exit(&result), case["exit"]));
    }
    if let Some(path) = case["verdict"].as_str() {
        let expected = std::fs::read(base.join(path)).unwrap();
        let found = result.map(|verdict| verdict.to_json()).unwrap_or_default();
        if found != expected {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            lines.push(format!("expected {}\n   found    {}", text(&expected), text(&found)));
        }
    }
    lines
}

#[test]
fn every_case_has_its_exact_verdict() {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        return;
    }
    let base = directory();
    let failed: Vec<String> = read_table()
        .iter()
        .flat_map(|case| differences(case, &base).into_iter().map(|line| format!("{}: {line}", case["name"])))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_code_has_a_case() {
    let declared: BTreeSet<String> = cases().into_iter().flat_map(|case| case.codes).map(|(code, _)| code).collect();
    let missing: Vec<&str> =
        Code::ALL.iter().map(|code| code.code()).filter(|code| !declared.contains(*code)).collect();
    assert!(missing.is_empty(), "no case has {missing:?}");
}

/// Every file is the one that was frozen, and none is there besides.
#[test]
fn the_vectors_are_frozen() {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        return;
    }
    let base = directory();
    let mut found = read_files(&base);
    let sums = String::from_utf8(found.remove(SUMS).unwrap()).unwrap();
    assert_eq!(sums, sum_lines(&found));
    assert!(found.values().map(Vec::len).sum::<usize>() < BYTES_MAX);
}

/// What is in the table is what the cases here say; compressed files by their content, which any version of zstd gives back.
#[test]
fn the_vectors_are_what_the_forge_writes() {
    let (made, failed) = make();
    let base = directory();
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        for folder in ["valid", "forged", "truncated"] {
            let _ = std::fs::remove_dir_all(base.join(folder));
        }
        for (path, bytes) in &made {
            write(&base.join(path), bytes);
        }
        let mut files = read_files(&base);
        files.remove(SUMS);
        write(&base.join(SUMS), sum_lines(&files).as_bytes());
    } else {
        let found = read_files(&base);
        let of_cases = |path: &&String| made.contains_key(*path) || path.contains('/');
        let missing: Vec<&String> = made.keys().filter(|path| !found.contains_key(*path)).collect();
        let besides: Vec<&String> = found.keys().filter(of_cases).filter(|path| !made.contains_key(*path)).collect();
        assert!(missing.is_empty() && besides.is_empty(), "missing: {missing:?}\nbesides: {besides:?}");
        let other: Vec<&String> = made
            .iter()
            .filter(|(path, bytes)| content(&found[*path]) != content(bytes))
            .map(|(path, _)| path)
            .collect();
        assert!(other.is_empty(), "other content: {other:?}");
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn content(bytes: &[u8]) -> Vec<u8> {
    zstd::decode_all(bytes).unwrap_or_else(|_| bytes.to_vec())
}

/// The files of all cases with their verdicts and the index; and what is not as a case declares.
fn make() -> (Files, Vec<String>) {
    let work = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap();
    let (mut files, mut failed, mut rows) = (Files::new(), Vec::new(), BTreeMap::new());
    for case in cases() {
        let at = work.path().join(&case.name);
        for (path, bytes) in &case.files {
            write(&at.join(path), bytes);
        }
        let mut row = row(&case);
        let result = run(&row, work.path());
        let found = result.as_ref().map(codes).unwrap_or_default();
        let declared: BTreeSet<_> =
            case.codes.iter().map(|(code, severity)| (code.to_string(), severity.to_string())).collect();
        if found != declared || exit(&result) != case.exit {
            let verdict = result.as_ref().map(|verdict| String::from_utf8(verdict.to_json()).unwrap());
            failed.push(format!(
                "{}: declared {} {declared:?}, found {} {found:?}\n   {verdict:?}",
                case.name,
                case.exit,
                exit(&result)
            ));
            continue;
        }
        for (path, bytes) in &case.files {
            files.insert(format!("{}/{path}", case.name), bytes.clone());
        }
        if let Ok(verdict) = &result {
            let path = format!("{}/verdict.json", case.name);
            row["verdict"] = path.clone().into();
            files.insert(path, verdict.to_json());
        }
        if rows.insert(case.name.clone(), row).is_some() {
            failed.push(format!("{}: is there twice", case.name));
        }
    }
    let index = json!({"cases": rows.into_values().collect::<Vec<_>>(), "v": "pef.v0"});
    files.insert("index.json".into(), (serde_json::to_string_pretty(&index).unwrap() + "\n").into_bytes());
    (files, failed)
}

fn row(case: &Case) -> Value {
    let within = |path: &String| format!("{}/{path}", case.name);
    let codes: BTreeSet<_> = case.codes.iter().collect();
    let mut row = json!({
        "name": case.name, "about": case.about, "inputs": case.inputs.iter().map(within).collect::<Vec<_>>(),
        "exit": case.exit, "codes": codes,
    });
    for (member, path) in
        [("checkpoint", &case.checkpoint), ("witness_policy", &case.witness_policy), ("event", &case.event)]
    {
        if let Some(path) = path {
            row[member] = within(path).into();
        }
    }
    if let Some(root) = &case.root {
        row["root"] = root.as_str().into();
    }
    row
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn read_files(base: &Path) -> Files {
    fn walk(base: &Path, at: &Path, files: &mut Files) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(base, &path, files);
            } else {
                let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut files = Files::new();
    walk(base, base, &mut files);
    files
}

fn sum_lines(files: &Files) -> String {
    files.iter().map(|(path, bytes)| format!("{}  {path}\n", hex(&sha256(bytes)))).collect()
}

/// The other verifiers over the same table: which cases each passes, and that all do.
#[test]
fn every_verifier_passes_the_table() {
    let (base, rows) = (directory(), read_table());
    let mut disagree = Vec::new();
    for mut verifier in Verifier::all() {
        let mut passed = 0;
        for row in &rows {
            let at = |path: &Value| base.join(path.as_str().unwrap()).to_str().unwrap().to_owned();
            let inputs: Vec<String> = row["inputs"].as_array().unwrap().iter().map(at).collect();
            let mut request = json!({"inputs": inputs});
            for member in ["checkpoint", "witness_policy", "event"] {
                if row[member].is_string() {
                    request[member] = at(&row[member]).into();
                }
            }
            if row["root"].is_string() {
                request["root"] = row["root"].clone();
            }
            verifier.ask(&request);
            let expected = row["verdict"].as_str().map(|path| std::fs::read_to_string(base.join(path)).unwrap());
            let found = verifier.answer();
            if found == expected {
                passed += 1;
            } else {
                disagree.push(format!("{} {}\n  want {expected:?}\n  got  {found:?}", verifier.name, row["name"]));
            }
        }
        println!("{:8} {passed:4} of {}", verifier.name, rows.len());
    }
    assert!(disagree.is_empty(), "{}", disagree.join("\n"));
}
