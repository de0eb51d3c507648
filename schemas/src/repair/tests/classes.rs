//! Damage by damage: what is mended, what each repair is called, and what is left alone.

use super::*;
use RepairClass::*;

/// Mended with these classes allowed and no other, by edits of exactly these; and refused with any of them missing.
#[track_caller]
fn mends(needed: &[RepairClass], text: &str, expected: &str) {
    let policy = RepairPolicy::of(needed.iter().copied());
    let mended = mend(policy, text, End::Stop);
    assert_eq!(mended.text, expected);
    assert!(is_strict(expected), "{expected}");
    let mut needed = needed.to_vec();
    needed.sort();
    assert_eq!(classes(&mended.edits), needed, "{text:?}: {:?}", mended.edits);
    assert_eq!(mend(RepairPolicy::all(), text, End::Stop), mended, "{text:?} with everything allowed");
    for class in needed {
        let less = mend(policy.without(class), text, End::Stop);
        assert!(!is_strict(&less.text), "{text:?} without {}: {:?}", class.name(), less.text);
        let less = mend(RepairPolicy::all().without(class), text, End::Stop);
        assert!(!is_strict(&less.text), "{text:?} with all but {}: {:?}", class.name(), less.text);
    }
}

/// Refused by the strict reader although everything is allowed.
#[track_caller]
fn refuses(text: &str) {
    let mended = mend(RepairPolicy::all(), text, End::Stop);
    assert!(!is_strict(&mended.text), "{text:?} was mended to {:?}", mended.text);
}

#[test]
fn byte_order_mark() {
    mends(&[ByteOrderMark], "\u{feff}{}", "{}");
    mends(&[ByteOrderMark], "\u{feff} 1", " 1");
    mends(&[ByteOrderMark, Fences], "\u{feff}```\n{}\n```", "\n{}\n");
}

#[test]
fn fences() {
    mends(&[Fences], "```json\n{\"a\":\"b\"}\n```", "\n{\"a\":\"b\"}\n");
    mends(&[Fences], " ```JSON\r\n[1]\r\n``` \n", " \r\n[1]\r\n \n");
    mends(&[Fences], "```\n42\n```", "\n42\n");
    mends(&[Fences], "```json\n\"x\"```", "\n\"x\"");
    mends(&[Fences], "```{}```", "{}");
    mends(&[Fences], "```json[1]\n```", "[1]\n");
    mends(&[Fences], "```javascript1x\n{}", "\n{}");
    mends(&[Fences], "{}\n```", "{}\n");
    refuses("```averylonglabel\n{}\n```");
    refuses("```json title=x\n{}\n```");
    refuses("````\n{}\n````");
    refuses("``\n{}\n``");
    refuses("```\n{}\n```\n```\n{}\n```");
    refuses("{\"a\":\n```\n1\n```}");
    refuses("```");
    refuses("```json");
    refuses("```json\n");
    refuses("```json\n``");
    refuses("```json\n`````");
    refuses("`` ");
    refuses("```json\nhere it is:\n{}\n```");
}

