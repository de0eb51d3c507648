//! The shared suites of CSV files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clyra_schemas::{CsvContract, End, Mode, Outcome, RepairPolicy, ViolationKind};
use serde_json::{Value, json};

use super::{contract, judge, judge_with, texts, violation};

/// Where the shared suites are; `None` after saying so.
fn suites() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let root = PathBuf::from(std::env::var("CLYRA_SHARED_DATA").unwrap_or_else(|_| beside.to_owned())).join("suites");
    if root.is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have the shared data");
    println!("SKIPPED: the shared suites are not here");
    None
}

/// Every file below `folder`, by its path from there.
fn files_below(folder: &Path, extensions: &[&str]) -> Vec<(String, String)> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(here).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension)) {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// As many columns for any text as the first record has, for a reader that forgives everything.
fn contract_by_first_record(text: &str, delimiter: u8) -> Arc<CsvContract> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let columns = reader.records().next().map_or(1, |record| record.unwrap().len());
    let mut document = texts(columns);
    document["delimiter"] = json!(char::from(delimiter).to_string());
    contract(document)
}

/// Checks each file: refused at its byte if it is listed, and otherwise passed byte for byte, in each mode, with the same
/// fields that the `csv` crate finds. How many were passed and refused.
fn hold_files(files: &[(String, String)], refused: &[(&str, ViolationKind, u64)]) -> (usize, usize) {
    let (mut passed, mut wrong) = (0, 0);
    for (name, text) in files {
        let delimiter = if name.ends_with(".tsv") { b'\t' } else { b',' };
        let contract = contract_by_first_record(text, delimiter);
        let expected = refused.iter().find(|(file, ..)| file == name);
        for mode in [Mode::Buffer, Mode::Verified, Mode::Cutoff, Mode::Observe] {
            for piece in [1, 5, usize::MAX] {
                let judged = judge_with(&contract, mode, RepairPolicy::NONE, text, piece, End::Stop);
                match (&judged.outcome, expected) {
                    (Outcome::Pass, None) => assert_eq!(judged.released, *text, "{name}"),
                    (Outcome::Block(found), Some((_, kind, at))) => {
                        assert_eq!((found.kind, found.at), (*kind, *at), "{name}");
                        assert!(mode == Mode::Observe || judged.released.len() as u64 <= *at, "{name}");
                    }
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
        match expected {
            None => passed += 1,
            Some(_) => wrong += 1,
        }
    }
    (passed, wrong)
}

#[test]
fn the_files_of_csv_spectrum_are_held_to_rfc_4180() {
    let Some(root) = suites() else { return };
    let files = files_below(&root.join("csv-spectrum/csvs"), &["csv"]);
    // Feet and inches: a quote in an unquoted field (§2.5), which readers take in different ways.
    let refused = [("location_coordinates.csv", ViolationKind::CsvSyntax, 81)];
    assert_eq!(hold_files(&files, &refused), (11, 1));
}

#[test]
fn the_files_of_csv_spectrum_have_their_rows() {
    let Some(root) = suites() else { return };
    for (name, text) in files_below(&root.join("csv-spectrum/csvs"), &["csv"]) {
        let name = name.strip_suffix(".csv").unwrap();
        if name == "location_coordinates" {
            continue;
        }
        let json = std::fs::read(root.join(format!("csv-spectrum/json/{name}.json"))).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        // One of them has its only row without the list around it.
        let rows = json.as_array().map_or(1, Vec::len);
        let header = text.lines().next().unwrap();
        let columns: Vec<Value> = header.split(',').map(|name| json!({"name": name, "type": "string"})).collect();
        let exactly =
            |rows: usize| contract(json!({"columns": columns, "formulas": "off", "rows_min": rows, "rows_max": rows}));
        assert_eq!(judge(&exactly(rows), &text, 1, End::Stop), (text.clone(), Outcome::Pass, 0), "{name}");
        assert_eq!(violation(&exactly(rows + 1), &text).kind, ViolationKind::TooFewRows, "{name}");
        assert_eq!(violation(&exactly(rows - 1), &text).kind, ViolationKind::TooManyRows, "{name}");
    }
}

/// CSV on the Web. None of its 145 negative tests is about the syntax of CSV (their files are among those that pass here): 144
/// name metadata that is wrong or that the cells break, and one a table whose titles are not those of its metadata.
/// Seven files are no table of RFC 4180; six of them need a dialect that skips lines, or are ragged on purpose.
#[test]
fn the_files_of_csv_on_the_web_are_held_to_rfc_4180() {
    let Some(root) = suites() else { return };
    let files = files_below(&root.join("csvw/tests"), &["csv", "tsv"]);
    let refused = [
        // Lines that end in a bare CR (the list of the tests itself).
        ("manifest.csv", ViolationKind::CsvSyntax, 94),
        // A comment of one field is the first line; the second delimiter of the first longer line is one too many.
        ("test051.csv", ViolationKind::ColumnCount, 54),
        ("test057.csv", ViolationKind::ColumnCount, 35),
        // Comments and blank lines between records of five fields.
        ("test052.csv", ViolationKind::ColumnCount, 77),
        ("test058.csv", ViolationKind::ColumnCount, 151),
        ("test055.csv", ViolationKind::ColumnCount, 195),
        // Rows of three, two and one fields.
        ("test091.csv", ViolationKind::ColumnCount, 24),
    ];
    assert_eq!(hold_files(&files, &refused), (196, 7));
}

/// The schema of a CSV on the Web datatype, where JSON Schema says exactly the same of a field that is spelled as in JSON.
fn schema_of_datatype(datatype: &Value) -> Option<Value> {
    let empty = serde_json::Map::new();
    let (base, facets) = match datatype {
        Value::Null => ("string", &empty),
        Value::String(base) => (base.as_str(), &empty),
        Value::Object(facets) => (facets.get("base").map_or(Some("string"), Value::as_str)?, facets),
        _ => return None,
    };
    let mut schema = match base {
        "string" => json!({"type": "string"}),
        "number" | "double" | "float" => json!({"type": "number"}),
        "integer" => json!({"type": "integer"}),
        "byte" => json!({"type": "integer", "minimum": i8::MIN, "maximum": i8::MAX}),
        "short" => json!({"type": "integer", "minimum": i16::MIN, "maximum": i16::MAX}),
        "int" => json!({"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX}),
        "long" => json!({"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX}),
        "unsignedByte" => json!({"type": "integer", "minimum": 0, "maximum": u8::MAX}),
        "unsignedShort" => json!({"type": "integer", "minimum": 0, "maximum": u16::MAX}),
        "unsignedInt" => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        "unsignedLong" => json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}),
        "nonNegativeInteger" => json!({"type": "integer", "minimum": 0}),
        "positiveInteger" => json!({"type": "integer", "minimum": 1}),
        "nonPositiveInteger" => json!({"type": "integer", "maximum": 0}),
        "negativeInteger" => json!({"type": "integer", "maximum": -1}),
        _ => return None,
    };
    let members = schema.as_object_mut().unwrap();
    for (facet, value) in facets {
        match (facet.as_str(), base) {
            ("base", _) => {}
            ("format", "string") => {
                members.insert("pattern".to_owned(), json!(format!("^(?:{})$", value.as_str()?)));
            }
            ("length", "string") => {
                members.insert("minLength".to_owned(), value.clone());
                members.insert("maxLength".to_owned(), value.clone());
            }
            ("minLength" | "maxLength", "string") => {
                members.insert(facet.clone(), value.clone());
            }
            ("minimum" | "minInclusive", "number" | "double" | "float") => {
                members.insert("minimum".to_owned(), value.clone());
            }
            ("maximum" | "maxInclusive", "number" | "double" | "float") => {
                members.insert("maximum".to_owned(), value.clone());
            }
            ("minExclusive", "number" | "double" | "float") => {
                members.insert("exclusiveMinimum".to_owned(), value.clone());
            }
            ("maxExclusive", "number" | "double" | "float") => {
                members.insert("exclusiveMaximum".to_owned(), value.clone());
            }
            _ => return None,
        }
    }
    Some(schema)
}

/// The contract of a table of CSV on the Web, if it says nothing that a contract cannot, and the name of its file.
fn contract_of_table(metadata: &Value) -> Option<(Value, String)> {
    let only = |value: &Value, keys: &[&str]| {
        value.as_object().is_some_and(|members| members.keys().all(|key| keys.contains(&key.as_str())))
    };
    let schema = &metadata["tableSchema"];
    if !only(metadata, &["@context", "url", "tableSchema", "rdfs:comment", "rdfs:label"])
        || !only(schema, &["columns", "primaryKey"])
    {
        return None;
    }
    let unique = match &schema["primaryKey"] {
        Value::Null => None,
        key => Some(key.as_str()?),
    };
    let columns = schema["columns"].as_array()?.iter().map(|column| {
        if !only(column, &["name", "titles", "datatype", "required"]) {
            return None;
        }
        let title = column.get("titles").or(column.get("name"))?.as_str()?;
        let required = column.get("required").map_or(Some(false), Value::as_bool)?;
        Some(json!({
            "name": title, "schema": schema_of_datatype(&column["datatype"])?, "required": required,
            "unique": unique.is_some_and(|unique| column["name"] == unique),
        }))
    });
    let columns = columns.collect::<Option<Vec<_>>>()?;
    Some((json!({"columns": columns, "formulas": "off"}), metadata["url"].as_str()?.to_owned()))
}

/// The validation tests of CSV on the Web about tables that a contract can describe: which must not be valid, and which must.
#[test]
fn typed_columns_judge_as_csv_on_the_web_does() {
    let Some(root) = suites() else { return };
    let root = root.join("csvw/tests");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).ok();
    let manifest: Value = serde_json::from_str(&read("manifest-validation.jsonld").unwrap()).unwrap();
    // `[must be valid][is]`
    let mut counts = [[0, 0], [0, 0]];
    for test in manifest["entries"].as_array().unwrap() {
        let (id, action) = (test["id"].as_str().unwrap(), test["action"].as_str().unwrap());
        let is_right = match test["type"].as_str().unwrap() {
            "csvt:NegativeValidationTest" => false,
            "csvt:PositiveValidationTest" => true,
            _ => continue,
        };
        // It is about two columns of one name, whose titles differ; a contract has the titles only.
        if id.ends_with("test128") {
            continue;
        }
        let folder = action.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let metadata = read(action).and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let Some((document, file)) = metadata.as_ref().and_then(contract_of_table) else { continue };
        let (Some(text), Ok(contract)) = (read(&format!("{folder}{file}")), CsvContract::compile(&document)) else {
            continue;
        };
        let outcome = judge(&contract, &text, 3, End::Stop).1;
        assert_eq!(outcome == Outcome::Pass, is_right, "{id}: {outcome:?}");
        counts[usize::from(is_right)][usize::from(outcome == Outcome::Pass)] += 1;
    }
    assert_eq!(counts, [[21, 0], [0, 4]]);
}
