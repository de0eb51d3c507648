//! The built-in secret rules: tokens whose form their issuer has published, so that a match is hardly ever chance.
//!
//! Each pattern begins with something rare, because a rule that can begin anywhere would hold back every stream.

use std::ops::Range;

use crate::config::Matcher;
use crate::engine::Refine;

/// The class of every finding here.
pub(crate) const CLASS: &str = "secret";

#[derive(Debug)]
pub(crate) struct Builtin {
    /// The detector id.
    pub(crate) id: &'static str,
    pub(crate) version: &'static str,
    pub(crate) score_ppm: u32,
    pattern: &'static str,
    pub(crate) refine: Option<Refine>,
}

impl Builtin {
    pub(crate) fn matcher(&self) -> Matcher {
        Matcher::Regex(self.pattern.to_owned())
    }
}

/// | id | what | reported |
/// | --- | --- | --- |
/// | `secrets.anthropic_api_key` | `sk-ant-…` | the key |
/// | `secrets.aws_access_key_id` | `AKIA`, `ASIA`, `ABIA`, `ACCA` and 16 capitals or digits; documented examples count | the id |
/// | `secrets.aws_secret_access_key` | 40 characters of base64 with capitals, small letters and digits, after `secret…key` | the 40 characters |
/// | `secrets.github_token` | `ghp_` `gho_` `ghu_` `ghs_` `ghr_` `github_pat_` | the token |
/// | `secrets.openai_api_key` | `sk-proj-` `sk-svcacct-` `sk-admin-`, and `sk-` with at least 32 letters and digits | the key |
/// | `secrets.private_key` | a private key in PEM form, from its `BEGIN` line to its `END` line or the last line seen | header and body |
pub(crate) const BUILTIN: &[Builtin] = &[
    Builtin {
        id: "secrets.anthropic_api_key",
        version: "1",
        score_ppm: 990_000,
        pattern: r"(?-u:\bsk-ant-[A-Za-z0-9_-]{20,})",
        refine: Some(not_placeholder),
    },
    Builtin {
        id: "secrets.aws_access_key_id",
        version: "1",
        score_ppm: 980_000,
        pattern: r"(?-u:(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b)",
        refine: Some(not_placeholder),
    },
    Builtin {
        id: "secrets.aws_secret_access_key",
        version: "1",
        score_ppm: 900_000,
        pattern: r#"(?x-u: (?i:secret [_\ -]? (?:access)? [_\ -]? (?:key)?)
            (?: ["'\\=:>|,`\s] | \bis\b ){1,8}
            [A-Za-z0-9/+]{40} \b{end-half})"#,
        refine: Some(aws_secret),
    },
    Builtin {
        id: "secrets.github_token",
        version: "1",
        score_ppm: 990_000,
        pattern: r"(?-u:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{36,})",
        refine: Some(not_placeholder),
    },
    Builtin {
        id: "secrets.openai_api_key",
        version: "1",
        score_ppm: 980_000,
        pattern: r"(?-u:\bsk-(?:(?:proj|svcacct|admin|service)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,}))",
        refine: Some(not_placeholder),
    },
    Builtin {
        id: "secrets.private_key",
        version: "1",
        score_ppm: 990_000,
        pattern: r"(?x-u: -----BEGIN\ (?:[A-Z0-9]+\ ){0,3}PRIVATE\ KEY(?:\ BLOCK)?-----
            (?:\s|\\[nr])*
            (?:(?:Proc-Type|DEK-Info|Version|Comment):\ [!-\[\]-~\ ]{1,80}(?:\s|\\[nr])+)*
            [A-Za-z0-9+/=]{16}(?:[A-Za-z0-9+/=]|\s|\\[nr])*
            (?:-----END\ [A-Z0-9\ ]{1,40}-----)?)",
        refine: None,
    },
];

/// Length of an AWS secret access key.
const AWS_SECRET_BYTES: usize = 40;

/// The key at the end of the match, if it has letters and digits as random characters do.
fn aws_secret(matched: &[u8]) -> Option<Range<usize>> {
    let key = matched.len().checked_sub(AWS_SECRET_BYTES)?..matched.len();
    let bytes = matched.get(key.clone())?;
    let has = |kind: fn(&u8) -> bool| bytes.iter().any(kind);
    (has(u8::is_ascii_alphabetic) && has(u8::is_ascii_digit)).then_some(key)
}

/// How many bytes at the end of a token tell a placeholder from a key. Among this many random characters of
/// base64url, none of them a digit and all letters of one case is less likely than one in a million.
const TAIL_BYTES: usize = 16;

