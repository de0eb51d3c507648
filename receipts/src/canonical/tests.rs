use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Value, JsonFault> {
    parse(text.as_bytes(), Limits::RECEIPT).map_err(|error| error.fault)
}

#[test]
fn what_is_outside_the_subset_is_refused_with_its_own_reason() {
    for (text, fault) in [
        (r#"{"a":1,"a":1}"#, JsonFault::RepeatedName),
        (r#"{"a":1,"\u0061":1}"#, JsonFault::RepeatedName),
        ("1.0", JsonFault::Number),
        ("1e3", JsonFault::Number),
        ("-0", JsonFault::Number),
        ("9007199254740992", JsonFault::Number),
        ("-9007199254740992", JsonFault::Number),
        ("99999999999999999999999999", JsonFault::Number),
        (r#""\ud800""#, JsonFault::Text),
        (r#""\udc00""#, JsonFault::Text),
        (r#""\ud800\u0041""#, JsonFault::Text),
        (r#"{"é":1}"#, JsonFault::Text),
        ("01", JsonFault::Syntax),
        ("-", JsonFault::Syntax),
        ("+1", JsonFault::Syntax),
        ("NaN", JsonFault::Syntax),
        ("nul", JsonFault::Syntax),
        ("", JsonFault::Syntax),
        ("{} {}", JsonFault::Syntax),
        ("[1,]", JsonFault::Syntax),
        (r#"{"a":1,}"#, JsonFault::Syntax),
        ("{a:1}", JsonFault::Syntax),
        ("\u{feff}{}", JsonFault::Syntax),
        ("\"a\nb\"", JsonFault::Syntax),
        (r#""\x41""#, JsonFault::Syntax),
        (r#""\u12g4""#, JsonFault::Syntax),
        ("\"a", JsonFault::Syntax),
        ("[", JsonFault::Syntax),
    ] {
        assert_eq!(read(text), Err(fault), "{text}");
    }
    assert_eq!(parse(b"\"\xff\"", Limits::RECEIPT).map_err(|error| error.fault), Err(JsonFault::Text));
}

#[test]
fn the_bounds_hold() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(DEPTH_MAX)).is_ok());
    assert_eq!(read(&nested(DEPTH_MAX + 1)), Err(JsonFault::Limit));
    assert_eq!(read(&nested(20_000)), Err(JsonFault::Limit));
    assert_eq!(read(&format!("\"{}\"", "a".repeat(64 * 1024))), Err(JsonFault::Limit));
    let few = Limits { values_max: 3, ..Limits::RECEIPT };
    assert!(parse(b"[1,2]", few).is_ok());
    assert_eq!(parse(b"[1,2,3]", few).map_err(|error| error.fault), Err(JsonFault::Limit));
    assert!(read("9007199254740991").is_ok());
    assert!(read("-9007199254740991").is_ok());
}

#[test]
fn escapes_are_those_of_rfc_8785() {
    let value = read(r#""\u0000\u001f\b\t\n\f\r\"\\\/\u007f\u20ac\ud83d\ude00""#).unwrap();
    assert_eq!(String::from_utf8(to_vec(&value)).unwrap(), "\"\\u0000\\u001f\\b\\t\\n\\f\\r\\\"\\\\/\u{7f}€😀\"");
}

#[test]
fn a_value_built_in_memory_is_held_to_the_same_rules() {
    assert_eq!(Value::Integer(INTEGER_MAX + 1).check(), Err(OutsideSubset::Integer));
    assert_eq!(Value::Integer(i64::MIN).check(), Err(OutsideSubset::Integer));
    assert_eq!(Value::from([("é", Value::Null)]).check(), Err(OutsideSubset::MemberName));
    let mut deep = Value::Null;
    for _ in 0..=DEPTH_MAX {
        deep = Value::Array(vec![deep]);
    }
    assert_eq!(deep.check(), Err(OutsideSubset::Depth));
}

#[test]
fn serde_reads_and_refuses_like_the_strict_reader() {
    for (text, good) in [
        (r#"{"a":[1,null,true,"x"]}"#, true),
        (r#"{"a":1,"a":2}"#, false),
        ("1.5", false),
        ("18446744073709551615", false),
        ("9007199254740992", false),
        (r#"{"é":1}"#, false),
    ] {
        assert_eq!(serde_json::from_str::<Value>(text).is_ok(), good, "{text}");
    }
}

/// Values of the subset, to arbitrary shape.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::Integer),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("[ -~\\x00-\\x1f]{0,6}", inner, 0..6).prop_map(Value::Object),
        ]
    })
}

proptest! {
    #[test]
    fn written_bytes_are_those_of_an_independent_rfc_8785_writer(value in any_value()) {
        let ours = to_vec(&value);
        let oracle = serde_json_canonicalizer::to_vec(&value).unwrap();
        prop_assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&oracle));
        let again = parse(&ours, Limits::RECEIPT).unwrap();
        prop_assert!(is_canonical(&ours, &again));
        prop_assert_eq!(again, value.clone());
        let mut record = Vec::new();
        write::write_record(&value, &mut record);
        prop_assert_eq!(record, ours);
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, Limits::RECEIPT);
    }

    #[test]
    fn whatever_is_accepted_is_json_to_others_too(text in r#"[\[\]{}":,0-9a-z\\. \-]{0,40}"#) {
        if let Ok(value) = parse(text.as_bytes(), Limits::RECEIPT) {
            let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(serde_json::to_value(&value).unwrap(), theirs);
        }
    }
}

#[test]
fn rfc8785_published_documents() {
    let Some(vectors) = crate::sample::vectors("rfc8785") else { return };
    let testdata = vectors.join("rfc8785-cyberphone/testdata");
    let limits = Limits::RECEIPT;
    for (name, fault) in [
        // Plain integers and any strings: ours. The others have fractions or member names beyond ASCII, which the subset
        // refuses.
        ("arrays", None),
        ("french", Some(JsonFault::Text)),
        ("structures", Some(JsonFault::Number)),
        ("unicode", None),
        ("values", Some(JsonFault::Number)),
        ("weird", Some(JsonFault::Text)),
    ] {
        let input = std::fs::read(testdata.join(format!("input/{name}.json"))).unwrap();
        let output = std::fs::read(testdata.join(format!("output/{name}.json"))).unwrap();
        match parse(&input, limits) {
            Ok(value) => assert_eq!((to_vec(&value), None), (output, fault), "{name}"),
            Err(error) => assert_eq!(Some(error.fault), fault, "{name}: {error}"),
        }
    }
}
