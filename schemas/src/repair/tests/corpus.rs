//! Cases that others wrote: right or refused, never a third value.
//!
//! `repair/consensus.jsonl` has the damage that two mature libraries repair to the same value. Here each of its cases is mapped to what is
//! damaged in it: what the classes name must be repaired with these classes alone; anything else is a guess, although two made the same,
//! and may only be refused or right. Read from `$CLYRA_SHARED_DATA` or `../shared/data` beside the workspace; without them these tests say that
//! they skipped, and fail in CI.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use serde_json::Value;

use super::*;
use RepairClass::*;

/// The numbers of the consensus cases that need exactly these classes.
const MENDED: &[(&[RepairClass], &[u32])] = &[
    (&[UnquotedNames], &[2, 3, 4, 5, 6, 224, 230, 263]),
    (
        &[CloseBrackets],
        &[21, 23, 25, 27, 125, 127, 128, 142, 146, 170, 177, 186, 201, 211, 231, 241, 248, 249, 250, 265],
    ),
    (&[CloseBrackets, TrailingCommas], &[24, 126, 143, 144, 178, 184]),
    (&[CloseBrackets, Comments], &[196]),
    (&[Quotes], &[55, 56, 57, 59, 175, 181, 216, 227, 243, 245, 257]),
    (&[Quotes, UnquotedNames], &[58, 60]),
    (&[ControlCharacters], &[61, 62, 63, 64, 242, 252]),
    (&[Whitespace], &[70, 71, 72, 73, 74, 75, 76, 77, 78]),
    (&[Comments], &[79, 80, 81, 82, 83, 84, 85, 86, 87, 191, 193, 194, 195, 197, 198, 199]),
    (&[Fences], &[96, 97, 98, 99, 100, 101, 102, 103, 246]),
    (&[LeadingCommas], &[107, 108, 109, 110, 112, 113]),
    (&[LeadingCommas, Comments], &[111]),
    (&[TrailingCommas], &[114, 115, 116, 117, 118, 119, 120, 122, 123, 124, 255, 256, 259, 260, 264]),
    (&[TrailingCommas, Comments], &[121]),
    (&[ExtraBrackets], &[133, 134, 135, 138]),
    (&[MissingCommas], &[162, 212]),
    (&[MissingCommas, UnquotedNames], &[163]),
    (&[PythonLiterals], &[208]),
    (&[Escapes], &[244, 254]),
];

/// The numbers of the others, by what is damaged in them.
const GUESSED: &[(&str, &[u32])] = &[
    (
        "a value has no quotes",
        &[
            1, 7, 8, 9, 10, 11, 12, 17, 150, 151, 152, 153, 154, 156, 157, 158, 159, 164, 165, 166, 205, 206, 207, 209,
            214, 215, 217, 222, 225, 226, 232, 233, 258, 261, 262,
        ],
    ),
    (
        "a string has no end",
        &[
            13, 14, 15, 16, 18, 19, 20, 22, 26, 32, 33, 34, 52, 53, 54, 149, 176, 185, 187, 221, 223, 228, 229, 236,
            237, 238, 239, 240,
        ],
    ),
    ("a string has no beginning", &[47, 48, 49, 50, 51]),
    ("quotes in a string are not escaped", &[65, 173, 174, 188, 190, 213, 234, 235, 251, 253]),
    ("an escape is cut off", &[29, 30, 31]),
    ("a number is cut off", &[28, 167, 204]),
    ("it is no number", &[155, 200, 202, 203]),
    ("something was left out (`...`)", &[35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 179, 180, 182]),
    ("elements have no comma between them", &[66, 67, 68, 69, 160, 161, 183, 189]),
    ("a member has no colon", &[168, 169, 267]),
    (
        "a bracket is missing in the middle",
        &[129, 130, 131, 132, 136, 137, 139, 140, 141, 145, 147, 148, 172, 210, 218, 266],
    ),
    ("it is a call", &[88, 89, 90, 91, 92, 93, 94, 95]),
    ("the fence is in brackets", &[104, 105]),
    ("the document is escaped", &[106, 219]),
    ("there are two documents", &[171, 220]),
    ("what is missing may be in the comment", &[192]),
    ("a member is there twice", &[247]),
];