#[test]
fn prose() {
    mends(&[Prose], "Here is the JSON: {\"a\":1}", "{\"a\":1}");
    mends(&[Prose], "Sure! Here's what you asked for.\n\n[1]\n\nLet me know if that's right.", "[1]\n\n");
    mends(&[Prose], "**Result** of the query:\n{}", "{}");
    mends(&[Prose], "the `user` object: {}", "{}");
    mends(&[Prose], "以下是结果：{}", "{}");
    mends(&[Prose], "{}\n\nNote: all values are estimates, true or not.", "{}\n\n");
    mends(&[Prose, Fences], "Here you go:\n```json\n{}\n```\nHope this helps!", "\n{}\n\n");
    mends(&[Prose, Fences], "The answer is:\n```\n42\n```\nHope this helps!", "\n42\n\n");
    // The bracket may belong to the prose.
    refuses("Here are [3] items: {\"a\":1}");
    refuses("Here are the items: [3] {\"a\":1}");
    refuses("According to the sources: [1] and others");
    refuses("According to the sources:\n[1] and others");
    refuses("Use {name} as a placeholder:\n{\"a\":1}");
    // It may be a name, a call, or a value.
    refuses("result: {\"a\":1}");
    refuses("The \"result\": {\"a\":1}");
    refuses("callback({\"a\":1});");
    refuses("callback {}");
    refuses("true story:\n{}");
    refuses("None of these:\n{}");
    refuses("1. First item:\n{}");
    refuses("- First item:\n{}");
    refuses("\"text\" as is:\n{}");
    // More than one document, or none.
    refuses("{} {}");
    refuses("{}\nand also this:\n{}");
    refuses("{}\nHere is \"more\" of it");
    refuses("I cannot help with that.");
    refuses("{}foo bar");
    refuses("{} foo bar");
    refuses("{}\nb: 2");
    refuses("{}\nfoo: true");
    refuses("42\nis the answer");
    refuses("\"yes\"\nis the answer");
    // What is missing at the end may never have been meant.
    refuses("foo bar: [");
    refuses(&format!("{} : {{}}", "word ".repeat(1000)));
    refuses(&format!("{{}}\n{}", "word ".repeat(1000)));
}

#[test]
fn commas() {
    mends(&[TrailingCommas], "[1,2,3, \n ]", "[1,2,3 \n ]");
    mends(&[TrailingCommas], "{\"a\":2,}", "{\"a\":2}");
    mends(&[TrailingCommas], "{\"a\":[{},],}", "{\"a\":[{}]}");
    mends(&[TrailingCommas], "{} , ", "{}  ");
    mends(&[TrailingCommas], "4,", "4");
    mends(&[LeadingCommas], "[ , 1]", "[  1]");
    mends(&[LeadingCommas], "{,\"a\":1}", "{\"a\":1}");
    mends(&[LeadingCommas, TrailingCommas], "[,1,]", "[1]");
    // A value may be missing.
    for text in [
        "[,]",
        "{,}",
        "[,,1]",
        "[1,,]",
        "[1,,2]",
        "{\"a\":1,,}",
        "{\"a\":,}",
        "{,:1}",
        "{},,",
        "{},}",
        "[1,}",
        ",1",
        ",",
    ] {
        refuses(text);
    }
    refuses("{},{}");
    refuses("1,2");
    refuses("{},\nand so on");
}

#[test]
fn missing_commas() {
    mends(
        &[MissingCommas],
        "{\"a\":2\n\"b\":[] \"c\":\"x\"\"d\":{}\"e\":null}",
        "{\"a\":2\n,\"b\":[] ,\"c\":\"x\",\"d\":{},\"e\":null}",
    );
    mends(&[MissingCommas, Quotes], "{\"a\":'x''b':1}", "{\"a\":\"x\",\"b\":1}");
    mends(&[MissingCommas, UnquotedNames], "{\"a\":1\nb:2}", "{\"a\":1\n,\"b\":2}");
    mends(&[MissingCommas, UnquotedNames], "{\"a\":1\nlong-name :2}", "{\"a\":1\n,\"long-name\" :2}");
    // Elements of arrays: a string in two parts, or two strings?
    refuses("[\"a\" \"b\"]");
    refuses("[1 2]");
    refuses("[{} {}]");
    // Members without a colon, or the rest of a string behind an unescaped quote.
    refuses("{\"a\":1 \"b\"}");
    refuses("{\"a\":\"say \"yes\": then\"}");
    refuses("{\"a\":\"say \"yes: \"then\"}");
    refuses("{\"a\":\"say \"yes\" now\"}");
    refuses("{\"a\":1 b:2}");
    refuses("{\"a\" \"b\"}");
}