/// All of the match, unless it ends as documentation's placeholders do: `sk-xxxx…`, `sk-proj-YOUR_KEY_GOES_HERE`.
fn not_placeholder(matched: &[u8]) -> Option<Range<usize>> {
    let tail = matched.get(matched.len().saturating_sub(TAIL_BYTES)..)?;
    let has = |kind: fn(&u8) -> bool| tail.iter().any(kind);
    let crossed_out = tail.iter().all(|byte| matches!(byte, b'x' | b'X'));
    let words = has(|byte| matches!(byte, b'-' | b'_'))
        && !has(u8::is_ascii_digit)
        && !(has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase));
    (!crossed_out && !words).then_some(0..matched.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Engine, EngineConfig, View};

    /// What is found in `text`, as detector and matched text.
    fn found(text: &str) -> Vec<(String, String)> {
        let engine = Arc::new(Engine::compile(EngineConfig::default()).unwrap());
        let found = engine.scan(text, View::Plain).unwrap();
        found
            .iter()
            .map(|finding| {
                let matched = text.get(finding.start as usize..finding.end as usize).unwrap();
                (finding.detector.to_string(), matched.to_owned())
            })
            .collect()
    }

    /// `text` has exactly the one secret between the guillemets, and is it anywhere else too.
    fn assert_one(detector: &str, text: &str) {
        let (before, rest) = text.split_once('«').unwrap();
        let (secret, after) = rest.split_once('»').unwrap();
        let text = format!("{before}{secret}{after}");
        assert_eq!(found(&text), [(detector.to_owned(), secret.to_owned())], "{text}");
    }

    #[test]
    fn tokens_in_the_places_where_they_are_found() {
        let random = "Ab3dE5gH7jKlM9nOpQ2rS4tUvW6xYz8aBcDe";
        for (detector, token) in [
            ("secrets.aws_access_key_id", "AKIAIOSFODNN7EXAMPLE".to_owned()),
            ("secrets.aws_access_key_id", "ASIAQ3EGP5ZZ2ABCDEFG".to_owned()),
            ("secrets.github_token", format!("ghp_{random}")),
            ("secrets.github_token", format!("ghs_{random}")),
            ("secrets.github_token", format!("github_pat_11ABCDEFG0aBcDeFgHiJkL_{random}{random}")),
            ("secrets.openai_api_key", format!("sk-proj-{random}_{random}-T3BlbkFJ{random}")),
            ("secrets.openai_api_key", "sk-Ab3dE5gH7jKlM9nOpQ2rT3BlbkFJS4tUvW6xYz8aBcDeFgHi".to_owned()),
            ("secrets.openai_api_key", format!("sk-svcacct-{random}")),
            ("secrets.anthropic_api_key", format!("sk-ant-api03-{random}-{random}AA")),
        ] {
            assert_one(detector, &format!("«{token}»"));
            assert_one(detector, &format!("my key is «{token}», keep it"));
            assert_one(detector, &format!("API_KEY=\"«{token}»\"\n"));
            assert_one(detector, &format!("-H 'Authorization: Bearer «{token}»'"));
        }
    }

    #[test]
    fn an_aws_secret_is_reported_without_the_words_that_give_it_away() {
        let key = "«wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»";
        for text in [
            format!("aws_secret_access_key = {key}\n"),
            format!("export AWS_SECRET_ACCESS_KEY='{key}'"),
            format!(r#"{{"SecretAccessKey": "{key}"}}"#),
            format!("the secret access key is {key}."),
            format!("AWS secret key: `{key}`"),
        ] {
            let text = text.replace("''", "'");
            assert_one("secrets.aws_secret_access_key", &text);
        }
        assert!(found("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY").is_empty(), "nothing says that this is a key");
    }

    #[test]
    fn private_keys_from_begin_to_end() {
        let body =
            "MIIEpQIBAAKCAQEAn6/O8li+SX4m98LLYt/PKSzEmQ\nyxR5MsXFu9PRsrYQA7/4UTPHiC4y2sAVCBg4C2yyBpUEtMQjyCESi6Y=\n";
        for kind in
            ["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
        {
            let pem = format!("see «-----BEGIN {kind}-----\n{body}-----END {kind}-----» ok");
            assert_one("secrets.private_key", &pem);
            assert_one("secrets.private_key", &pem.replace('\n', "\\n"));
        }
        let encrypted = format!(
            "«-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0F\n\n{body}-----END RSA PRIVATE KEY-----»"
        );
        assert_one("secrets.private_key", &encrypted);
        assert!(found("-----BEGIN PUBLIC KEY-----\nMIIEpQIBAAKCAQEAn6/O8li\n").is_empty());
        assert!(found("a line that says -----BEGIN PRIVATE KEY----- and no more").is_empty());
    }

    #[test]
    fn what_only_looks_like_a_secret() {
        for text in [
            "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "sk-proj-REPLACE_WITH_YOUR_KEY",
            "sk-ant-api03-your-api-key-goes-here",
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "AKIAXXXXXXXXXXXXXXXX",
            "TODAYINASIAASACKOFRICEFELLOVER",
            "ask-proj-management-of-everything-in-this-house-1",
            "risk-0123456789abcdef0123456789abcdef",
            "sk-learn and task-ant-colony",
            "secret_key: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn one_or_all_can_be_switched_off_and_unknown_names_are_refused() {
        let with =
            |off: &str| Engine::compile(EngineConfig { off: [off.to_owned()].into(), ..EngineConfig::default() });
        let all = Engine::compile(EngineConfig::default()).unwrap().checks().len();
        assert_eq!(with("secrets").unwrap().checks(), []);
        assert_eq!(with("secrets.github_token").unwrap().checks().len(), all - 1);
        assert_eq!(with("secrets.githup").unwrap_err().code(), "detector_unknown");
        let threshold =
            |id: &str, ppm| EngineConfig { thresholds_ppm: [(id.to_owned(), ppm)].into(), ..EngineConfig::default() };
        assert_eq!(Engine::compile(threshold("secrets", 950_000)).unwrap().checks().len(), all - 1);
        assert_eq!(
            Engine::compile(threshold("secrets.aws_secret_access_key", 950_000)).unwrap().checks().len(),
            all - 1
        );
    }
}