fn data(name: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = env::var_os("CLYRA_SHARED_DATA").map_or(beside, PathBuf::from).join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "CI does not skip: {} is missing", path.display());
    println!("skipped: {} is missing", path.display());
    None
}

struct Case {
    id: String,
    input: String,
    /// None if nothing may come out.
    expected: Option<Value>,
}

fn cases(name: &str) -> Option<Vec<Case>> {
    let text = fs::read_to_string(data("repair")?.join(name)).unwrap();
    let case = |line| {
        let case: Value = serde_json::from_str(line).unwrap();
        Case {
            id: case["id"].as_str().unwrap().to_owned(),
            input: case["input"].as_str().unwrap().to_owned(),
            expected: case["expected"].as_str().map(|expected| serde_json::from_str(expected).unwrap()),
        }
    };
    Some(text.lines().map(case).collect())
}

/// Whether it was repaired right, or else refused.
#[track_caller]
fn is_right(case: &Case, policy: RepairPolicy) -> bool {
    let mended = mend(policy, &case.input, End::Stop);
    if !is_strict(&mended.text) {
        return false;
    }
    let value = serde_json::from_str::<Value>(&mended.text).unwrap();
    assert_eq!(Some(value), case.expected, "{}: {:?} became {:?}", case.id, case.input, mended.text);
    true
}

#[test]
fn what_two_libraries_agree_on() {
    let Some(cases) = cases("consensus.jsonl") else { return };
    let by_number: BTreeMap<u32, &Case> = (1..).zip(&cases).collect();
    let (mut mapped, mut right, mut refused) = (Vec::new(), 0, 0);
    for (classes, numbers) in MENDED {
        for number in *numbers {
            let case = by_number[number];
            mapped.push(*number);
            assert!(
                is_right(case, RepairPolicy::of(classes.iter().copied())),
                "{}: {:?} was refused",
                case.id,
                case.input
            );
            assert!(is_right(case, RepairPolicy::all()), "{}: {:?} was refused with all allowed", case.id, case.input);
        }
    }
    let allowed = mapped.len();
    for (_, numbers) in GUESSED {
        for number in *numbers {
            mapped.push(*number);
            *(if is_right(by_number[number], RepairPolicy::all()) { &mut right } else { &mut refused }) += 1;
        }
    }
    mapped.sort_unstable();
    assert_eq!(mapped, by_number.into_keys().collect::<Vec<_>>(), "each case is mapped once");
    println!(
        "consensus: {allowed} of {allowed} right for the classes; of the others {right} right and {refused} refused; {} in all",
        cases.len()
    );
    assert_eq!((allowed, right + refused), (121, 146));
}

#[test]
fn no_case_of_jsonrepair_gets_a_third_value() {
    let Some(cases) = cases("npm-jsonrepair.jsonl") else { return };
    let (mut valid, mut right, mut refused) = (0, 0, 0);
    for case in &cases {
        if is_strict(&case.input) {
            valid += 1;
            assert_eq!(mend(RepairPolicy::all(), &case.input, End::Stop).edits, [], "{}", case.id);
        }
        *(if is_right(case, RepairPolicy::all()) { &mut right } else { &mut refused }) += 1;
    }
    println!(
        "npm-jsonrepair: {right} right, of which {valid} were valid as they came; {refused} refused; {} in all",
        cases.len()
    );
    assert_eq!(cases.len(), 417);
    assert!(right - valid >= 90, "only {right} of damaged cases are repaired");
}

#[test]
fn valid_texts_of_json_test_suite_are_not_touched() {
    let Some(path) = data("suites/jsontestsuite/test_parsing") else { return };
    let (mut valid, mut refused, mut mended) = (0, 0, 0);
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // What is no text never gets as far as a mender.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let result = mend(RepairPolicy::all(), &text, End::Stop);
        match name.as_bytes()[0] {
            b'y' => {
                assert_eq!(result, Result { text, edits: vec![] }, "{name}");
                valid += 1;
            }
            _ if is_strict(&result.text) => mended += usize::from(!result.edits.is_empty()),
            _ => refused += 1,
        }
    }
    println!("JSONTestSuite: {valid} valid texts not touched; of the others {mended} mended and {refused} refused");
    assert_eq!(valid, 95);
}
