//! Writes seeds for the fuzzers: recorded exchanges of real providers, public suites and the golden vectors, each in the form
//! that its fuzzer reads.
//!
//!     cargo run --example seeds -- SHARED_DATA OUT
//!
//! Without SHARED_DATA's recordings only the vectors of this repository are written; with CI=true that is a failure.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use clyra::surface::{Found, SURFACES, find};
use clyra_fuzz::evidence::unpack;
use serde_json::Value;

// The crates count what they cover, and the counters are libFuzzer's: it must be linked, but no input is ever tried here.
libfuzzer_sys::fuzz_target!(|_input: &[u8]| {});

/// Seeds above this only slow a fuzzer down.
const SEED_BYTES_MAX: usize = 16 << 10;

/// Recordings of one API and kind, the shortest first: more of the same teaches a fuzzer nothing.
const RECORDINGS_MAX: usize = 8;

struct Out {
    root: PathBuf,
    count: BTreeMap<String, usize>,
}

impl Out {
    fn write(&mut self, target: &str, start: &[u8], bytes: &[u8]) {
        if bytes.len() > SEED_BYTES_MAX {
            return;
        }
        let count = self.count.entry(target.to_owned()).or_default();
        *count += 1;
        let directory = self.root.join(target);
        fs::create_dir_all(&directory).expect("a directory for seeds");
        fs::write(directory.join(format!("{count:04}")), [start, bytes].concat()).expect("a seed");
    }
}

fn main() {
    let [shared, root] = env::args().skip(1).map(PathBuf::from).collect::<Vec<_>>().try_into().unwrap_or_else(|_| {
        eprintln!("usage: seeds SHARED_DATA OUT");
        process::exit(2)
    });
    let mut out = Out { root, count: BTreeMap::new() };
    vectors(&mut out);
    policies(&mut out);
    if shared.join("recorded/INDEX.ndjson").exists() {
        recorded(&shared.join("recorded"), &mut out);
        suites(&shared, &mut out);
    } else {
        let what = format!(
            "seeds from recorded exchanges: there are none in {} (CLYRA_SHARED_DATA names another place)",
            shared.display()
        );
        if env::var("CI").is_ok_and(|ci| ci == "true") {
            eprintln!("failed: {what}; CI does not skip");
            process::exit(1);
        }
        eprintln!("skipped: {what}");
    }
    let counts: Vec<String> = out.count.iter().map(|(target, count)| format!("{target} {count}")).collect();
    eprintln!("seeds: {}", counts.join(", "));
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            out.extend(files(&path));
        } else {
            out.push(path);
        }
    }
    out.sort();
    out
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The golden vectors: bundles as members, segments of journals, and what is small.
fn vectors(out: &mut Out) {
    for path in files(&repository().join("tests/vectors/pef")) {
        let Ok(bytes) = fs::read(&path) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let valid = path.components().any(|part| part.as_os_str() == "valid");
        if name.ends_with(".pef") && (valid || out.count.get("bundle").is_none_or(|count| *count < 60)) {
            let mut tar = Vec::new();
            let read =
                zstd::Decoder::new(bytes.as_slice()).and_then(|decoder| decoder.take(1 << 20).read_to_end(&mut tar));
            if read.is_ok() {
                out.write("bundle", &[], &unpack(&tar));
            } else {
                out.write("bundle", &[], &bytes);
            }
        } else if name.ends_with(".pefwal") && valid {
            out.write("journal", &[1], &bytes);
        } else if name.ends_with(".tlog-proof")
            || name.ends_with(".note")
            || name.ends_with(".vkey")
            || name.ends_with(".policy")
        {
            out.write("note", &[], &bytes);
        } else if name.ends_with(".json") && valid {
            out.write("canonical", &[], bytes.trim_ascii_end());
        }
    }
}

fn policies(out: &mut Out) {
    for path in files(&repository().join("policy/packs"))
        .iter()
        .chain(&[repository().join("proxy/src/cli/quickstart/policy.yaml")])
    {
        out.write("policy", &[], &fs::read(path).unwrap_or_default());
    }
    // Each example of the reference.
    let reference = fs::read_to_string(repository().join("policy/REFERENCE.md")).unwrap_or_default();
    for block in reference.split("```yaml\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        out.write("policy", &[], block.as_bytes());
        out.write("policy", &[], format!("version: 1\n{block}").as_bytes());
    }
}

