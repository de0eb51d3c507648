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
        refine: None,
    },
    Builtin {
        id: "secrets.aws_access_key_id",
        version: "1",
        score_ppm: 980_000,
        pattern: r"(?-u:(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b)",
        refine: None,
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
        refine: None,
    },
    Builtin {
        id: "secrets.openai_api_key",
        version: "1",
        score_ppm: 980_000,
        pattern: r"(?-u:\bsk-(?:(?:proj|svcacct|admin|service)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,}))",
        refine: None,
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

/// The key at the end of the match, if it is mixed as only random characters are.
fn aws_secret(matched: &[u8]) -> Option<Range<usize>> {
    let key = matched.len().checked_sub(AWS_SECRET_BYTES)?..matched.len();
    let bytes = matched.get(key.clone())?;
    let has = |kind: fn(&u8) -> bool| bytes.iter().any(kind);
    (has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)).then_some(key)
}