#[test]
fn brackets() {
    mends(&[ExtraBrackets], "{\"a\": 1 }  }  ]  }  ", "{\"a\": 1 }        ");
    mends(&[ExtraBrackets], "[1]]", "[1]");
    mends(&[ExtraBrackets, Prose], "{}}\nThat is all.", "{}\n");
    for text in [
        "[1]}",
        "{}]",
        "1]",
        "\"a\"}",
        "{\"a\":2]",
        "[2}",
        "[}",
        "[{\"b\":2]",
        "{\"a\":{\"b\":1}},\"c\":2}",
        "```\n{}\n```}",
    ] {
        refuses(text);
    }
    mends(&[CloseBrackets], "{\"a\":[1,{\"b\":\"c\"", "{\"a\":[1,{\"b\":\"c\"}]}");
    mends(&[CloseBrackets], "[[1, 2\n", "[[1, 2\n]]");
    mends(&[CloseBrackets], "{", "{}");
    mends(&[CloseBrackets], "[true ,[", "[true ,[]]");
    // One character bears both repairs; the edit has the name of the greater, and needs both allowed.
    for (class, text, expected) in [(TrailingCommas, "[[1,2,", "[[1,2]]"), (Whitespace, "[[1\u{2003}", "[[1 ]]")] {
        let policy = RepairPolicy::of([CloseBrackets, class]);
        let mended = mend(policy, text, End::Stop);
        assert_eq!((mended.text.as_str(), classes(&mended.edits)), (expected, vec![CloseBrackets]));
        assert!(!is_strict(&mend(policy.without(class), text, End::Stop).text));
    }
    mends(&[CloseBrackets, TrailingCommas], "[1, ", "[1 ]");
    mends(&[CloseBrackets, PythonLiterals], "{\"a\":None", "{\"a\":null}");
    mends(&[CloseBrackets, Comments], "{\"a\":1 // the first", "{\"a\":1 }");
    mends(&[CloseBrackets, Comments], "{\"a\":1 /* the", "{\"a\":1 }");
    mends(&[CloseBrackets, Quotes], "{\"a\":'b'", "{\"a\":\"b\"}");
    mends(&[CloseBrackets, Fences], "```json\n{\"a\":1", "\n{\"a\":1}");
    for text in [
        "",
        " ",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":tru",
        "[\"a",
        "[1.",
        "[-",
        "[1e",
        "{\"a\":1,\"b",
        "{a",
        "[,",
        "[Tru",
        "['a",
        "[\"a\\",
        "[1,2}",
        "[1 /",
        "{\"a\": 1, // one }\n",
        "{\"a\": 1 // \"b\": 2",
    ] {
        refuses(text);
    }
}

#[test]
fn brackets_are_closed_only_when_the_answer_ended_by_itself() {
    for (end, closed) in [
        (End::Stop, true),
        (End::ToolCalls, true),
        (End::Length, false),
        (End::ContentFilter, false),
        (End::Refusal, false),
        (End::UpstreamError, false),
        (End::Cancelled, false),
    ] {
        for text in ["{\"a\":[1", "[1,", "[1, ", "[None"] {
            let mended = mend(RepairPolicy::all(), text, end);
            assert_eq!(is_strict(&mended.text), closed, "{text:?} at {end:?}: {:?}", mended.text);
        }
        assert_eq!(mend(RepairPolicy::all(), "{'a':1,}", end).text, "{\"a\":1}", "other repairs do not depend on it");
    }
}