fn recorded(root: &Path, out: &mut Out) {
    let index = fs::read_to_string(root.join("INDEX.ndjson")).expect("the index of the recordings");
    let mut entries: Vec<Value> = index.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    entries.sort_by_key(|entry| (entry["bytes"].as_u64(), entry["id"].as_str().map(str::to_owned)));
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &entries {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let kind = format!("{} {}", text("api"), text("ext"));
        let count = taken.entry(kind).or_default();
        if *count == RECORDINGS_MAX {
            continue;
        }
        let file = root.join(text("file"));
        let Ok(answer) = fs::read(&file) else { continue };
        if answer.len() > SEED_BYTES_MAX {
            continue;
        }
        *count += 1;
        let stem = file.to_string_lossy().split(".response.").next().unwrap_or_default().to_owned();
        let request = fs::read(format!("{stem}.request.json")).unwrap_or_default();
        let method = text("method").parse().unwrap_or(http::Method::POST);
        out.write("path", &[0], text("path").as_bytes());
        out.write("json", &[], &answer);
        out.write("detectors", &[0], &answer);
        out.write("canonical", &[], &request);
        let Found::Surface(surface) = find(&method, text("path")) else { continue };
        let number = SURFACES.iter().position(|known| known.id == surface.id).expect("a surface that was found");
        let number = u8::try_from(number).expect("fewer than 256 surfaces");
        out.write("segments", &[number], &request);
        out.write("messages", &[number, 0], &request);
        match text("ext") {
            "sse" => {
                out.write("sse", &[3], &answer);
                out.write("stream_guard", &[number, 3, 0], &answer);
                out.write("stream_guard", &[number, 5, 0b1_0111], &answer);
            }
            "ndjson" => {
                out.write("lines", &[3], &answer);
                out.write("stream_guard", &[number, 3, 0], &answer);
            }
            "eventstream" => {
                out.write("event_stream", &[0], &answer);
                let lines = payloads(&answer);
                out.write("event_stream", &[1], &lines);
                out.write("stream_guard", &[number, 3, 0], &lines);
            }
            _ => {
                out.write("segments", &[number], &answer);
                out.write("messages", &[number, 1], &answer);
            }
        }
    }
}

/// The payloads of a binary stream, one a line.
fn payloads(stream: &[u8]) -> Vec<u8> {
    let mut framer = clyra::wire::Framing::EventStream.framer();
    let mut frames = Vec::new();
    let _ = framer.feed(stream, &mut frames);
    let data: Vec<&[u8]> = frames.iter().filter_map(|frame| frame.data.as_deref()).collect();
    data.join(&b'\n')
}

fn suites(shared: &Path, out: &mut Out) {
    let suites = shared.join("suites");
    for path in
        files(&suites.join("jsontestsuite")).iter().filter(|path| path.extension().is_some_and(|ext| ext == "json"))
    {
        let bytes = fs::read(path).unwrap_or_default();
        out.write("json", &[], &bytes);
        if bytes.len() < 200 {
            out.write("canonical", &[], &bytes);
            out.write("json_lock", &[0, 1, 3], &bytes);
        }
    }
    let cases = fs::read_to_string(suites.join("sse/sse-cases.jsonl")).unwrap_or_default();
    for case in cases.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let hex: String = case["chunks_hex"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let byte = |at: usize| hex.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).filter_map(byte).collect();
        out.write("sse", &[3], &bytes);
    }
    for path in
        files(&suites.join("csv-spectrum")).iter().filter(|path| path.extension().is_some_and(|ext| ext == "csv"))
    {
        out.write("csv_lock", &[0, 5, 3], &fs::read(path).unwrap_or_default());
    }
    for path in files(&suites.join("json-schema-test-suite/tests/draft2020-12")) {
        let tests: Value =
            fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        for group in tests.as_array().into_iter().flatten() {
            for test in group["tests"].as_array().into_iter().flatten().take(1) {
                out.write("contract", &[1, 3], format!("{}\n{}", group["schema"], test["data"]).as_bytes());
            }
        }
    }
    let damaged = fs::read_to_string(shared.join("repair/consensus.jsonl")).unwrap_or_default();
    for case in damaged.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if let Some(text) = case["input"].as_str() {
            out.write("json_lock", &[0, 9, 3], text.as_bytes());
        }
    }
    for path in files(&shared.join("vectors")) {
        let bytes = fs::read(&path).unwrap_or_default();
        match path.extension().and_then(|ext| ext.to_str()) {
            Some("ots" | "tsr" | "der" | "tsq") => out.write("anchor", &[], &bytes),
            Some("note" | "vkey") => out.write("note", &[], &bytes),
            _ => {}
        }
    }
}