#[test]
fn quotes() {
    mends(&[Quotes], "{'a':'foo', \"b\" : `x`}", "{\"a\":\"foo\", \"b\" : \"x\"}");
    mends(&[Quotes], "{“a”:“b”,‘c’: ‘d’}", "{\"a\":\"b\",\"c\": \"d\"}");
    mends(&[Quotes], r#"['say "hi"', 'it\'s', 'a\"b', 'a "b", c']"#, r#"["say \"hi\"", "it's", "a\"b", "a \"b\", c"]"#);
    mends(&[Quotes], "['’', '“x”, y', “it's”, ``, '']", "[\"’\", \"“x”, y\", \"it's\", \"\", \"\"]");
    mends(&[Quotes], "`a`", "\"a\"");
    refuses("``");
    mends(&[Quotes], r"'a\n\u00e9\\'", r#""a\n\u00e9\\""#);
    mends(&[Quotes, ControlCharacters], "'a\nb'", "\"a\\nb\"");
    for text in [
        "'it's fine'",
        "{'a': 'it's \"}",
        "['a\", \"b']",
        "['a\", 'b']",
        "{“a\": 1, “b”: 2}",
        "{“a': 1, “b”: 2}",
        "{“a: 1, “b”: 2}",
        "['a”, ”b']",
        "[“a “b” c”]",
        "`foo'",
        "`foo´",
        "['a' 'b']",
        "'abc",
        "`a ${b}`",
        "'''a'''",
        "\"\"\"a\"\"\"",
        "{\"a\": \"\"\"x\"\"\"}",
        "{\"a”: 1}",
        "'a\u{0}'",
    ] {
        refuses(text);
    }
    refuses(&format!("'{}'", "x".repeat(70_000)));
}

#[test]
fn unquoted_names() {
    mends(
        &[UnquotedNames],
        "{a:2, $b_1 : 3, c-d\n:4, é:5, 2:6, 0:7, true:8}",
        "{\"a\":2, \"$b_1\" : 3, \"c-d\"\n:4, \"é\":5, \"2\":6, \"0\":7, \"true\":8}",
    );
    for text in [
        "{True:1}",
        "{None:1}",
        "{01:1}",
        "{1.5:1}",
        "{1e3:1}",
        "{1234567890123456:1}",
        "{a b:1}",
        "{a}",
        "{a,b}",
        "{a 'b'}",
        "{a\":1}",
        "{a:b}",
        "{a\u{a0}:1}",
        "{-a:1}",
        "{:1}",
    ] {
        refuses(text);
    }
    refuses(&format!("{{{}:1}}", "a".repeat(300)));
}

#[test]
fn comments() {
    mends(&[Comments], "/* a */ {\"a\":/*b*/1, // c }\n\"d\":2 # e\r\n} // f", "  {\"a\": 1, \n\"d\":2 \r\n} ");
    mends(&[Comments], "{} /* foo ", "{} ");
    mends(&[Comments], "[1/**/,/***/2]", "[1 , 2]");
    mends(&[Comments, TrailingCommas], "[1,/*a*/] //b", "[1 ] ");
    mends(&[Comments, LeadingCommas], "[/*a*/,/*b*/1]", "[  1]");
    mends(&[Comments, TrailingCommas], "{}, # a", "{} ");
    // What stood apart stays apart.
    refuses("[1/* */2]");
    refuses("[1/**/2]");
    refuses("[tr/**/ue]");
    refuses("/regex/");
    refuses("{} /");
    refuses("[1 // a\u{2028}]\n]");
    refuses(&format!("/*{}*/1", "x".repeat(5_000)));
    // A string whose first quote is missing, or a value that has none.
    refuses("{#\": 1,\n\"a\":2}");
    refuses("[1, //x\",\n2]");
    refuses("[/*x\", 1, \"*/\"]");
    refuses("{} //x\"");
    refuses("[\n//\\\"\"\n]");
    refuses("['a', //x', 'b'\n]");
    refuses("['a'] //x'");
    refuses("['a', //\\'x'\n]");
    // The comma may be in the comment.
    refuses("{\"a\":1 // one, two\n\"b\":2}");
    mends(&[Comments, MissingCommas], "{\"a\":1 // one\n\"b\":2}", "{\"a\":1 \n,\"b\":2}");
    mends(&[Comments], "[1, // it's what 'one' is\n2]", "[1, \n2]");
    refuses("[1, #tag,\n2]");
    refuses("[1 #2\n]");
    mends(&[Comments], "[1, // \"one\" or \"two\"\n2] #", "[1, \n2] ");
    // Not in strings.
    assert_eq!(mend(RepairPolicy::all(), "\"/* a */ // b # c\"", End::Stop).edits, []);
}

#[test]
fn whitespace() {
    mends(&[Whitespace], "\u{a0}{\u{b}\"a\u{a0}\"\u{2009}:\u{3000}1\u{c}\u{feff}}\u{2028}", " { \"a\u{a0}\" : 1  } ");
    mends(&[Whitespace], "[\u{180e}1\u{200b},\u{205f}2\u{202f}]\u{85}", "[ 1 , 2 ] ");
    refuses("[1\u{a0}2]");
    refuses("[1\u{200b}2]");
    refuses("[tr\u{200b}ue]");
    refuses("[1\u{2060}]");
}

#[test]
fn control_characters() {
    mends(&[ControlCharacters], "{\"a\nb\":\"\t\r\u{8}\u{c}\"}", "{\"a\\nb\":\"\\t\\r\\b\\f\"}");
    for text in ["\"\u{0}\"", "\"\u{1f}\"", "\"\u{1b}[0m\"", "\"a\\\nb\"", "[\n\"abc,\n\"def\"\n]", "[\n\"abc\n]\n"] {
        refuses(text);
    }
    assert_eq!(mend(RepairPolicy::all(), "\"\u{7f}\u{85}\u{2028}\"", End::Stop).edits, []);
}

#[test]
fn escapes() {
    mends(&[Escapes], r#"{"a\d":"^\d+\s\w$"}"#, r#"{"a\\d":"^\\d+\\s\\w$"}"#);
    mends(&[Escapes], r#"["C:\Program\"", "it\'s", "a \„ b", "\n"]"#, r#"["C:\\Program\"", "it's", "a „ b", "\n"]"#);
    mends(&[Escapes, Quotes], r"['\d', `it\'s`]", r#"["\\d", "it's"]"#);
    for text in [
        // Escapes of other languages, which stand for a character.
        r#""\a""#,
        r#""\v""#,
        r#""\e""#,
        r#""\0""#,
        r#""\1""#,
        r#""\x41""#,
        r#""\U0001F600""#,
        r#""\N{DASH}""#,
        // A pattern, or an escape that is not needed.
        r#""\.""#,
        r#""\$""#,
        r#""\_""#,
        r#""\-""#,
        r#""\`""#,
        r#""\u12""#,
        r#""\uZ000""#,
        r#""\u""#,
        r#""\ud800""#,
        // If the backslash before `d` is one, those before the others may be, too.
        r#""C:\data\new""#,
        r#""\bword\d""#,
        r#""\\server\share""#,
        r#""\d\/\d""#,
        r#""\d\u0041""#,
        r#""it\'s \d""#,
        r#""\d it\'s""#,
        r#""\d"#,
    ] {
        refuses(text);
    }
    refuses(&format!("\"\\d{}\"", "x".repeat(70_000)));
}

#[test]
fn python_literals() {
    mends(&[PythonLiterals], "{\"a\":True,\"b\":[False ,None]}", "{\"a\":true,\"b\":[false ,null]}");
    mends(&[PythonLiterals], "True", "true");
    mends(&[PythonLiterals], " None\n", " null\n");
    for text in [
        "Trueble",
        "True1",
        "Tru",
        "[TrueFalse]",
        "[None_]",
        "[NaN]",
        "[TRUE]",
        "[none]",
        "[Undefined]",
        "True False",
        "None\nof it",
    ] {
        refuses(text);
    }
}

#[test]
fn nothing_else_is_mended() {
    for text in [
        "{\"a\":}",
        "[undefined]",
        "[NaN]",
        "[Infinity]",
        "[-Infinity]",
        "[.5]",
        "[+1]",
        "[01]",
        "[0x10]",
        "[1_000]",
        "[1.]",
        "[2e]",
        "-",
        "ObjectId(\"1\")",
        "{\"a\":b}",
        "hello",
        "[1,...]",
        "{\"a\"=1}",
        "(1,2)",
        "{'a','b'}",
        "{\"a\":\"b",
        "\"a\" + \"b\"",
        "{\\\"a\\\": 1}",
        "<json>{}</json>",
        ";",
        "{};",
        "{\"a\";1}",
    ] {
        refuses(text);
    }
}
